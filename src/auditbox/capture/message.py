"""The text of a log line as the summary of a record."""

from __future__ import annotations

import secrets
from logging import LogRecord

from auditbox.capture.template import PLATFORM, break_up, join


def summary_of(record: LogRecord) -> str:
    """The line's message. A ``{{`` that its arguments bring along is broken up; the literal's own stays.

    Arguments that do not fit their format leave the message as it was written: the record is worth more.
    """
    if not record.args:
        return str(record.msg)
    try:
        text = record.getMessage()
    except Exception:  # noqa: BLE001 - a __str__ of the application's; the line's other handlers report it
        return str(record.msg)
    return text if "{{" not in text else _interpolated(record, text)


def _interpolated(record: LogRecord, text: str) -> str:
    """Formats again with the literal's own placeholders out of the way, and puts them back."""
    literal = str(record.msg)
    own = [placeholder for placeholder in PLATFORM.findall(literal) if "%" not in placeholder]
    mark = secrets.token_hex(16)  # cannot be guessed, so no argument can pass as a placeholder
    for placeholder in own:
        literal = literal.replace(placeholder, mark, 1)
    try:
        parts = break_up(literal % record.args).split(mark)
    except Exception:  # noqa: BLE001 - a line with a getMessage() of its own
        return break_up(text)
    pieces = [parts[0]]
    for placeholder, part in zip(own, parts[1:], strict=True):
        pieces += [placeholder, part]
    return join(pieces)
