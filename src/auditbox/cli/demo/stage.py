"""The demo's two processes, the Audit API and the application, which can be taken down and started again."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from auditbox.emulator import EmulatorProcess, start_process
from auditbox.errors import ConfigurationError
from auditbox.outbox.inspection import Inspection

T = TypeVar("T")
_REBIND = 10.0
"""Seconds during which something else may keep the port that was just left."""


class App:
    """The application under uvicorn, in a process of its own."""

    def __init__(self, folder: Path, api: str, port: int = 0) -> None:
        self._log = folder / "app.log"
        options = ["--outbox", str(folder / "audit.db"), "--api", api, "--port", str(port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "auditbox.cli.demo.app", *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            self.stop()
            raise ConfigurationError(f"the demo's application did not start: {self._last_words()}")

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def kill(self) -> None:
        """Ends it with SIGKILL."""
        self._process.kill()
        self._process.communicate()

    def stop(self) -> None:
        """Ends it with SIGTERM, which lets it deliver what is left; does nothing the second time."""
        if self._process.poll() is None:
            self._process.terminate()
        if self._process.stdin is not None and not self._process.stdin.closed:
            try:
                self._process.communicate(timeout=15)
            except subprocess.TimeoutExpired:
                self.kill()

    def _last_words(self) -> str:
        return self._log.read_text("utf-8", "replace").strip().rpartition("\n")[2]


class Stage:
    """Both processes on ports that stay the same; their files in one folder.

    Use it as a context manager: at its end nothing runs any more.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.outbox = Inspection(folder / "audit.db")

    def __enter__(self) -> Stage:
        self._emulator = self._start_api(0)
        try:
            self._app = App(self._folder, self.api)
        except BaseException:
            self._emulator.stop()
            raise
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            self._app.stop()
        finally:
            self._emulator.stop()

    @property
    def api(self) -> str:
        """The Audit API's address."""
        return self._emulator.url

    @property
    def app(self) -> str:
        """The application's address."""
        return self._app.url

    def take_api_down(self) -> None:
        """Ends the Audit API with SIGKILL."""
        self._emulator.kill()

    def bring_api_back(self) -> None:
        """The same address, the same records."""
        self._emulator = _patiently(lambda: self._start_api(self._emulator.port))

    def kill_app(self) -> int:
        """Ends the application with SIGKILL and starts it again; returns the process that died."""
        died, port = self._app.pid, int(self._app.url.rpartition(":")[2])
        self._app.kill()
        self._app = _patiently(lambda: App(self._folder, self.api, port))
        return died

    def pending(self) -> int:
        """How many captured records are still to be delivered."""
        return self.outbox.unsettled()[1]

    def _start_api(self, port: int) -> EmulatorProcess:
        return start_process(port=port, db=self._folder / "api.db")


def _patiently(start: Callable[[], T]) -> T:
    deadline = time.monotonic() + _REBIND
    while True:
        try:
            return start()
        except ConfigurationError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.2)
