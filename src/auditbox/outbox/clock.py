"""Which monotonic clock this process reads, so that seconds noted by one process count in the next.

Linux counts monotonic seconds from the start of the machine, the same for every process but for those in a
time namespace of their own (time_namespaces(7)). Suspended time is not counted, which only waits longer.
"""

from __future__ import annotations

import os


def identity() -> str | None:
    """Names the clock behind ``time.monotonic()``; None where nothing is known (other systems than Linux)."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
    except OSError:
        return None
    try:
        return f"{boot} {os.readlink('/proc/self/ns/time')}"
    except OSError:
        return boot  # a kernel without time namespaces
