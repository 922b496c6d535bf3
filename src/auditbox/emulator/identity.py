"""Who is calling, and what that account may see."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from auditbox.emulator.problem import Problem

_TOKEN = re.compile(r"(?i:bearer) +(idt:((?:TKN|EXT)-\d{4}-\d{4}):[!-~]+)")
OPERATIONS = {"id": "ACC-0000-0001", "name": "SoftwareOne", "type": "Operations"}


@dataclass(frozen=True, slots=True)
class Caller:
    """A token and its account."""

    id: str
    name: str
    account: str
    account_name: str
    account_type: str

    @property
    def actor(self) -> dict[str, Any]:
        """The ``actor`` of records that this caller submits."""
        account = {"id": self.account, "name": self.account_name, "accountType": self.account_type}
        return {"id": self.id, "name": self.name, "account": account}

    @property
    def viewer(self) -> dict[str, Any]:
        """The caller's account in a record's ``viewers``."""
        return {"id": self.account, "name": self.account_name, "type": self.account_type}


@dataclass(slots=True)
class Directory:
    """The accounts and tokens that the emulator knows.

    Lax, any well-formed ``idt:`` token is good: its account is a vendor's with the token's digits.
    Strict, only the seeded tokens are.
    """

    strict: bool = False
    accounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    callers: dict[str, Caller] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    operations: dict[str, Any] = field(default_factory=lambda: dict(OPERATIONS))
    _met: dict[str, Caller] = field(default_factory=dict)

    def identify(self, authorization: str) -> Caller:
        """The caller that an ``Authorization`` header names.

        Raises:
            Problem: 401, for anything but a good token.
        """
        caller = self._met.get(authorization)
        if caller is None:
            caller = self._look_up(authorization)
            if len(self._met) < 1000:
                self._met[authorization] = caller
        return caller

    def _look_up(self, authorization: str) -> Caller:
        found = _TOKEN.fullmatch(authorization)
        if not found:
            raise Problem(401, "No valid token.")
        token, id = found.groups()
        if id in self.callers and self.secrets[id] == token:
            return self.callers[id]
        if self.strict or id in self.callers:
            raise Problem(401, "No valid token.")
        account = f"ACC{id[3:]}"
        return Caller(id, id, account, account, "Vendor")

    def viewer(self, account: str) -> dict[str, Any]:
        """An account as it stands in ``viewers``."""
        known = self.accounts.get(account, {"id": account, "type": "Vendor"})
        return {name: known[name] for name in ("id", "name", "type") if name in known}
