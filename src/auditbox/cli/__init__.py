"""The ``auditbox`` command. Each subcommand is a module of its own that is imported when it is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from auditbox import __version__
from auditbox.cli.output import warn
from auditbox.errors import AuditboxError

FAILED = 2
"""Exit status where a question could not be answered: bad usage, no outbox, a missing extra."""
INTERRUPTED = 130
"""As a shell has it: 128 and SIGINT."""
BROKEN_PIPE = 141
"""As a shell has it: 128 and SIGPIPE."""

_COMMANDS = {
    "status": "What the outbox holds, and why delivery waits.",
    "tail": "The newest entries, and what becomes of them.",
    "flush": "Wait until everything captured so far is delivered.",
    "relay": "Deliver from an outbox, outside the application.",
    "dead": "Dead letters: list, show, replay, fix, discard.",
    "doctor": "What delivery depends on, and what to do about it.",
    "records": "The trail as the Audit API has it: list, get, watch.",
    "event-types": "The Audit API's event types: list, get, rename.",
    "reconcile": "Compare an outbox with what the Audit API has.",
    "emulator": "The Audit API on your own machine.",
    "demo": "See it survive: an outage, a kill -9, and nothing lost.",
}


class Lazy(click.Group):
    """Knows its commands by name; ``auditbox.cli.<name>`` holds it (``_`` for ``-``)."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order in which a newcomer needs them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command itself."""
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"{__name__}.{cmd_name.replace('-', '_')}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists what the commands do without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.command(cls=Lazy, no_args_is_help=False)
@click.version_option(__version__, prog_name="auditbox")
def command() -> None:
    """Audit records that are on disk before your call returns, and in the Audit API exactly once.

    Exit status: 0 yes, 1 no (not all delivered, a threshold passed, no such entry), 2 it could not be told.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status; errors are one line on stderr."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(given or ["--help"])
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        return _failed(_usage(error))
    except AuditboxError as error:
        return _failed(str(error))
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        # What is still buffered would fail again when the interpreter flushes it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return BROKEN_PIPE
    except OSError as error:
        return _failed(str(error))


def _run(arguments: list[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    try:
        with command.make_context("auditbox", arguments) as context:
            command.invoke(context)
    finally:
        sys.stdout.flush()
    return 0


def _usage(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    hint = f" (see {context.command_path} --help)" if context is not None else ""
    message = " ".join(error.format_message().split())
    return f"{message.removesuffix('.')}{_instead(error)}{hint}"


def _instead(error: click.ClickException) -> str:
    """The environment variable that does for an option that is missing."""
    option = error.param if isinstance(error, click.MissingParameter) else None
    return f", or set {option.envvar}" if option is not None and option.envvar else ""


def _failed(message: str) -> int:
    warn(f"auditbox: {' '.join(message.split())}")
    return FAILED
