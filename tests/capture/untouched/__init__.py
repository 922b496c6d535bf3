"""Applications that run with and without the middleware: ``AUDIT`` in the environment says which."""
