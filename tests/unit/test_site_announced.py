"""What is announced, on the site and in feeds: where people look, in words, while it stands."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support.examples import BETA, NOW, STABLE, ref
from support.gallery import HOSTILE, gallery

from imagectl.bootstrap.project import Project
from imagectl.bootstrap.site import site_sources
from imagectl.model.announcement import AnnouncedKind
from imagectl.model.change import (
    AnnounceDeprecation,
    AnnounceMove,
    Change,
    MoveChannel,
    Operation,
    RevokeVersion,
    StepVersion,
    WithdrawAnnouncement,
)
from imagectl.model.channel import MoveKind
from imagectl.model.event import GENESIS, Event
from imagectl.model.names import ImageRef, parse_image_ref
from imagectl.model.retention import Stage
from imagectl.site.entries import Entry, happened
from imagectl.site.pages import files
from imagectl.site.sources import Page, Sources

ATOM = "{http://www.w3.org/2005/Atom}"
CI = "images/debian-ci/"
BASE = "images/debian-base/"
TO = ref("debian-ci@20261117.1")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = gallery(tmp_path_factory.mktemp("gallery") / "project", announced=True)
    yield made
    made.close()


@pytest.fixture
def sources(project: Project) -> Sources:
    return site_sources(project, "VM images", "https://images.example/")


def written(sources: Sources) -> Mapping[str, bytes]:
    return {each.path: each.content for each in files(sources) if isinstance(each, Page)}


@pytest.fixture
def site(sources: Sources) -> Mapping[str, bytes]:
    return written(sources)


class Words(HTMLParser):
    """What a page says, and the elements that it has."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.words = ""
        self.tags: set[str] = set()
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.words += " "
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.words += data


def said(page: bytes) -> str:
    return " ".join(Words(page).words.split())


def coming(page: bytes) -> str:
    """The section of that name, as words; empty where there is none."""
    section = page.partition(b"<h2>Coming</h2>")[2].partition(b"</section>")[0]
    return said(section)


MOVE = "announced debian-ci:stable → to 20261117.1 on 2026-11-27 12:00 UTC put off:"
ENDS = (
    "announced debian-base is not supported from 2027-01-19 12:00 UTC on; go to debian-ci:stable "
    "Refused on purpose from 2027-01-17 12:00 UTC to 2027-01-17 14:24 UTC"
)
OLD = "announced debian-ci@20261010.1 is not supported from 2026-12-10 12:00 UTC on old OpenSSL"


def test_the_first_page_says_all_that_is_coming(site: Mapping[str, bytes]) -> None:
    section = coming(site["index.html"])
    assert MOVE in section
    assert ENDS in section
    assert OLD in section
    assert section.index("debian-ci:stable") < section.index("20261010.1") < section.index(ENDS)
    assert section.count("20261117.1") == 1, "what is announced does not also wait"
    assert "too few use it" not in section, "it was withdrawn"


def test_it_is_not_said_twice_on_a_page(site: Mapping[str, bytes]) -> None:
    for path, title in (("index.html", "Latest releases"), (CI + "index.html", "What happened")):
        lately = said(site[path]).partition(title)[2]
        assert "goes to" not in lately
        assert "debian-ci:beta stays supported" in lately
    everything = said(site["releases.html"])
    assert "debian-ci:stable goes to 20261117.1 on 2026-11-27 12:00 UTC" in everything


def test_a_version_says_at_its_top_what_is_coming_to_it(site: Mapping[str, bytes]) -> None:
    """Who has pinned it and looks it up sees the end of its support before all else."""

    def top(version: str) -> str:
        return said(site[version].partition(b"<dl")[0])

    ends = "Not supported from 2026-12-10 12:00 UTC on. old OpenSSL"
    assert ends in top(CI + "versions/20261010.1.html")
    assert "Not supported" not in top(CI + "versions/20261029.1.html")
    assert "Announced: stable goes to it on 2026-11-27 12:00 UTC. put off:" in top(
        CI + "versions/20261117.1.html"
    )
    of_the_image = "Not supported from 2027-01-19 12:00 UTC on; go to debian-ci:stable"
    for version in ("20261001.1", "20261110.1"):
        assert of_the_image in top(f"{BASE}versions/{version}.html")


def test_an_image_says_what_is_coming_to_it(site: Mapping[str, bytes]) -> None:
    assert MOVE in coming(site[CI + "index.html"])
    assert OLD in coming(site[CI + "index.html"])
    assert "debian-base" not in coming(site[CI + "index.html"])
    assert ENDS in coming(site[BASE + "index.html"])
    assert "announced for 2026-11-27 12:00 UTC" in said(site[CI + "index.html"])


def test_a_channel_says_what_its_consumers_should_know(site: Mapping[str, bytes]) -> None:
    stable = coming(site[CI + "channels/stable.html"])
    assert MOVE in stable
    assert "20261010.1" not in stable, "it does not point to that"
    assert coming(site[CI + "channels/beta.html"]) == ""
    for name in ("stable", "beta"):
        assert ENDS in coming(site[BASE + f"channels/{name}.html"])
    moves = said(site[CI + "channels/stable.html"]).partition("All moves")[2]
    assert "goes to" not in moves, "nothing has moved by it"


def test_what_changes_says_when_it_will(site: Mapping[str, bytes]) -> None:
    page = said(site[CI + "channels/stable.next.html"])
    assert "When announced for 2026-11-27 12:00 UTC" in page
    assert "Announced for 2026-11-27 12:00 UTC by ana@build1: put off:" in page
    assert "Held back" not in page, "the soak is over by then"


def test_when_the_time_has_come(sources: Sources) -> None:
    later = written(replace(sources, now=NOW + timedelta(days=8)))
    page = said(later[CI + "channels/stable.next.html"])
    assert "announced for 2026-11-27 12:00 UTC, at any time now" in page


def test_what_is_announced_changes_although_beta_has_gone_on(tmp_path: Path) -> None:
    """The page shows what consumers were told of, as ``promote`` does, and no other version."""
    made = gallery(tmp_path / "project", announced=True)
    older = ref("debian-ci@20261029.1")
    beta = MoveChannel(older.image, BETA, older.version, MoveKind.ROLLBACK)
    catalog = made.catalog
    based_on = catalog.snapshot(()).generation
    catalog.commit(Change("back", based_on, "ana", "test", "broken", NOW, (beta,)))
    site = written(site_sources(made, "VM images", ""))
    made.close()
    page = said(site[CI + "channels/stable.next.html"])
    assert "Then 20261117.1 When held back" in page
    assert "Announced for 2026-11-27" in page


def test_hostile_reasons_are_text(site: Mapping[str, bytes]) -> None:
    places = ["index.html", CI + "index.html", BASE + "index.html", BASE + "channels/beta.html"]
    places += [CI + "channels/stable.html", CI + "channels/stable.next.html", "releases.html"]
    for path in places:
        assert "<script>alert(1)</script>" in said(site[path]), path
        assert b"<script>alert" not in site[path]
        assert "\x1b" not in site[path].decode()
        assert "\u202e" not in site[path].decode()
        assert site[path].count(b"<script") == 1


def test_every_link_leads_somewhere(site: Mapping[str, bytes]) -> None:
    for path in ("index.html", "releases.html"):
        for link in re.findall(rb'<a [^>]*href="([^"#]+)"', site[path]):
            assert link.decode() in site, link


# Feeds


def items(site: Mapping[str, bytes], path: str) -> dict[str, dict[str, object]]:
    """Those of announcements, by title."""
    found = json.loads(site[path])["items"]
    kinds = ("announce-", "withdraw-")
    return {each["title"]: each for each in found if each["tags"][0].startswith(kinds)}


def test_each_announcement_is_one_entry(site: Mapping[str, bytes]) -> None:
    found = items(site, "feed.json")
    assert sorted(found) == [
        "debian-base is not supported from 2027-01-19 12:00 UTC on; go to debian-ci:stable; "
        "refused on purpose from 2027-01-17 12:00 UTC to 2027-01-17 14:24 UTC",
        "debian-ci:beta is not supported from 2026-12-20 12:00 UTC on",
        "debian-ci:beta stays supported",
        "debian-ci:stable goes to 20261117.1 on 2026-11-27 12:00 UTC",
        "debian-ci@20261010.1 is not supported from 2026-12-10 12:00 UTC on",
    ]
    put_off = found["debian-ci:stable goes to 20261117.1 on 2026-11-27 12:00 UTC"]
    assert str(put_off["date_published"]) < str(put_off["date_modified"])
    assert str(put_off["id"]).endswith(":17:debian-ci:stable:announce-move")
    assert HOSTILE.partition(" ")[0] in str(put_off["content_text"])
    assert put_off["url"] == "https://images.example/images/debian-ci/channels/stable.html"


def test_atom_says_the_same(site: Mapping[str, bytes]) -> None:
    entries = ET.fromstring(site["feed.atom"]).findall(f"{ATOM}entry")
    names = [each.findtext(f"{ATOM}id") or "" for each in entries]
    assert names == [each["id"] for each in json.loads(site["feed.json"])["items"]]
    assert len(set(names)) == len(names)
    (move,) = (each for each in entries if "goes to" in (each.findtext(f"{ATOM}title") or ""))
    assert move.findtext(f"{ATOM}published") != move.findtext(f"{ATOM}updated")
    times = [each.findtext(f"{ATOM}updated") or "" for each in entries]
    assert times == sorted(times, reverse=True)


def test_who_follows_a_channel_is_told_of_its_image(site: Mapping[str, bytes]) -> None:
    assert len(items(site, BASE + "channels/beta.json")) == 1
    assert len(items(site, CI + "channels/stable.json")) == 1
    assert len(items(site, CI + "channels/beta.json")) == 2
    assert len(items(site, CI + "feed.json")) == 4


def event(generation: int, operation: Operation) -> Event:
    at = NOW + timedelta(hours=generation)
    change = Change(f"k{generation}", generation - 1, "ana", "test", "why", at, (operation,))
    return Event(generation, change, GENESIS, GENESIS)


def announced(days: int = 7) -> Operation:
    return AnnounceMove(TO.image, STABLE, TO.version, NOW + timedelta(days=days))


def ended(days: int = 7) -> Operation:
    of = ImageRef(TO.image, version=TO.version)
    return AnnounceDeprecation(of, NOW + timedelta(days=days), None, ())


def of_kind(sources: Sources, kind: str, *operations: Operation) -> list[Entry]:
    events = [event(n, each) for n, each in enumerate(operations, 1)]
    empty = replace(sources.snapshot, channels={})
    return [each for each in happened(empty, events) if each.kind == kind]


def test_put_off_it_keeps_its_name(sources: Sources) -> None:
    (one,) = of_kind(sources, "announce-move", announced())
    (other,) = of_kind(sources, "announce-move", announced(), announced(9))
    assert one.key == other.key
    assert (one.at, one.published) == (other.published, other.published)
    assert other.at > one.at
    assert other.told != one.told


@pytest.mark.parametrize(
    "over",
    [
        WithdrawAnnouncement(ImageRef(TO.image, STABLE), AnnouncedKind.MOVE),
        MoveChannel(TO.image, STABLE, TO.version, MoveKind.PROMOTE),
        RevokeVersion(TO),
    ],
)
def test_after_a_move_is_over_the_next_one_is_another(sources: Sources, over: Operation) -> None:
    found = of_kind(sources, "announce-move", announced(), over, announced(9))
    assert len({each.key for each in found}) == 2


@pytest.mark.parametrize(
    "over",
    [
        WithdrawAnnouncement(ImageRef(TO.image, version=TO.version), AnnouncedKind.DEPRECATION),
        StepVersion(TO, Stage.DELETED),
    ],
)
def test_so_it_is_with_an_end_of_support(sources: Sources, over: Operation) -> None:
    found = of_kind(sources, "announce-deprecation", ended(), over, ended(9))
    assert len({each.key for each in found}) == 2


@pytest.mark.parametrize(
    "other",
    [
        MoveChannel(TO.image, BETA, TO.version, MoveKind.ENTRY),
        WithdrawAnnouncement(parse_image_ref("debian-base:stable"), AnnouncedKind.MOVE),
        WithdrawAnnouncement(ImageRef(TO.image, STABLE), AnnouncedKind.DEPRECATION),
        RevokeVersion(ref("debian-ci@20261029.1")),
        StepVersion(TO, Stage.OBSOLETE),
    ],
)
def test_what_is_about_something_else_ends_nothing(sources: Sources, other: Operation) -> None:
    assert len(of_kind(sources, "announce-move", announced(), other, announced(9))) == 1
    assert len(of_kind(sources, "announce-deprecation", ended(), other, ended(9))) == 1
