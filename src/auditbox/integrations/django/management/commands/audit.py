"""``manage.py audit status`` and ``manage.py audit flush``."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from auditbox.cli.output import settled
from auditbox.cli.status import command as status_command
from auditbox.default import get_trail
from auditbox.errors import AuditboxError
from auditbox.integrations.flushing import flushed
from auditbox.trail import AuditTrail


class Command(BaseCommand):  # type: ignore[misc]
    """Looks at the outbox of this project, or delivers what is in it."""

    help = "Shows what the audit outbox holds, or waits until it is delivered."

    def add_arguments(self, parser: CommandParser) -> None:
        """The two actions and their options, which are those of ``auditbox``."""
        actions = parser.add_subparsers(dest="action", required=True)
        shown = actions.add_parser("status", help="what the outbox holds, and why delivery waits")
        shown.add_argument("--json", action="store_true", help="machine-readable, with stable keys")
        shown.add_argument("--max-age", type=float, metavar="S", help="1 if the oldest pending is older")
        shown.add_argument("--max-dead", type=int, metavar="N", help="1 if there are more dead letters")
        flushed = actions.add_parser("flush", help="wait until everything captured so far is delivered")
        flushed.add_argument("--timeout", type=float, default=30.0, metavar="S", help="30 by default")

    def handle(self, *args: Any, **options: Any) -> None:
        """Does one of them. The exit status is 1 where limits are exceeded, or not all is delivered.

        Raises:
            CommandError: there is no trail, or its outbox cannot be used.
        """
        try:
            trail = get_trail()
            if not trail.outbox.path.exists():
                self.stdout.write("nothing was captured yet")
                return
            code = (
                self._status(trail, options) if options["action"] == "status" else self._flush(trail, options)
            )
        except AuditboxError as error:
            raise CommandError(str(error)) from error
        if code:
            sys.exit(code)

    def _status(self, trail: AuditTrail, options: Any) -> int:
        arguments = ["--outbox", str(trail.outbox.path), *(["--json"] if options["json"] else [])]
        for name in ("max_age", "max_dead"):
            if options[name] is not None:
                arguments += [f"--{name.replace('_', '-')}", str(options[name])]
        with redirect_stdout(self.stdout._out):
            code = status_command.main(arguments, prog_name="manage.py audit status", standalone_mode=False)
        return int(code or 0)

    def _flush(self, trail: AuditTrail, options: Any) -> int:
        upto, pending, dead = flushed(trail, options["timeout"])
        self.stdout.write(settled(upto, pending, dead))
        if pending or dead:
            self.stderr.write("see: manage.py audit status")
        return 1 if pending or dead else 0
