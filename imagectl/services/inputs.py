"""What the input store holds, what needs it, and whether it is sound. Nothing is ever deleted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from imagectl.errors import Corrupt, NotFound
from imagectl.model.lock import Download, Index, Lock, LockedDiskBase, Package
from imagectl.model.names import ImageName, Sha256
from imagectl.policy.wording import counted
from imagectl.services.ports.definitions import Definitions
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.stores import InputFiles

_STEP = 64 << 20
"""Bytes after which progress is told again."""


@dataclass(frozen=True, slots=True)
class Reached:
    """A stored file, ``size`` in bytes, with the images whose locks name it, sorted."""

    sha256: Sha256
    size: int
    images: tuple[ImageName, ...]


@dataclass(frozen=True, slots=True)
class Damage:
    """A stored file that is not what its name says, and why."""

    sha256: Sha256
    where: str
    why: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What re-hashing everything has shown: how many files, how many bytes, what is wrong."""

    count: int
    size: int
    damaged: tuple[Damage, ...]


def locks_of(definitions: Definitions, names: Iterable[ImageName]) -> tuple[Lock, ...]:
    """The locks of those that have one. Raises BadInput."""
    return tuple(lock for name in names if (lock := definitions.lock(name)) is not None)


def needed(lock: Lock) -> frozenset[Sha256]:
    """The digests that a build from the lock may take from the store."""
    base = {lock.base.sha256} if isinstance(lock.base, LockedDiskBase) else set[Sha256]()
    toolchain = {lock.toolchain.tree} | lock.toolchain.inputs.digests
    return lock.inputs.digests | toolchain | base


def lacking(files: InputFiles, lock: Lock, *, has_tools: bool = False) -> list[str]:
    """What an offline build from the lock would miss, as the lock names it, sorted.

    The packages of its tools are needed only where the tree of them is not there; *has_tools*: it
    is known to be. Raises CannotTell.
    """
    tools = lock.toolchain
    wanted = {each.sha256: _name(each) for each in lock.inputs.all}
    if not has_tools and files.missing({tools.tree}):
        wanted |= {each.sha256: _name(each) for each in tools.inputs.all}
    if isinstance(lock.base, LockedDiskBase):
        wanted[lock.base.sha256] = lock.base.source
    return sorted(wanted[each] for each in files.missing(wanted))


def _name(each: Index | Package | Download) -> str:
    match each:
        case Download():
            return each.url
        case Index() | Package():
            return f"{each.archive.value}/{each.path}"


def reach(files: InputFiles, locks: Iterable[Lock]) -> tuple[Reached, ...]:
    """Every stored file, sorted by digest, with the images that need it. Raises CannotTell."""
    users: dict[Sha256, set[ImageName]] = {}
    for lock in locks:
        for sha256 in needed(lock):
            users.setdefault(sha256, set()).add(lock.image)
    return tuple(
        Reached(sha256, size, tuple(sorted(users.get(sha256, ()))))
        for sha256, size in sorted(files.digests())
    )


def verify(files: InputFiles, progress: Progress) -> Verdict:
    """Hash every stored file again. Raises CannotTell where one cannot be read (P3)."""
    count = size = told = 0
    damaged: list[Damage] = []
    for sha256, length in files.digests():
        try:
            files.check(sha256)
        except NotFound:
            continue  # another process has set it aside meanwhile
        except Corrupt as problem:
            damaged.append(Damage(sha256, problem.where, problem.why))
        count += 1
        size += length
        if size - told >= _STEP:
            told = size
            progress.step(f"{counted(count, 'file')}, {size >> 20:,} MiB")
    return Verdict(count, size, tuple(damaged))
