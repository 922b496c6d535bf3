"""``python -m auditbox.emulator``: serves, and prints the URL once it does."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading

from auditbox.emulator.query import MAX_LIMIT
from auditbox.emulator.server import serve
from auditbox.emulator.traffic import MAX_BODY
from auditbox.errors import ConfigurationError


def main() -> int:
    """Serves until SIGINT, SIGTERM or (``--with-parent``) the end of standard input."""
    options = vars(_parser().parse_args())
    if options.pop("with_parent"):
        threading.Thread(target=_follow_parent, daemon=True).start()
    try:
        serve(**options, ready=lambda url: print(url, flush=True))
    except ConfigurationError as exc:
        print(exc, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m auditbox.emulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--db", metavar="FILE")
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--seed", metavar="FILE")
    parser.add_argument("--faults", metavar="FILE")
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--no-streaming", dest="streaming", action="store_false")
    parser.add_argument("--max-body", type=int, default=MAX_BODY, metavar="BYTES")
    parser.add_argument("--max-limit", type=int, default=MAX_LIMIT, metavar="ROWS")
    parser.add_argument("--max-stream", type=int, metavar="ROWS")
    parser.add_argument("--token-lifetime", type=float, default=3600.0, metavar="SECONDS")
    parser.add_argument("--allow-remote", action="store_true")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input ends")
    return parser


def _follow_parent() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
