"""Run by the official client's own interpreter: uses every audit operation of it, and prints what it saw.

Usage: official_client.py URL TOKEN
"""

import asyncio
import json
import sys
from datetime import UTC, datetime
from typing import Any

from mpt_api_client import AsyncMPTClient, MPTClient, RQLQuery  # type: ignore[import-not-found]
from mpt_api_client.auth import BearerTokenAuthentication  # type: ignore[import-not-found]
from mpt_api_client.exceptions import MPTAPIError  # type: ignore[import-not-found]
from mpt_api_client.http.mixins.streaming_mixin import StreamFormat  # type: ignore[import-not-found]

ORDER = "ORD-1208-2301-8479"


def main() -> None:
    """Prints a JSON object of results by operation."""
    client = MPTClient.from_config(BearerTokenAuthentication(sys.argv[2]), sys.argv[1])
    records, event_types = client.audit.records, client.audit.event_types
    made = records.create(
        {
            "event": "extensions.e2e.test",
            "summary": 'it\'s "a & b" + 50% é',
            "details": "{{order.id}} by {{actor.name}}",
            "object": {"id": ORDER},
            "documents": {"order": {"id": ORDER}},
            "actor": {"type": "x", "id": "y"},
            "payload": {"ignored": True},
        }
    )
    results: dict[str, Any] = {"created": made.id, "got": records.get(made.id).summary}
    results["rendered"] = records.options(render=True).get(made.id, select=["object"]).details
    results["ids"] = len({record.id for record in records.iterate()})
    page = records.order_by("-timestamp", "+id").fetch_page(limit=5)
    results["page"] = [len(page), page.meta.pagination.total, page.meta.pagination.limit]
    chosen = records.select("documents", "-actor").filter(RQLQuery(id=made.id)).fetch_one()
    results["selected"] = [chosen.documents.order.id, hasattr(chosen, "actor")]
    for name, query in filters(made.id).items():
        results[name] = sum(1 for _ in records.filter(query).iterate())
    results["streamed"] = len({record.id for record in records.stream()})
    results["envelope"] = len({record.id for record in records.stream(stream_format=StreamFormat.JSON)})
    results["few"] = [sum(1 for _ in records.stream(limit=limit)) for limit in (-1, 0, 7)]
    kind = event_types.filter(RQLQuery(key="extensions.e2e.test")).fetch_one()
    results["updated"] = event_types.update(kind.id, {"description": "D"}).description
    results["errors"] = [error(lambda: records.get("AUD-0000-0000-0000-0000"))]
    results["errors"] += [error(lambda: event_types.get("AET-0000-0000"))]
    results["errors"] += [error(lambda: records.create({"event": "extensions.e2e.x"}))]
    results["errors"] += [error(lambda: list(records.filter(RQLQuery(nothing="x")).iterate()))]
    results["awaited"] = asyncio.run(awaited(kind.id))
    print(json.dumps(results))


async def awaited(kind: str) -> list[Any]:
    """The same with the awaiting client, in short: created, got, iterated, streamed, updated, an error."""
    client = AsyncMPTClient.from_config(BearerTokenAuthentication(sys.argv[2]), sys.argv[1])
    records, event_types = client.audit.records, client.audit.event_types
    body = {"event": "extensions.e2e.async", "summary": "s", "details": "d", "object": {"id": ORDER}}
    made = await records.create(body)
    mine = records.filter(RQLQuery(event=body["event"]))
    results = [(await records.get(made.id)).summary]
    results.append([record.id async for record in mine.iterate()] == [made.id])
    results.append([record.id async for record in mine.stream()] == [made.id])
    results.append((await event_types.update(kind, {"name": "N"})).name)
    try:
        await records.get("AUD-0000-0000-0000-0000")
    except MPTAPIError as exc:
        results.append([exc.status, exc.title])
    return results


def filters(id: str) -> dict[str, Any]:
    """Filters by name."""
    return {
        "and": RQLQuery(event="extensions.e2e.e1") & RQLQuery(summary__ilike="summary 1*"),
        "or": RQLQuery(summary="Summary 1") | RQLQuery(summary="Summary 2"),
        "not": ~RQLQuery(event__in=[f"extensions.e2e.e{number}" for number in range(5)]),
        "in": RQLQuery(event__in=["extensions.e2e.e1", "extensions.e2e.e2"]),
        "ilike": RQLQuery(summary__ilike="*& B*"),
        "any": RQLQuery.from_string("any(viewers,eq(type,'Vendor'))") & RQLQuery(id=id),
        "since": RQLQuery(timestamp__ge=datetime(2020, 1, 1, tzinfo=UTC)),
        "null": RQLQuery.from_string("ne(object.name,null())") & RQLQuery(id=id),
    }


def error(attempt: Any) -> list[Any]:
    """Status and title of the error that an attempt ends with."""
    try:
        attempt()
    except MPTAPIError as exc:
        return [exc.status, exc.title]
    return []


if __name__ == "__main__":
    main()
