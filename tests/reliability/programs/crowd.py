"""Many threads that all begin at once; each tells what is safe in a file of its own."""

from __future__ import annotations

import threading

from tests.reliability.programs.common import Writer, arguments, make_trail

given = arguments()
trail = make_trail(given, busy_timeout=given["patience"])
gate = threading.Barrier(given["threads"])
failed: list[BaseException] = []


def work(name: str) -> None:
    """One thread's captures."""
    try:
        writer = Writer(given, trail, name)
        gate.wait()
        for _ in range(given["count"]):
            writer.capture()
    except BaseException as error:  # noqa: BLE001 - it is the finding
        failed.append(error)


threads = [threading.Thread(target=work, args=(f"t{at}",)) for at in range(given["threads"])]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert failed == [], failed[:3]
trail.close(timeout=0.2)
