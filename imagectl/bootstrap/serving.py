"""What a server answers from: a published tree in a folder, opened anew whenever it changes."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imagectl.adapters.clock import SystemClock
from imagectl.errors import BadUsage, CannotTell, ImagectlError, NotFound
from imagectl.formats.tuf_roles import TIMESTAMP_PATH

if TYPE_CHECKING:
    from imagectl.consumer.tree import SignedTree

State = tuple[int, int, int] | None

PATIENCE_SECONDS = 1.0
"""How long a tree that could not be opened is not tried again, so that requests for one that is
broken cost little."""


@dataclass(frozen=True, slots=True)
class Served:
    """Where the published tree is, and the file that says whose signatures count."""

    folder: Path
    root: Path


def find_served(start: Path, catalog: Path | None, root: Path | None) -> Served:
    """The published tree in the folder *catalog*, or else that of the project around *start*.

    Raises BadUsage where nobody says where it is, or whose signatures count, and NotFound where
    nothing is published there.
    """
    from imagectl.adapters import project_files

    project: Path | None = None
    try:
        project = project_files.find_project(start)
    except NotFound as problem:
        if catalog is None:
            raise BadUsage(
                "it is not known where the catalog is",
                why=f"{problem.where} is not in a project",
                hint="say it with --catalog DIR, or export IMAGECTL_CATALOG=DIR",
            ) from problem
        if root is None:
            raise BadUsage(
                "it is not known whose signatures count in the catalog",
                why=f"{problem.where} is not in a project, and no root is named",
                hint="--root FILE: a copy of the project's catalog/root.json",
            ) from problem
    if catalog is None:
        assert project is not None
        folder = project_files.load_project(project).first_folder
        if folder is None:
            raise BadUsage(
                "only trees in folders are served",
                where="imagectl.yaml",
                why="`catalog.publish` names buckets alone, and these serve themselves",
                hint="add a folder to `catalog.publish`, or name a copy of the tree: --catalog DIR",
            )
        catalog = project / folder
    if not (catalog / TIMESTAMP_PATH).is_file():
        raise NotFound(
            f"there is no published catalog in {catalog}",
            why=f"{catalog / TIMESTAMP_PATH} is not there",
            hint="`imagectl catalog publish` makes one; --catalog says where it is",
        )
    trusted = root if root is not None else Path(project or "") / "catalog" / "root.json"
    return Served(catalog.absolute(), trusted.absolute())


class CurrentTree:
    """What the published tree shows now, verified (P10). Safe to use from several threads.

    *cache* is a folder for this tree alone: nothing older is believed than what it has seen.
    """

    def __init__(self, served: Served, cache: Path) -> None:
        self._served = served
        self._cache = cache
        self._timestamp = str(served.folder / TIMESTAMP_PATH)
        self._clock = SystemClock()
        self._alone = threading.Lock()
        self._seen: State = None
        self._tree: SignedTree | None = None
        self._trouble: ImagectlError | None = None
        self._again = 0.0

    def get(self) -> SignedTree:
        """The tree. Raises what opening it raises."""
        tree = self.at_hand()
        if tree is not None:
            return tree
        with self._alone:
            tree = self.at_hand()
            if tree is not None:
                return tree
            state = self._state()
            waiting = self._clock.monotonic() < self._again
            if self._trouble is not None and state == self._seen and waiting:
                raise self._trouble.with_traceback(None)
            try:
                return self._open(state)
            except ImagectlError as problem:
                self._tree, self._seen, self._trouble = None, state, problem
                self._again = self._clock.monotonic() + PATIENCE_SECONDS
                raise

    def at_hand(self) -> SignedTree | None:
        """The tree, if it is open, has not changed and its signatures hold; else None."""
        tree = self._tree
        if tree is None or self._state() != self._seen or self._clock.now() >= tree.expires:
            return None
        return tree

    def _open(self, state: State) -> SignedTree:
        from imagectl.consumer.tree import open_catalog

        try:
            root = self._served.root.read_bytes()
        except OSError as problem:
            raise CannotTell(
                "it is not known whose signatures count in the catalog",
                where=str(self._served.root),
                why=problem.strerror or str(problem),
                hint="bring that file back from git: it is in the project, as catalog/root.json",
            ) from problem
        tree = open_catalog(
            str(self._served.folder),
            root=root,
            cache=self._cache,
            now=self._clock.now(),
            keep_documents=False,  # they are in the folder that is served
        )
        self._seen, self._trouble, self._tree = state, None, tree
        return tree

    def _state(self) -> State:
        try:
            found = os.stat(self._timestamp)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size
