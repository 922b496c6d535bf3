"""How fast captured records reach the Audit API, against one request after another.

    python -m benchmarks.delivery [--count 300] [--rounds 5] [--latency 0.02] [--json FOLDER]

The emulator runs in a process of its own with 20 ms of injected latency. "One by one" is a loop of
``httpx.Client.post`` over a kept-alive connection. "auditbox" is measured from the start of its relay until
the last receipt, so claims, settlements and receipts are included; records of 100 objects, each in order.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import httpx

from auditbox import AuditTrail
from auditbox.emulator import Emulator, running
from auditbox.sinks.audit_api import AuditApiSink
from benchmarks.capture import DOCUMENTS
from benchmarks.measure import machine, ratios, save, shown

TOKEN = "idt:TKN-1234-5678:benchmark"


def objects(count: int) -> list[str]:
    """The objects in turn: 100 lanes."""
    return [f"ORD-0000-0000-{number % 100:04}" for number in range(count)]


def one_by_one(emulator: Emulator, count: int) -> float:
    """Records a second of a loop of POSTs."""
    body = {
        "event": "extensions.shop.order.approved",
        "summary": "Order approved",
        "details": "Order approved",
    }
    begin = time.perf_counter()
    with httpx.Client(headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False) as client:
        for object in objects(count):
            record = {**body, "object": {"id": object}, "documents": DOCUMENTS}
            client.post(f"{emulator.url}/public/v1/audit/records", json=record).raise_for_status()
    return count / (time.perf_counter() - begin)


def relayed(emulator: Emulator, count: int, folder: Path) -> float:
    """Records a second of the relay, receipts included."""
    path = folder / f"{time.monotonic_ns()}.db"
    with AuditTrail(path, extension="shop") as capturing:
        capturing.record_many(
            [
                {"event": "order.approved", "object": object, "documents": DOCUMENTS}
                for object in objects(count)
            ]
        )
    begin = time.perf_counter()
    with AuditTrail(path, sink=AuditApiSink(emulator.url, TOKEN), extension="shop") as trail:
        if not trail.flush(120):
            raise SystemExit("not everything was delivered")
        return count / (time.perf_counter() - begin)


def stored(emulator: Emulator) -> int:
    """How many records the emulator holds."""
    return int(emulator.health()["records"])


def main() -> None:
    """Runs, prints, and says whether the goal was reached; a missed goal is exit status 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--latency", type=float, default=0.02)
    parser.add_argument("--json", metavar="FOLDER")
    parser.add_argument(
        "--no-goal", action="store_true", help="do not judge: the run only shows that it works"
    )
    options = parser.parse_args()
    ours: list[float] = []
    theirs: list[float] = []
    with tempfile.TemporaryDirectory() as folder, running(process=True, latency=options.latency) as emulator:
        for _ in range(options.rounds):
            theirs.append(one_by_one(emulator, options.count))
            before = stored(emulator)
            ours.append(relayed(emulator, options.count, Path(folder)))
            if stored(emulator) - before != options.count:
                raise SystemExit("records were lost or doubled")
    ratio = ratios(ours, theirs)
    print(f"{machine()}\n\nrecords/s at {options.latency * 1000:g} ms (medians of {options.rounds} rounds)")
    print(f"one by one {median(theirs):8.0f}\nauditbox   {median(ours):8.0f}")
    print(f"\nauditbox / one by one: {shown(ratio)}   goal at least 8")
    save("delivery", {"auditbox": ours, "one by one": theirs, "ratio": ratio}, options.json)
    raise SystemExit(0 if options.no_goal or ratio["median"] >= 8 else 1)


if __name__ == "__main__":
    main()
