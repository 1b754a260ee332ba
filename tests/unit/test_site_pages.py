"""What the site says: escaped, deterministic, whole, and honest about what is not known."""

from __future__ import annotations

import json
import posixpath
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support.examples import NOW, STABLE, digest, ref
from support.gallery import HOSTILE, gallery
from support.insides import lose

from imagectl.bootstrap.project import Project
from imagectl.bootstrap.site import site_sources
from imagectl.errors import CannotTell
from imagectl.model.names import ImageName
from imagectl.services.measure import Outcome
from imagectl.site import paths
from imagectl.site.badges import COLOURS, badge
from imagectl.site.looking import Looking
from imagectl.site.pages import files
from imagectl.site.sources import Kept, Page, Sources, Tree
from imagectl.site.status import State, judge, limits

BASE_URL = "https://images.example/vm/"
ATOM = "{http://www.w3.org/2005/Atom}"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = gallery(tmp_path_factory.mktemp("gallery") / "project")
    yield made
    made.close()


@pytest.fixture
def sources(project: Project) -> Sources:
    return site_sources(project, "VM images", BASE_URL)


def written(sources: Sources) -> dict[str, bytes]:
    return {each.path: each.content for each in files(sources) if isinstance(each, Page)}


@pytest.fixture
def site(sources: Sources) -> Mapping[str, bytes]:
    return written(sources)


def text(site: Mapping[str, bytes], path: str) -> str:
    return site[path].decode()


class Tags(HTMLParser):
    """The elements of a page, with their attributes, and the words between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.words += " " if tag in ("dd", "th", "td", "p") else ""
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


def said(page: str) -> str:
    return " ".join(Tags(page).words.split())


def test_same_facts_same_bytes(project: Project, sources: Sources) -> None:
    shuffled = replace(
        sources.snapshot,
        versions=dict(reversed(list(sources.snapshot.versions.items()))),
        channels=dict(reversed(list(sources.snapshot.channels.items()))),
        placements=dict(reversed(list(sources.snapshot.placements.items()))),
    )
    again = replace(sources, snapshot=shuffled)
    assert list(files(sources)) == list(files(again))


def test_a_day_later_only_what_speaks_of_now_is_another(sources: Sources) -> None:
    today, tomorrow = (written(replace(sources, now=NOW + timedelta(days=n))) for n in (0, 1))
    changed = {path for path in today if today[path] != tomorrow[path]}
    timelines = {path for path in today if b'class="timeline"' in today[path]}
    assert changed <= timelines | {"status.html", "index.html"}
    assert not {path for path in changed if "/versions/" in path or "/changes/" in path}


def test_what_somebody_typed_is_text(site: Mapping[str, bytes]) -> None:
    pages = [path for path in site if path.endswith(".html")]
    hostile = [path for path in pages if "alert(1)" in text(site, path)]
    assert len(hostile) > 5
    for path in pages:
        page = text(site, path)
        scripts = [attributes for tag, attributes in Tags(page).found if tag == "script"]
        assert scripts == [{"src": f"{paths.up(path)}site.js", "defer": None}]
        assert not {tag for tag, _ in Tags(page).found} & {"b", "style", "iframe"}
        assert "\x1b" not in page
        assert "\u202e" not in page
    assert "\\x202eevil" in text(site, "releases.html"), "it is shown, not left out"
    assert HOSTILE.partition(" ")[0] in said(text(site, "releases.html"))


def test_every_page_forbids_what_it_does_not_need(site: Mapping[str, bytes]) -> None:
    for path in site:
        if not path.endswith(".html"):
            continue
        tags = Tags(text(site, path)).found
        rules = [
            a["content"] for tag, a in tags if a.get("http-equiv") == "Content-Security-Policy"
        ]
        assert len(rules) == 1, path
        assert "default-src 'none'" in (rules[0] or "")
        assert "unsafe" not in (rules[0] or "")
        for tag, attributes in tags:
            assert "style" not in attributes, f"{path}: {tag}"
            assert not [name for name in attributes if name.startswith("on")], f"{path}: {tag}"


def test_links_lead_to_pages_of_the_site(sources: Sources) -> None:
    everything = {each.path for each in files(sources)}
    for path, content in written(sources).items():
        if not path.endswith(".html"):
            continue
        for tag, attributes in Tags(content.decode()).found:
            link = attributes.get("href") or attributes.get("src")
            if link and not link.startswith("#"):
                normal = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
                assert normal in everything, f"{path}: {tag} {link}"


def test_what_is_not_known_is_said_to_be_unknown(site: Mapping[str, bytes]) -> None:
    page = said(text(site, "images/debian-ci/versions/20261001.1.html"))
    assert "What is in it is unknown: it was recorded by an imagectl that did not" in page
    assert "unknown: it was recorded before locks existed" in page
    changes = said(text(site, "images/debian-ci/changes/20261001.1-20261010.1.html"))
    assert "What changed is unknown: debian-ci@20261001.1: it was recorded by" in changes


def test_without_security_data_vulnerabilities_are_unknown(sources: Sources) -> None:
    def nothing(suite: str) -> None:
        raise CannotTell(f"no data about {suite}")

    site = written(replace(sources, security=nothing))  # type: ignore[arg-type]  # never returns
    assert "unknown no data about bookworm" in said(
        text(site, "images/debian-ci/versions/20261029.1.html")
    )
    assert "Which ones it fixes is unknown" in said(
        text(site, "images/debian-ci/channels/stable.next.html")
    )
    page = said(text(site, "images/debian-ci/index.html"))
    assert "20261029.1 2026-11-02 2026-10-30 unknown" in page


def test_documents_are_there_for_what_channels_need(sources: Sources) -> None:
    kept = [each for each in files(sources) if isinstance(each, Kept)]
    live = ["debian-base@20261001.1", "debian-base@20261110.1", "debian-ci@20261117.1"]
    live += ["debian-ci@20261029.1", "debian-ci@20261010.1"]
    insides = [sources.snapshot.versions[ref(each)].inside for each in live]
    wanted = {
        sha256
        for each in insides
        if each
        for sha256 in (each.spdx, each.cyclonedx, each.provenance)
    }
    assert {each.sha256 for each in kept} == wanted
    assert len(wanted) == 15


def test_a_document_that_is_gone_is_not_linked(tmp_path: Path) -> None:
    project = gallery(tmp_path / "project")
    inside = project.catalog.snapshot().versions[ref("debian-ci@20261029.1")].inside
    assert inside is not None
    lose(project, inside.spdx)
    sources = site_sources(project, "VM images", "")
    page = text(written(sources), "images/debian-ci/versions/20261029.1.html")
    project.close()
    assert inside.spdx in page
    assert f"{inside.spdx}.spdx.json" not in page
    assert f"{inside.cyclonedx}.cyclonedx.json" in page


def test_what_changes_when_beta_becomes_stable(site: Mapping[str, bytes]) -> None:
    page = said(text(site, "images/debian-ci/channels/stable.next.html"))
    assert "Now 20261029.1" in page
    assert "Then 20261117.1, in beta since" in page
    assert "When not before 2026-11-21 19:12 UTC (5 d in beta are asked for)" in page
    assert "1 fixed, 0 new." in page
    assert "openssl 3.0.15-1 3.0.16-1 upgraded" in page
    assert "/usr/bin 4 changed" in page
    nothing = said(text(site, "images/debian-base/channels/stable.next.html"))
    assert "has 20261110.1, and stable has it too" in nothing


def test_what_holds_a_promotion_back_is_told(sources: Sources) -> None:
    """P6: the page asks the same rules as ``imagectl promote``."""
    lost = {
        each: its
        for each, its in sources.snapshot.placements.items()
        if each != ref("debian-ci@20261117.1")
    }
    now = replace(sources, snapshot=replace(sources.snapshot, placements=lost))
    page = said(text(written(now), "images/debian-ci/channels/stable.next.html"))
    assert "When held back" in page
    assert "20261117.1 is not in local" in page.partition("Held back:")[2]


def test_an_empty_catalog_has_a_site(sources: Sources) -> None:
    empty = replace(
        sources.snapshot, versions={}, channels={}, placements={}, revoked={}, stages={}
    )
    site = written(replace(sources, snapshot=empty, events=()))
    first = said(text(site, "index.html"))
    assert "There is no version of any image yet. imagectl build makes the first." in first
    assert "Latest releases" not in first
    assert ET.fromstring(site["feed.atom"]).findall(f"{ATOM}entry") == []


# Feeds


def feeds(site: Mapping[str, bytes], suffix: str) -> dict[str, bytes]:
    return {path: content for path, content in site.items() if path.endswith(suffix)}


def test_atom_feeds_are_valid(site: Mapping[str, bytes]) -> None:
    found = feeds(site, ".atom")
    assert len(found) == 1 + 2 + 4
    for path, content in found.items():
        feed = ET.fromstring(content)
        assert feed.tag == f"{ATOM}feed"
        check_atom(feed)
        links = {each.get("rel"): each.get("href") for each in feed.findall(f"{ATOM}link")}
        assert links["self"] == BASE_URL + path
        entries = feed.findall(f"{ATOM}entry")
        assert entries, path
        times = []
        for entry in entries:
            check_atom(entry)
            (link,) = entry.findall(f"{ATOM}link")
            assert (link.get("href") or "").removeprefix(BASE_URL) in site
            times.append(moment(entry))
        assert times == sorted(times, reverse=True)
        assert moment(feed) == times[0]
        names = [each.findtext(f"{ATOM}id") for each in entries]
        assert len(set(names)) == len(names)


def check_atom(element: ET.Element) -> None:
    """RFC 4287, 4.1.1 and 4.1.2: exactly one each, and an absolute identifier."""
    for name in ("id", "title", "updated"):
        (found,) = element.findall(f"{ATOM}{name}")
        assert found.text
    assert re.match(r"urn:imagectl:[0-9a-f-]{36}:\S+\Z", element.findtext(f"{ATOM}id") or "")
    assert element.findtext(f"{ATOM}author/{ATOM}name")


def moment(element: ET.Element) -> datetime:
    return datetime.fromisoformat(element.findtext(f"{ATOM}updated") or "")


def test_hostile_words_survive_in_feeds(site: Mapping[str, bytes]) -> None:
    feed = ET.fromstring(site["feed.atom"])
    contents = [each.text or "" for each in feed.iter(f"{ATOM}content")]
    assert any('<script>alert(1)</script> & "quotes" ]]>' in each for each in contents)
    assert any("\\x1b[31m" in each for each in contents)


def test_feeds_tell_a_rollback_in_words(site: Mapping[str, bytes]) -> None:
    feed = ET.fromstring(site["images/debian-ci/channels/stable.atom"])
    (told,) = [
        (each.findtext(f"{ATOM}title"), each.findtext(f"{ATOM}content"))
        for each in feed.findall(f"{ATOM}entry")
        if each.find(f"{ATOM}category[@term='rollback']") is not None
    ]
    assert told == (
        "debian-ci stable: rolled back to 20261010.1",
        "debian-ci:stable went from 20261019.1 to 20261010.1. Reason: git clone fails behind our"
        " proxy",
    )


def test_json_feeds_are_valid(site: Mapping[str, bytes]) -> None:
    found = feeds(site, ".json")
    assert len(found) == 1 + 2 + 4
    for path, content in found.items():
        feed = json.loads(content)
        assert feed["version"] == "https://jsonfeed.org/version/1.1"
        assert feed["title"]
        assert feed["feed_url"] == BASE_URL + path
        assert feed["home_page_url"].removeprefix(BASE_URL) in site
        names = [each["id"] for each in feed["items"]]
        assert names
        assert len(set(names)) == len(names)
        for item in feed["items"]:
            assert item["content_text"]
            assert item["url"].removeprefix(BASE_URL) in site
            assert datetime.fromisoformat(item["date_published"]).tzinfo is not None
            assert item["authors"] == [{"name": "ana@build1"}]


def test_where_the_site_will_be_is_not_known(sources: Sources) -> None:
    """Then no address is made up: JSON Feed has none, and Atom's are relative."""
    site = written(replace(sources, base_url=""))
    feed = json.loads(site["images/debian-ci/channels/stable.json"])
    assert "feed_url" not in feed
    assert "url" not in feed["items"][0]
    atom = ET.fromstring(site["images/debian-ci/channels/stable.atom"])
    links = {each.get("rel"): each.get("href") for each in atom.findall(f"{ATOM}link")}
    assert links["alternate"] == "../../../images/debian-ci/channels/stable.html"


def test_identifiers_do_not_depend_on_the_address(sources: Sources) -> None:
    one, other = (written(replace(sources, base_url=url)) for url in ("", BASE_URL))
    names = [re.findall(rb"<id>.*</id>", each["feed.atom"]) for each in (one, other)]
    assert names[0] == names[1]


# Badges


def test_a_badge_says_what_a_channel_points_to(site: Mapping[str, bytes]) -> None:
    svg = ET.fromstring(site["images/debian-ci/channels/stable.svg"])
    assert svg.get("aria-label") == "debian-ci stable: 20261029.1"
    assert [each.text for each in svg.iter("{http://www.w3.org/2000/svg}text")] == [
        "debian-ci stable",
        "20261029.1",
    ]


@pytest.mark.parametrize("state", COLOURS)
def test_badges_can_be_read(state: str) -> None:
    """White on it: WCAG AA asks for 4.5."""
    channels = [int(COLOURS[state][at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    assert 1.05 / (luminance + 0.05) >= 4.5


def test_badges_escape(site: Mapping[str, bytes]) -> None:
    svg = ET.fromstring(badge("<a&b>", '"\x00\x1b', "none"))
    assert svg.get("aria-label") == '<a&b>: "\\x00\\x1b'


# Status


def states(sources: Sources) -> dict[str, State]:
    looking = Looking(sources)
    looking.vulnerabilities(sources.snapshot.versions[ref("debian-ci@20261029.1")])
    return {each.what: each.state for each in judge(sources, looking).checks}


VERIFIED = "channels and ways back looked at live"


def test_what_was_never_looked_at_is_unknown(sources: Sources) -> None:
    assert states(replace(sources, outcomes={}))[VERIFIED] is State.UNKNOWN
    assert states(replace(sources, outcomes=None))[VERIFIED] is State.UNKNOWN


def test_unknown_is_not_well(sources: Sources) -> None:
    """P8: a site of which one thing is not known does not say that all is well."""
    signed = {"timestamp": NOW + timedelta(days=14)}
    shown = [Tree("catalog/public", sources.snapshot.generation, signatures=signed)]
    good = {("verify", ""): Outcome(last_success=NOW)}
    fine = replace(sources, outcomes=good, trees=shown)
    assert judge(fine, Looking(fine)).state is State.OK
    less = replace(fine, outcomes={})
    assert judge(less, Looking(less)).state is State.UNKNOWN
    assert "Not everything is known" in said(text(written(less), "index.html"))


@pytest.mark.parametrize(
    ("age", "expected"),
    [(0, State.OK), (23, State.OK), (24, State.WARNING), (71, State.WARNING), (72, State.ALARM)],
)
def test_age_raises_alarms(sources: Sources, age: int, expected: State) -> None:
    outcome = Outcome(last_success=NOW - timedelta(hours=age))
    assert states(replace(sources, outcomes={("verify", ""): outcome}))[VERIFIED] is expected


@pytest.mark.parametrize(
    ("days", "expected"),
    [(0, State.OK), (10, State.WARNING), (45, State.ALARM)],
)
def test_old_images_raise_alarms(sources: Sources, days: int, expected: State) -> None:
    later = replace(sources, now=NOW + timedelta(days=days))
    assert states(later)["debian-ci:stable"] is expected


def test_trees_are_judged_by_what_they_show(sources: Sources) -> None:
    ours = sources.snapshot.generation
    trees = [
        Tree("same", ours),
        Tree("behind", ours - 1),
        Tree("ahead", ours + 1),
        Tree("none", None),
        Tree("lost", None, CannotTell("the folder cannot be read")),
    ]
    found = states(replace(sources, trees=trees))
    assert [found[f"published catalog {each.name}"] for each in trees] == [
        State.OK,
        State.ALARM,
        State.ALARM,
        State.WARNING,
        State.UNKNOWN,
    ]


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        (14 * 24, State.OK),
        (6 * 24 + 1, State.OK),
        (6 * 24, State.WARNING),
        (5 * 24 + 1, State.WARNING),
        (5 * 24, State.ALARM),
        (-1, State.ALARM),
    ],
)
def test_signatures_that_soon_are_over_raise_alarms(
    sources: Sources, hours: int, expected: State
) -> None:
    """The one that is over first counts."""
    until = {"root": NOW + timedelta(days=300), "timestamp": NOW + timedelta(hours=hours)}
    now = replace(sources, trees=[Tree("public", sources.snapshot.generation, signatures=until)])
    assert states(now)["signatures of public"] is expected
    page = said(text(written(now), "status.html"))
    assert ("over since" if hours < 0 else "hold until") in page.partition("of public")[2]
    assert "warning with 6 d left, alarm with 5 d" in page


def test_signatures_go_on_ageing_on_a_page_that_nobody_makes_anew(sources: Sources) -> None:
    until = {"timestamp": NOW + timedelta(days=10)}
    now = replace(sources, trees=[Tree("public", sources.snapshot.generation, signatures=until)])
    (check,) = (c for c in judge(now, Looking(now)).checks if c.what == "signatures of public")
    assert check.ages == (NOW + timedelta(days=4), timedelta(0), timedelta(days=1))


def test_signatures_that_nobody_could_read_are_unknown(sources: Sources) -> None:
    """P8."""
    ours = sources.snapshot.generation
    lost = CannotTell("a file is missing")
    trees = [
        Tree("empty", None),
        Tree("unseen", ours),
        Tree("broken", ours, signatures=lost),
        Tree("lost", None, lost),
    ]
    found = states(replace(sources, trees=trees))
    assert "signatures of empty" not in found, "nothing is published there"
    for name in ("unseen", "broken", "lost"):
        assert found[f"signatures of {name}"] is State.UNKNOWN


def test_a_channel_of_a_revoked_version_is_an_alarm(sources: Sources) -> None:
    bad = next(iter(sources.snapshot.revoked.values()))
    head = ref("debian-ci@20261029.1")
    revoked = replace(sources.snapshot, revoked={head: replace(bad, version=head)})
    now = replace(sources, snapshot=revoked)
    assert states(now)["debian-ci:stable"] is State.ALARM
    svg = written(now)["images/debian-ci/channels/stable.svg"]
    assert b"20261029.1 revoked" in svg
    assert COLOURS["bad"].encode() in svg


def test_a_channel_whose_version_is_not_where_it_has_to_be(sources: Sources) -> None:
    lost = {
        each: its
        for each, its in sources.snapshot.placements.items()
        if each != ref("debian-ci@20261029.1")
    }
    now = replace(sources, snapshot=replace(sources.snapshot, placements=lost))
    assert states(now)["debian-ci:stable"] is State.ALARM


def test_a_failed_build_is_a_warning(sources: Sources) -> None:
    failed = Outcome(last_success=NOW - timedelta(days=2), last_failure=NOW)
    found = states(replace(sources, outcomes={("build", "debian-ci"): failed}))
    assert found["builds of debian-ci"] is State.WARNING


def test_limits_are_told(sources: Sources) -> None:
    checks = judge(sources, Looking(sources)).checks
    told = {each.what: limits(each) for each in checks}
    assert (
        told["debian-ci:stable"]
        == "warning after 30\N{NO-BREAK SPACE}d, alarm after 60\N{NO-BREAK SPACE}d"
    )


# Search


def test_the_index_is_a_script_that_defines_one_value(site: Mapping[str, bytes]) -> None:
    script = text(site, "search.js")
    entries = json.loads(script.removeprefix("globalThis.imagectlIndex=").removesuffix(";\n"))
    assert all(page in site for _, page, _ in entries)
    titles = [title for title, _, _ in entries]
    assert "debian-ci" in titles
    assert "debian-ci stable" in titles
    assert "debian-ci@20261019.1" in titles
    assert "openssl 3.0.16-1" in titles
    assert "</" not in script


def test_names_are_paths_without_quoting() -> None:
    assert paths.channel(ImageName("a-b"), STABLE) == "images/a-b/channels/stable.html"
    assert paths.up("images/a/b.html") == "../../"
    assert paths.document(digest("x"), "spdx").startswith(f"documents/{digest('x')[:2]}/")
