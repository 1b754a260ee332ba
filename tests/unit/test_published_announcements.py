"""``announcements.json``: what consumers are shown of what is announced."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import BASE, BETA, CI, NOW, announce, change, deprecate, move, place, record
from support.strategies import channel_names, image_names, image_refs, texts, times, version_ids

from imagectl.errors import CannotTell, Corrupt
from imagectl.formats.published_v1.announcements import parse_announcements, render_announcements
from imagectl.formats.tuf_roles import ANNOUNCEMENTS_TARGET, CATALOG_ROLE, role_of
from imagectl.model.announcement import (
    AnnouncedDeprecation,
    AnnouncedMove,
    Announcement,
    Brownout,
    announced_key,
)
from imagectl.model.change import Change, Operation
from imagectl.model.excerpt import Excerpt, excerpt_of
from imagectl.model.fold import apply_change
from imagectl.model.snapshot import Snapshot
from imagectl.testing.published import MemoryPublisher

ONE, TWO = "debian-ci@20261120.1", "debian-base@20261120.1"
_announcements: st.SearchStrategy[Announcement] = st.one_of(
    st.builds(
        AnnouncedMove, image_names, channel_names, version_ids, times, times, st.just(""), texts
    ),
    st.builds(
        AnnouncedDeprecation,
        image_refs,
        times,
        st.none() | image_refs,
        st.lists(st.builds(Brownout, times, times), max_size=2).map(tuple),
        times,
        st.just(""),
        texts,
    ),
)


def after(*operations: Operation, start: Snapshot | None = None) -> Snapshot:
    if start is None:
        first = [each for text in (ONE, TWO) for each in (record(text), place(text))]
        moves = (move(CI, BETA, "20261120.1"), move(BASE, BETA, "20261120.1"))
        start = apply_change(Snapshot("id", 0), change("k", 0, *first, *moves))
    return apply_change(start, made_on(start, *operations))


def made_on(start: Snapshot, *operations: Operation) -> Change:
    return change(f"k{start.generation}", start.generation, *operations)


def excerpt(start: Snapshot, *operations: Operation) -> Excerpt:
    """What these change."""
    made = made_on(start, *operations)
    return excerpt_of(apply_change(start, made), start.generation, [made])


@given(st.lists(_announcements, max_size=4, unique_by=announced_key))
def test_what_is_written_is_read_back(said: list[Announcement]) -> None:
    data = render_announcements(said)
    assert Counter(parse_announcements(data, "here")) == Counter(said)
    assert data == render_announcements(reversed(said))


def test_the_document_is_signed_with_the_catalogs_own_key() -> None:
    assert role_of(ANNOUNCEMENTS_TARGET, ()) == CATALOG_ROLE


def test_what_is_announced_is_published_without_who() -> None:
    snapshot = after(announce(ONE), deprecate("debian-base", successor="debian-ci:beta"))
    publisher = MemoryPublisher()
    publisher.publish(snapshot)
    told = publisher.tree().announcements()
    assert [each.due for each in told] == sorted(each.due for each in told)
    known = [each for of_image in snapshot.announced.values() for each in of_image]
    assert {replace(each, by="") for each in known} == set(told)
    assert all(b"alice" not in data for path, data in publisher.files.items() if "announ" in path)


def test_a_part_of_the_catalog_changes_a_part_of_it() -> None:
    first = after(announce(ONE), deprecate("debian-base", successor="debian-ci:beta"))
    publisher = MemoryPublisher()
    publisher.publish(first)
    both = (move(CI, BETA, "20261120.1"), announce(ONE, days=9))
    second = after(*both, start=first)
    publisher.publish(excerpt(first, *both))
    told = {str(each.of): each for each in publisher.tree().announcements()}
    assert sorted(told) == ["debian-base", "debian-ci:stable"]
    coming = second.coming(CI, told["debian-ci:stable"].of.channel or BETA)
    assert coming is not None
    assert told["debian-ci:stable"].due == coming.due


def test_where_nothing_is_announced_there_is_no_document() -> None:
    publisher = MemoryPublisher()
    publisher.publish(first := after(announce(ONE)))
    assert ANNOUNCEMENTS_TARGET in publisher.targets
    publisher.publish(excerpt(first, move(CI, announce(ONE).channel, "20261120.1")))
    assert ANNOUNCEMENTS_TARGET not in publisher.targets
    assert publisher.tree().announcements() == ()


def test_a_kind_that_is_not_known_is_left_out() -> None:
    content = json.loads(render_announcements(after(announce(ONE)).announced[CI]))
    content["announcements"].append({"kind": "eclipse", "due": NOW.isoformat()})
    assert len(parse_announcements(json.dumps(content).encode(), "here")) == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [("due", "soon"), ("due", "2026-11-20T12:00:00"), ("image", "A b"), ("reason", 1), ("to", "x")],
)
def test_what_is_not_as_it_has_to_be_is_corrupt(key: str, value: object) -> None:
    content = json.loads(render_announcements(after(announce(ONE)).announced[CI]))
    content["announcements"][0][key] = value
    with pytest.raises(Corrupt, match=r"tree/announcements\.json"):
        parse_announcements(json.dumps(content).encode(), "tree/announcements.json")


@pytest.mark.parametrize("data", [b"", b"[]", b'{"format":"imagectl-published-1"}', b"[" * 9999])
def test_what_is_no_document_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt):
        parse_announcements(data, "here")
    with pytest.raises(CannotTell):
        parse_announcements(b'{"format":"imagectl-published-9"}', "here")
