"""A new project, from the files in ``project/`` beside this module. They are the template as it
is written: nothing is rendered. Promises: nothing that exists is overwritten or changed. A README
or a ``.gitignore`` that is there already is left alone; any other file in the way, and none is
written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath

from imagectl.errors import Failed, Refused

_MAY_EXIST = frozenset({PurePosixPath("README.md"), PurePosixPath(".gitignore")})

_DOTTED = {"gitignore": ".gitignore"}
"""Files that would mean something to the tools of this repository under their own name."""


def scaffold_files() -> dict[PurePosixPath, bytes]:
    """The files of a new project, by their path in it."""
    root = resources.files("imagectl.adapters.scaffold") / "project"
    files = {
        path.with_name(_DOTTED.get(path.name, path.name)): file.read_bytes()
        for path, file in _walk(root, PurePosixPath())
    }
    return dict(sorted(files.items()))


def _walk(folder: Traversable, at: PurePosixPath) -> Iterator[tuple[PurePosixPath, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            if entry.name != "__pycache__":
                yield from _walk(entry, at / entry.name)
        else:
            yield at / entry.name, entry


@dataclass(frozen=True, slots=True)
class Scaffolded:
    """What was written into the new project, and what was there already and left alone."""

    written: tuple[PurePosixPath, ...]
    left: tuple[PurePosixPath, ...]


def write_scaffold(target: Path) -> Scaffolded:
    """Write a new project into *target*, which is made where absent.

    Raises Refused, with every file that is in the way, and Failed where it cannot be written; what
    was written until then is removed again.
    """
    files = scaffold_files()
    there = {path for path in files if (target / path).exists()}
    if there - _MAY_EXIST:
        raise Refused(
            f"there is a project in {target} already; nothing was written",
            reasons=[f"{path} exists" for path in sorted(there - _MAY_EXIST)],
            hint="give another folder: `imagectl init DIR`",
        )
    with contextlib.ExitStack() as undo:
        try:
            for path in (each for each in files if each not in there):
                _make_folders((target / path).parent, undo)
                with (target / path).open("xb") as file:
                    undo.callback((target / path).unlink, missing_ok=True)
                    file.write(files[path])
        except OSError as failure:
            raise Failed(
                "the project could not be written; nothing of it is left",
                where=str(failure.filename or target),
                why=failure.strerror or str(failure),
                hint="`df -h` shows free space, `ls -ld` who may write",
            ) from failure
        undo.pop_all()
    return Scaffolded(tuple(each for each in files if each not in there), tuple(sorted(there)))


def _make_folders(folder: Path, undo: contextlib.ExitStack) -> None:
    if not folder.exists():
        _make_folders(folder.parent, undo)
        folder.mkdir()
        undo.callback(folder.rmdir)
