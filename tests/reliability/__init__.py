"""What must survive: processes that are killed, against what an oracle outside them saw."""
