"""What a consumer opens: a published tree and receipts, also where there is no project."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from imagectl.errors import BadUsage, Failed, NotFound

if TYPE_CHECKING:
    from imagectl.consumer.tree import SignedTree
    from imagectl.model.project import Project as Settings
    from imagectl.services.ports.published import PublishedTree
    from imagectl.services.ports.stores import Receipts

ROOT_FILE = Path("catalog", "root.json")
"""Where a project keeps its trusted root."""


@dataclass(frozen=True, slots=True)
class Followed:
    """A catalog, and what people should know of it, such as that it cannot be reached."""

    tree: PublishedTree
    notices: tuple[str, ...] = ()


def follow(
    start: Path,
    catalog: str | None,
    root: Path | None,
    now: datetime,
    *,
    min_generation: int = 0,
    max_stale: timedelta | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Followed:
    """The published catalog at an address or in a folder, or else that of the project around
    *start*: looked at anew, verified as of *now*.

    *root* is the file that says whose signatures count; that of the project where it is None.
    Raises BadUsage where nobody says so: nothing is trusted because it was seen first. Otherwise as
    ``consumer.open_catalog``.
    """
    if catalog is None:
        catalog = _only_bucket(start)
    if catalog is None:
        from imagectl.consumer.deferring import defer

        defer("boto3")
        # It is on this machine, and whoever works here may well set it back.
        found = open_published(start, root, now)
        if min_generation:  # the client of catalogs elsewhere takes half of a whole resolve to load
            from imagectl.consumer.tree import check_generation

            check_generation(found.catalog, min_generation, "the published catalog")
        return Followed(found)
    tree = follow_elsewhere(
        *(start, catalog, root, now),
        min_generation=min_generation,
        max_stale=max_stale,
        environment=environment,
    )
    return Followed(tree, tree.notices)


def follow_elsewhere(
    start: Path,
    catalog: str,
    root: Path | None,
    now: datetime,
    *,
    min_generation: int = 0,
    max_stale: timedelta | None = None,
    environment: Mapping[str, str] = os.environ,
) -> SignedTree:
    """As ``follow`` for a catalog that is named, through the client that consumers have."""
    from imagectl.consumer.deferring import defer

    defer("boto3")
    from imagectl.consumer.cache import cache_folder
    from imagectl.consumer.fetching import tree_url
    from imagectl.consumer.tree import open_catalog

    url = tree_url(catalog)
    return open_catalog(
        url,
        root=read_root(start, root),
        cache=cache_folder(url, environment),
        now=now,
        min_generation=min_generation,
        max_stale=max_stale,
    )


def open_published(
    start: Path, root: Path | None = None, now: datetime | None = None
) -> PublishedTree:
    """The published tree of the project around *start*: the first that is in a folder, or else the
    first. *now*: its signatures have to hold then."""
    project, settings = _project(start)
    trusted = root or project / ROOT_FILE
    if settings.first_folder is not None:
        from imagectl.adapters.published.directory import DirectoryTree

        return DirectoryTree(project / settings.first_folder, trusted, now)
    from imagectl.adapters.published.place_tree import PlaceTree
    from imagectl.bootstrap.project import Project
    from imagectl.bootstrap.trees import place_of

    return PlaceTree(place_of(Project(project), settings.publish[0]), trusted, now)


def _only_bucket(start: Path) -> str | None:
    """The address of the first published tree of the project around *start*, where none of them is
    in a folder."""
    _, settings = _project(start)
    return None if settings.first_folder is not None else str(settings.publish[0])


def _project(start: Path) -> tuple[Path, Settings]:
    from imagectl.adapters import project_files

    try:
        project = project_files.find_project(start)
    except NotFound as problem:
        raise BadUsage(
            "it is not known where the catalog is",
            why=f"{problem.where} is not in a project",
            hint="say it with --catalog URL or DIR, or export IMAGECTL_CATALOG=URL",
        ) from problem
    return project, project_files.load_project(project)


def read_root(start: Path, root: Path | None) -> bytes:
    """The file that says whose signatures count. Raises NotFound, Failed, BadUsage without one."""
    path = root if root is not None else _root_of_project(start)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFound(
            "the file that says whose signatures count is not there",
            where=str(path),
            hint="take catalog/root.json from the repository of whoever publishes the catalog",
        ) from None
    except OSError as error:
        raise Failed(
            "the file that says whose signatures count cannot be read",
            where=str(path),
            why=error.strerror or str(error),
        ) from error


def _root_of_project(start: Path) -> Path:
    from imagectl.adapters import project_files

    try:
        return project_files.find_project(start) / ROOT_FILE
    except NotFound as problem:
        raise BadUsage(
            "it is not known whose signatures count in that catalog",
            why=f"no root is named, and {problem.where} is not in a project; "
            "what is merely seen first is not trusted",
            hint="copy catalog/root.json from the repository of whoever publishes it, and say "
            "--root FILE, or export IMAGECTL_ROOT=FILE",
        ) from problem


def open_receipts(start: Path, folder: Path | None = None) -> Receipts:
    """The receipts in *folder*, or else those of the project around *start*. Raises NotFound."""
    from imagectl.adapters.receipts import FileReceipts
    from imagectl.bootstrap.project import open_project

    return FileReceipts(folder, expected=True) if folder else open_project(start).receipts
