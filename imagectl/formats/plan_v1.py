"""A cleanup plan as text, version 1: one JSON object, a version on each line.

There may be a million of them, so it is written and read line by line, and none of those that are
kept is held on to; any JSON tool reads it too::

    {"format":"imagectl-cleanup-plan-1",
    "plan":{..},
    "entries":[
    {..},
    {..}
    ],
    "unknown":[
    ],
    "unfinished":[
    ],
    "signatures":[
    {..}
    ]}

What is signed is the sha256 of every byte before the line ``"signatures":[``, so a plan cannot be
changed by anybody, and signatures can be added. Reading is strict: what is not exactly of this form
is BadInput, with its line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import TypeVar

from imagectl.errors import BadInput, Problem
from imagectl.formats.event_parts import (
    BadEvent,
    Fields,
    canonical,
    read_placement,
    write_placement,
    write_time,
)
from imagectl.model.cleanup import (
    Because,
    CleanupPlan,
    Entry,
    Reason,
    Scope,
    Sight,
    Unknown,
)
from imagectl.model.names import (
    BadName,
    LocationName,
    Sha256,
    parse_image_name,
    parse_image_ref,
    parse_location_name,
    parse_sha256,
)
from imagectl.model.retention import Stage, Tombstone
from imagectl.model.signature import Role, Signature, SignedPlan, oldest_first
from imagectl.model.stock import Kept
from imagectl.model.version import VersionRef

FORMAT = "imagectl-cleanup-plan-1"

_FIRST = canonical({"format": FORMAT})[:-1] + ","
_SIGNATURES = '"signatures":['
_END = "]}"

T = TypeVar("T")


def plan_lines(plan: CleanupPlan) -> Iterator[str]:
    """The lines that are signed, each with its end."""
    yield f"{_FIRST}\n"
    yield f'"plan":{canonical(_write_head(plan))},\n'
    yield from _section("entries", map(_write_entry, plan.entries))
    yield from _section("unknown", map(_write_unknown, plan.unknown))
    yield from _section("unfinished", map(_write_tombstone, plan.unfinished))


def signature_lines(signatures: Iterable[Signature]) -> Iterator[str]:
    """The lines after them, each with its end."""
    yield f"{_SIGNATURES}\n"
    yield from _items(map(_write_signature, signatures))
    yield f"{_END}\n"


def signed_text(digest: Sha256, role: Role, by: str, key: str, at: datetime) -> bytes:
    """What a signature is over: an approval cannot be taken for an author's, nor be dated anew."""
    said = {"by": by, "digest": digest, "key": key, "role": role.value, "at": write_time(at)}
    return f"{FORMAT}\n{canonical(said)}\n".encode()


def parse_plan(lines: Iterable[str], file: str, entries: Iterable[Entry] = ()) -> SignedPlan:
    """The plan that *lines*, each with its end, hold; its ``entries`` are those given.

    Whether its signatures are genuine is for who has the keys to say. Raises BadInput.
    """
    reader = _Reader(lines, file)
    reader.expect(_FIRST)
    head = reader.named_object("plan")
    steps = oldest_first(reader.section("entries", _read_entry))
    unknown = tuple(reader.section("unknown", _read_unknown))
    unfinished = tuple(reader.section("unfinished", _read_tombstone))
    digest = reader.digest()
    reader.expect(_SIGNATURES)
    signatures = tuple(reader.items(_read_signature, _END))
    reader.expect_nothing()
    plan = reader.reading(lambda: _read_head(head, entries, unknown, unfinished))
    return SignedPlan(plan, steps, digest, signatures)


def parse_entries(lines: Iterable[str], file: str) -> Iterator[Entry]:
    """Each version of the plan that *lines* hold, as they come. Raises BadInput."""
    reader = _Reader(lines, file)
    reader.expect(_FIRST)
    reader.named_object("plan")
    yield from reader.section("entries", _read_entry)


# --- writing ---


def _section(name: str, items: Iterable[dict[str, object]]) -> Iterator[str]:
    yield f'"{name}":[\n'
    yield from _items(items)
    yield "],\n"


def _items(items: Iterable[dict[str, object]]) -> Iterator[str]:
    before = None
    for item in items:
        if before is not None:
            yield f"{before},\n"
        before = canonical(item)
    if before is not None:
        yield f"{before}\n"


def _write_head(plan: CleanupPlan) -> dict[str, object]:
    return {
        "catalog": plan.catalog_id,
        "generation": plan.generation,
        "made": write_time(plan.made),
        "expires": write_time(plan.expires),
        "author": plan.author,
        "images": list(plan.scope.images),
        "locations": list(plan.scope.locations),
        "narrowed": plan.scope.narrowed,
        "sights": [
            {
                "location": each.location,
                "scope": each.scope,
                "digest": each.digest,
                "expected": each.expected,
                "seen": each.seen,
                "found": each.found,
                "requests": each.requests,
                "at": write_time(each.at),
            }
            for each in plan.sights
        ],
        "resolved": plan.resolved,
        "receipts": plan.receipts,
    }


def _write_entry(entry: Entry) -> dict[str, object]:
    return {
        "version": str(entry.version),
        "stage": entry.stage.value,
        "to": entry.to.value if entry.to else None,
        "reasons": [
            {"because": each.because.value, "detail": each.detail} for each in entry.reasons
        ],
        "placed": [_write_kept(each) for each in entry.placed],
        "missing": [_write_kept(each) for each in entry.missing],
    }


def _write_kept(kept: Kept) -> dict[str, object]:
    return {
        "location": kept.location,
        "provider_id": kept.provider_id,
        "sha256": kept.sha256,
    }


def _write_unknown(unknown: Unknown) -> dict[str, object]:
    return {
        "location": unknown.location,
        "provider_id": unknown.provider_id,
        "name": unknown.name,
        "why": unknown.why,
        "size": unknown.size,
        "created": write_time(unknown.created) if unknown.created else None,
    }


def _write_tombstone(tombstone: Tombstone) -> dict[str, object]:
    return {
        "placement": write_placement(tombstone.placement),
        "at": write_time(tombstone.at),
        "by": tombstone.by,
        "reason": tombstone.reason,
    }


def _write_signature(signature: Signature) -> dict[str, object]:
    return {
        "role": signature.role.value,
        "by": signature.by,
        "key": signature.key,
        "at": write_time(signature.at),
        "value": signature.value,
    }


# --- reading ---


class _Reader:
    """The lines of one file, one after the other; keeps count, and the digest so far."""

    def __init__(self, lines: Iterable[str], file: str) -> None:
        self._lines = iter(lines)
        self._file = file
        self._number = 0
        self._hash = hashlib.sha256()

    def digest(self) -> Sha256:
        """Over all that was read so far."""
        return Sha256(self._hash.hexdigest())

    def expect(self, line: str) -> None:
        if self._next() != line:
            raise self._bad(f"{line} is expected")

    def expect_nothing(self) -> None:
        if next(self._lines, None) is not None:
            raise self._bad("something follows the end of the plan")

    def named_object(self, name: str) -> Fields:
        line = self._next()
        start = f'"{name}":'
        if not (line.startswith(start) and line.endswith(",")):
            raise self._bad(f"{start} is expected")
        return self.reading(lambda: Fields(json.loads(line[len(start) : -1]), name))

    def section(self, name: str, read: Callable[[Fields], T]) -> Iterator[T]:
        self.expect(f'"{name}":[')
        yield from self.items(read, "],")

    def items(self, read: Callable[[Fields], T], end: str) -> Iterator[T]:
        more = None
        while (line := self._next()) != end:
            if more is False:
                raise self._bad(f"{end} is expected")
            more = line.endswith(",")
            text = line[:-1] if more else line
            yield self.reading(lambda text=text: read(Fields(json.loads(text), "this")))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        if more:
            raise self._bad("an entry is missing after the comma")

    def reading(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except (BadEvent, BadName, ValueError, OverflowError, RecursionError) as error:
            raise self._bad(str(error)) from None

    def _next(self) -> str:
        line = next(self._lines, "")
        self._hash.update(line.encode())
        self._number += 1
        if not line.endswith("\n"):
            raise self._bad("the file ends in the middle")
        return line[:-1]

    def _bad(self, what: str) -> BadInput:
        return BadInput(
            [Problem(self._file, self._number, 0, what)],
            what=f"{self._file} is no cleanup plan that this imagectl can read",
            hint="`imagectl cleanup plan --out FILE` makes a new one",
        )


def _read_head(
    fields: Fields,
    entries: Iterable[Entry],
    unknown: tuple[Unknown, ...],
    unfinished: tuple[Tombstone, ...],
) -> CleanupPlan:
    plan = CleanupPlan(
        catalog_id=fields.text("catalog"),
        generation=fields.whole("generation"),
        made=fields.time("made"),
        expires=fields.time("expires"),
        author=fields.text("author"),
        scope=Scope(
            fields.names("images", parse_image_name),
            fields.names("locations", parse_location_name),
            _read_flag(fields, "narrowed"),
        ),
        sights=tuple(map(_read_sight, fields.each("sights"))),
        entries=entries,
        unknown=unknown,
        unfinished=unfinished,
        resolved=fields.whole("resolved"),
        receipts=fields.text("receipts"),
    )
    fields.done()
    for at in (plan.made, plan.expires):
        if at.tzinfo is None:
            raise ValueError(f"the time {at} has no zone")
    return plan


def _read_flag(fields: Fields, key: str) -> bool:
    value = fields.take(key)
    if not isinstance(value, bool):
        raise ValueError(f"{key} is neither true nor false")
    return value


def _read_sight(fields: Fields) -> Sight:
    sight = Sight(
        location=fields.named("location", parse_location_name),
        scope=fields.text("scope"),
        digest=fields.named("digest", parse_sha256),
        expected=fields.whole("expected"),
        seen=fields.whole("seen"),
        found=fields.whole("found"),
        requests=fields.whole("requests"),
        at=fields.time("at"),
    )
    fields.done()
    return sight


def _read_entry(fields: Fields) -> Entry:
    to = fields.take("to")
    entry = Entry(
        version=fields.named("version", _parse_ref),
        stage=fields.word("stage", Stage),
        to=None if to is None else Stage(to),
        reasons=tuple(map(_read_reason, fields.each("reasons"))),
        placed=tuple(map(_read_kept, fields.each("placed"))),
        missing=tuple(map(_read_kept, fields.each("missing"))),
    )
    fields.done()
    return entry


def _parse_ref(text: str) -> VersionRef:
    ref = parse_image_ref(text)
    if ref.version is None:
        raise BadName(f"{text!r} names no version")
    return VersionRef(ref.image, ref.version)


def _read_reason(fields: Fields) -> Reason:
    reason = Reason(fields.word("because", Because), fields.text("detail"))
    fields.done()
    return reason


def _read_kept(fields: Fields) -> Kept:
    kept = Kept(_location(fields), fields.text("provider_id"), fields.named("sha256", parse_sha256))
    fields.done()
    return kept


def _read_unknown(fields: Fields) -> Unknown:
    size, created = fields.take("size"), fields.take("created")
    if size is not None and (not isinstance(size, int) or size < 0):
        raise ValueError("size is not a whole number")
    unknown = Unknown(
        location=_location(fields),
        provider_id=fields.text("provider_id"),
        name=fields.text("name"),
        why=fields.text("why"),
        size=size,
        created=None if created is None else datetime.fromisoformat(str(created)),
    )
    fields.done()
    return unknown


def _location(fields: Fields) -> LocationName:
    return fields.named("location", parse_location_name)


def _read_tombstone(fields: Fields) -> Tombstone:
    tombstone = Tombstone(
        placement=read_placement(fields.inner("placement")),
        at=fields.time("at"),
        by=fields.text("by"),
        reason=fields.text("reason"),
    )
    fields.done()
    return tombstone


def _read_signature(fields: Fields) -> Signature:
    signature = Signature(
        role=fields.word("role", Role),
        by=fields.text("by"),
        key=fields.text("key"),
        at=fields.time("at"),
        value=fields.text("value"),
    )
    fields.done()
    return signature
