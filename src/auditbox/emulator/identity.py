"""Who is calling, and what that account may see."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Any

from auditbox.emulator.jwt import Issuer
from auditbox.emulator.locations import Locations
from auditbox.emulator.problem import Problem

_BEARER = re.compile(r"(?i:bearer) +([!-~]+)")
_TOKEN = re.compile(r"idt:((?:TKN|EXT)-\d{4}-\d{4}):[!-~]+", re.ASCII)
_ACCOUNT = re.compile(r"ACC(?:-\d{4})+", re.ASCII)
ACCOUNT_TYPES = ("Client", "Vendor", "Operations")
OPERATIONS = {"id": "ACC-0000-0001", "name": "SoftwareOne", "type": "Operations"}


@dataclass(frozen=True, slots=True)
class Caller:
    """A token and its account."""

    id: str
    name: str
    account: str
    account_name: str
    account_type: str
    user: str | None = None
    """The ``USR-`` identity that it acts for, which may read the records about itself."""

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

    Lax, any well-formed ``idt:`` token is good: its account is a vendor's with the token's digits; and so is
    any JSON Web Token, by its claims. Strict, only the seeded tokens and those that were issued for them are.
    """

    strict: bool = False
    accounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    callers: dict[str, Caller] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    operations: dict[str, Any] = field(default_factory=lambda: dict(OPERATIONS))
    locations: Locations = field(default_factory=Locations)
    issuer: Issuer = field(default_factory=lambda: Issuer(time.time))
    _met: dict[str, Caller] = field(default_factory=dict)

    def identify(self, authorization: str) -> Caller:
        """The caller that an ``Authorization`` header names.

        Raises:
            Problem: 401, for anything but a good token.
        """
        caller = self._met.get(authorization)
        if caller is not None:
            return caller
        found = _BEARER.fullmatch(authorization)
        token = found.group(1) if found else ""
        if not token.startswith("idt:"):
            return self._by_claims(token)  # again each time, because it expires
        caller = self._look_up(token)
        if len(self._met) < 1000:
            self._met[authorization] = caller
        return caller

    def _look_up(self, token: str) -> Caller:
        found = _TOKEN.fullmatch(token)
        id = found.group(1) if found else ""
        if id in self.callers and self.secrets[id] == token:
            return self.callers[id]
        if not id or self.strict or id in self.callers:
            raise Problem(401, "No valid token.")
        account = f"ACC{id[3:]}"
        return Caller(id, id, account, account, "Vendor")

    def _by_claims(self, token: str) -> Caller:
        claims = self.issuer.read(token, verify=self.strict) or {}
        account, user = claims.get("accountId"), claims.get("userId")
        id = user or claims.get("apiTokenId") or claims.get("extensionId") or account
        if not isinstance(account, str) or not _ACCOUNT.fullmatch(account) or not isinstance(id, str):
            raise Problem(401, "No valid token.")
        known = self.account(account)
        kind = claims.get("accountType")
        name = self.callers[id].name if id in self.callers else id
        kind = kind if kind in ACCOUNT_TYPES else known["type"]
        return Caller(id, name, account, known["name"], kind, user if isinstance(user, str) else None)

    def account(self, id: str) -> dict[str, Any]:
        """An account with its name and type; a vendor's where it is not known."""
        return {"name": id, "type": "Vendor", **self.accounts.get(id, {}), "id": id}

    def scoped_token(self, caller: Caller, account: str | None, lifetime: float) -> tuple[str, int]:
        """A short-lived token of this caller for an account, and when it expires.

        Raises:
            Problem: 400, the account is none; 404, it is not known (strict).
        """
        account = account or caller.account
        if not _ACCOUNT.fullmatch(account):
            raise Problem(400, "The value of 'account.id' does not match expected format.")
        if self.strict and account not in self.accounts:
            raise Problem(404, f"Entity for given id {account} not found")
        known = self.account(account)
        kind = "extensionId" if caller.id.startswith("EXT-") else "apiTokenId"
        claims = {"accountId": account, "accountType": known["type"], kind: caller.id}
        return self.issuer.issue(claims, lifetime)

    def viewer(self, account: str) -> dict[str, Any]:
        """An account as it stands in ``viewers``."""
        known = self.accounts.get(account, {"id": account, "type": "Vendor"})
        return {name: known[name] for name in ("id", "name", "type") if name in known}
