"""One digest of everything in the project that an image is made from.

Equal digests mean that nothing of the definition has changed, so a file that is missed here would
leave an old image in place of a new one. Hence what is counted in is more than what is named: the
parsed definition, the whole of ``playbooks/`` (roles, collections, templates, files, requirements),
the suites, and every ``conftest.py`` that pytest would load for them. Only what an interpreter or
an editor leaves behind is left out.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from imagectl.errors import BadInput, Problem
from imagectl.model.image import Image
from imagectl.model.names import Sha256

PLAYBOOKS = PurePosixPath("playbooks")

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
"""Names of files and folders that are not counted in, wherever they are."""

_SCHEME = b"imagectl definition 1\n"


def definition_digest(root: Path, image: Image) -> Sha256:
    """The digest of the image's definition and of every file that it may use.

    Independent of the project's own place, of times and owners. Raises BadInput for a symbolic link
    that leads out of the project or nowhere, and for what is neither a file nor a folder.
    """
    found = _Files(root.resolve())
    if os.path.lexists(root / PLAYBOOKS):
        found.add(PLAYBOOKS)
    for suite in image.suites:
        found.add(suite)
        for folder in suite.parents:
            if os.path.lexists(root / folder / "conftest.py"):
                found.add(folder / "conftest.py")
    return found.digest(image)


class _Files:
    """The files counted in so far: path in the project -> what it is, with its digest."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._entries: dict[str, str] = {}

    def add(self, path: PurePosixPath) -> None:
        """Count in the file, or the folder with all that is in it."""
        given = self._root / path
        try:
            real = given.resolve(strict=True)
            if not real.is_relative_to(self._root):
                raise self._refused(path, f"leads out of the project, to {real}")
            if real != given:
                target = real.relative_to(self._root)
                self._entries[str(path)] = f"link {target}"
                path = PurePosixPath(target)
            if str(path) in self._entries:
                return
            mode = real.stat().st_mode
            if stat.S_ISDIR(mode):
                self._entries[str(path)] = "folder"
                for name in sorted(os.listdir(real)):
                    if not any(fnmatchcase(name, pattern) for pattern in LEFT_OUT):
                        self.add(path / name)
            elif stat.S_ISREG(mode):
                with real.open("rb") as opened:
                    content = hashlib.file_digest(opened, "sha256").hexdigest()
                kind = "program" if mode & stat.S_IXUSR else "file"
                self._entries[str(path)] = f"{kind} {content}"
            else:
                raise self._refused(path, "is neither a file nor a folder")
        except FileNotFoundError:
            raise self._refused(path, "is not there, or leads nowhere") from None
        except (OSError, RuntimeError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise self._refused(path, f"cannot be read: {why}") from error

    def _refused(self, path: PurePosixPath, what: str) -> BadInput:
        text = str(path)
        return BadInput([Problem(text if text.isprintable() else repr(text)[1:-1], 0, 0, what)])

    def digest(self, image: Image) -> Sha256:
        whole = hashlib.sha256(_SCHEME)
        whole.update(json.dumps(_plain(image), sort_keys=True).encode())
        for path, entry in sorted(self._entries.items()):
            whole.update(b"\0" + os.fsencode(path) + b"\0" + os.fsencode(entry))
        return Sha256(whole.hexdigest())


def _plain(value: object) -> object:
    """A fact as JSON has it: the name of its type, and its fields."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            each.name: _plain(getattr(value, each.name)) for each in dataclasses.fields(value)
        }
        return {"": type(value).__name__, **fields}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, PurePosixPath):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value
