"""auditbox: an action is on record before the call returns, and in the Audit API exactly once."""
__version__ = "0.1.0"
