"""Whether an argument is what it has to be; asked where it is given, not where it is first used."""

from __future__ import annotations

from typing import TypeGuard, TypeVar

from auditbox.errors import ConfigurationError

T = TypeVar("T")


def checked(name: str, value: T, fits: bool, expected: str) -> T:
    """The value, if it fits.

    Raises:
        ConfigurationError: it does not: names the argument, the value and what is expected.
    """
    if not fits:
        raise ConfigurationError(f"{name}={value!r}: {expected}")
    return value


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a number, as seconds are; no text, no timedelta, and not True."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_count(value: object) -> TypeGuard[int]:
    """Whether it is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)
