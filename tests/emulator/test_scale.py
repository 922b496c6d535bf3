"""Two hundred thousand records: plans and memory, not stop-watches."""

import itertools
import tracemalloc
from collections.abc import Iterator

import pytest

from auditbox.emulator.fields import RECORDS
from auditbox.emulator.identity import Caller
from auditbox.emulator.query import Query, Selection, parse_query
from auditbox.emulator.reading import Reader
from auditbox.emulator.store import Store

READER = Caller("TKN-1234-5678", "T", "ACC-1234-5678", "A", "Vendor")
MANY = 200_000

FILL = """
WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 200000)
INSERT INTO record (id, event, summary, timestamp, object_id, audience, documents)
SELECT printf('AUD-%016d', n), 'extensions.shop.e' || (n % 7), 'Summary ' || n,
       strftime('%Y-%m-%dT%H:%M:%S.000000Z', 1767225600 + n, 'unixepoch'), 'ORD-' || (n % 2000), 1, '{}'
FROM number
"""


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    """A reader over many records of two thousand objects."""
    store = Store()
    store._audience([])
    store.db.execute(FILL)
    yield Reader(store, scoped=False)
    store.close()


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


def test_reading_everything_holds_memory_flat(reader: Reader) -> None:
    """A snapshot of all records is read row by row."""
    snapshot = reader.snapshot(RECORDS, Query(order="-timestamp"), READER)
    assert snapshot.count == MANY
    next(snapshot.rows)
    tracemalloc.start()
    try:
        rest = sum(1 for _ in itertools.islice(snapshot.rows, 50_000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rest == 50_000
    assert peak < 1_000_000
