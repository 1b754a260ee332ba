"""The trees that disks are measured with: a real base, made larger, or with very many files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from support.projects import new_project

from imagectl.adapters.disk.archive import TarSource
from imagectl.adapters.disk.canonical import write_tree
from imagectl.adapters.disk.tree import CanonicalTree, Entry, Kind, LayeredSource
from imagectl.adapters.toolchain import Toolchain
from imagectl.cli.progress import Silent
from imagectl.model.lock import Access
from imagectl.services.ports.building import Conditions
from imagectl.services.ports.workspaces import Workspace


@dataclass(frozen=True, slots=True)
class Ground:
    """The scaffold's base, and what it takes to write disks of it."""

    base: CanonicalTree
    toolchain: Toolchain
    work: Workspace


@contextlib.contextmanager
def ground(folder: Path) -> Iterator[Ground]:
    """The base of a new project in *folder*."""
    project = new_project(folder)
    progress = Silent()
    (image,) = project.definitions.load([])
    with ExitStack() as stack:
        work = stack.enter_context(project.workspaces(progress).open(image.name, wait=False))
        conditions = Conditions(project.root, Access.RECORD, None)
        equipment = stack.enter_context(
            project.equipper(progress).equip(conditions, work, progress)
        )
        base = equipment.bases.make(image, None, work, progress)
        assert isinstance(base, CanonicalTree)
        yield Ground(base, equipment.session.toolchain, work)


def larger(on: Ground, size: int) -> CanonicalTree:
    """The base with its own /usr again below /opt/more, up to *size* bytes of content."""
    with TarSource(on.base.path) as below, TarSource(on.base.path) as again:
        source = LayeredSource(below, _Again(again, size))
        return write_tree(source, (), on.work.epoch, on.work.folder / "larger.tar")


def crowded(on: Ground, files: int, links: int) -> CanonicalTree:
    """The base with *files* small files more, *links* of them names of one file."""
    with TarSource(on.base.path) as below:
        return write_tree(
            _Crowd(below, files, links), (), on.work.epoch, on.work.folder / "crowded.tar"
        )


class _Again:
    def __init__(self, source: TarSource, size: int) -> None:
        self._source = source
        self._size = size

    def entries(self) -> Iterator[Entry]:
        entries = sorted(self._source.entries(), key=lambda entry: entry.path)
        size = sum(entry.size for entry in entries)
        yield Entry(b"opt/more", Kind.DIRECTORY, 0o755, inode=len(entries))
        for entry in entries:
            if entry.path.startswith(b"usr") and size < self._size:
                size += entry.size
                yield replace(entry, path=b"opt/more/" + entry.path)

    def content(self, entry: Entry) -> Iterator[bytes]:
        return self._source.content(entry)


class _Crowd:
    """The entries of *source*, and many more, none of which is kept in memory."""

    def __init__(self, source: TarSource, files: int, links: int) -> None:
        self._source = source
        self._files = files
        self._links = links

    def entries(self) -> Iterator[Entry]:
        for entry in self._source.entries():
            yield replace(entry, inode=entry.inode * 2)
        yield Entry(b"opt/many", Kind.DIRECTORY, 0o755, inode=1)
        for number in range(self._files):
            folder = b"opt/many/%04d-some-folder" % (number // 1000)
            if number % 1000 == 0:
                yield Entry(folder, Kind.DIRECTORY, 0o755, inode=number * 4 + 1)
            inode = max(number, self._links) * 4 + 3
            path = b"%s/%06d-a-name-as-long-as-most" % (folder, number)
            yield Entry(path, Kind.FILE, 0o644, size=100, inode=inode)

    def content(self, entry: Entry) -> Iterator[bytes]:
        if entry.inode % 2 == 0:
            return self._source.content(replace(entry, inode=entry.inode // 2))
        return iter([b"%099d\n" % entry.inode])
