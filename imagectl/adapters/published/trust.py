"""What the project keeps, in git, of whose keys count: the newest root, those before it, and who
may sign which documents.

The roots before stay because each hands over to the next: a consumer that has an old one follows
them one by one, also in a tree that was lost and written anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, Targets

from imagectl.adapters.durable import make_folder, naming_failures, write
from imagectl.adapters.published.verified import (
    SHOWN,
    Signed,
    check_signed,
    parse_metadata,
    trusted_root,
)
from imagectl.errors import CannotTell, NotFound
from imagectl.formats.tuf_roles import ROOT, TARGETS

ROOT_FILE, TARGETS_FILE, ROOTS = "root.json", "targets.json", "roots"
"""The newest of each, and the folder of the roots before."""


def read_root(trust: Path) -> Signed[Root]:
    """The newest root. Raises NotFound, Corrupt or CannotTell."""
    path = trust / ROOT_FILE
    data = read(path)
    if data is None:
        raise _nothing(path)
    return trusted_root(data, str(path), back_from_git(path))


def read_targets(trust: Path, root: Root) -> Signed[Targets]:
    """Who may sign which documents, by that root. Raises as ``read_root`` does."""
    path = trust / TARGETS_FILE
    data = read(path)
    if data is None:
        raise _nothing(path)
    hint = back_from_git(path)
    found = parse_metadata(Targets, data, str(path), hint)
    check_signed(root, TARGETS, found, str(path), hint)
    return found


def back_from_git(path: Path) -> str:
    """The hint where that file of the project is damaged: no publish writes it again."""
    trust = path.parent.parent if path.parent.name == ROOTS else path.parent
    return f"bring {path.relative_to(trust.parent)} back from git"


def earlier_roots(trust: Path) -> tuple[Signed[Root], ...]:
    """The roots before the newest, the latest first. Raises Corrupt or CannotTell."""
    found = []
    for path in (trust / ROOTS).glob(f"*.{ROOT}.json"):
        data = read(path)
        if path.name.partition(".")[0].isdecimal() and data is not None:
            found.append(trusted_root(data, str(path), back_from_git(path)))
    return tuple(sorted(found, key=lambda each: -each.signed.version))


def keep_root(trust: Path, root: Signed[Root]) -> None:
    """Make it the newest one, and keep the one before."""
    before = read(trust / ROOT_FILE)
    if before == root.data:
        return
    if before is not None:
        path = trust / ROOT_FILE
        version = trusted_root(before, str(path), back_from_git(path)).signed.version
        put(trust / ROOTS / f"{version}.{ROOT}.json", before)
    put(trust / ROOT_FILE, root.data)


def hands_over(before: Root, after: Signed[Root]) -> bool:
    """Whether enough of those have signed *after* who count by the root before it, and by it."""
    if after.signed.version != before.version + 1:
        return False
    try:
        for each in (before, after.signed):
            each.verify_delegate(ROOT, after.metadata.signed_bytes, after.metadata.signatures)
    except UnsignedMetadataError:
        return False
    return True


def enclose(role: str, data: bytes, published: bytes, signers: bytes) -> bytes:
    """Metadata that waits, with what whoever signs has to be shown, also on a machine that has
    nothing else: what it comes after, and who may sign it."""
    metadata: Metadata[Any] = Metadata.from_bytes(data)
    if SHOWN not in metadata.unrecognized_fields:
        metadata.unrecognized_fields[SHOWN] = {
            "role": role,
            "published": published.decode(),
            "signers": signers.decode(),
        }
    return metadata.to_bytes()


def read(path: Path) -> bytes | None:
    """A file; None where it is not there. Raises CannotTell."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CannotTell(
            f"{path} cannot be read",
            where=str(path),
            why=error.strerror or str(error),
            hint="see who may read it",
        ) from error


def put(path: Path, data: bytes) -> None:
    """Write it, whole, in a folder that is made."""
    with naming_failures("keeping what is signed", path.parent, len(data)):
        make_folder(path.parent)
        write(path.parent, path, data)


def _nothing(path: Path) -> NotFound:
    return NotFound(
        "it is not known yet whose signatures count",
        where=str(path),
        why="that file is not there",
        hint="`imagectl catalog publish` begins a tree; where there is one, bring the file back "
        "from git",
    )
