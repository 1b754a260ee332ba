"""The published trees of a project: where they are, who writes them, and who reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imagectl.adapters.published.place import Place
    from imagectl.adapters.published.place_tree import PlaceTree
    from imagectl.adapters.published.publisher import TreePublisher
    from imagectl.bootstrap.project import Project
    from imagectl.model.event import Event
    from imagectl.model.place import Bucket


def place_of(project: Project, tree: PurePosixPath | Bucket) -> Place:
    """Where the files of a tree are."""
    if isinstance(tree, PurePosixPath):
        from imagectl.adapters.published.directory import DirectoryPlace

        return DirectoryPlace(project.root / tree)
    from imagectl.adapters.published.bucket import BucketPlace

    return BucketPlace(tree, project.state / "publishing.lock", project.clock.now)


def publishers(project: Project) -> tuple[TreePublisher, ...]:
    """The writers of all of them."""
    from imagectl.adapters.published.publisher import TreePublisher
    from imagectl.model.place import public_urls

    def events(after: int) -> Iterator[Event]:
        return project.catalog.events(after)  # opened then, and not before

    settings = project.settings
    urls = public_urls(settings.locations)
    return tuple(
        TreePublisher(
            place_of(project, tree),
            project.signing,
            project.clock.now,
            urls,
            events if tree in settings.with_history else None,
            others=lambda: publishers(project),  # of their own: they remember what they have read
        )
        for tree in settings.publish
    )


def published(project: Project) -> Mapping[str, PlaceTree]:
    """All of them, to be read, by where they are."""
    from imagectl.adapters.published.place_tree import PlaceTree

    places = [place_of(project, tree) for tree in project.settings.publish]
    return {each.where: PlaceTree(each, project.trust / "root.json") for each in places}
