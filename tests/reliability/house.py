"""A test's own outbox, programs and objects: starts and kills, then asks the oracle."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

import auditbox
from auditbox.emulator import EmulatorProcess, start_process

from . import oracle
from .sizes import PATIENCE

ROOT = Path(__file__).parent.parent.parent
SOURCES = Path(auditbox.__file__).parent.parent
DEAD = "SELECT e.id FROM open o JOIN entry e USING (seq) WHERE o.state = 'dead'"


class Server:
    """The emulator in a process of its own; its faults are scripted, it can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "server.db"
        self._process = start_process(db=str(self.database))
        self.url, self._port = self._process.url, self._process.port

    def faults(self, *faults: dict[str, Any], latency: float = 0.0, seed: int | None = None) -> None:
        """From now on these requests go wrong."""
        plan = {"faults": list(faults), "latency": latency, "seed": seed}
        httpx.put(f"{self.url}/_emulator/faults", json=plan, timeout=PATIENCE).raise_for_status()

    def requests(self, after: int = 0) -> list[dict[str, Any]]:
        """What was asked of it, after this number."""
        query = {"after": after, "limit": 10_000}
        answer = httpx.get(f"{self.url}/_emulator/requests", params=query, timeout=PATIENCE)
        found: list[dict[str, Any]] = answer.json()["requests"]
        return found

    def kill(self) -> None:
        """The outage: nobody listens any more, and nobody else comes to listen there meanwhile."""
        self._process.kill()
        self._placeholder = socket.socket()
        self._placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._placeholder.bind(("127.0.0.1", self._port))

    def restart(self) -> None:
        """At the same address, with what it had stored."""
        self._process = start_process(port=self._port, db=str(self.database))
        self._placeholder.close()

    def stop(self) -> None:
        """For good."""
        process: EmulatorProcess = self._process
        process.stop()


class Puppet:
    """A program that does what it is told (programs/puppet.py)."""

    def __init__(self, house: House, process: subprocess.Popen[bytes]) -> None:
        self.house, self.process = house, process

    def tell(self, do: str, **how: Any) -> None:
        """Tells it to begin."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **how}).encode() + b"\n")
        self.process.stdin.flush()

    def answer(self, meanwhile: Callable[[], Any] = lambda: None) -> dict[str, Any]:
        """Waits until it has done so, looking at something meanwhile."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + PATIENCE
        while not select.select([self.process.stdout], [], [], 0.02)[0]:
            meanwhile()
            assert time.monotonic() < deadline, f"no answer\n{self.house.logs()}"
        line = self.process.stdout.readline()
        assert line, f"the program has ended\n{self.house.logs()}"
        answered: dict[str, Any] = json.loads(line)
        return answered

    def ask(self, do: str, **how: Any) -> dict[str, Any]:
        """Tells it, and waits."""
        self.tell(do, **how)
        return self.answer()

    def end(self) -> int:
        """Lets the program end by itself."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.house.wait(self.process, "a program that was let go")


class House:
    """One outbox, the programs that use it, and what the oracle says of them."""

    def __init__(self, folder: Path, server: Server, seed: int) -> None:
        self.folder, self.server, self.seed = folder, server, seed
        self.random = random.Random(seed)
        own = random.SystemRandom().randrange(10**8)  # a repeated seed must not meet an earlier run's objects
        self.id = f"{own // 10**4:04d}-{own % 10**4:04d}"
        self.outbox = folder / "box" / "audit.db"
        self.outbox.parent.mkdir(parents=True)
        self.acks = folder / "acks"
        self.acks.mkdir()
        self._programs: list[subprocess.Popen[bytes]] = []

    def start(
        self, program: str, *, python: str = sys.executable, pipe: bool = False, **options: Any
    ) -> subprocess.Popen[bytes]:
        """Starts a program of tests/reliability/programs; what it says goes to a file of the folder."""
        given = {
            "outbox": str(self.outbox),
            "url": self.server.url,
            "acks": str(self.acks),
            "house": self.id,
            "lanes": 8,
            "seed": self.seed,
            "patience": PATIENCE,
            **options,
        }
        command = [python, "-m", f"tests.reliability.programs.{program}", json.dumps(given)]
        said = (self.folder / f"{len(self._programs)}-{program}.log").open("wb")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(SOURCES)])}
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE if pipe else subprocess.DEVNULL,
            stdout=subprocess.PIPE if pipe else said,
            stderr=said,
            start_new_session=True,  # so that what it forks can be ended with it
        )
        said.close()
        self._programs.append(process)
        return process

    def puppet(self, writer: str = "puppet", **options: Any) -> Puppet:
        """Starts a program that waits for what it is told."""
        return Puppet(self, self.start("puppet", pipe=True, writer=writer, **options))

    def run(self, program: str, *, status: int = 0, **options: Any) -> None:
        """Starts a program and waits for its end, which must be this one."""
        ended = self.wait(self.start(program, **options), program)
        assert ended == status, f"{program} ended with {ended}\n{self.logs()}"

    def wait(self, process: subprocess.Popen[bytes], what: str) -> int:
        """How a program ended; one that never ends is the finding."""
        try:
            return process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"seed {self.seed}: {what} has not ended\n{self.logs()}") from None

    def terminate(self, *processes: subprocess.Popen[bytes]) -> None:
        """Asks programs to end, and waits until they have."""
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            self.wait(process, "a program that was asked to end")

    def drain(self, **options: Any) -> None:
        """A last program delivers what is left."""
        self.run("drain", **options)

    def said(self) -> str:
        """Everything that the programs have said."""
        return "".join(file.read_text(errors="replace") for file in sorted(self.folder.glob("*.log")))

    def logs(self) -> str:
        """The ends of what the programs have said, for the report of a failure."""
        return "\n".join(
            f"--- {file.name}\n{file.read_text(errors='replace')[-3000:]}"
            for file in sorted(self.folder.glob("*.log"))[-8:]
        )

    def end(self) -> None:
        """Ends whatever is still running."""
        for process in self._programs:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    # -- the oracle --------------------------------------------------------------------------------

    def told(self) -> list[oracle.Ack]:
        """The captures that returned."""
        return oracle.read_acks(sorted(self.acks.glob("*.acks")))

    def arrived(self) -> list[oracle.Arrived]:
        """What the server has stored of this house."""
        return oracle.read_arrived(self.server.database, self.id)

    def stored(self) -> int:
        """How many records of this house the server has."""
        return oracle.count_arrived(self.server.database, self.id)

    def dead(self) -> set[str]:
        """The dead letters of the outbox."""
        return {id for (id,) in self.rows(DEAD)}

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """A query on the outbox's file, from outside."""
        db = sqlite3.connect(f"file:{quote(str(self.outbox))}?mode=ro", uri=True, timeout=PATIENCE)
        try:
            return db.execute(sql).fetchall()
        finally:
            db.close()

    def verdict(self, dead: set[str] | None = None) -> oracle.Verdict:
        """What the oracle says; no dead letter is excused unless it is named."""
        return oracle.judge(self.told(), self.arrived(), dead or ())

    def assert_flawless(self, dead: set[str] | None = None) -> oracle.Verdict:
        """Nothing lost, doubled, altered, out of order, or without an explanation."""
        verdict = self.verdict(dead)
        assert verdict.flawless, f"seed {self.seed}: {verdict}\n{self.logs()}"
        assert verdict.safe, f"nothing was captured\n{self.logs()}"
        return verdict

    def until(
        self, condition: Callable[[], Any], what: str, patience: float = PATIENCE, every: float = 0.02
    ) -> None:
        """Waits until something outside has come about."""
        deadline = time.monotonic() + patience
        while not condition():
            assert time.monotonic() < deadline, f"{what}: never\n{self.logs()}"
            time.sleep(every)
