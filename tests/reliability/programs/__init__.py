"""The programs under test: each is a process of its own, started with one JSON argument."""
