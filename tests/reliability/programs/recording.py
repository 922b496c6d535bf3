"""Records what SQLite asks of the disk: every write, truncation, sync and deletion, through its own VFS.

SQLite's file methods (sqlite.org/c3ref/io_methods.html) are replaced, in this process alone, by ones that
note what is asked and then do it. Works where Python's sqlite3 shares its library with the process.
"""

from __future__ import annotations

import _sqlite3
import ctypes
import pickle
import threading
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_int64, c_void_p
from pathlib import Path
from typing import Any, NamedTuple

X_WRITE, X_TRUNCATE, X_SYNC = 3, 4, 5
_METHODS = 19
"""Pointers in sqlite3_io_methods of version 3, after its number."""


class Event(NamedTuple):
    """What was asked, of which file; ``offset`` is the size for a truncation."""

    kind: str
    file: str
    offset: int = 0
    data: bytes = b""


class Vfs(ctypes.Structure):
    """The head of sqlite3_vfs, as far as it is needed (sqlite.org/c3ref/vfs.html)."""

    _fields_ = [
        ("iVersion", c_int),
        ("szOsFile", c_int),
        ("mxPathname", c_int),
        ("pNext", c_void_p),
        ("zName", c_char_p),
        ("pAppData", c_void_p),
        ("xOpen", c_void_p),
        ("xDelete", c_void_p),
    ]


class Methods(ctypes.Structure):
    """sqlite3_io_methods: a version and pointers."""

    _fields_ = [("version", c_int), ("pointers", c_void_p * _METHODS)]


class File(ctypes.Structure):
    """sqlite3_file: its methods, and what is the VFS's own."""

    _fields_ = [("methods", POINTER(Methods))]


# Names stay pointers: SQLite reads what stands before and behind them (sqlite.org/c3ref/filename.html).
OPEN = CFUNCTYPE(c_int, c_void_p, c_void_p, POINTER(File), c_int, c_void_p)
DELETE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int)
WRITE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
TRUNCATE = CFUNCTYPE(c_int, c_void_p, c_int64)
SYNC = CFUNCTYPE(c_int, c_void_p, c_int)


def _name(pointer: int) -> str:
    return Path(ctypes.string_at(pointer).decode()).name


class Recorder:
    """The events, in the order in which they began; a sync is noted when it is done."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._names: dict[int, str] = {}
        self._kept: list[Any] = []  # what SQLite points to must not be collected
        self._patched: dict[int, Any] = {}
        self._lock = threading.Lock()

    def note(self, kind: str, file: str = "", offset: int = 0, data: bytes = b"") -> None:
        """Any event; the programs note what they were told as well."""
        with self._lock:
            self.events.append(Event(kind, file, offset, data))

    def save(self, path: Path) -> None:
        """For the parent to judge."""
        with self._lock:
            path.write_bytes(pickle.dumps([tuple(event) for event in self.events]))

    def install(self) -> None:
        """From now on every connection of this process is recorded."""
        library = ctypes.CDLL(_sqlite3.__file__)
        library.sqlite3_vfs_find.restype = POINTER(Vfs)
        vfs = library.sqlite3_vfs_find(None).contents
        opening, deleting = OPEN(vfs.xOpen), DELETE(vfs.xDelete)

        def open_(this: int, name: int | None, file: Any, flags: int, out: int) -> int:
            result = opening(this, name, file, flags, out)
            if result == 0 and name and file.contents.methods:
                self._names[ctypes.addressof(file.contents)] = _name(name)
                self._patch(file.contents)
            return int(result)

        def delete(this: int, name: int, sync_directory: int) -> int:
            self.note("delete", _name(name))
            return int(deleting(this, name, sync_directory))

        hooks = OPEN(open_), DELETE(delete)
        self._kept += [opening, deleting, *hooks]
        vfs.xOpen = ctypes.cast(hooks[0], c_void_p).value
        vfs.xDelete = ctypes.cast(hooks[1], c_void_p).value

    def _patch(self, file: File) -> None:
        original = ctypes.addressof(file.methods.contents)
        if original not in self._patched:
            self._patched[original] = self._wrapped(file.methods.contents)
        file.methods = ctypes.pointer(self._patched[original])

    def _wrapped(self, original: Methods) -> Methods:
        pointers = list(original.pointers)
        writing, syncing = WRITE(pointers[X_WRITE - 1]), SYNC(pointers[X_SYNC - 1])
        truncating = TRUNCATE(pointers[X_TRUNCATE - 1])

        def write(file: int, data: int, size: int, offset: int) -> int:
            self.note("write", self._names[file], offset, ctypes.string_at(data, size))
            return int(writing(file, data, size, offset))

        def truncate(file: int, size: int) -> int:
            self.note("truncate", self._names[file], size)
            return int(truncating(file, size))

        def sync(file: int, flags: int) -> int:
            begun = len(self.events)
            result = int(syncing(file, flags))
            self.note("sync", self._names[file], begun)
            return result

        hooks = WRITE(write), TRUNCATE(truncate), SYNC(sync)
        self._kept += [writing, truncating, syncing, *hooks]
        for at, hook in zip((X_WRITE, X_TRUNCATE, X_SYNC), hooks, strict=True):
            pointers[at - 1] = ctypes.cast(hook, c_void_p).value
        # Version 1: without shared memory methods there would be no WAL, so the version stays.
        return Methods(original.version, (c_void_p * _METHODS)(*pointers))
