"""In what two locks of one image differ: what somebody who reviews an update wants to see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from imagectl.model.lock import (
    Inputs,
    Lock,
    LockedBase,
    LockedDiskBase,
    LockedPackagesBase,
    LockedParentBase,
    Package,
)
from imagectl.policy.locking import changed_since
from imagectl.policy.wording import counted, listed, moment

T = TypeVar("T")


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """One input. ``before`` is empty for what is new, ``after`` for what is gone; otherwise they
    say which version or content it was, and is."""

    what: str
    before: str
    after: str

    @property
    def mark(self) -> str:
        """``+`` for what is new, ``-`` for what is gone, ``~`` for what is another one."""
        return "+" if not self.before else "-" if not self.after else "~"


@dataclass(frozen=True, slots=True)
class LockChanges:
    """What becomes different. Each kind is sorted, and holds nothing that stays.

    ``settings``: the epoch, the base, mirrors, and what of the definition has changed.
    ``toolchain``: packages of the tools that write bytes. ``indexes`` counts those that changed.
    """

    settings: tuple[Change, ...]
    packages: tuple[Change, ...]
    downloads: tuple[Change, ...]
    toolchain: tuple[Change, ...]
    indexes: int
    result: bool
    """Whether other bytes are expected."""

    @property
    def inputs(self) -> bool:
        """Whether a build will read something else than before."""
        return bool(self.packages or self.downloads or self.toolchain or self.indexes)

    @property
    def summary(self) -> str:
        """All of it, in one line."""
        said = [
            *_counted("package", self.packages),
            *_counted("download", self.downloads),
            *_counted("tool package", self.toolchain),
        ]
        if not said and self.indexes:
            said = [f"{counted(self.indexes, 'signed file')} of mirrors changed, no package"]
        if not said:
            said = ["the same inputs"]
        said.append("other bytes" if self.result else "the same bytes")
        return ", ".join(said)


def _counted(what: str, changes: Iterable[Change]) -> Iterator[str]:
    marks = [each.mark for each in changes]
    for mark, done in (("~", "changed"), ("+", "new"), ("-", "gone")):
        if marks.count(mark):
            yield f"{counted(marks.count(mark), what)} {done}"


def lock_changes(before: Lock, after: Lock) -> LockChanges:
    """What *after* has that *before* has not, and the other way round."""
    settings = [
        Change("epoch", moment(_time(before.epoch)), moment(_time(after.epoch))),
        Change("base", _base(before.base), _base(after.base)),
        Change("toolchain", before.toolchain.tree[:12], after.toolchain.tree[:12]),
        Change("definition", "", listed(changed_since(before, after.definition))),
        *(
            Change(f"mirror {archive.value}", before.mirrors.get(archive, ""), new)
            for archive, new in sorted(after.mirrors.items(), key=lambda each: each[0].value)
        ),
    ]
    return LockChanges(
        settings=tuple(each for each in settings if each.before != each.after and _told(each)),
        packages=_packages(before.inputs, after.inputs),
        downloads=_changes(
            before.inputs.downloads,
            after.inputs.downloads,
            lambda each: each.url,
            lambda each: f"{each.sha256[:12]} ({each.size:,} bytes)" if each.size else "empty",
        ),
        toolchain=_packages(before.toolchain.inputs, after.toolchain.inputs),
        indexes=len({*before.inputs.indexes} ^ {*after.inputs.indexes}),
        result=before.expected != after.expected,
    )


def _told(change: Change) -> bool:
    return change.what != "definition" or change.after != listed(())


def _time(epoch: int) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)


def _base(base: LockedBase) -> str:
    match base:
        case LockedPackagesBase(suite):
            return f"Debian {suite}"
        case LockedDiskBase(source, sha256):
            return f"{source} ({sha256[:12]})"
        case LockedParentBase(ref):
            return str(ref)


def _packages(before: Inputs, after: Inputs) -> tuple[Change, ...]:
    def name(package: Package) -> str:
        return f"{package.name} {package.architecture}"

    return _changes(before.packages, after.packages, name, lambda each: each.version)


def _changes(
    before: Iterable[T], after: Iterable[T], key: Callable[[T], str], said: Callable[[T], str]
) -> tuple[Change, ...]:
    """Inputs by name. Where a build reads several of one name, they are told together."""
    old, new = _named(before, key, said), _named(after, key, said)
    return tuple(
        Change(name, old.get(name, ""), new.get(name, ""))
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    )


def _named(
    inputs: Iterable[T], key: Callable[[T], str], said: Callable[[T], str]
) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for each in inputs:
        found.setdefault(key(each), set()).add(said(each))
    return {name: ", ".join(sorted(texts)) for name, texts in found.items()}
