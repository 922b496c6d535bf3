"""Seeds: what an emulator knows when it starts."""

from __future__ import annotations

import json
from importlib import resources
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from auditbox.emulator.files import read
from auditbox.emulator.identity import Caller, Directory
from auditbox.errors import ConfigurationError
from auditbox.records import AuditRecord

_Id = Annotated[str, Field(pattern=r"^[A-Z]{3,4}(-[0-9]{4})+$")]


class _Shape(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, extra="forbid")


class SeededAccount(_Shape):
    """An account: who may see what is decided by its type."""

    id: _Id
    name: str
    type: Literal["Client", "Vendor", "Operations"]


class SeededToken(_Shape):
    """An API token; ``token`` is what goes into the Authorization header, ``idt:<id>:<secret>``."""

    id: Annotated[str, Field(pattern=r"^(TKN|EXT)-[0-9]{4}-[0-9]{4}$")]
    name: str
    account: _Id
    token: str
    user: Annotated[str, Field(pattern=r"^USR-[0-9]{4}-[0-9]{4}$")] | None = None
    """The user that it acts for, who may read the records about themself."""


class SeededObject(_Shape):
    """An object that the accounts in ``viewers`` can see before it has any record."""

    id: _Id
    name: str | None = None
    object_type: str | None = None
    viewers: list[_Id] = []


class SeededEventType(_Shape):
    """An event type."""

    id: str | None = None
    key: str
    name: str | None = None
    description: str | None = None


class SeededLocation(_Shape):
    """Where the addresses of a network are; becomes ``request.api.geolocation``."""

    network: IPv4Network | IPv6Network
    country_code: str | None = None
    country_name: str | None = None
    region: str | None = None


class Seed(_Shape):
    """A seed file; every part is optional."""

    accounts: list[SeededAccount] = []
    tokens: list[SeededToken] = []
    objects: list[SeededObject] = []
    records: list[AuditRecord] = []
    event_types: list[SeededEventType] = []
    locations: list[SeededLocation] = []

    def directory(self, strict: bool) -> Directory:
        """The accounts, tokens and objects, ready for use.

        Raises:
            ConfigurationError: a token's account is unknown, or its text does not hold its id.
        """
        directory = Directory(strict=strict)
        for account in self.accounts:
            directory.accounts[account.id] = account.model_dump()
            if account.type == "Operations":
                directory.operations = account.model_dump()
        for token in self.tokens:
            directory.callers[token.id] = self._caller(token)
            directory.secrets[token.id] = token.token
        for seeded in self.objects:
            directory.objects[seeded.id] = seeded.model_dump(by_alias=True)
        for location in self.locations:
            place = location.model_dump(by_alias=True, exclude={"network"}, exclude_none=True)
            directory.locations.places[location.network] = place
        return directory

    def _caller(self, token: SeededToken) -> Caller:
        account = next((account for account in self.accounts if account.id == token.account), None)
        if account is None:
            raise ConfigurationError(f"seed: token {token.id}: account {token.account} is not in accounts")
        if not token.token.startswith(f"idt:{token.id}:"):
            raise ConfigurationError(f"seed: token {token.id}: its token must begin with idt:{token.id}:")
        return Caller(token.id, token.name, account.id, account.name, account.type, token.user)


def load_seed(given: str | Path | dict[str, Any] | Seed | None, strict: bool = False) -> Seed:
    """A seed out of a file or of its content.

    Args:
        given: a path, the content itself, or None: strict, the seed that ships with the package
            (nobody could call otherwise); lax, an empty one.
        strict: see above.

    Raises:
        ConfigurationError: it cannot be read, or something in it is wrong; the text says where.
    """
    if isinstance(given, Seed):
        return given
    if given is None:
        given = json.loads(_shipped()) if strict else {}
    content = given if isinstance(given, dict) else read(given, "seed")
    try:
        return Seed.model_validate(content)
    except ValidationError as exc:
        raise ConfigurationError(f"seed: {_first(exc)}") from None


def shipped_seed() -> Seed:
    """The seed that ships with the package: three accounts, a token for each, a few objects and records."""
    return load_seed(None, strict=True)


def _shipped() -> str:
    return resources.files(__package__).joinpath("seed.json").read_text("utf-8")


def _first(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(map(str, found["loc"]))
    return f"{where}: {found['msg']}" if where else found["msg"]
