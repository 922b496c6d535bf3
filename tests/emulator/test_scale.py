"""Two hundred thousand records: plans and memory, not stop-watches."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from auditbox.emulator.fields import RECORDS
from auditbox.emulator.identity import Caller
from auditbox.emulator.query import Selection, parse_query
from auditbox.emulator.reading import Reader
from auditbox.emulator.store import Store

READER = Caller("TKN-1234-5678", "T", "ACC-1234-5678", "A", "Vendor")
MANY = 200_000
SCRIPT = Path(__file__).with_name("read_everything.py")

FILL = """
WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 200000)
INSERT INTO record (id, event, summary, timestamp, object_id, audience, documents)
SELECT printf('AUD-%016d', n), 'extensions.shop.e' || (n % 7), 'Summary ' || n,
       strftime('%Y-%m-%dT%H:%M:%S.000000Z', 1767225600 + n, 'unixepoch'), 'ORD-' || (n % 2000), 1, '{}'
FROM number
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with many records of two thousand objects, all of them seen by one account."""
    path = tmp_path_factory.mktemp("many") / "records.db"
    store = Store(path)
    store._audience([READER.viewer])
    store.db.execute(FILL)
    store.close()
    return path


@pytest.fixture(scope="module")
def store(database: Path) -> Iterator[Store]:
    """The store of many records."""
    store = Store(database)
    yield store
    store.close()


@pytest.fixture(scope="module")
def reader(store: Store) -> Reader:
    """A lax reader of it."""
    return Reader(store, scoped=False)


def plan(reader: Reader, query: str) -> str:
    """SQLite's plan for a page and its count."""
    parsed = parse_query(query)
    statement = reader.statement(RECORDS, parsed, Selection.of(parsed.select, RECORDS.omitted), READER)
    rows = list(reader.store.rows(f"EXPLAIN QUERY PLAN {statement.select()}", [*statement.values, 10, 0]))
    rows += reader.store.rows(f"EXPLAIN QUERY PLAN {statement.count(RECORDS)}", statement.values)
    return "\n".join(row["detail"] for row in rows)


def test_a_page_of_an_object(reader: Reader) -> None:
    """A page of one object's newest records is read from an index in its order: no scan, no sorting."""
    found = plan(reader, "eq(object.id,'ORD-77')&order=-timestamp&limit=10&select=documents")
    assert "record_by_object" in found
    assert "SCAN" not in found
    assert "TEMP B-TREE" not in found
    page = reader.page(RECORDS, parse_query("eq(object.id,'ORD-77')&order=-timestamp&limit=10"), READER)
    assert page["$meta"]["pagination"]["total"] == MANY // 2000


def test_a_page_of_an_object_as_an_account_sees_it(store: Store) -> None:
    """Nor does it need more where an account's own visibility is asked for."""
    strict = Reader(store, scoped=True)
    found = plan(strict, "eq(object.id,'ORD-77')&order=-timestamp&limit=10")
    assert "record_by_object" in found
    assert "viewer_by_account" in found
    assert "SCAN" not in found
    assert "TEMP B-TREE" not in found
    page = strict.page(RECORDS, parse_query("eq(object.id,'ORD-77')&order=-timestamp&limit=10"), READER)
    assert (len(page["data"]), page["$meta"]["pagination"]["total"]) == (10, MANY // 2000)


@pytest.mark.parametrize(
    "query",
    [
        "eq(object.id,'ORD-77')&eq(event,'extensions.shop.e1')&order=-timestamp",
        "eq(event,'extensions.shop.e1')&order=-timestamp",
        "id='AUD-0000000000000077'",
        "in(id,('AUD-0000000000000077','AUD-0000000000000078'))",
        "ge(timestamp,'2026-01-02')&lt(timestamp,'2026-01-03')&order=timestamp",
    ],
)
def test_indexed_questions(reader: Reader, query: str) -> None:
    """What people ask for most is found without reading the whole table."""
    assert "SCAN" not in plan(reader, query)


def test_the_newest_page(reader: Reader) -> None:
    """The newest records of all are read off the end of an index."""
    assert "record_by_timestamp" in plan(reader, "limit=10")


@pytest.mark.parametrize("how", ["iterate", "stream"])
def test_reading_everything_holds_memory_flat(database: Path, how: str) -> None:
    """With emulator and client in one process, reading the second half needs no memory beyond the first's."""
    command = [sys.executable, str(SCRIPT), str(database), how]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["rows"] == MANY
    # A set of the ids alone would be 14 MB more, the records themselves more than 300.
    assert told["growth"] < 6_000_000
