"""What the tests of all examples share: an Audit API, an outbox, real servers, and users who work at once.

``stage.serving("gunicorn", "--bind", "fd://{fd}", "app:app")`` runs the example of the test's own folder in a
process of its own; ``stage.send()`` sends requests of many users at the same time and gives those that were
answered; ``stage.check()`` compares them with what the Audit API has in the end. The examples run on what is
installed, and where a test is for ``BOTH`` also on the oldest versions that are supported: ``oldest.txt``.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from auditbox.api import AuditApi
from auditbox.emulator import running
from auditbox.relay.policy import Policy
from auditbox.trail import AuditTrail

TOKEN = "idt:TKN-1234-5678:secret"
BOUND = 60.0
"""Seconds that anything may take; nothing is measured by it."""
HERE = Path(__file__).parent
ROOT = HERE.parent


class Job(NamedTuple):
    """One request of one user: ``POST /orders/{order}/{way}``."""

    id: str
    order: str
    way: str
    user: str

    @property
    def path(self) -> str:
        """Where it is sent."""
        return f"/orders/{self.order}/{self.way}"

    def headers(self, token: Callable[[str], str] = str) -> dict[str, str]:
        """Who sends it; ``token`` makes a token of the user's id."""
        return {"authorization": f"Bearer {token(self.user)}", "x-request-id": self.id}


def jobs(prefix: str, orders: int, ways: Mapping[str, Any]) -> list[Job]:
    """For each order one request of each way, each of another user."""
    return [
        Job(f"{prefix}-{order}-{way}", f"ORD-{order:04d}-{index:04d}", way, f"USR-{order:04d}-{index:04d}")
        for order in range(orders)
        for index, way in enumerate(ways)
    ]


class Server:
    """A server's process with the example in it."""

    def __init__(
        self, python: str, command: tuple[str, ...], folder: Path, environment: Mapping[str, str], log: Path
    ):
        # Listening before the process starts: no request comes too early. Only the process keeps it open.
        with socket.create_server(("127.0.0.1", 0), backlog=512) as listener, log.open("ab") as output:
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            self.process = subprocess.Popen(
                [python, "-m", *(part.replace("{fd}", str(listener.fileno())) for part in command)],
                cwd=folder,
                env={**os.environ, **environment},
                pass_fds=[listener.fileno()],
                stdout=output,
                stderr=output,
            )

    def get(self, path: str, **more: Any) -> httpx.Response:
        """One request, with more time than httpx gives by itself."""
        return httpx.get(self.url + path, timeout=BOUND, **more)

    def post(self, path: str, **more: Any) -> httpx.Response:
        """The same."""
        return httpx.post(self.url + path, timeout=BOUND, **more)

    def workers(self) -> set[int]:
        """The ids of its worker processes."""
        listed = subprocess.check_output(["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], text=True)
        rows = [line.split(None, 2) for line in listed.splitlines()]
        return {
            int(pid)
            for pid, parent, *args in rows
            if int(parent) == self.process.pid and "resource_tracker" not in "".join(args)
        }

    def kill_worker(self) -> None:
        """SIGKILL for one of the workers."""
        os.kill(min(self.workers()), signal.SIGKILL)

    def reload(self) -> None:
        """SIGHUP: every worker finishes what it does and is replaced."""
        self.process.send_signal(signal.SIGHUP)

    def wait_without(self, workers: set[int]) -> None:
        """Returns when none of these workers is left, and others are."""
        until = time.monotonic() + 1.5 * BOUND
        while (now := self.workers()) & workers or not now:
            assert time.monotonic() < until, (now, workers)
            time.sleep(0.05)  # they are no children of ours: there is nothing to wait on

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Sends the signal to the server, and waits."""
        self.process.send_signal(how)
        return self.process.wait(BOUND)


class Stage:
    """An Audit API, an outbox, and the example of one folder."""

    def __init__(self, folder: Path, example: Path, api: str) -> None:
        self.api, self.outbox, self.log = api, folder / "audit.db", folder / "server.log"
        self.example = example
        """The folder in which the server starts."""
        self.python = sys.executable
        """What runs it."""
        self.environment = {
            "AUDITBOX_OUTBOX": str(self.outbox),
            "MPT_API_BASE_URL": api,
            "MPT_API_TOKEN": TOKEN,
            # By itself 5 seconds: uvicorn gives a reload up where a worker takes longer to start, as it may
            # on a busy machine. It waits as long for a worker that was killed while it was asked.
            "UVICORN_TIMEOUT_WORKER_HEALTHCHECK": "20",
        }

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """What ``python -m`` with this command says, in the example's folder."""
        return subprocess.run(
            [self.python, "-m", *command],
            cwd=self.example,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )

    @contextmanager
    def serving(self, *command: str, **environment: str) -> Iterator[Server]:
        """The example on this server (``python -m`` what ``command`` says); gone afterwards in any case."""
        server = Server(self.python, command, self.example, {**self.environment, **environment}, self.log)
        try:
            yield server
        finally:
            workers = server.workers()  # also where the test has failed
            server.process.kill()
            server.process.wait()
            for worker in workers:
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)

    def send(
        self,
        server: Server,
        wanted: list[Job],
        moments: Mapping[int, Callable[[], object]] | None = None,
        token: Callable[[str], str] = str,
    ) -> set[Job]:
        """Sends the requests, eight at a time; gives those that were answered, all with 200.

        Args:
            server: where to.
            wanted: the requests.
            moments: what to do when so many have been answered.
            token: makes a token of a user's id.
        """
        answered: list[Job] = []
        waiting = dict(moments or {})

        def one(job: Job) -> None:
            try:
                answer = client.post(job.path, headers=job.headers(token))
            except httpx.TransportError:
                return
            assert answer.status_code == 200, (job, answer.text, self.log.read_text())
            answered.append(job)
            if (then := waiting.pop(len(answered), None)) is not None:
                then()

        # A connection for each request, so that all workers get some.
        limits = httpx.Limits(max_keepalive_connections=0)
        with (
            httpx.Client(base_url=server.url, timeout=BOUND, limits=limits) as client,
            ThreadPoolExecutor(8) as pool,
        ):
            list(pool.map(one, wanted))
        assert not waiting, self.log.read_text()
        return set(answered)

    def records(self) -> list[Any]:
        """All records that the Audit API has once what the servers left behind is delivered."""
        with AuditTrail(self.outbox, sink=self.api, token=TOKEN, policy=Policy(verify_after=0.5)) as rest:
            assert rest.flush(timeout=BOUND)
        with AuditApi(self.api, token=TOKEN) as api:
            return list(api.records.iterate(select=["+documents"]))

    def check(
        self,
        wanted: list[Job],
        answered: set[Job],
        expected: Callable[[Job], tuple[Any, ...]],
        facts: Callable[[Any], tuple[Any, ...]],
    ) -> None:
        """What was answered has exactly one record, as expected; what was not has at most one.

        Args:
            wanted: the requests that were sent.
            answered: those that were answered.
            expected: what the record of a request has to say.
            facts: what a record says.
        """
        counted = Counter(map(facts, self.records()))
        assert set(counted.values()) == {1}, [fact for fact, count in counted.items() if count > 1]
        assert set(map(expected, answered)) <= set(counted), set(map(expected, answered)) - set(counted)
        assert set(counted) <= set(map(expected, wanted)), set(counted) - set(map(expected, wanted))


def request_facts(record: Any) -> tuple[Any, ...]:
    """What a record says: request id, object, event, actor, route, and the status where it is known."""
    own = record.auditbox
    request = own["request"]
    event = record.event.split(".", 2)[2]
    return request["id"], record.object.id, event, own["actor"]["id"], request["route"], request.get("status")


class Environments:
    """Virtual environments beside ours, made once from the package registry and kept for the next run.

    Args:
        folder: where they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @staticmethod
    def interpreter(version: str) -> str | None:
        """The interpreter of a Python such as ``"3.12"``, if there is one here."""
        root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
        for python in (shutil.which(f"python{version}"), *root.glob(f"{version}.*/bin/python")):
            # One that answers: a shim on the path may stand for nothing.
            if python and not subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode:
                return str(python)
        return None

    def python(self, requirements: Path, *without_theirs: str, base: str = sys.executable) -> str:
        """The interpreter of an environment with auditbox and these requirements.

        Args:
            requirements: a file as pip takes it.
            without_theirs: further packages, whose own requirements are left out.
            base: the Python of which it is made.
        """
        said = (
            base,
            str(ROOT),
            *without_theirs,
            requirements.read_text(),
            (ROOT / "pyproject.toml").read_text(),
        )
        made = self.folder / hashlib.sha256("\n".join(said).encode()).hexdigest()[:16]
        python = str(made / "bin" / "python")
        with (self.folder / f"{made.name}.lock").open("w") as turn:  # another worker may be at it
            fcntl.flock(turn, fcntl.LOCK_EX)
            if not (made / "complete").exists():
                subprocess.run([base, "-m", "venv", "--clear", str(made)], check=True)
                _install(python, "--editable", str(ROOT), "--requirement", str(requirements))
                if without_theirs:
                    _install(python, "--no-deps", *without_theirs)
                (made / "complete").touch()
        return python


def _install(python: str, *what: str) -> None:
    ended = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "from versions: none" in ended.stderr:
        pytest.skip("the package registry cannot be reached")
    assert ended.returncode == 0, ended.stderr


@pytest.fixture(scope="session")
def environments(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Environments:
    """In pytest's cache, or for this run only where that is off."""
    cache = getattr(request.config, "cache", None)
    if cache is not None:
        return Environments(cache.mkdir("environments"))
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "environments"
    folder.mkdir(exist_ok=True)
    return Environments(folder)


def pytest_itemcollected(item: pytest.Item) -> None:
    """The first of these waits until its environment is made."""
    if "oldest" in getattr(getattr(item, "callspec", None), "params", {}).values():
        item.add_marker(pytest.mark.timeout(400))


@pytest.fixture
def stage(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """The example of the folder in which the test stands, and an Audit API of its own."""
    with running() as emulator:
        made = Stage(tmp_path, request.path.parent, emulator.url)
        if getattr(request, "param", "newest") == "oldest":
            made.python = request.getfixturevalue("environments").python(HERE / "oldest.txt")
        yield made


@pytest.fixture
def make_jobs() -> Callable[[str, int, Mapping[str, Any]], list[Job]]:
    """``make_jobs("first", 40, WAYS)``: requests of many users about many orders."""
    return jobs


@pytest.fixture
def facts() -> Callable[[Any], tuple[Any, ...]]:
    """Reads a record: see :func:`request_facts`."""
    return request_facts
