"""Benchmarks: one script a question, peers in the same interleaved run, ratios instead of absolute times."""
