"""Pages and filters of Compute Engine's listings: what is modelled of them; 501 for the rest.

Source: the descriptions of ``filter``, ``maxResults`` and ``orderBy`` in the discovery document.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from peers.google.calls import (
    Call,
    Shorten,
    SmallPages,
    from_token,
    invalid,
    not_modelled,
    to_token,
)
from peers.google.discovery import Json

_TERM = re.compile(
    r"""\s*\(?\s*(?P<field>[A-Za-z_][\w.-]*)\s*
        (?P<op>!=|=|:|\beq\b|\bne\b)\s*
        (?P<value>"[^"]*"|'[^']*'|[^\s()]+)\s*\)?\s*""",
    re.VERBOSE,
)
_AND = re.compile(r"AND\b\s*")


Term = tuple[str, str, str]


def _terms(text: str) -> list[Term]:
    """The field, operator and value of each term. All of them are to be true."""
    at, terms = 0, []
    while at < len(text):
        term = _TERM.match(text, at)
        if term is None:
            raise not_modelled(f"the filter {text!r}")
        terms.append((term["field"], term["op"], term["value"].strip("\"'")))
        at = term.end()
        if joint := _AND.match(text, at):
            at = joint.end()
    return terms


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


def one_page(call: Call, found: list[Json]) -> tuple[list[Json], str | None]:
    """One page, and the token of the next one: ``maxResults`` is 0 to 500, 500 where absent."""
    count = int(call.query.get("maxResults", "500"))
    if count > 500:
        raise invalid(
            f"Invalid value for field 'maxResults': '{count}'. "
            "Values must be within the following range: [0, 500]"
        )
    if count == 0:
        raise not_modelled("maxResults=0")
    match call.query.get("orderBy", "name"):
        case "name":
            ordered = sorted(found, key=_key)
        case "creationTimestamp desc":
            if "pageToken" in call.query or len(found) > count:
                raise not_modelled("more than one page in order of creationTimestamp")
            ordered = sorted(found, key=lambda each: str(each["creationTimestamp"]), reverse=True)
        case other:
            raise invalid(f"Invalid value for field 'orderBy': '{other}'.")
    if (short := call.effect(Shorten)) is not None:
        ordered = ordered[: short.count]
    if (small := call.effect(SmallPages)) is not None:
        count = min(count, small.count)
    if token := call.query.get("pageToken"):
        last = from_token(token)
        ordered = [each for each in ordered if _key(each) > last]
    page = ordered[:count]
    more = len(ordered) > len(page)
    return page, to_token(_key(page[-1])) if more else None


def _key(resource: Json) -> str:
    """By name, and things of one name in several zones by zone."""
    return f"{resource['name']} {resource.get('_scope', '')}"


def filtered(call: Call, found: Iterable[Json]) -> list[Json]:
    """What a listing's ``filter`` leaves."""
    terms = _terms(call.query.get("filter", ""))
    return [each for each in found if all(_true(*term, each) for term in terms)]
