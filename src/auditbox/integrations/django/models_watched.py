"""Models whose changes are recorded: ``created``, ``updated`` with the changed fields, ``deleted``."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from django.apps import apps
from django.db.models import signals

from auditbox.capture.changes import changes
from auditbox.capture.fields import Fields, check_event
from auditbox.capture.lookup import trail_finder
from auditbox.errors import AuditboxError, ConfigurationError
from auditbox.integrations.django.commit import AfterCommit

logger = logging.getLogger("auditbox.django")

_EVENTS = ("created", "updated", "deleted")
_FIELDS = ("object", "actor", "summary", "details", "documents", "lane")
_KEYS = frozenset({*_EVENTS, *_FIELDS, "exclude"})
_BEFORE = "_auditbox_before"

Row = dict[str, Any] | None


class Watched:
    """One model of ``MODELS``, and what is recorded of it.

    Args:
        label: ``"shop.Order"``.
        spec: events by ``created``, ``updated`` and ``deleted``, as far as they are wanted; ``object``,
            ``actor``, ``summary``, ``details``, ``documents``, ``lane``: constants, templates over the
            model's name (``"{order.number}"``) or callables that get the instance; ``exclude``: fields
            that are left out.

    Raises:
        ConfigurationError: there is no such model, event, field or name.
    """

    def __init__(self, label: str, spec: Mapping[str, Any]) -> None:
        where = f"MODELS[{label!r}]"
        if not isinstance(spec, Mapping):
            raise ConfigurationError(f"{where}: a dictionary such as {{'created': 'order.created', …}}")
        if unknown := sorted(map(str, spec.keys() - _KEYS)):
            raise ConfigurationError(f"{where}: no {unknown[0]!r}; known are {', '.join(sorted(_KEYS))}")
        self.model = _model(label, where)
        self.name: str = self.model._meta.model_name
        self.events = {
            kind: check_event(f"{where}: {kind}", spec[kind])
            for kind in _EVENTS
            if spec.get(kind) is not None
        }
        if not self.events:
            raise ConfigurationError(f"{where}: name the event of at least one of {', '.join(_EVENTS)}")
        self._columns = _columns(self.model, spec.get("exclude") or (), where)
        self._fields = Fields({field: spec.get(field) for field in _FIELDS}, {self.name})

    def connect(self) -> None:
        """Listens to the model and its proxies."""
        for signal, receiver in self._receivers():
            for sender in _with_proxies(self.model):
                signal.connect(receiver, sender=sender, weak=False, dispatch_uid=self._uid(receiver))

    def disconnect(self) -> None:
        """Stops listening."""
        for signal, receiver in self._receivers():
            for sender in _with_proxies(self.model):
                signal.disconnect(sender=sender, dispatch_uid=self._uid(receiver))

    def _uid(self, receiver: Any) -> str:
        return f"auditbox.{receiver.__name__}"

    def _receivers(self) -> Iterator[tuple[Any, Any]]:
        if "created" in self.events or "updated" in self.events:
            yield signals.pre_save, self._before_save
            yield signals.post_save, self._after_save
        if "deleted" in self.events:
            yield signals.pre_delete, self._before_delete
            yield signals.post_delete, self._after_delete

    def _before_save(self, instance: Any, using: str, raw: bool = False, **_: Any) -> None:
        if raw:  # loaddata: fixtures are nobody's action
            return
        _check_ready()
        is_new = instance._state.adding and instance.pk is None
        _states(instance).append(None if is_new else self._row(instance, using))

    def _after_save(self, instance: Any, using: str, created: bool, raw: bool = False, **_: Any) -> None:
        if raw:
            return
        before, after = _popped(instance), self._row(instance, using)
        if created:
            self._record("created", instance, using, {self.name: after})
        elif (difference := changes(self.name, before, after))["change"]:
            self._record("updated", instance, using, difference)

    def _before_delete(self, instance: Any, using: str, **_: Any) -> None:
        _check_ready()
        _states(instance).append(self._row(instance, using))

    def _after_delete(self, instance: Any, using: str, **_: Any) -> None:
        self._record("deleted", instance, using, {self.name: _popped(instance)})

    def _row(self, instance: Any, using: str) -> Row:
        """The row as the database has it: what an instance holds may be stale, deferred or an expression."""
        rows = self.model._base_manager.using(using).filter(pk=instance.pk)
        found: Row = rows.values(*self._columns).first()
        return found

    def _record(self, kind: str, instance: Any, using: str, documents: dict[str, Any]) -> None:
        """Records the change once it is committed; never raises an Exception, since it has been made."""
        event = self.events.get(kind)
        if event is None:
            return
        trail = AfterCommit(using=using)
        fields, unresolved = self._fields.resolve({self.name: instance}, instance)
        fields["documents"] = {**documents, **(fields.get("documents") or {})}
        fields["outcome"] = {"status": "success"} | ({"unresolved": unresolved} if unresolved else {})
        try:
            trail.record(event, **fields)
        except Exception as error:  # noqa: BLE001 - as said
            _spill(trail, error, event, fields)


def _spill(trail: AfterCommit, error: Exception, event: str, fields: Mapping[str, Any]) -> None:
    try:
        trail.spill(error, event, fields)
    except AuditboxError as again:  # no trail, so there is no spill either
        logger.error("audit record of %s is lost: %s", event, again)


def _model(label: str, where: str) -> Any:
    try:
        return apps.get_model(label)
    except (LookupError, ValueError) as error:
        raise ConfigurationError(f"{where}: there is no such model: {error}") from error


def _columns(model: Any, exclude: Any, where: str) -> list[str]:
    known = {field.name: field.attname for field in model._meta.concrete_fields}
    if unknown := sorted(set(exclude) - known.keys()):
        raise ConfigurationError(f"{where}: exclude: there is no field {unknown[0]!r}")
    return [attname for name, attname in known.items() if name not in exclude]


def _with_proxies(model: Any) -> list[Any]:
    proxies = [known for known in apps.get_models() if known._meta.proxy]
    return [model, *(proxy for proxy in proxies if proxy._meta.concrete_model is model)]


def _states(instance: Any) -> list[Row]:
    """The states before the saves under way: a receiver of a signal may save the same instance again."""
    states: list[Row] = instance.__dict__.setdefault(_BEFORE, [])
    return states


def _popped(instance: Any) -> Row:
    states = _states(instance)
    state = states.pop() if states else None
    if not states:
        del instance.__dict__[_BEFORE]
    return state


def _check_ready() -> None:
    """With ``fail_closed`` no change without the ability to record it."""
    try:
        trail = trail_finder(None)()
    except AuditboxError:
        return
    if trail.fail_closed:
        trail.ready()


_watched: list[Watched] = []


def watch(specs: Mapping[str, Any]) -> None:
    """Records the changes of these models from now on, and of no others.

    Raises:
        ConfigurationError: as for :class:`Watched`.
    """
    made = [Watched(label, spec) for label, spec in specs.items()]
    for before in _watched:
        before.disconnect()
    _watched[:] = made
    for watched in made:
        watched.connect()
