"""A damaged outbox: the application goes on, what is intact is carried over, and nothing altered is sent."""

from __future__ import annotations

import itertools
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from auditbox.errors import NotAnOutbox, Superseded
from auditbox.outbox.base import Delivered, Draft, Entry, Now
from auditbox.outbox.salvage import salvage
from auditbox.outbox.sqlite import SqliteOutbox

NOW = Now(1000.0, 1000.0, 1000.0)
LATER = Now(1e6, 1e6, 1e6)


def body(number: int) -> bytes:
    return b'{"number":%d,"text":"%s"}' % (number, b"x" * 300)


def filled(path: Path) -> tuple[dict[str, bytes], set[str]]:
    """300 entries of 10 lanes, some delivered, some in flight: their bodies, and the delivered ids."""
    outbox = SqliteOutbox(path)
    drafts = [Draft(f"id-{number}", f"L{number % 10}", body(number)) for number in range(300)]
    outbox.append(drafts)
    epoch = outbox.take_over(NOW, 5)
    delivered: set[str] = set()
    claims = outbox.exchange(epoch, [], 5, NOW, 60).claims
    for _ in range(10):
        settled = [Delivered(claim.entry.seq, "R", NOW.wall) for claim in claims]
        delivered |= {claim.entry.id for claim in claims}
        claims = outbox.exchange(epoch, settled, 5, NOW, 60).claims
    outbox.close()
    return {draft.id: draft.body for draft in drafts}, delivered


def deliver_all(outbox: SqliteOutbox) -> list[tuple[Entry, bool]]:
    """Every claim that comes until nothing is left: the entry, and whether it is looked up first."""
    epoch = outbox.take_over(LATER, 0)
    seen: list[tuple[Entry, bool]] = []
    settled: list[Delivered] = []
    for _ in range(1000):
        try:
            claims = outbox.exchange(epoch, settled, 16, LATER, 60).claims
        except Superseded:  # salvaged meanwhile: whoever relays takes over anew
            epoch, settled = outbox.take_over(LATER, 0), []
            continue
        settled = [Delivered(claim.entry.seq, "R", LATER.wall) for claim in claims]
        seen += [(claim.entry, claim.action == "verify") for claim in claims if claim.intact]
        if not claims:
            break
    return seen


def flip(path: Path, seed: int, within: range) -> None:
    """One bit, anywhere in this part of the file."""
    place = random.Random(seed).choice(within)
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0] ^ 1 << random.Random(seed + 1).randrange(8)
        file.seek(place)
        file.write(bytes([byte]))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes], set[str]]:
    path = tmp_path_factory.mktemp("original") / "audit.db"
    return path, *filled(path)


@pytest.fixture
def used(original: tuple[Path, dict[str, bytes], set[str]], tmp_path: Path) -> Callable[[str], Path]:
    """Makes outboxes with that content that have been opened where they are, and closed."""

    def used(name: str) -> Path:
        path = tmp_path / name / "audit.db"
        path.parent.mkdir()
        shutil.copy(original[0], path)
        outbox = SqliteOutbox(path)
        assert outbox.last_seq() == 300
        outbox.close()
        return path

    return used


def goes_on(path: Path, bodies: dict[str, bytes]) -> list[tuple[Entry, bool]]:
    """A capture succeeds, and nothing that is claimed is altered; what is delivered after the damage."""
    outbox = SqliteOutbox(path)
    outbox.append([Draft("new", "NEW", body(1000))])
    seen = deliver_all(outbox)
    for entry, _ in seen:
        assert entry.body == {**bodies, "new": body(1000)}[entry.id], f"altered: {path}"
    assert "new" in {entry.id for entry, _ in seen}
    assert outbox.last_seq() > 300
    outbox.close()
    return seen


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_after_a_flipped_bit_captures_go_on_and_nothing_altered_is_sent(
    original: tuple[Path, dict[str, bytes], set[str]], used: Callable[[str], Path], first: int
) -> None:
    """Whatever bit it is, the header's included: the application starts, and sends only what was captured."""
    carried = 0
    for seed in range(first, first + 50):
        path = used(str(seed))
        flip(path, seed, range(path.stat().st_size))
        carried += len(goes_on(path, original[1])) > 200
    assert carried >= 40


def varint(content: bytes, at: int) -> int:
    """Where the number of variable length that begins here ends (sqlite.org/fileformat2.html)."""
    while content[at] & 0x80:
        at += 1
    return at + 1


def numbers(path: Path, table: str) -> list[range]:
    """Where in the file the rows of a table have their numbers."""
    db = sqlite3.connect(path)
    (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    db.close()
    content = path.read_bytes()
    pages, found = [root], []
    for page in pages:
        at = (page - 1) * 4096
        leaf = content[at] == 13
        count, first = int.from_bytes(content[at + 3 : at + 5]), at + (8 if leaf else 12)
        for pointer in range(first, first + 2 * count, 2):
            cell = at + int.from_bytes(content[pointer : pointer + 2])
            if leaf:
                begin = varint(content, cell)
                found.append(range(begin, varint(content, begin)))
            else:
                pages.append(int.from_bytes(content[cell : cell + 4]))
        if not leaf:
            pages.append(int.from_bytes(content[at + 8 : at + 12]))
    return found


@pytest.mark.parametrize("table", ["entry", "open", "receipt"])
@pytest.mark.parametrize("part", range(4))
def test_after_a_flipped_bit_in_a_number_no_other_entry_is_lost(
    original: tuple[Path, dict[str, bytes], set[str]],
    used: Callable[[str], Path],
    caplog: pytest.LogCaptureFixture,
    table: str,
    part: int,
) -> None:
    """Rows are out of order then, or two have one number: nobody reads past those in between, or for ever."""
    _, bodies, delivered = original
    places = numbers(original[0], table)
    for turn in sorted({*range(part, len(places), max(4, len(places) // 24 * 4)), len(places) - 1}):
        caplog.clear()
        path = used(f"{table}-{turn}")
        flip(path, turn, places[turn])
        seen = goes_on(path, bodies)
        missing = (bodies.keys() - delivered | {"new"}) - {entry.id for entry, _ in seen}
        told = sum(int(number) for number in re.findall(r"at least (\d+) lost", caplog.text))
        assert len(missing) == told <= 1, f"{table} {turn}: {missing}"
        assert all(looked_up for entry, looked_up in seen if entry.id in delivered), (
            "sent again without a look"
        )


@pytest.mark.parametrize("first", range(0, 100, 25))
def test_after_a_flipped_bit_in_the_header_everything_is_kept(
    original: tuple[Path, dict[str, bytes], set[str]], used: Callable[[str], Path], first: int
) -> None:
    """The entries stand on other pages: nothing is lost, and nothing that was delivered is sent again."""
    _, bodies, delivered = original
    for place in range(first, first + 25):
        path = used(str(place))
        flip(path, place, range(place, place + 1))
        seen = goes_on(path, bodies)
        assert {entry.id for entry, _ in seen} == (bodies.keys() - delivered) | {"new"}, place


def overwrite(path: Path, size: int, byte: bytes) -> None:
    with path.open("r+b") as file:
        file.write(byte * size)


@pytest.mark.parametrize("size", [16, 100, 4096])
@pytest.mark.parametrize("byte", [b"\0", b"\xff", b"x"])
def test_a_file_without_header_is_salvaged_whole(
    original: tuple[Path, dict[str, bytes], set[str]], used: Callable[[str], Path], size: int, byte: bytes
) -> None:
    """Not even its first page is needed: it is the file that was opened as an outbox before."""
    _, bodies, delivered = original
    path = used("one")
    before = SqliteOutbox(path)
    name = before.name
    before.close()
    overwrite(path, size, byte)
    seen = goes_on(path, bodies)
    assert {entry.id for entry, _ in seen} == (bodies.keys() - delivered) | {"new"}
    after = SqliteOutbox(path)
    assert after.name == name
    after.close()
    assert [kept.name[:17] for kept in path.parent.glob("*.damaged-2*")] == ["audit.db.damaged-"]


def test_an_emptied_file_gives_no_number_twice(used: Callable[[str], Path]) -> None:
    """Nothing is left of it; the trail goes on under the same name, above every number that was given."""
    path = used("one")
    before = SqliteOutbox(path)
    name = before.name
    before.close()
    os.truncate(path, 0)
    after = SqliteOutbox(path)
    after.append([Draft("new", "NEW", b"{}")])
    assert (after.name, after.last_seq() > 300) == (name, True)
    after.close()


def test_an_emptied_file_keeps_what_its_wal_holds(tmp_path: Path) -> None:
    """SQLite would delete the write-ahead log of an empty database."""
    path = tmp_path / "audit.db"
    code = (
        "import os, sys; from auditbox.outbox.base import Draft;"
        "from auditbox.outbox.sqlite import SqliteOutbox;"
        "outbox = SqliteOutbox(sys.argv[1]);"
        "outbox.append([Draft('old', 'L', b'{}')]);"
        "os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    os.truncate(path, 0)
    outbox = SqliteOutbox(path)
    outbox.append([Draft("new", "NEW", b"{}")])
    assert {entry.id for entry, _ in deliver_all(outbox)} == {"old", "new"}
    outbox.close()


@pytest.mark.parametrize(
    "content", ["text", "database", "damaged database", "outbox that was never opened here"]
)
def test_a_file_that_was_never_ours_is_not_touched(
    original: tuple[Path, dict[str, bytes], set[str]], tmp_path: Path, content: str
) -> None:
    """A mistyped path: however often it is tried, the file stays as it is."""
    path = tmp_path / "orders.db"
    if content == "text":
        path.write_text("orders\n" * 1000)
    elif content.startswith("outbox"):
        shutil.copy(original[0], path)
        overwrite(path, 100, b"\0")
    else:
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE orders (id)")
        db.close()
        if content.startswith("damaged"):
            flip(path, 1, range(4060, 4090))
            overwrite_at(path, 100, b"\xff" * 20)
    os.chmod(path, 0o600)
    before = path.read_bytes()
    for _ in range(3):
        outbox = SqliteOutbox(path)
        with pytest.raises(NotAnOutbox):
            outbox.append([Draft("new", "NEW", b"{}")])
        outbox.close()
    assert path.read_bytes() == before
    assert not list(tmp_path.glob("*damaged*"))


def overwrite_at(path: Path, place: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        file.write(content)


class Killed(BaseException):
    """Stands for a SIGKILL."""


@pytest.mark.parametrize("step", range(6))
def test_a_salvage_that_is_killed_loses_nothing(
    original: tuple[Path, dict[str, bytes], set[str]],
    used: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    step: int,
) -> None:
    """Before each of its renames, and after the last: the next start finds one outbox or the other."""
    _, bodies, delivered = original
    path = used("one")
    overwrite(path, 100, b"\0")
    rename, left = os.rename, itertools.count()

    def dying(source: str, target: str) -> None:
        if next(left) == step:
            raise Killed
        rename(source, target)

    with monkeypatch.context() as patched:
        patched.setattr("auditbox.outbox.quarantine.os.rename", dying)
        with suppress(Killed):
            salvage(path)
    seen = goes_on(path, bodies)
    assert {entry.id for entry, _ in seen} == (bodies.keys() - delivered) | {"new"}


def test_salvage_keeps_every_state(original: tuple[Path, dict[str, bytes], set[str]], tmp_path: Path) -> None:
    """Delivered stays delivered, in flight is looked up, captured is sent; in order, and no number twice."""
    path, bodies, delivered = original
    for suffix in ("", ".relay"):
        shutil.copy(f"{path}{suffix}", tmp_path / f"audit.db{suffix}")
    found = salvage(tmp_path / "audit.db")
    assert (found.kept, found.doubtful, found.lost) == (300, 0, 0)
    outbox = SqliteOutbox(tmp_path / "audit.db")
    seen = deliver_all(outbox)
    ids = [entry.id for entry, _ in seen]
    assert sorted(ids) == sorted(bodies.keys() - delivered)
    assert [entry.id for entry, looked_up in seen if looked_up]
    for lane in range(10):
        numbers = [entry.seq for entry, _ in seen if entry.lane == f"L{lane}"]
        assert numbers == sorted(numbers)
    outbox.append([Draft("new", "NEW", b"{}")])
    assert outbox.last_seq() > 300
    assert found.quarantine.exists()
    outbox.close()


def test_what_has_lost_its_state_is_looked_up(
    original: tuple[Path, dict[str, bytes], set[str]], tmp_path: Path
) -> None:
    """Below the highest known number nobody knows whether it was sent: verified first, never sent blindly."""
    path, _, delivered = original
    target = tmp_path / "audit.db"
    shutil.copy(path, target)
    with sqlite3.connect(target) as db:
        db.execute("DELETE FROM receipt")
        db.execute("UPDATE relay SET checksum = checksum + 1")
    db.close()
    outbox = SqliteOutbox(target)
    seen = deliver_all(outbox)
    looked_up = {entry.id for entry, verify in seen if verify}
    assert delivered <= looked_up
    assert len(seen) == 300
    outbox.close()


def test_the_outboxs_own_id_survives(
    original: tuple[Path, dict[str, bytes], set[str]], tmp_path: Path
) -> None:
    """The trail goes on under the same name."""
    path, _, _ = original
    shutil.copy(path, tmp_path / "audit.db")
    before, after = SqliteOutbox(tmp_path / "audit.db"), SqliteOutbox(tmp_path / "audit.db")
    name = before.name
    before.close()
    salvage(tmp_path / "audit.db")
    assert after.name == name
    after.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE ledger SET digest = 'xyz'",
        "UPDATE ledger SET delivered = 7000",
        "UPDATE lead SET reserved = 'many'",
        "UPDATE lead SET clock = x'00'",
        "UPDATE open SET attempts = 'x', state = 'retry', due = 0",
        "UPDATE open SET sent_at = 'x', state = 'verify', due = 0",
    ],
)
def test_a_damaged_value_beside_the_entries_stops_no_delivery(
    original: tuple[Path, dict[str, bytes], set[str]], used: Callable[[str], Path], damage: str
) -> None:
    """It is told from what was written, and the outbox is salvaged: nothing is lost, nothing sent unseen."""
    _, bodies, delivered = original
    path = used("value")
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA ignore_check_constraints = 1")
    db.execute(damage)
    db.close()
    seen = goes_on(path, bodies)
    assert {entry.id for entry, _ in seen} == (bodies.keys() - delivered) | {"new"}


def test_a_table_whose_definition_is_damaged_is_read_all_the_same(
    original: tuple[Path, dict[str, bytes], set[str]], used: Callable[[str], Path]
) -> None:
    """SQLite still opens it, with another number of columns: no row would be taken for one of ours."""
    _, bodies, delivered = original
    path = used("columns")
    content = path.read_bytes()
    last = content.index(b"checksum INTEGER NOT NULL", content.index(b"CREATE TABLE entry"))
    comma = content.rindex(b",", 0, last)
    overwrite_at(path, comma, b" " * (last - comma + len(b"checksum INTEGER NOT NULL")))
    seen = goes_on(path, bodies)
    assert {entry.id for entry, _ in seen} == (bodies.keys() - delivered) | {"new"}
