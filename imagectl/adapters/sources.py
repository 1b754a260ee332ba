"""The source archive of a version: all that the project gave to its build, in one tar.

Equal content gives equal bytes. With it a version can be made again where the project's history is
lost (P9). What is read here may come from an artifact store that others write to, so nothing in it
can name a place outside of the folder that it is unpacked in.
"""

from __future__ import annotations

import io
import os
import posixpath
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from imagectl.adapters.definition_files import Entry, Kind, reason, refused
from imagectl.errors import Corrupt

_MODES = {Kind.FOLDER: 0o755, Kind.PROGRAM: 0o755, Kind.FILE: 0o644, Kind.LINK: 0o777}


def write_archive(
    out: Path, root: Path, entries: Iterable[Entry], texts: Iterable[tuple[PurePosixPath, bytes]]
) -> None:
    """Write *out*: the *entries* of the project in *root*, and files that consist of *texts*.

    Equal content gives equal bytes: sorted, without times and owners. Raises BadInput for a file
    that cannot be read.
    """
    given = dict(texts)
    found = {each.path: each for each in entries}
    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted({*given, *found}, key=str):
            if path in given:
                _add(archive, path, Kind.FILE, io.BytesIO(given[path]), len(given[path]))
                continue
            entry = found[path]
            if entry.target is not None:
                _add(archive, path, Kind.LINK, target=_relative(path, entry.target))
            elif entry.kind is Kind.FOLDER:
                _add(archive, path, Kind.FOLDER)
            else:
                try:
                    with (root / path).open("rb") as opened:
                        size = os.fstat(opened.fileno()).st_size
                        _add(archive, path, entry.kind, opened, size)
                except OSError as error:
                    raise refused(path, f"cannot be read: {reason(error)}") from error


def _add(
    archive: tarfile.TarFile,
    path: PurePosixPath,
    kind: Kind,
    content: io.BufferedIOBase | None = None,
    size: int = 0,
    target: str = "",
) -> None:
    member = tarfile.TarInfo(str(path))
    member.mode = _MODES[kind]
    member.size = size
    member.linkname = target
    if kind is Kind.FOLDER:
        member.type = tarfile.DIRTYPE
    elif kind is Kind.LINK:
        member.type = tarfile.SYMTYPE
    archive.addfile(member, content)


def _relative(path: PurePosixPath, target: PurePosixPath) -> str:
    return posixpath.relpath(str(target), str(path.parent))


def unpack_archive(archive: Path, folder: Path) -> None:
    """Unpack into *folder*, which is empty.

    Raises Corrupt for what ``write_archive`` never writes: a path or a link that leads out of the
    folder or through a link, the same path twice, a device, or what is no tar at all.
    """
    links: dict[PurePosixPath, str] = {}
    seen: set[PurePosixPath] = set()
    try:
        with tarfile.open(archive, "r:") as opened:
            for member in opened:
                path = _checked(archive, member.name)
                if path in seen:
                    raise _corrupt(archive, f"{member.name!r} is in it twice")
                seen.add(path)
                if any(above in links for above in path.parents):
                    raise _corrupt(archive, f"{member.name!r} leads through a link")
                target = folder / path
                if member.issym():
                    links[path] = _checked_link(archive, path, member.linkname)
                elif member.isdir():
                    target.mkdir(parents=True, exist_ok=True)
                elif member.isreg():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    content = opened.extractfile(member)
                    assert content is not None  # it is a regular file
                    with target.open("xb") as new:
                        shutil.copyfileobj(content, new, 1 << 20)
                    target.chmod(0o755 if member.mode & 0o100 else 0o644)
                else:
                    raise _corrupt(archive, f"{member.name!r} is neither file, folder nor link")
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise _corrupt(archive, str(error)) from error
    except (FileExistsError, NotADirectoryError) as error:
        raise _corrupt(archive, "a file in it is also a folder") from error
    for path, link in links.items():  # last: nothing was written through one
        if any(above in links for above in path.parents) or os.path.lexists(folder / path):
            raise _corrupt(archive, f"{str(path)!r} leads through a link")
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).symlink_to(link)


def _checked(archive: Path, name: str) -> PurePosixPath:
    """*name* as a path below the folder."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise _corrupt(archive, f"{name!r} leads out of it")
    return path


def _checked_link(archive: Path, path: PurePosixPath, target: str) -> str:
    """Where a link leads. Its ``..`` come first, so they are of folders, never of other links."""
    if posixpath.isabs(target) or target != posixpath.normpath(target):
        raise _corrupt(archive, f"the link {str(path)!r} leads to {target!r}")
    if posixpath.normpath(f"{path.parent}/{target}").split("/")[0] == "..":
        raise _corrupt(archive, f"the link {str(path)!r} leads out of it")
    return target


def _corrupt(archive: Path, why: str) -> Corrupt:
    return Corrupt(
        "a source archive is not one that imagectl wrote",
        where=str(archive),
        why=why,
        hint="what the project's own history has of that version is the next best source",
    )
