"""The files of the project that an image is made from: all that its build may read.

A file that is missed here would leave an old image in place of a new one, and a version that cannot
be made again. Hence more is taken than what is named: the whole of ``playbooks/`` (roles,
collections, templates, files, requirements), the folder of the user's own Packer template, the
suites, and every ``conftest.py`` that pytest is to load for them. Only what an interpreter or an
editor leaves behind is left out.
"""

from __future__ import annotations

import enum
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from imagectl.errors import BadInput, Problem
from imagectl.model.image import Image, PackerTemplate

PLAYBOOKS = PurePosixPath("playbooks")

DEFINITION = ("image.yaml", "image.lock")

LEFT_OUT = (
    "__pycache__",
    "*.pyc",
    ".pytest_cache",
    ".git",
    ".ansible",
    ".DS_Store",
    "*~",
    ".#*",
    "#*#",
    ".*.sw[a-p]",
    "*.retry",
)
"""Names of files and folders that are not taken, wherever they are."""


class Kind(enum.Enum):
    """What a path in the project is."""

    FOLDER = "folder"
    FILE = "file"
    PROGRAM = "program"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class Entry:
    """A path below the project's root. ``target`` is what a link leads to, below the root too."""

    path: PurePosixPath
    kind: Kind
    target: PurePosixPath | None = None


def playbook_files(root: Path) -> tuple[Entry, ...]:
    """``playbooks/`` with all that is in it, sorted. Raises like ``suite_files``."""
    return _found(root, [PLAYBOOKS] if os.path.lexists(root / PLAYBOOKS) else [])


def suite_files(root: Path, image: Image) -> tuple[Entry, ...]:
    """The suites of *image* and what pytest loads for them, sorted.

    Raises BadInput for a symbolic link that leads out of the project or nowhere, and for what is
    neither a file nor a folder.
    """
    top = suites_folder(image.suites)
    named: list[PurePosixPath] = []
    for suite in image.suites:
        named.append(suite)
        for folder in suite.parents:
            if folder.is_relative_to(top) and os.path.lexists(root / folder / "conftest.py"):
                named.append(folder / "conftest.py")
    return _found(root, named)


def suites_folder(suites: Sequence[PurePosixPath]) -> PurePosixPath:
    """The folder that all the suites of an image are in. A ``conftest.py`` above it is for the
    tests of the project's own code, and is not loaded for its images."""
    return PurePosixPath(
        os.path.commonpath([suite.parent for suite in suites] or [PurePosixPath()])
    )


def template_files(root: Path, image: Image) -> tuple[Entry, ...]:
    """The folder of the user's own Packer template with all that is in it, sorted; nothing for
    other images. The definition and the lock, which may be there too, are not of it."""
    if not isinstance(image.base, PackerTemplate):
        return ()
    folder = image.base.template.parent
    try:
        names = sorted(os.listdir(root / folder))
    except OSError as error:
        raise refused(folder, f"cannot be read: {reason(error)}") from error
    return _found(
        root,
        [
            folder / name
            for name in names
            if name not in DEFINITION
            and not any(fnmatchcase(name, pattern) for pattern in LEFT_OUT)
        ],
    )


def _found(root: Path, named: Iterable[PurePosixPath]) -> tuple[Entry, ...]:
    finder = _Finder(root.resolve())
    for path in named:
        finder.take(path)
    return tuple(entry for _, entry in sorted(finder.entries.items()))


class _Finder:
    def __init__(self, root: Path) -> None:
        self._root = root
        self.entries: dict[str, Entry] = {}

    def take(self, path: PurePosixPath) -> None:
        """The file, or the folder with all that is in it."""
        given = self._root / path
        try:
            real = given.resolve(strict=True)
            if not real.is_relative_to(self._root):
                raise refused(path, f"leads out of the project, to {real}")
            if real != given:
                target = PurePosixPath(real.relative_to(self._root))
                self.entries[str(path)] = Entry(path, Kind.LINK, target)
                path = target
            if str(path) in self.entries:
                return
            mode = real.stat().st_mode
            if stat.S_ISDIR(mode):
                self.entries[str(path)] = Entry(path, Kind.FOLDER)
                for name in sorted(os.listdir(real)):
                    if not any(fnmatchcase(name, pattern) for pattern in LEFT_OUT):
                        self.take(path / name)
            elif stat.S_ISREG(mode):
                kind = Kind.PROGRAM if mode & stat.S_IXUSR else Kind.FILE
                self.entries[str(path)] = Entry(path, kind)
            else:
                raise refused(path, "is neither a file nor a folder")
        except FileNotFoundError:
            raise refused(path, "is not there, or leads nowhere") from None
        except (OSError, RuntimeError) as error:
            raise refused(path, f"cannot be read: {reason(error)}") from error


def refused(path: PurePosixPath, what: str) -> BadInput:
    """The error for a path that a build cannot be given."""
    text = str(path)
    return BadInput([Problem(text if text.isprintable() else repr(text)[1:-1], 0, 0, what)])


def reason(error: OSError | RuntimeError) -> str:
    """What went wrong, in the system's words."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
