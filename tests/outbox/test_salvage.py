"""A damaged outbox: the application goes on, what is intact is carried over, and nothing altered is sent."""

from __future__ import annotations

import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from auditbox.errors import NotAnOutbox, OutboxUnusable, Superseded
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


def flip(path: Path, seed: int) -> None:
    """One bit, anywhere but in the first 100 bytes, which say that it is a database."""
    content = bytearray(path.read_bytes())
    place = random.Random(seed).randrange(100, len(content))
    content[place] ^= 1 << random.Random(seed + 1).randrange(8)
    path.write_bytes(content)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes], set[str]]:
    path = tmp_path_factory.mktemp("original") / "audit.db"
    return path, *filled(path)


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_after_a_flipped_bit_captures_go_on_and_nothing_altered_is_sent(
    original: tuple[Path, dict[str, bytes], set[str]], tmp_path: Path, first: int
) -> None:
    """Whatever bit it is: a capture succeeds, and what is claimed as intact is what was captured."""
    path, bodies, _ = original
    carried = 0
    for seed in range(first, first + 50):
        target = tmp_path / f"{seed}" / "audit.db"
        target.parent.mkdir()
        shutil.copy(path, target)
        flip(target, seed)
        outbox = SqliteOutbox(target)
        try:
            outbox.append([Draft("new", "NEW", body(1000))])
        except (NotAnOutbox, OutboxUnusable) as error:
            # The schema itself is hit: said clearly, and the file is left for somebody to look at.
            assert "audit.db" in str(error)  # noqa: PT017
            continue
        seen = deliver_all(outbox)
        for entry, _ in seen:
            assert entry.body == bodies.get(entry.id, body(1000)), f"altered, seed {seed}"
        assert "new" in {entry.id for entry, _ in seen}
        carried += len(seen) > 200
        outbox.close()
    assert carried >= 40


def test_salvage_keeps_every_state(original: tuple[Path, dict[str, bytes], set[str]], tmp_path: Path) -> None:
    """Delivered stays delivered, in flight is looked up, captured is sent; in order, and no number twice."""
    path, bodies, delivered = original
    shutil.copy(path, tmp_path / "audit.db")
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
