"""Run in a process of its own: reads all records of an emulator, and prints by how much its memory grew.

Usage: read_everything.py DATABASE iterate|stream
"""

import json
import resource
import sys
from pathlib import Path

from auditbox.api import AuditApi
from auditbox.emulator import running


def main() -> None:
    """Prints how many rows came, and by how much the peak of memory grew after half of them, in bytes."""
    database, how = sys.argv[1:]
    count = half = 0
    with running(db=database, max_limit=1000) as emulator:
        total = emulator.health()["records"]
        with AuditApi(emulator.url, token="idt:TKN-1234-5678:s") as api:
            rows = api.records.iterate(limit=1000) if how == "iterate" else api.records.stream()
            newest = None
            for count, row in enumerate(rows, 1):
                assert newest is None or (row.timestamp is not None and row.timestamp <= newest)
                newest = row.timestamp
                if count == total // 2:
                    half = most()
            growth = most() - half
    print(json.dumps({"rows": count, "growth": growth}))


def most() -> int:
    """The most memory that this process ever used, in bytes."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    # On Linux the other figure begins with that of the program that started this one.
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
