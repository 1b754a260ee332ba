"""A life of ``support.upheaval``, on a catalog in memory or in SQLite."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imagectl.adapters.catalog_sql import SqlCatalog
from imagectl.adapters.inputs.store import InputStore
from imagectl.model.retention import Stage
from imagectl.services.ports.catalog import Catalog
from support.upheaval import Life

ID = "00000000-0000-4000-8000-000000000000"
STEPS = 30
MEMORY = Path("/dev/shm")


@contextmanager
def folder_of_lives() -> Iterator[Path]:
    """A folder in memory where there is such a thing: four fifths of a life was waiting for disks.

    Everything is synced to it as to a disk. Nobody is killed here but by an exception, so nothing
    hangs on what a power cut leaves (the tests of crashes see to that).
    """
    within = MEMORY if os.access(MEMORY, os.W_OK | os.X_OK) else None
    with tempfile.TemporaryDirectory(prefix="imagectl-lives-", dir=within) as folder:
        yield Path(folder)


def live(seed: int, catalog: Catalog, folder: Path, steps: int = STEPS) -> Counter[str]:
    """One life, and what happened in it. Beside *folder*, which is removed, it leaves the inputs of
    its locks for the next: writing them durably takes longer than much of a life."""
    (folder / "store").mkdir(parents=True)
    inputs = InputStore(folder.parent / "made from" / "inputs")
    life = Life(catalog, folder / "store", inputs, seed)
    try:
        life.live(steps)
    except Exception as error:
        told = "\n".join(life.log)
        pytest.fail(f"life {seed}: {type(error).__name__}: {error}\n{told}", pytrace=False)
    finally:
        shutil.rmtree(folder)
    return life.count


def check_eventful(count: Counter[str]) -> None:
    """Where nothing goes down, or nothing is in the way, nothing is proven."""
    for each in (
        *(f"to {stage.value}" for stage in list(Stage)[1:]),
        *("deleted from locations", "undone", "undeleted", "kills", "failures"),
        *("views cut short", "catalogs cut short", "Refused", "CannotTell"),
    ):
        assert count[each] > 0, f"in no life: {each}; {dict(count)}"


class LivesOnSqlite:
    """Lives in one folder, each on a SQLite catalog of its own.

    It is a new copy of an empty one, since making the tables takes longer than a life; and behind
    the same open ``SqlCatalog``, since SQLAlchemy would take a third of the time to make all of its
    statements again for each.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "life"
        self._empty = folder / "empty.sqlite3"
        self._path = folder / "catalog.sqlite3"
        SqlCatalog(f"sqlite:///{self._empty}", new_id=lambda: ID).close()
        shutil.copy(self._empty, self._path)
        self._catalog = SqlCatalog(f"sqlite:///{self._path}")

    def live(self, seed: int) -> Counter[str]:
        """One life, and what happened in it."""
        self._catalog.close()  # the last connection takes the file's log with it
        assert not self._path.with_name(f"{self._path.name}-wal").exists()
        self._path.unlink()
        shutil.copy(self._empty, self._path)
        count = live(seed, self._catalog, self._folder)
        assert self._catalog.verify() == ()
        return count

    def __enter__(self) -> LivesOnSqlite:
        return self

    def __exit__(self, *_: object) -> None:
        self._catalog.close()
