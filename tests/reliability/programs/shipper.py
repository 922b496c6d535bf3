"""The peer under the same harness: python-logstash-async to an HTTP server, its queue on disk."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import Any

from logstash_async.constants import constants  # type: ignore[import-untyped]
from logstash_async.handler import AsynchronousLogstashHandler  # type: ignore[import-untyped]
from logstash_async.transport import HttpTransport  # type: ignore[import-untyped]


def main() -> None:
    """Logs ``count`` events, each told to be safe once the call has returned; then ends as it is asked to."""
    given: dict[str, Any] = json.loads(sys.argv[1])
    constants.QUEUED_EVENTS_FLUSH_INTERVAL = 0.5  # so that it has every chance
    constants.QUEUE_CHECK_INTERVAL = 0.1
    transport = HttpTransport("127.0.0.1", given["port"], timeout=5.0, ssl_enable=False, ssl_verify=False)
    handler = AsynchronousLogstashHandler(
        "127.0.0.1", given["port"], database_path=given["database"], transport=transport
    )
    logger = logging.getLogger("peer")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    acks = os.open(given["acks"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in range(given["count"]):
        id = f"{given['writer']}-{number}"
        logger.info(id)
        os.write(acks, f"{id}\n".encode())
        time.sleep(given.get("pace", 0.0))
    if given.get("kill"):
        os.kill(os.getpid(), 9)
    time.sleep(given.get("linger", 0.0))


if __name__ == "__main__":
    main()
