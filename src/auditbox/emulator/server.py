"""The emulator on a socket: in the foreground, in a thread, or in a process of its own."""

from __future__ import annotations

import contextlib
import functools
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, overload

from auditbox.emulator.app import create_app
from auditbox.emulator.listening import Server, address_of, is_loopback, listen
from auditbox.errors import ConfigurationError

__all__ = [
    "Emulator",
    "EmulatorProcess",
    "address_of",
    "is_loopback",
    "listen",
    "running",
    "serve",
    "start_process",
    "start_thread",
]

_STARTUP = 30.0


def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    db: str | Path | None = None,
    strict: bool = False,
    seed: Any = None,
    ready: Callable[[str], None] | None = None,
    *,
    allow_remote: bool = False,
    **options: Any,
) -> None:
    """Serves the emulator until SIGINT or SIGTERM.

    Args:
        host: the address to listen on; anything but loopback needs ``allow_remote``.
        port: the port; 0 takes a free one.
        db, strict, seed: as :func:`auditbox.emulator.create_app` has them.
        ready: called with the URL once requests are accepted.
        allow_remote: lets other machines in. There is no TLS and no real authentication.
        options: the further arguments of ``create_app``.

    Raises:
        ConfigurationError: the address cannot be listened on, or a value is wrong.
    """
    listener = listen(host, port, allow_remote=allow_remote)
    try:
        app = create_app(db, strict=strict, seed=seed, **options)
    except BaseException:
        listener.close()
        raise
    with contextlib.suppress(KeyboardInterrupt):
        Server(app, listener, ready).serve_forever()


class Emulator:
    """A running emulator.

    Attributes:
        url: where it listens.
    """

    def __init__(self, url: str, stop: Callable[[], None]) -> None:
        self.url, self._stop = url, stop

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.url.rpartition(":")[2])

    def stop(self) -> None:
        """Stops it; does nothing the second time."""
        stop, self._stop = self._stop, lambda: None
        stop()

    def script(self, *faults: dict[str, Any], latency: float = 0.0, seed: int | None = None) -> None:
        """Replaces the scripted faults; without any, everything works again.

        Raises:
            ConfigurationError: a fault is wrong.
        """
        plan = {"faults": list(faults), "latency": latency, "seed": seed}
        answer = self._control("PUT", "faults", plan)
        if "message" in answer:
            raise ConfigurationError(answer["message"])

    def requests(self, after: int = 0) -> list[dict[str, Any]]:
        """What arrived, oldest first."""
        return list(self._control("GET", f"requests?after={after}&limit=100000")["requests"])

    def health(self) -> dict[str, Any]:
        """Its own account of itself: ``records`` is how many it holds."""
        return self._control("GET", "health")

    def _control(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        import httpx

        with httpx.Client(trust_env=False, timeout=30) as client:
            answer = client.request(method, f"{self.url}/_emulator/{path}", json=body)
            return dict(answer.json())


@overload
def running(
    *, process: Literal[True], host: str = ..., port: int = ..., **options: Any
) -> AbstractContextManager[EmulatorProcess]: ...
@overload
def running(
    *, process: bool = ..., host: str = ..., port: int = ..., **options: Any
) -> AbstractContextManager[Emulator]: ...
@contextlib.contextmanager
def running(
    *, process: bool = False, host: str = "127.0.0.1", port: int = 0, **options: Any
) -> Iterator[Any]:
    """An emulator for the time of a ``with`` block.

    Args:
        process: in a process of its own (then it can be killed without harm); else in a thread.
        host, port: where it listens; port 0 takes a free one.
        options: the arguments of :func:`auditbox.emulator.create_app`; in a process, those that the command
            line has: all but ``clock``; ``seed`` and ``faults`` may be files or their content.
    """
    start = start_process if process else start_thread
    emulator = start(host, port, **options)
    try:
        yield emulator
    finally:
        emulator.stop()


def start_thread(host: str = "127.0.0.1", port: int = 0, **options: Any) -> Emulator:
    """Starts an emulator in a daemon thread; returns once it accepts requests."""
    listener = listen(host, port)
    up = threading.Event()
    server = Server(create_app(**options), listener, lambda _url: up.set())
    thread = threading.Thread(target=server.serve_forever, name="auditbox-emulator", daemon=True)
    thread.start()
    if not up.wait(_STARTUP):
        raise RuntimeError("the emulator did not start")

    def stop() -> None:
        server.should_exit = True
        thread.join(_STARTUP)

    return Emulator(server.url, stop)


class EmulatorProcess(Emulator):
    """An emulator in a process of its own."""

    def __init__(self, url: str, process: subprocess.Popen[str], stop: Callable[[], None]) -> None:
        super().__init__(url, stop)
        self.process = process

    def kill(self) -> None:
        """Ends it with SIGKILL."""
        self.process.kill()
        self.stop()


def start_process(host: str = "127.0.0.1", port: int = 0, **options: Any) -> EmulatorProcess:
    """Starts an emulator in a process of its own; returns once it accepts requests.

    The process ends with its parent, however that ends.

    Raises:
        ConfigurationError: it could not start; the text says why.
    """
    folder = tempfile.TemporaryDirectory(prefix="auditbox-")
    command = [sys.executable, "-m", __package__, "--host", host, "--port", str(port), "--with-parent"]
    command += _arguments(Path(folder.name), options)
    errors = Path(folder.name) / "errors.txt"  # a pipe that nobody reads would fill up
    with errors.open("wb") as sink:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sink, text=True
        )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    said = errors.read_text("utf-8").strip()
    emulator = EmulatorProcess(url, process, functools.partial(_end, process, folder))
    if not url:
        emulator.stop()
        raise ConfigurationError(f"the emulator did not start: {said}")
    return emulator


def _end(process: subprocess.Popen[str], folder: tempfile.TemporaryDirectory[str]) -> None:
    process.terminate()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    folder.cleanup()


def _arguments(folder: Path, options: dict[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        if (
            value is None
            or (value is False and name != "streaming")
            or (value is True and name == "streaming")
        ):
            continue
        yield "--no-streaming" if name == "streaming" else f"--{name.replace('_', '-')}"
        if isinstance(value, dict | list):
            file = folder / f"{name}.json"
            file.write_text(json.dumps(value), "utf-8")
            yield str(file)
        elif not isinstance(value, bool):
            yield str(value)
