"""Whether an outbox is in good health: its file, its content, the disk and SQLite. Looks only."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlite_utils import Database

from auditbox.errors import NotAnOutbox, OutboxError
from auditbox.outbox import ballast, torn
from auditbox.outbox.files import FLEETING, NETWORK, filesystem_of
from auditbox.outbox.inspection import Inspection
from auditbox.outbox.memo import Memo
from auditbox.outbox.readonly import ReadOnly
from auditbox.outbox.rows import is_intact

_PAGE = 2000
_LITTLE_SPACE = 256 << 20
_ENTRIES = "SELECT seq, id, lane, body, checksum FROM entry WHERE seq > ? ORDER BY seq LIMIT ?"
_FIXED = (3, 51, 3)
"""SQLite 3.7.0 to 3.51.2 have the WAL-reset bug (sqlite.org/wal.html)."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, what was found, and what to do."""

    check: str
    state: Literal["ok", "warning", "failed", "unknown"]
    found: str
    advice: str | None = None


def examine(path: Path) -> Iterator[Check]:
    """Every check of the outbox at this path that needs no network."""
    yield (found := _file(path))
    if found.state == "failed":
        return  # whatever that is, it is no outbox
    log = _log(path)
    if not _is_anothers(path):
        yield _permissions(path)
        yield _owner(path)
    yield _filesystem(path)
    yield _space(path)
    yield sqlite_version(sqlite3.sqlite_version_info)
    yield log
    yield _integrity(path)
    yield _checksums(path)


def _file(path: Path) -> Check:
    found = os.lstat(path)
    if not stat.S_ISREG(found.st_mode):
        return Check("file", "failed", f"{path} is no regular file", "give the path of the file itself")
    aside = sorted(
        other.name for other in path.parent.glob(f"{path.name}.damaged-*") if "-page" not in other.name
    )
    aside = [name for name in aside if not name.endswith(("-wal", "-shm"))]
    if aside:
        advice = (
            "something damaged it: look at the disk; keep these until nothing is missed, then delete them"
        )
        return Check("file", "warning", f"set aside as damaged before: {', '.join(aside)}", advice)
    return Check("file", "ok", f"{path}, {found.st_size:,} bytes")


def _is_anothers(path: Path) -> bool:
    """Whether it is no outbox and never was one: who may read it is not for us to say."""
    try:
        ReadOnly(path).look(lambda db: None)
    except NotAnOutbox:
        return Memo(path).identity() is None
    except OutboxError:
        return False
    return False


def _permissions(path: Path) -> Check:
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & 0o077:
        return Check("permissions", "warning", f"{mode:04o}: others may read it", f"chmod 600 {path}")
    if not os.access(path, os.R_OK | os.W_OK) or not os.access(path.parent, os.W_OK | os.X_OK):
        advice = "run as the user that owns it; SQLite writes beside the file, too"
        return Check(
            "permissions", "failed", f"{mode:04o}: this user may not write it and its directory", advice
        )
    return Check("permissions", "ok", f"{mode:04o}")


def _owner(path: Path) -> Check:
    owner, me = os.stat(path).st_uid, os.geteuid()
    beside = {os.stat(file).st_uid for file in path.parent.glob(f"{path.name}-*")}
    if beside - {owner}:
        advice = f"stop everything that uses it, then: chown {owner} {path}*"
        return Check("owner", "failed", f"user {owner}, but its -wal or -shm is another's", advice)
    if owner != me:
        return Check("owner", "warning", f"user {owner}, and you are {me}", f"run as user {owner}")
    return Check("owner", "ok", f"user {owner}")


def _filesystem(path: Path) -> Check:
    kind = filesystem_of(path.parent)
    if kind in NETWORK:
        return Check("filesystem", "failed", f"{kind}: SQLite's locks do not hold", "move it to a local disk")
    if kind in FLEETING:
        advice = "put it on a volume that stays"
        return Check("filesystem", "warning", f"{kind}: it goes with the machine or the container", advice)
    return Check("filesystem", "ok" if kind else "unknown", kind or "its kind is not known here")


def _space(path: Path) -> Check:
    disk = os.statvfs(path.parent)
    free = disk.f_bavail * disk.f_frsize
    found = f"{free >> 20:,} MiB free"
    if ballast.is_released(path):
        return Check(
            "space", "failed", f"{found}; the disk was full, and captures are refused", "free some space"
        )
    if free < _LITTLE_SPACE:
        return Check("space", "warning", found, "free some space before captures are refused")
    return Check("space", "ok", found)


def sqlite_version(version: tuple[int, ...]) -> Check:
    """Warns of the WAL-reset bug of SQLite 3.7.0 to 3.51.2."""
    text = ".".join(map(str, version))
    if version >= _FIXED:
        return Check("sqlite", "ok", text)
    return Check(
        "sqlite",
        "warning",
        f"{text} has the WAL-reset bug: two processes that write and checkpoint at once can damage a file",
        "nothing has to be done while only auditbox writes to the outbox: its own lock keeps its processes "
        "from that. Let no other program write to it; mended in SQLite 3.51.3 and later",
    )


def _log(path: Path) -> Check:
    """Before anybody opens it: SQLite would take it to end at a gap. Not judged while somebody writes."""
    log = path.with_name(f"{path.name}-wal")
    before = log.stat().st_mtime_ns if log.exists() else None
    ours = Memo(path).identity()
    if torn.hides(path, ours.outbox if ours else "") and log.exists() and log.stat().st_mtime_ns == before:
        return Check("log", "failed", "the write-ahead log is damaged before its last commit", _SALVAGE)
    return Check("log", "ok", "the write-ahead log is whole" if before else "there is no write-ahead log")


def _integrity(path: Path) -> Check:
    def look(db: Database) -> list[str]:
        return [str(row[0]) for row in db.execute("PRAGMA integrity_check(5)").fetchall()]

    try:
        found = ReadOnly(path).look(look)
    except OutboxError as error:
        return Check("integrity", "failed", str(error), _advice(error))
    if found != ["ok"]:
        return Check("integrity", "failed", "; ".join(" ".join(line.split()) for line in found), _SALVAGE)
    return Check("integrity", "ok", "SQLite finds nothing wrong")


_SALVAGE = (
    "the next capture or relay that meets the damage sets the file aside and carries over what is intact"
)


def _advice(error: OutboxError) -> str:
    if isinstance(error, NotAnOutbox):
        return f"name the file that the application writes; if this is it, its header is damaged: {_SALVAGE}"
    return _SALVAGE


def _checksums(path: Path) -> Check:
    altered: list[int] = []
    seq = count = 0
    try:
        while rows := ReadOnly(path).look(lambda db: db.execute(_ENTRIES, (seq, _PAGE)).fetchall()):  # noqa: B023
            altered += [row[0] for row in rows if not is_intact(row)]
            seq, count = rows[-1][0], count + len(rows)
    except OutboxError as error:
        return Check("checksums", "failed", str(error), _advice(error))
    if altered:
        shown = ", ".join(map(str, altered[:10]))
        advice = "altered ones are never sent; those that were not delivered yet become dead letters"
        return Check(
            "checksums",
            "failed",
            f"{len(altered)} of {_entries(count, 'is', 'are')} altered: {shown}",
            advice,
        )
    return Check("checksums", "ok", _entries(count, "matches", "match"))


def _entries(count: int, one: str, several: str) -> str:
    return f"1 entry {one}" if count == 1 else f"{count:,} entries {several}"


def relay(view: Inspection) -> Check:
    """Whether somebody delivers, and since when."""
    alive, since, pending = view.leads()
    if alive:
        text = "is running" if since is None else f"is running since {since.isoformat(timespec='seconds')}"
        return Check("relay", "ok", text)
    if pending:
        advice = "start auditbox relay (an application with a sink relays from its next record on)"
        return Check("relay", "failed", f"none is running, and {_entries(pending, 'waits', 'wait')}", advice)
    return Check("relay", "ok", "none is running, and nothing waits")


def letters(view: Inspection) -> Check:
    """Whether something was refused for good."""
    dead = view.status().dead
    if dead:
        return Check("dead letters", "warning", f"{dead:,}", "auditbox dead list")
    return Check("dead letters", "ok", "none")
