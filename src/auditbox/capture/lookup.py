"""Which trail a capture goes to: the one given, one that is found by its name, or the process's default."""

from __future__ import annotations

import importlib.util
import pkgutil
import re
import sys
from collections.abc import Callable
from itertools import repeat
from typing import TYPE_CHECKING

from auditbox.default import get_trail
from auditbox.errors import ConfigurationError

if TYPE_CHECKING:
    from auditbox.trail import AuditTrail

_NAME = re.compile(r"\w+(\.\w+)*:\w+(\.\w+)*|\w+(\.\w+)+")


def trail_finder(given: AuditTrail | str | None) -> Callable[[], AuditTrail]:
    """A callable that gives the trail, now or once it exists.

    Args:
        given: a trail; a dotted name (``"shop.audit:trail"`` or ``"shop.audit.trail"``), looked up when
            it is first needed; or None for whatever ``auditbox.configure`` has set by then.

    Raises:
        ConfigurationError: something else was given, or a name that no trail can have.
    """
    if given is None:
        return get_trail
    if isinstance(given, str):
        _check_name(given)
        return _ByName(given)
    return repeat(
        _checked(given, repr(given))
    ).__next__  # a function that gives it, without a frame of its own


def _checked(found: AuditTrail, name: str) -> AuditTrail:
    if not callable(getattr(found, "record", None)):
        raise ConfigurationError(f"trail={name}: {found!r} is not an AuditTrail")
    return found


def _check_name(name: str) -> None:
    """Refuses what leads nowhere, as far as that is known without importing anything.

    The module itself may not be importable yet: it may be the one that is being imported.
    """
    package = name.partition(":")[0].partition(".")[0]
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"trail={name!r}: an AuditTrail, or its name, such as 'shop.audit:trail'")
    if package not in sys.modules and importlib.util.find_spec(package) is None:
        raise ConfigurationError(f"trail={name!r} cannot be found: there is no module {package!r}")


class _ByName:
    """Looks a dotted name up at the first call, and remembers what it found."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._found: AuditTrail | None = None

    def __call__(self) -> AuditTrail:
        if self._found is None:
            try:
                found = pkgutil.resolve_name(self._name)
            except (ImportError, AttributeError, ValueError) as error:
                raise ConfigurationError(f"trail={self._name!r} cannot be found: {error}") from error
            self._found = _checked(found, repr(self._name))
        return self._found
