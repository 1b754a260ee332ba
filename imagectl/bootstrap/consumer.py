"""What a consumer opens: a published tree and receipts, also where there is no project."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from imagectl.errors import BadUsage, NotFound

if TYPE_CHECKING:
    from imagectl.services.ports.published import PublishedTree
    from imagectl.services.ports.stores import Receipts


def open_published(
    start: Path, catalog: Path | None = None, now: datetime | None = None
) -> PublishedTree:
    """The published tree in the folder *catalog*, or else that of the project around *start*.
    *now*: its signatures have to hold then."""
    from imagectl.adapters import project_files
    from imagectl.adapters.published.directory import DirectoryTree

    root: Path | None = None
    try:
        root = project_files.find_project(start)
    except NotFound as problem:
        if catalog is None:
            raise BadUsage(
                "it is not known where the catalog is",
                why=f"{problem.where} is not in a project",
                hint="say it with --catalog DIR, or export IMAGECTL_CATALOG=DIR",
            ) from problem
    named = os.environ.get("IMAGECTL_ROOT")
    if named is None and root is None:
        raise BadUsage(
            "it is not known whose signatures count in the catalog",
            why="this is not in a project, and no root is named",
            hint="export IMAGECTL_ROOT=FILE: a copy of the project's catalog/root.json",
        )
    trusted = Path(named) if named is not None else Path(root or "") / "catalog" / "root.json"
    if catalog is None:
        assert root is not None
        catalog = root / project_files.load_project(root).publish[0]
    return DirectoryTree(catalog, trusted, now)


def open_receipts(start: Path, folder: Path | None = None) -> Receipts:
    """The receipts in *folder*, or else those of the project around *start*. Raises NotFound."""
    from imagectl.adapters.receipts import FileReceipts
    from imagectl.bootstrap.project import open_project

    return FileReceipts(folder, expected=True) if folder else open_project(start).receipts
