"""The fields of a record as a decorator or a rule describes them: constants, templates, callables.

``"{order.id}"`` is a template, ``{"id": "{order.id}", "name": "Order"}`` a mapping of them, a callable gets
the call or the request. All are compiled once, where a mistake is a ConfigurationError; what fails while a
record is made leaves its field out and is named in the record's outcome instead.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from auditbox.capture.template import Path, Template
from auditbox.errors import ConfigurationError, error_text
from auditbox.names import OBJECT_KEYS, is_object_id

TEXTS = frozenset({"summary", "details", "lane"})
"""Fields that are always text, whatever their template reads."""

Keep = Callable[[Any], Any]


class Fields:
    """The described fields of one decorator or rule.

    Args:
        specs: the descriptions by their field; None means that the field is not described.
        names: the names that templates may use; None allows any.
        later: those of the names that are not known before the action.
        checked: whether an object that can never be one is an error; not where a program describes a record
            whose action has happened.
    """

    def __init__(
        self,
        specs: Mapping[str, Any],
        names: Collection[str] | None,
        later: Collection[str] = (),
        *,
        checked: bool = True,
    ) -> None:
        self._nodes = {field: _compile(spec, names) for field, spec in specs.items() if spec is not None}
        self._later = later
        if checked:
            _check_object(specs.get("object"), self._nodes.get("object"))

    def paths(self) -> Iterator[Path]:
        """Whatever the templates read."""
        return _paths(list(self._nodes.values()))

    def needs(self) -> bool:
        """Whether anything has to be looked at when a record is made."""
        return any(not isinstance(node, str) for node in self._nodes.values())

    def read(self, namespace: Mapping[str, Any], keep: Keep) -> Fields:
        """The same fields with whatever is known before the action filled in.

        Args:
            namespace: the values that exist now.
            keep: makes a copy of a value that a document holds, since the action may change it.
        """
        early: Fields = Fields({}, None, self._later)
        for field, node in self._nodes.items():
            how = str if field in TEXTS else keep if field == "documents" else _copied
            early._nodes[field] = _filled(node, namespace, self._later, how)
        return early

    def resolve(self, namespace: Mapping[str, Any], subject: Any) -> tuple[dict[str, Any], dict[str, str]]:
        """The fields' values, and what could not be found out, with the reason.

        Args:
            namespace: the values by the names that templates use.
            subject: what callables get.
        """
        values: dict[str, Any] = {}
        unresolved: dict[str, str] = {}
        for field, node in self._nodes.items():
            # What most rules are made of, without a call; None and what is missing is told below.
            if type(node) is str:
                values[field] = node
                continue
            if type(node) is Template and node.name is not None and field not in TEXTS:
                value = namespace.get(node.name)
                if value is not None:
                    values[field] = value
                    continue
            if field == "documents" and isinstance(node, dict):
                values[field] = _each(node, field, namespace, subject, unresolved)
                continue
            try:
                values[field] = _resolve(node, field, namespace, subject)
            except Exception as error:  # noqa: BLE001 - the action has happened: record what is known
                unresolved[field] = error_text(error)
        return values, unresolved


def _each(
    node: dict[str, Any], field: str, namespace: Mapping[str, Any], subject: Any, unresolved: dict[str, str]
) -> dict[str, Any]:
    """One document that fails does not take the others along."""
    values: dict[str, Any] = {}
    for key, part in node.items():
        try:
            values[key] = _resolve(part, field, namespace, subject)
        except Exception as error:  # noqa: BLE001 - as above
            unresolved[f"{field}.{key}"] = error_text(error)
    return values


def _compile(spec: Any, names: Collection[str] | None) -> Any:
    if isinstance(spec, str):
        template = Template(spec, names) if "{" in spec or "}" in spec else None
        return spec if template is None or not template.roots else template
    if isinstance(spec, Mapping):
        return {key: _compile(part, names) for key, part in spec.items()}
    if isinstance(spec, list | tuple):
        return [_compile(part, names) for part in spec]
    return spec


def _paths(node: Any) -> Iterator[Path]:
    if isinstance(node, Template):
        yield from node.paths
    elif isinstance(node, dict | list):
        for part in node.values() if isinstance(node, dict) else node:
            yield from _paths(part)


def _check_object(spec: Any, node: Any) -> None:
    """A constant that can never be an object: most likely a template without its braces.

    An empty one is none: it leaves the object to the context.
    """
    if not node:
        return
    if isinstance(node, dict):
        if unknown := sorted(map(str, node.keys() - OBJECT_KEYS.keys())):
            raise ConfigurationError(
                f"object={spec!r}: unknown key {unknown[0]!r}; known: id, name, objectType"
            )
        node = node.get("id")
    elif hasattr(node, "id"):
        return
    if isinstance(node, Template) or callable(node) or (isinstance(node, str) and is_object_id(node)):
        return
    what = node.strip("{} ") if isinstance(node, str) and node.strip("{} ") else "order_id"
    raise ConfigurationError(
        f"object={spec!r}: an object id looks like ORD-1208-2301-8479 (PREFIX-dddd-dddd…); what is to be "
        f"filled in stands in braces: '{{{what}}}'"
    )


def _filled(node: Any, namespace: Mapping[str, Any], later: Collection[str], keep: Keep) -> Any:
    if isinstance(node, Template):
        return node.filled(namespace, but=later, keep=keep)
    if isinstance(node, dict):
        return {key: _filled(part, namespace, later, keep) for key, part in node.items()}
    if isinstance(node, list):
        return [_filled(part, namespace, later, keep) for part in node]
    return node


def _resolve(node: Any, field: str, namespace: Mapping[str, Any], subject: Any) -> Any:
    if isinstance(node, Template):
        return node.text(namespace, field) if field in TEXTS else node.value(namespace, field)
    if isinstance(node, dict):
        return {key: _resolve(part, field, namespace, subject) for key, part in node.items()}
    if isinstance(node, list):
        return [_resolve(part, field, namespace, subject) for part in node]
    return node(subject) if callable(node) else node


def _copied(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def check_event(field: str, event: object) -> str:
    """An event as a decorator or a rule names it: a constant, since each new one makes an event type."""
    if isinstance(event, str) and event and not set("{} \t\n") & set(event):
        return event
    raise ConfigurationError(f"{field}={event!r}: one event such as 'order.approved', without a template")
