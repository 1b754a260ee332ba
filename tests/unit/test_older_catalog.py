"""A catalog that was brought back from before the last changes is found out before it is used (P2).

What consumers are shown knows better: nothing is decided on the older catalog, written to it, or
pointed to what it has, until somebody has brought back the newer one or has given it up.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from click.testing import Result
from support.examples import BETA, CI, NOW, ref
from support.projects import new_project, release
from support.releases import LOCAL
from support.signed_trees import DirectoryPublisher
from support.world import World

from imagectl.bootstrap.project import open_project
from imagectl.errors import CannotTell
from imagectl.formats.tuf_roles import TIMESTAMP_PATH
from imagectl.model.change import Change, HoldVersion
from imagectl.model.snapshot import Snapshot
from imagectl.services.protect import hold
from imagectl.services.publish import publish_catalog
from imagectl.services.releasing import Releasing
from imagectl.services.show import catch_up, point, show
from imagectl.testing.catalog import MemoryCatalog
from imagectl.testing.locations import MemoryLocation
from imagectl.testing.published import MemoryPublisher
from imagectl.testing.store import MemoryStore

Run = Callable[..., Result]
OLD, NEW = "debian-base@20261118.1", "debian-base@20261120.1"
HELD = HoldVersion(ref(OLD))
NEWEST = Path("catalog/public") / TIMESTAMP_PATH


def files(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


class Restored:
    """A project whose catalog is a copy from before its last releases."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._catalog = root / ".imagectl" / "catalog.sqlite3"
        self._public = root / "catalog" / "public"

    def bring_back(self, copy: Path) -> None:
        for each in self._catalog.parent.glob("catalog.sqlite3-*"):
            each.unlink()
        shutil.copy(copy, self._catalog)

    def state(self) -> tuple[dict[Path, bytes], list[str]]:
        """What consumers are shown, and every event of the catalog."""
        with closing(sqlite3.connect(self._catalog)) as database:
            events = [row[0] for row in database.execute("SELECT hash FROM events")]
        return files(self._public), events


@pytest.fixture
def restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Restored:
    project = new_project(tmp_path / "images")
    release(project, OLD)
    project.close()
    copy = tmp_path / "backup"
    shutil.copy(project.root / ".imagectl" / "catalog.sqlite3", copy)
    monkeypatch.chdir(project.root)
    with closing(open_project(project.root)) as later:
        release(later, NEW)
    made = Restored(project.root)
    made.bring_back(copy)
    return made


MUTATING = [
    ("catalog", "publish"),
    ("promote", "stable"),
    ("promote", "stable", "--dry-run"),
    ("rollback", "beta", "debian-base"),
    ("rollback", "beta", "debian-base", "--check"),
    ("publish", OLD),
    ("publish", "--backfill"),
    ("hold", OLD, "--reason", "x"),
    ("unhold", OLD, "--reason", "x"),
    ("revoke", OLD, "--reason", "x"),
    ("restore", OLD, "--reason", "x"),
    ("lease", "take", OLD, "--for", "1h", "--consumer", "ci"),
    ("lease", "end", OLD, "--consumer", "ci"),
    ("cleanup", "undo", OLD),
    ("cleanup", "undo", "52ab78d622e5"),
    ("verify",),
]


def test_nobody_changes_an_older_catalog(restored: Restored, imagectl: Run) -> None:
    before = restored.state()
    for verb in MUTATING:
        result = imagectl(*verb)
        assert result.exit_code == 5, (verb, result.output)
        assert "older than what was published from it" in result.stderr
        assert "it may be a backup that was brought back" in " ".join(result.stderr.split())
        assert restored.state() == before, verb


def test_verifying_an_older_catalog_says_that_it_is(restored: Restored, imagectl: Run) -> None:
    result = imagectl("catalog", "verify")
    assert result.exit_code == 1
    assert "older than what was published from it" in result.stdout


def test_one_is_told_what_is_lost_with_the_newer_catalog(restored: Restored, imagectl: Run) -> None:
    said = " ".join(imagectl("promote", "stable").stderr.split())
    steps = (
        "bring back the newest copy",
        "move this database aside",
        "`imagectl catalog rebuild --from",
        "`imagectl adopt",
        "remove the published tree",
        "held, revoked or deleted",
    )
    assert sorted(steps, key=said.index) == list(steps), "what loses something comes last"


def test_nothing_is_lost_where_the_published_tree_has_the_history(
    restored: Restored, imagectl: Run, tmp_path: Path
) -> None:
    """As the hint says: the older database aside, and the newest is made again from the tree."""
    said = " ".join(imagectl("promote", "stable").stderr.split())
    assert "move this database aside, and `imagectl catalog rebuild --from TREE`" in said
    shown = files(restored.root / "catalog" / "public")
    for each in (restored.root / ".imagectl").glob("catalog.sqlite3*"):
        each.rename(tmp_path / each.name)
    result = imagectl("catalog", "rebuild", "--from", "catalog/public")
    assert result.exit_code == 0, result.output
    assert files(restored.root / "catalog" / "public") == shown
    assert imagectl("show", NEW).exit_code == 0
    assert imagectl("catalog", "verify").exit_code == 0
    assert imagectl("hold", NEW, "--reason", "x").exit_code == 0


def test_a_copy_that_has_moved_on_is_found_out_too(restored: Restored, imagectl: Run) -> None:
    """It is at a later generation than what is published, and does not have that one's event."""
    with closing(open_project(restored.root)) as project:
        for number in range(20):
            before = project.catalog.snapshot(())
            change = Change(f"k{number}", before.generation, "x", "hold", "", NOW, (HELD,))
            project.catalog.commit(change)
    before_all = restored.state()
    result = imagectl("promote", "stable")
    assert result.exit_code == 5
    assert "has moved on" in " ".join(result.stderr.split())
    assert imagectl("catalog", "publish").exit_code == 5
    assert restored.state() == before_all


def test_another_catalog_changes_nothing(restored: Restored, imagectl: Run) -> None:
    shutil.rmtree(restored.root / "catalog" / "public")
    with closing(open_project(restored.root)) as project:
        other = Snapshot("11111111-0000-4000-8000-000000000000", 1)
        public = restored.root / "catalog" / "public"
        DirectoryPublisher(public, project.signing, project.clock.now).publish(other)
    before = restored.state()
    for verb in (("hold", OLD, "--reason", "x"), ("publish", OLD), ("catalog", "publish")):
        result = imagectl(*verb)
        assert result.exit_code == 5, result.output
        assert "may name another database" in " ".join(result.stderr.split())
    assert restored.state() == before


def test_a_tree_that_cannot_be_read_keeps_nobody_from_holding(
    restored: Restored, imagectl: Run
) -> None:
    """A rollback on a bad night is more than a doubt."""
    newest = restored.root / NEWEST
    newest.unlink()
    newest.mkdir()
    result = imagectl("hold", OLD, "--reason", "x")
    assert "IS held" in result.stderr
    with closing(open_project(restored.root)) as project:
        assert ref(OLD) in project.catalog.snapshot().holds


def test_where_the_tree_is_not_mounted_an_older_copy_does_not_begin_another(
    restored: Restored, imagectl: Run
) -> None:
    public = restored.root / "catalog" / "public"
    disk = public.rename(restored.root / "disk")
    public.mkdir()
    result = imagectl("hold", OLD, "--reason", "x")
    assert result.exit_code == 1
    assert "IS held, but its generation is not published yet" in result.stderr
    assert "may not be mounted" in " ".join(result.stderr.split())
    assert list(public.iterdir()) == []
    public.rmdir()
    disk.rename(public)
    assert imagectl("promote", "stable").exit_code == 5, "it is found out once it is mounted"


def test_when_the_newer_one_is_given_up_all_works_again(restored: Restored, imagectl: Run) -> None:
    shutil.rmtree(restored.root / "catalog" / "public")
    assert imagectl("catalog", "publish").exit_code == 0
    assert imagectl("hold", OLD, "--reason", "x").exit_code == 0


@pytest.fixture
def pointing(tmp_path: Path) -> tuple[World, World]:
    """The same places, seen from the newest catalog and from an older copy of it."""
    (tmp_path / "store").mkdir()
    store = MemoryStore(tmp_path / "store")
    location, public = MemoryLocation(LOCAL), MemoryPublisher()
    newest, older = MemoryCatalog(), MemoryCatalog()
    world = World(newest, [location], [public], store, tmp_path)
    world.built("debian-ci@20261120.1")
    for event in newest.events():
        older.commit(event.change)
    world.built("debian-ci@20261120.2")
    keys = count(1)
    return world, World(
        older,
        [location],
        [public],
        store,
        tmp_path,
        new_key=lambda: f"later-{next(keys)}",
    )


@pytest.mark.parametrize("do", [point, show], ids=["point", "show"])
def test_no_family_goes_back(
    pointing: tuple[World, World], do: Callable[[Releasing], object]
) -> None:
    newest, older = pointing
    location = newest.releasing.locations[LOCAL]
    assert isinstance(location, MemoryLocation)
    before = {image: dict(heads) for image, heads in location.pointers.items()}
    assert before[CI][BETA].version == ref("debian-ci@20261120.2")
    with pytest.raises(CannotTell, match="older than what was published"):
        do(older.releasing)
    assert location.pointers == before


def test_what_was_adopted_is_not_shown_over_a_newer_catalog(
    pointing: tuple[World, World],
) -> None:
    """``adopt`` writes to an older catalog on purpose, which may bring it to a later generation."""
    newest, older = pointing
    (public,) = older.releasing.publishers
    shown = public.shown()
    apart = replace(older.releasing, publishers=())
    while older.catalog.snapshot(()).generation <= newest.catalog.snapshot(()).generation:
        hold(apart, ref("debian-ci@20261120.1"), "adopted")
    with pytest.raises(CannotTell, match="it went another way"):
        catch_up(older.catalog, [public])
    assert public.shown() == shown


def test_publishing_an_older_catalog_is_no_success(pointing: tuple[World, World]) -> None:
    _, older = pointing
    with pytest.raises(CannotTell, match="older than what was published"):
        publish_catalog(older.catalog, older.releasing.publishers)
