"""``history/events.json``: the events of the catalog, where a tree is told to carry them.

Promises: whoever has all of it can make the catalog again, byte for byte; one event more makes one
small document anew. There are ``SEGMENT`` events at most in a document. The target has the newest
ones and names the document before it by its digest, and so each in turn: what is signed for one is
signed for all. Events are the very lines that are hashed (``formats.events``).

An event says who did what, when and why. That is more than consumers need.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from imagectl.errors import CannotTell
from imagectl.formats.event_parts import BadEvent, NewerEvent
from imagectl.formats.events import parse_event, text_hash
from imagectl.formats.published_v1.json_text import encoded, number, parsed, text
from imagectl.formats.published_v1.layout import FORMAT
from imagectl.formats.published_v1.writing import Documents
from imagectl.formats.tuf_roles import HISTORY_TARGET, history_path
from imagectl.model.event import GENESIS, Event
from imagectl.model.names import Sha256, parse_sha256
from imagectl.model.published import PublishedCatalog

SEGMENT = 64
"""How many events a document has at most. An event has 0.5 to 3 kB."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """The document of the events before: its digest, and its size in bytes."""

    sha256: Sha256
    size: int


@dataclass(frozen=True, slots=True)
class Segment:
    """Events in a row, as their texts; the number of the first, and where those before it are."""

    catalog_id: str
    first: int
    earlier: Earlier | None
    texts: tuple[str, ...]

    @property
    def last(self) -> int:
        """The generation that the last of them made; that before the first where there is none."""
        return self.first + len(self.texts) - 1

    @property
    def hash(self) -> Sha256:
        """The hash of the last of them."""
        return text_hash(self.texts[-1]) if self.texts else GENESIS


def with_history(
    documents: Documents, catalog_id: str, before: Segment | None, texts: Iterable[str]
) -> Documents:
    """*documents*, and the history that has *texts* after what is in *before*, or from the start.

    Segments begin at the same events each time, so the same history has the same bytes.
    """
    segment = before if before is not None else Segment(catalog_id, 1, None, ())
    full: dict[str, bytes] = {}
    held = list(segment.texts)
    for each in texts:
        if len(held) == SEGMENT:
            data = _render(replace(segment, texts=tuple(held)))
            digest = Sha256(hashlib.sha256(data).hexdigest())
            full[history_path(digest)] = data
            segment = Segment(catalog_id, segment.first + SEGMENT, Earlier(digest, len(data)), ())
            held = []
        held.append(each)
    newest = _render(replace(segment, texts=tuple(held)))
    return replace(
        documents,
        targets={**documents.targets, HISTORY_TARGET: newest},
        versions={**documents.versions, **full},
    )


def parse_segment(data: bytes, where: str) -> Segment:
    """One document of the history; *where*: the file, for messages. Its events are not looked into.

    Raises Corrupt, and CannotTell for another format.
    """

    def build(content: Mapping[str, Any]) -> Segment:
        earlier = content["earlier"]
        found = Segment(
            text(content["catalog"]),
            number(content["first"]),
            None
            if earlier is None
            else Earlier(parse_sha256(text(earlier["sha256"])), number(earlier["size"])),
            tuple(text(each) for each in content["events"]),
        )
        if (found.first == 1) != (found.earlier is None) or found.first < 1:
            raise ValueError(f"what comes before event {found.first} is not said")
        return found

    return parsed(data, where, build)


def read_events(
    newest: Segment, shown: PublishedCatalog, where: str, fetch: Callable[[Earlier], Segment]
) -> tuple[Event, ...]:
    """Every event of the catalog that a tree at *where* shows, oldest first, followed from hash to
    hash (P7). *fetch* gives the documents before the *newest*.

    Raises CannotTell where one is missing, where they are another catalog's, or end elsewhere than
    at the event that the tree shows.
    """
    segments = [newest]
    while (earlier := segments[-1].earlier) is not None:
        segments.append(fetch(earlier))
        if segments[-1].last + 1 != segments[-2].first:
            raise _incomplete(where, f"what comes before event {segments[-2].first} is missing")
    events: list[Event] = []
    previous = GENESIS
    for segment in reversed(segments):
        if segment.catalog_id != shown.catalog_id:
            raise CannotTell(
                "that is the history of another catalog",
                where=where,
                why=f"it is of catalog {segment.catalog_id}, and shown is {shown.catalog_id}",
                hint="name another copy of the published tree",
            )
        for each in segment.texts:
            event = _event(each, len(events) + 1, previous, where)
            previous = event.hash
            events.append(event)
    if len(events) != shown.generation or previous != (shown.event or GENESIS):
        raise _incomplete(
            where,
            f"it ends with event {len(events)} ({previous[:12]}), and shown is generation "
            f"{shown.generation} ({(shown.event or GENESIS)[:12]})",
        )
    return tuple(events)


def _event(line: str, generation: int, previous: Sha256, where: str) -> Event:
    try:
        event = parse_event(line, text_hash(line))
    except NewerEvent as error:
        raise CannotTell(
            f"event {generation}: {error}",
            where=where,
            hint="a newer imagectl has written it: install that one",
        ) from None
    except BadEvent as error:
        raise _incomplete(where, f"event {generation} cannot be read: {error}") from None
    if (event.generation, event.previous) != (generation, previous):
        raise _incomplete(where, f"event {generation} does not follow from the one before")
    return event


def _incomplete(where: str, why: str) -> CannotTell:
    return CannotTell(
        "the published history is not whole",
        where=where,
        why=why,
        hint="name another copy of the published tree",
    )


def _render(segment: Segment) -> bytes:
    earlier = segment.earlier
    return encoded(
        {
            "format": FORMAT,
            "catalog": segment.catalog_id,
            "first": segment.first,
            "earlier": None
            if earlier is None
            else {"sha256": earlier.sha256, "size": earlier.size},
            "events": list[str](segment.texts),
        }
    )


def following(
    before: Segment | None, events: Iterable[tuple[Event, str]], upto: int, event: Sha256 | None
) -> Sequence[str] | None:
    """The texts of the *events* that follow *before* up to generation *upto*, which that *event*
    made; None where they do not lead there."""
    generation, previous = (0, GENESIS) if before is None else (before.last, before.hash)
    texts: list[str] = []
    for each, line in events:
        if each.generation > upto:
            break
        if (each.generation, each.previous) != (generation + 1, previous):
            return None
        generation, previous = each.generation, each.hash
        texts.append(line)
    return texts if (generation, previous) == (upto, event or GENESIS) else None
