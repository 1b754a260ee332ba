"""A lost catalog, made again from the history that a published tree carries."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
from support.cli import Run
from support.examples import NOW, ref, version
from support.lost import NEW, OLD, WHO, Lost, about_to_be_lost, hold_and_unhold
from support.projects import new_project, release
from support.signed_trees import DirectoryPublisher, directory_publisher, directory_tree, signing

from imagectl.adapters.catalog_sql import SqlCatalog
from imagectl.bootstrap.project import open_project
from imagectl.errors import CannotTell, Corrupt, Failed, Refused
from imagectl.formats.events import as_written, event_text, make_event, parse_event, text_hash
from imagectl.formats.published_v1.history import (
    SEGMENT,
    Earlier,
    Segment,
    parse_segment,
    read_events,
)
from imagectl.formats.state_digest import state_digest
from imagectl.formats.tuf_roles import HISTORY_TARGET
from imagectl.model.change import Change, RecordVersion, UnholdVersion
from imagectl.model.event import GENESIS
from imagectl.model.published import PublishedCatalog
from imagectl.testing.catalog import MemoryCatalog

T = TypeVar("T")


@pytest.fixture
def lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imagectl: Run) -> Lost:
    made = about_to_be_lost(tmp_path / "images")
    monkeypatch.chdir(made.root)
    assert imagectl("catalog", "publish").exit_code == 0
    return made


def rebuild(imagectl: Run, *more: str) -> tuple[int, str]:
    result = imagectl("catalog", "rebuild", "--from", "catalog/public", *more)
    return result.exit_code, " ".join(result.stderr.split())


def test_a_lost_catalog_is_made_again(lost: Lost, imagectl: Run) -> None:
    before = json.loads(imagectl("catalog", "verify", "--json").stdout)
    assert len(before["state"]) == 64
    lost.lose()
    assert imagectl("catalog", "verify").exit_code == 5
    result = imagectl("catalog", "rebuild", "--from", "catalog/public", "--json")
    assert result.exit_code == 0, result.output
    made = json.loads(result.stdout)
    assert made["state"] == before["state"]
    assert made["generation"] == before["generation"]
    assert json.loads(imagectl("catalog", "verify", "--json").stdout) == before
    result = imagectl("promote", "stable")
    assert result.exit_code == 0, result.output
    after = json.loads(imagectl("catalog", "verify", "--json").stdout)
    assert after["sound"]
    assert after["state"] != before["state"]
    # What was published since is in the history, too.
    lost.lose()
    assert rebuild(imagectl)[0] == 0
    assert json.loads(imagectl("catalog", "verify", "--json").stdout) == after


def test_where_there_is_a_catalog_it_stays(lost: Lost, imagectl: Run) -> None:
    before = lost.database.read_bytes()
    code, said = rebuild(imagectl)
    assert code == 3
    assert "there is a catalog already" in said
    assert lost.database.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"no database at all " * 1000])
def test_in_place_of_a_catalog_that_is_damaged_another_can_be_made(
    lost: Lost, imagectl: Run, tmp_path: Path, content: bytes
) -> None:
    """Its error says how, as that of a missing one does."""
    before = imagectl("catalog", "verify", "--json").stdout
    lost.lose()
    lost.database.write_bytes(content)
    result = imagectl("list")
    assert result.exit_code == 5, result.output
    said = " ".join(result.stderr.split())
    assert "move it aside, and `imagectl catalog rebuild --from TREE`" in said
    assert rebuild(imagectl)[0] == 5, "it is nothing to write over"
    assert lost.database.read_bytes() == content
    lost.database.rename(tmp_path / "aside")
    assert rebuild(imagectl)[0] == 0
    assert imagectl("catalog", "verify", "--json").stdout == before


def test_what_is_left_of_a_catalog_is_not_mixed_with_another(lost: Lost, imagectl: Run) -> None:
    lost.lose()
    log = lost.database.with_name("catalog.sqlite3-wal")
    log.write_bytes(b"what was not in the file yet")
    code, said = rebuild(imagectl)
    assert code == 3
    assert "catalog.sqlite3-wal is there, without catalog.sqlite3" in said
    assert not lost.database.exists()


def test_what_a_killed_rebuild_left_is_filled(lost: Lost, imagectl: Run) -> None:
    with closing(open_project(lost.root)) as project:
        identity = project.catalog.snapshot(()).catalog_id
    before = imagectl("catalog", "verify", "--json").stdout
    lost.lose()
    SqlCatalog(f"sqlite:///{lost.database}", new_id=lambda: identity).close()
    assert rebuild(imagectl)[0] == 0
    assert imagectl("catalog", "verify", "--json").stdout == before


def test_a_catalog_that_has_events_is_not_filled(lost: Lost) -> None:
    """Also where somebody has made it since the rebuild has looked."""
    with closing(open_project(lost.root)) as project:
        before = project.catalog.snapshot()
        with pytest.raises(Refused, match="there is a catalog already"):
            project.catalog.restore(())
        assert project.catalog.snapshot() == before
        assert project.catalog.verify() == ()


def test_a_history_that_makes_no_sound_catalog_is_not_kept(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    hold_and_unhold(writer.catalog, 3)
    events = list(writer.catalog.events())
    broken = [*events[:3], make_event(4, events[3].change, GENESIS)]
    with pytest.raises(Failed, match="does not make a sound catalog"):
        SqlCatalog(f"sqlite:///{tmp_path / 'none'}", new_id=lambda: "x", events=broken)
    assert not list(tmp_path.glob("*none*")), "nothing is there that could be taken for one"
    with SqlCatalog(f"sqlite:///{tmp_path / 'new'}", new_id=lambda: "x") as catalog:
        with pytest.raises(Failed, match="does not make a sound catalog"):
            catalog.restore(broken)
        assert catalog.snapshot().generation == 0
        catalog.restore(events)
        assert catalog.verify() == ()


def test_an_empty_catalog_of_another_identity_stays(lost: Lost, imagectl: Run) -> None:
    lost.lose()
    SqlCatalog(f"sqlite:///{lost.database}", new_id=lambda: "another").close()
    code, said = rebuild(imagectl)
    assert code == 3
    assert "it is catalog another at generation 0" in said


def test_a_history_that_lacks_a_part_makes_nothing(lost: Lost, imagectl: Run) -> None:
    lost.lose()
    parts = sorted(lost.history.glob("sha256/*/*.json"))
    assert len(parts) == 2
    parts[0].unlink()
    code, said = rebuild(imagectl)
    assert code == 5
    assert parts[0].name in said
    assert not lost.database.exists()


def test_a_flipped_byte_of_the_history_is_named(lost: Lost, imagectl: Run) -> None:
    lost.lose()
    for part in [*lost.history.glob("sha256/*/*.json"), *newest(lost.history)]:
        data = part.read_bytes()
        part.write_bytes(data.replace(b"ana@build1", b"ana@build2", 1))
        code, said = rebuild(imagectl)
        assert code == 1
        assert part.name in said
        assert not lost.database.exists()
        part.write_bytes(data)


def newest(history: Path) -> list[Path]:
    return [max(history.glob("*.events.json"), key=lambda each: each.stat().st_mtime_ns)]


def test_a_tree_without_history_makes_nothing(lost: Lost, imagectl: Run) -> None:
    settings = lost.root / "imagectl.yaml"
    settings.write_text("catalog: {publish: [catalog/public]}\n")
    assert imagectl("catalog", "publish").exit_code == 0
    lost.lose()
    code, said = rebuild(imagectl)
    assert code == 5
    assert "does not carry the history" in said
    assert "history: true" in said
    assert not lost.database.exists()


def test_an_older_copy_makes_nothing_while_a_newer_tree_is_there(lost: Lost, imagectl: Run) -> None:
    copy = lost.root / "copy"
    shutil.copytree(lost.public, copy)
    assert imagectl("promote", "stable").exit_code == 0
    lost.lose()
    result = imagectl("catalog", "rebuild", "--from", str(copy))
    assert result.exit_code == 5
    assert "shows another state than that history ends with" in " ".join(result.stderr.split())
    assert not lost.database.exists()


@pytest.mark.parametrize("source", ["nowhere", "catalog"])
def test_where_nothing_is_published_it_says_what_else_to_name(
    lost: Lost, imagectl: Run, source: str
) -> None:
    """Who has lost the catalog cannot publish it."""
    lost.lose()
    result = imagectl("catalog", "rebuild", "--from", source)
    said = " ".join(result.stderr.split())
    assert (result.exit_code, "there is no published catalog at" in said) == (6, True)
    assert "under --from" in said
    assert "--catalog" not in said
    assert "catalog publish`" not in said
    assert not lost.database.exists()


def test_nobody_else_makes_the_catalog(lost: Lost, imagectl: Run, tmp_path: Path) -> None:
    """A tree that others have signed is not believed."""
    with closing(new_project(tmp_path / "other")) as other:
        release(other, OLD)
    lost.lose()
    shutil.rmtree(lost.public)
    theirs = tmp_path / "other" / "catalog" / "public"
    result = imagectl("catalog", "rebuild", "--from", str(theirs))
    assert result.exit_code == 5
    assert not lost.database.exists()


class Writer:
    """A catalog in memory, whose tree carries its history."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "public"
        self.catalog = MemoryCatalog()
        self.catalog.commit(
            Change("built", 0, "ana@build1", "build", "x", NOW, (RecordVersion(version(OLD)),))
        )
        self.publisher = DirectoryPublisher(
            self.root,
            signing(self.root.with_name("public.signing")),
            lambda: NOW,
            events=self.catalog.events,
        )

    def publish_since(self, generation: int) -> None:
        changed = self.catalog.changed(generation, 1000)
        assert changed is not None
        self.publisher.publish(changed)

    def parts(self) -> set[Path]:
        return {path for path in (self.root / "history").rglob("*") if path.is_file()}

    def segment(self) -> Segment:
        tree = directory_tree(self.root)
        tree.catalog()
        found = tree._targets.find(HISTORY_TARGET)
        assert found is not None
        return parse_segment(*found)


def test_one_change_writes_one_small_document(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    hold_and_unhold(writer.catalog, 5 * SEGMENT)
    writer.publisher.publish(writer.catalog.snapshot())
    before = writer.parts()
    for _ in range(SEGMENT):
        since = writer.catalog.snapshot(()).generation
        hold_and_unhold(writer.catalog, 1)
        writer.publish_since(since)
        assert len(writer.parts() - before) <= 2
        assert sum(path.stat().st_size for path in writer.parts() - before) < SEGMENT * 3000 * 2
        before = writer.parts()
    assert writer.segment().last == 1 + 6 * SEGMENT


def test_step_by_step_the_history_is_the_same_as_at_once(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.publisher.publish(writer.catalog.snapshot())
    for _ in range(SEGMENT + 3):
        since = writer.catalog.snapshot(()).generation
        hold_and_unhold(writer.catalog, 1)
        writer.publish_since(since)
    grown = writer.segment()
    assert grown.earlier is not None
    shutil.rmtree(writer.root)
    writer.publisher.publish(writer.catalog.snapshot())
    assert writer.segment() == grown


def test_a_tree_that_is_told_to_carry_history_later_gets_all_of_it(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    hold_and_unhold(writer.catalog, SEGMENT)
    directory_publisher(writer.root).publish(writer.catalog.snapshot())
    assert not writer.parts()
    since = writer.catalog.snapshot(()).generation
    hold_and_unhold(writer.catalog, 1)
    writer.publish_since(since)
    assert writer.segment().last == SEGMENT + 2
    assert writer.segment().earlier is not None


def test_a_broken_chain_is_not_published(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    hold_and_unhold(writer.catalog, 3)
    broken = [
        replace(each, change=replace(each.change, actor="eve")) if each.generation == 2 else each
        for each in writer.catalog.events()
    ]
    gap = [each for each in writer.catalog.events() if each.generation != 2]
    for events in (broken, gap):
        publisher = DirectoryPublisher(
            writer.root, signing(tmp_path / "s"), lambda: NOW, events=partial(given, events)
        )
        with pytest.raises(CannotTell, match="history of the catalog is not whole"):
            publisher.publish(writer.catalog.snapshot())
    assert not writer.root.joinpath("metadata").exists()


def told(count: int = 3) -> tuple[PublishedCatalog, tuple[str, ...]]:
    catalog = MemoryCatalog("mine")
    catalog.commit(Change("b", 0, "ana", "build", "x", NOW, (RecordVersion(version(OLD)),)))
    hold_and_unhold(catalog, count - 1)
    now = catalog.snapshot(())
    shown = PublishedCatalog("mine", now.generation, now.event, NOW)
    return shown, tuple(as_written(event) for event in catalog.events())


def given(what: T, _: object) -> T:
    return what


def no_earlier(_: Earlier) -> Segment:
    raise AssertionError


def test_a_history_has_to_lead_to_what_is_shown() -> None:
    shown, texts = told()
    whole = Segment("mine", 1, None, texts)
    assert len(read_events(whole, shown, "tree", no_earlier)) == 3
    another = event_text(
        3, Change("c", 2, "eve", "hold", "", NOW, (UnholdVersion(ref(OLD), WHO),)), GENESIS
    )
    for wrong in (
        replace(whole, texts=texts[:2]),
        replace(whole, texts=(*texts[:2], another)),
        replace(whole, texts=(texts[0], texts[2], texts[1])),
        replace(whole, texts=(texts[0], texts[1].replace("ana", "eve"), texts[2])),
        replace(whole, texts=texts[1:]),
        replace(whole, texts=(*texts[:2], texts[2].replace("ana", "eve"))),
        replace(whole, texts=(*texts[:2], "{}")),
    ):
        with pytest.raises(CannotTell, match="not whole"):
            read_events(wrong, shown, "tree", no_earlier)


def test_the_history_of_another_catalog_is_none() -> None:
    shown, texts = told()
    with pytest.raises(CannotTell, match="another catalog"):
        read_events(Segment("theirs", 1, None, texts), shown, "tree", no_earlier)


def test_segments_have_to_meet() -> None:
    shown, texts = told()
    newest = Segment("mine", 3, Earlier(text_hash("x"), 1), texts[2:])
    for first in (Segment("mine", 1, None, texts[:1]), Segment("mine", 1, None, texts)):
        with pytest.raises(CannotTell, match="not whole") as caught:
            read_events(newest, shown, "tree", partial(given, first))
        assert caught.value.why == "what comes before event 3 is missing"
    read_events(newest, shown, "tree", lambda _: Segment("mine", 1, None, texts[:2]))


@pytest.mark.parametrize("first", [0, 2, -1])
def test_a_segment_that_begins_nowhere_is_none(first: int) -> None:
    said = {"catalog": "x", "first": first, "earlier": None, "events": []}
    text = json.dumps({"format": "imagectl-published-1", **said})
    with pytest.raises(Corrupt):
        parse_segment(text.encode(), "tree")


@pytest.mark.parametrize("form", [2, 3, 4])
def test_an_event_is_published_as_it_was_written_then(form: int) -> None:
    change = Change("b", 0, "ana", "build", "x", NOW, (RecordVersion(version(OLD)),))
    text = event_text(1, change, GENESIS, version=form)
    assert as_written(parse_event(text, text_hash(text))) == text


def test_every_part_of_the_state_counts() -> None:
    catalog = MemoryCatalog("mine")
    seen = {state_digest(catalog.snapshot())}
    catalog.commit(Change("b", 0, "ana", "build", "x", NOW, (RecordVersion(version(OLD)),)))
    whole = catalog.snapshot()
    seen.add(state_digest(whole))
    seen.add(state_digest(replace(whole, catalog_id="theirs")))
    seen.add(state_digest(replace(whole, event=GENESIS)))
    seen.add(state_digest(replace(whole, versions={ref(OLD): version(NEW)})))
    assert len(seen) == 5
