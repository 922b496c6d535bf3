"""The outbox: the durable, append-only local log of captured records."""
