"""Disks that fill, directories that cannot be written or go away, files that are deleted underneath."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Event

import pytest

from .figures import report
from .house import House, Puppet
from .sizes import PATIENCE

SIZE = 32 << 20
SETTLED = {"pending": 0, "dead": 0}


@pytest.fixture
def disk(tmp_path: Path, house: House) -> Iterator[Path]:
    """A small file system of its own, on which the house's outbox lies."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system takes root")
    house.outbox = folder / "box" / "audit.db"
    house.outbox.parent.mkdir()
    try:
        yield folder
    finally:
        house.end()
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Leaves not a byte."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as file, suppress(OSError):
        for size in (1 << 20, 4096, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    return filler


def settled(house: House, flushed: dict[str, int]) -> None:
    assert {name: flushed[name] for name in SETTLED} == SETTLED, house.logs()


@pytest.mark.timeout(PATIENCE * 3)
@pytest.mark.parametrize("away", [False, True], ids=["the server is there", "the server is away"])
def test_a_full_disk_is_said_and_nothing_that_was_safe_is_lost(house: House, disk: Path, away: bool) -> None:
    """Captures raise OutboxFull, the program lives, and when there is space again everything goes on."""
    puppet = house.puppet(lanes=40, pause=0.3)
    puppet.ask("capture", count=100)
    if away:
        house.server.faults({"action": "status", "status": 429})
    filler = fill(disk)
    refusals: dict[str, int] = {}
    slowest, full = 0.0, 0
    while not refusals:
        answered = puppet.ask("capture", count=200)
        refusals, slowest = answered["refused"], answered["slowest_refusal"]
        fill(disk)  # a checkpoint may have freed some
        full += answered["safe"]
    refused_again = puppet.ask("capture", count=20)
    filler.unlink()
    house.server.faults()
    freed = time.monotonic()
    assert set(refusals) | set(refused_again["refused"]) == {"OutboxFull"}, house.logs()
    assert puppet.ask("capture", count=100)["refused"] == {}, house.logs()
    settled(house, puppet.ask("flush", timeout=PATIENCE))
    seconds = time.monotonic() - freed
    assert puppet.end() == 0
    verdict = house.assert_flawless()
    report(
        f"7. full disk, {'server away' if away else 'server there'}",
        captured_on_the_full_disk=full,
        slowest_refusal_ms=round(slowest * 1000, 1),
        delivered_seconds_after_freeing=round(seconds, 1),
        **verdict.figures,
    )


def test_an_outbox_that_begins_on_a_full_disk_begins_when_there_is_space(house: House, disk: Path) -> None:
    """Not even the file could be made; nothing half-made stands in the way afterwards."""
    filler = fill(disk)
    puppet = house.puppet()
    refused = puppet.ask("capture", count=5)
    assert refused["safe"] == 0
    assert refused["refused"] in ({"OutboxFull": 5}, {"OutboxUnusable": 5}), refused
    filler.unlink()
    assert puppet.ask("capture", count=20)["refused"] == {}, house.logs()
    settled(house, puppet.ask("flush", timeout=PATIENCE))
    house.assert_flawless()


def test_a_read_only_disk_is_said_and_captures_go_on_when_it_can_be_written(house: House, disk: Path) -> None:
    """Each capture raises OutboxUnusable while it lasts."""
    puppet = house.puppet()
    puppet.ask("capture", count=20)
    puppet.ask("close", timeout=PATIENCE)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert puppet.ask("capture", count=5)["refused"] == {"OutboxUnusable": 5}, house.logs()
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    assert puppet.ask("capture", count=20)["refused"] == {}, house.logs()
    settled(house, puppet.ask("flush", timeout=PATIENCE))
    report("7. read-only disk", **house.assert_flawless().figures)


GONE = ["the directory", "the file", "all files of the outbox"]


def remove(house: House, what: str) -> None:
    if what == "the directory":
        shutil.rmtree(house.outbox.parent)
    elif what == "the file":
        house.outbox.unlink()
    else:
        for file in house.outbox.parent.iterdir():
            file.unlink()


def takes(puppet: Puppet) -> bool:
    return not puppet.ask("capture", count=1)["refused"]


@pytest.mark.timeout(PATIENCE * 3)
@pytest.mark.parametrize("what", GONE)
def test_what_is_captured_after_a_deletion_underneath_arrives(house: House, what: str) -> None:
    """Two programs on one outbox that is deleted: both notice, and go on together in a new one."""
    one, two = house.puppet("one", lanes=40), house.puppet("two", lanes=40)
    for puppet in (one, two):
        puppet.ask("capture", count=20)
    settled(house, one.ask("flush", timeout=PATIENCE))
    remove(house, what)
    Event().wait(0.2)  # what is captured in the first 50 ms goes the way of the file, as documented
    for puppet in (one, two):  # a capture that meets the deletion itself may be refused; it is said
        house.until(partial(takes, puppet), "a capture that is taken")
    for _ in range(10):
        for puppet in (one, two):
            assert puppet.ask("capture", count=5)["refused"] == {}, house.logs()
    for puppet in (one, two):
        settled(house, puppet.ask("flush", timeout=PATIENCE))
        assert puppet.end() == 0
    house.drain()
    report(f"7. {what} deleted", **house.assert_flawless().figures)


def test_a_directory_that_is_moved_away_and_restored_loses_nothing(house: House) -> None:
    """What was captured before, meanwhile and after: all of it is in one of the two, and is delivered."""
    house.server.faults({"action": "status", "status": 429})
    puppet = house.puppet(pause=0.2)
    puppet.ask("capture", count=20)
    away = house.folder / "away"
    os.rename(house.outbox.parent, away)
    Event().wait(0.2)
    meanwhile = puppet.ask("capture", count=20)
    assert set(meanwhile["refused"]) <= {"OutboxUnusable"}
    house.server.faults()
    if meanwhile["safe"]:
        settled(house, puppet.ask("flush", timeout=PATIENCE))
    assert puppet.end() == 0
    shutil.rmtree(house.outbox.parent, ignore_errors=True)
    os.rename(away, house.outbox.parent)
    house.run("write", writer="after", count=20)
    house.drain()
    verdict = house.verdict()  # two outboxes: no order holds between them, and each has its own numbers
    assert (verdict.lost, verdict.doubled, verdict.altered) == ([], [], []), house.logs()
    report("7. directory moved away and restored", **verdict.figures)
