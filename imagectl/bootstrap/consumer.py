"""What a consumer opens: a published tree and receipts, also where there is no project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from imagectl.errors import BadUsage, NotFound

if TYPE_CHECKING:
    from imagectl.services.ports.published import PublishedTree
    from imagectl.services.ports.stores import Receipts


def open_published(start: Path, catalog: Path | None = None) -> PublishedTree:
    """The published tree in the folder *catalog*, or else that of the project around *start*."""
    from imagectl.adapters.published import open_tree

    if catalog is not None:
        return open_tree(catalog)
    from imagectl.adapters import project_files

    try:
        root = project_files.find_project(start)
    except NotFound as problem:
        raise BadUsage(
            "it is not known where the catalog is",
            why=f"{problem.where} is not in a project",
            hint="say it with --catalog DIR, or export IMAGECTL_CATALOG=DIR",
        ) from problem
    return open_tree(root / project_files.load_project(root).publish[0])


def open_receipts(start: Path, folder: Path | None = None) -> Receipts:
    """The receipts in *folder*, or else those of the project around *start*. Raises NotFound."""
    from imagectl.adapters.receipts import FileReceipts
    from imagectl.bootstrap.project import open_project

    return FileReceipts(folder, expected=True) if folder else open_project(start).receipts
