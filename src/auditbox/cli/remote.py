"""Reading the Audit API from the command line: where it is, with which token, and as rows of text."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import click

from auditbox.api import AuditApi
from auditbox.api.address import api_root
from auditbox.cli import delivery, output
from auditbox.errors import ApiError, AuthenticationError, ConfigurationError, NotFound
from auditbox.records import Model

T = TypeVar("T")
_AGO = re.compile(r"(\d+(?:\.\d+)?) *(s|min|h|d|w)")
_UNITS = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_ROWS = 500
"""Rows of one table; then another one begins, so that any number of them can be printed."""


def credentials(function: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say which Audit API, with which token. It is never an argument: ps would show it."""
    url = click.option(
        "--url", envvar="MPT_API_BASE_URL", metavar="URL", help="The Audit API; else MPT_API_BASE_URL."
    )
    token = click.option(
        "--token-file",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Holds the token; else MPT_API_TOKEN, else AUDITBOX_TOKEN_FILE.",
    )
    return url(token(function))


@contextmanager
def connect(url: str | None, token_file: Path | None) -> Iterator[AuditApi]:
    """The client for this address.

    Raises:
        ConfigurationError: the address or the token is unknown or unusable.
        ApiError: the block failed; of a 401 and a 404 it says where, and what to check.
    """
    if not url:
        raise ConfigurationError("where the Audit API is, is not known: set MPT_API_BASE_URL, or pass --url")
    token = delivery.token_of(token_file)
    if token is None:
        raise ConfigurationError(delivery.NO_TOKEN)
    with AuditApi(url, token=token) as api:
        try:
            yield api
        except AuthenticationError as error:
            held = token if isinstance(token, Path) else "MPT_API_TOKEN"
            raise _failed(
                url, error, f"check the token in {held}: this API does not know it, or no more"
            ) from error
        except NotFound as error:
            raise _failed(
                url, error, "check the address (MPT_API_BASE_URL, --url) and what stands before it"
            ) from error


def _failed(url: str, error: ApiError, advice: str) -> ApiError:
    return ApiError(f"{api_root(url)} answers {error}; {advice}")


def is_missing(error: NotFound) -> bool:
    """Whether the API itself says that there is no such thing, and not what answers at a wrong address."""
    return error.title is not None


def moment(text: str) -> datetime:
    """A time: ISO 8601, in UTC unless it says otherwise, or how long ago (``90s``, ``2h``, ``7d``).

    Raises:
        click.BadParameter: it is neither.
    """
    try:
        if ago := _AGO.fullmatch(text.strip()):
            return (datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: float(ago[1])})).replace(microsecond=0)
        time = datetime.fromisoformat(text.strip())
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r}: write 2026-01-31, 2026-01-31T09:00:00Z, or how long ago: 90s, 2h, 7d"
        ) from None


def formats(as_json: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``--json`` (with this help) and ``--csv``; handed on as ``shape``, None without either."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        json_ = click.option("--json", "shape", flag_value="json", help=as_json)
        csv_ = click.option("--csv", "shape", flag_value="csv", help="With a line of headers.")
        return json_(csv_(function))

    return decorate


ARRAY = "A JSON array, in the API's own shape."


def show(rows: Iterable[Model], shape: str | None, columns: Mapping[str, str], headers: Sequence[str]) -> int:
    """Prints rows as they come, in memory that does not grow, and returns how many there were.

    Args:
        rows: what the API answered.
        shape: ``json``, ``csv``, or a table.
        columns: the headers of a table or of CSV, each with the path of its value.
        headers: which of them a table shows.
    """
    plain = (row.to_wire() for row in rows)
    if shape == "json":
        return _show_json(plain)
    if shape == "csv":
        return _show_csv(plain, columns)
    return _show_tables(plain, {name: columns[name] for name in headers})


def _show_json(rows: Iterable[Mapping[str, Any]]) -> int:
    count = 0
    for count, row in enumerate(rows, 1):
        sys.stdout.write(("[" if count == 1 else ",\n") + output.to_json(row))
    print("]" if count else "[]")
    return count


def _show_csv(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> int:
    count = 0
    for count, row in enumerate(rows, 1):
        if count == 1:
            csv_line(columns)
        csv_line(value_at(row, path) for path in columns.values())
    if not count:
        csv_line(columns)
    return count


def csv_line(values: Iterable[str]) -> None:
    """Prints a line of CSV. A terminal is not steered by what the records hold; a file gets it as it is."""
    shown: Callable[[object], str] = output.printable if sys.stdout.isatty() else str
    csv.writer(sys.stdout, lineterminator="\n").writerow(map(shown, values))


def show_one(row: Model, shape: str | None, columns: Mapping[str, str]) -> None:
    """Prints one row: as JSON for people, as JSON on one line, or as CSV."""
    if shape == "csv":
        _show_csv([row.to_wire()], columns)
    else:
        print(output.to_json(row.to_wire()) if shape else output.pretty_json(row.to_wire()))


def _show_tables(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> int:
    count = 0
    for part in batches(rows, _ROWS):
        output.table(tuple(columns), [[value_at(row, path) for path in columns.values()] for row in part])
        count += len(part)
    if not count:
        print("nothing found")
    return count


def value_at(row: Mapping[str, Any], paths: str) -> str:
    """The text at a dotted path, or at the first of several (``a|b``) that has one."""
    for path in paths.split("|"):
        value: Any = row
        for name in path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        if value is not None:
            return str(value)
    return ""


def batches(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    """The rows in lists of this size; the last one may be shorter."""
    rest = iter(rows)
    while part := list(islice(rest, size)):
        yield part
