"""Adapters of frameworks: only what a framework truly needs beyond the handler, decorator and middleware."""
