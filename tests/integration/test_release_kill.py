"""P7: promote and roll back, killed at any moment. Catalog and published tree: before or after.

The real services on SQLite, directories and a published tree. Each try forks a child that does one
promotion or rollback of two images, and kills it with SIGKILL at a random moment.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.examples import BASE, CI, NOW, STABLE
from support.places import directory
from support.processes import Killer
from support.signed_trees import directory_publisher, directory_tree
from support.world import World

from imagectl.adapters.catalog_sql import SqlCatalog
from imagectl.adapters.store import FileStore
from imagectl.consumer.resolving import resolve
from imagectl.model.channel import MoveKind
from imagectl.model.names import VersionId
from imagectl.policy.resolution import ResolutionRequest
from imagectl.services.show import catch_up

TRIES = 200

OLD, NEW = (VersionId("20261120", serial) for serial in (1, 2))


class Project:
    """A project on disk, opened anew by every process that works on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "sources").mkdir()

    @contextmanager
    def opened(self) -> Iterator[World]:
        url = f"sqlite:///{self.root}/catalog.sqlite3"
        with SqlCatalog(url, new_id=lambda: str(uuid.uuid4())) as catalog:
            yield World(
                catalog,
                [directory(self.root / "local")],
                [directory_publisher(self.root / "public")],
                FileStore(self.root / "store"),
                self.root / "sources",
                new_key=lambda: str(uuid.uuid4()),
            )

    def promote(self) -> None:
        with self.opened() as world:
            world.promote("stable", f"{BASE}@{NEW}", f"{CI}@{NEW}")

    def rollback(self) -> None:
        with self.opened() as world:
            world.rollback("stable")

    def resolved(self) -> tuple[VersionId, VersionId]:
        """What consumers of stable of both images get; the artifact has to be there."""
        tree = directory_tree(self.root / "public")
        found = [resolve(tree, ResolutionRequest(image, STABLE), NOW) for image in (BASE, CI)]
        assert all(Path(each.reference).stat().st_size == each.size for each in found)
        return found[0].ref.version, found[1].ref.version


def heads(world: World) -> tuple[VersionId | None, VersionId | None]:
    """Where stable of both images points to, in the catalog."""
    now = world.catalog.snapshot()
    return now.head(BASE, STABLE), now.head(CI, STABLE)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    with project.opened() as world:
        for version in (OLD, NEW):
            for image in (BASE, CI):
                world.built(f"{image}@{version}")
            if version == OLD:
                world.promote("stable")
    return project


@pytest.mark.integration
def test_killed_at_any_moment_it_is_before_or_after(project: Project) -> None:
    seen: Counter[str] = Counter()
    killer = Killer(5, project.promote)
    state = NEW
    assert project.resolved() == (NEW, NEW)
    for number in range(TRIES):
        before, after = state, OLD if state == NEW else NEW
        action: Callable[[], None] = project.promote if after == NEW else project.rollback
        killer.kill(action)

        shown = project.resolved()
        with project.opened() as world:
            found = heads(world)
            assert found in {(before, before), (after, after)}, f"try {number}: torn catalog"
            assert shown in {(before, before), found}, f"try {number}: torn for consumers"
            if number % 25 == 0 or number == TRIES - 1:
                assert world.catalog.verify() == ()
            catch_up(world.catalog, world.releasing.publishers)
        assert project.resolved() == found
        state = after if found[0] == after else before
        seen["moved" if state == after else "not moved"] += 1
        seen["to be caught up"] += shown != found

    assert killer.killed >= TRIES // 2, "the kills came too late to prove anything"
    assert seen["not moved"] >= TRIES // 20, seen
    assert seen["moved"] >= TRIES // 20, seen
    assert seen["to be caught up"] >= 1, seen
    with project.opened() as world:
        channel = world.channel(CI, STABLE)
    assert channel is not None
    assert len(channel.moves) == 2 + seen["moved"]
    kinds = [move.kind for move in channel.moves[1:]]
    assert kinds == [
        MoveKind.ROLLBACK if number % 2 else MoveKind.PROMOTE for number in range(len(kinds))
    ]
