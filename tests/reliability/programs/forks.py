"""Parents and children: ``how`` says what forks, and when. Each side tells what is safe in a file of its own.

Every program here forks while its own threads capture, and a child that cannot go on never ends: the parent
of all, outside, gives it a bound.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import warnings
from collections.abc import Callable
from typing import Any

from auditbox import AuditTrail
from tests.reliability.programs.common import Writer, arguments, make_trail

warnings.filterwarnings("ignore", category=DeprecationWarning)  # forks of threads are what is tested here


def child(given: dict[str, Any], name: str, trail: AuditTrail | None = None) -> None:
    """A child's work: with the trail that it inherits, or one of its own where it inherits none."""
    own = make_trail(given) if trail is None else trail
    writer = Writer(given, own, name)
    for _ in range(given["count"]):
        writer.capture()
    own.close(timeout=1.0)


def by_os_fork(given: dict[str, Any], trail: AuditTrail) -> None:
    """Children, and children of theirs; each ends by os._exit."""
    writer = Writer(given, trail, "parent")
    pids = []
    for at in range(given["children"]):
        writer.capture()
        pids.append(os.fork())
        if not pids[-1]:
            if at % 3 == 0 and not (grandchild := os.fork()):
                _work_and_exit(given, f"grandchild{at}", trail)
            elif at % 3 == 0:
                _reap([grandchild])
            _work_and_exit(given, f"child{at}", trail)
    for _ in range(given["count"]):
        writer.capture()
    _reap(pids)


def _work_and_exit(given: dict[str, Any], name: str, trail: AuditTrail) -> None:
    try:
        child(given, name, trail)
        os._exit(0)
    finally:
        os._exit(1)


def _reap(pids: list[int]) -> None:
    for pid in pids:
        _, status = os.waitpid(pid, 0)
        assert status == 0, f"a child ended with {status}"


def by_multiprocessing(given: dict[str, Any], trail: AuditTrail, method: str) -> None:
    """Processes of the standard library; spawned ones have a trail of their own."""
    context: Any = multiprocessing.get_context(method)
    writer = Writer(given, trail, "parent")
    inherited = (trail,) if method == "fork" else ()
    processes = [
        context.Process(target=child, args=(given, f"child{at}", *inherited))
        for at in range(given["children"])
    ]
    for process in processes:
        writer.capture()
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0, process.exitcode


def during_commits(given: dict[str, Any], trail: AuditTrail) -> None:
    """Four threads commit without a pause while the main thread forks again and again."""
    stop = threading.Event()

    def work(name: str) -> None:
        writer = Writer(given, trail, name)
        while not stop.wait(0.01):
            writer.capture()

    threads = [threading.Thread(target=work, args=(f"thread{at}",)) for at in range(4)]
    for thread in threads:
        thread.start()
    for at in range(given["children"]):
        pid = os.fork()
        if not pid:
            _work_and_exit(given, f"child{at}", trail)
        _reap([pid])
    stop.set()
    for thread in threads:
        thread.join()


HOW: dict[str, Callable[[dict[str, Any], AuditTrail], None]] = {
    "os.fork": by_os_fork,
    "multiprocessing, fork": lambda given, trail: by_multiprocessing(given, trail, "fork"),
    "multiprocessing, spawn": lambda given, trail: by_multiprocessing(given, trail, "spawn"),
    "fork during a commit": during_commits,
}

if __name__ == "__main__":
    given = arguments()
    trail = make_trail(given)
    HOW[given["how"]](given, trail)
    trail.close(timeout=5.0)
