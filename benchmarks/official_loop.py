"""The official client's loop, run by a Python that has it: one ``create`` after another.

    python official_loop.py URL COUNT < documents.json

Prints the records a second and the processor seconds of the loop. Without ``mpt-api-client`` an equal loop of
``httpx.Client.post`` stands in; the first word printed says which it was.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

TOKEN = "idt:TKN-1234-5678:benchmark"


def official(url: str) -> Callable[[dict[str, Any]], object]:
    """``mpt-api-client``'s ``audit.records.create``."""
    from mpt_api_client import MPTClient
    from mpt_api_client.auth import BearerTokenAuthentication

    client = MPTClient.from_config(authentication=BearerTokenAuthentication(TOKEN), base_url=url)
    return client.audit.records.create


def standing_in(url: str) -> Callable[[dict[str, Any]], object]:
    """What that does, without its layers."""
    import httpx

    client = httpx.Client(headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False)

    def create(record: dict[str, Any]) -> object:
        return client.post(f"{url}/public/v1/audit/records", json=record).raise_for_status().json()

    return create


def main() -> None:
    """The loop."""
    url, count, documents = sys.argv[1], int(sys.argv[2]), json.load(sys.stdin)
    try:
        name, create = "mpt-api-client", official(url)
    except ImportError:
        name, create = "httpx.Client", standing_in(url)

    def record(number: int) -> dict[str, Any]:
        return {
            "event": "extensions.shop.order.approved",
            "summary": "Order approved",
            "details": "Order approved",
            "object": {"id": f"ORD-0000-0000-{number % 100:04}"},
            "documents": documents,
        }

    for number in range(20):
        create(record(number))
    begin, used = time.perf_counter(), time.process_time()
    for number in range(count):
        create(record(number))
    print(name, count / (time.perf_counter() - begin), (time.process_time() - used) / count)


if __name__ == "__main__":
    main()
