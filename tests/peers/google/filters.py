"""Filters of Compute Engine's listings: the part of them that is modelled; 501 for the rest.

Source: the description of ``filter`` in the discovery document.
"""

from __future__ import annotations

import re
from typing import Any

from peers.google.calls import not_modelled
from peers.google.discovery import Json

_TERM = re.compile(
    r"""\s*\(?\s*(?P<field>[A-Za-z_][\w.-]*)\s*
        (?P<op>!=|=|:|\beq\b|\bne\b)\s*
        (?P<value>"[^"]*"|'[^']*'|[^\s()]+)\s*\)?\s*""",
    re.VERBOSE,
)


def matches(text: str, resource: Json) -> bool:
    """Whether a listing with that filter has the resource. Terms are all to be true."""
    at, result = 0, True
    while at < len(text):
        term = _TERM.match(text, at)
        if term is None:
            raise not_modelled(f"the filter {text!r}")
        at = term.end()
        result &= _true(term["field"], term["op"], term["value"].strip("\"'"), resource)
        if joint := re.compile(r"AND\b\s*").match(text, at):
            at = joint.end()
    return result


def _true(field: str, op: str, value: str, resource: Json) -> bool:
    found = _value(field, resource)
    text = "" if found is None else str(found).lower() if isinstance(found, bool) else str(found)
    match op:
        case "=":
            return text == value
        case "!=":
            return text != value
        case ":" if value == "*":
            return found is not None
        case "eq":
            return re.fullmatch(value, text) is not None
        case "ne":
            return re.fullmatch(value, text) is None
        case _:
            raise not_modelled(f"the operator {op} with {value!r}")


def _value(field: str, resource: Json) -> Any:
    at: Any = resource
    for name in field.split("."):
        if not isinstance(at, dict) or name not in at:
            return None
        at = at[name]
    return at
