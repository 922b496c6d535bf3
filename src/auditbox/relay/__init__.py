"""The relay: moves entries from the outbox to the sink. One per outbox at a time."""
