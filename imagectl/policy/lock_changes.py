"""In what two locks of one image differ: what somebody who reviews an update wants to see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from imagectl.model.lock import (
    Download,
    Inputs,
    Lock,
    LockedBase,
    LockedDiskBase,
    LockedPackagesBase,
    LockedParentBase,
    LockedTemplateBase,
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
    return LockChanges(
        settings=tuple(each for each in _settings(before, after) if each.before != each.after),
        packages=_packages(before.inputs, after.inputs),
        downloads=_changes(
            before.inputs.downloads, after.inputs.downloads, lambda each: each.url, _download
        ),
        toolchain=_packages(before.toolchain.inputs, after.toolchain.inputs),
        indexes=len(
            {
                (each.archive, each.path)
                for each in {*before.inputs.indexes} ^ {*after.inputs.indexes}
            }
        ),
        result=before.expected != after.expected,
    )


def _settings(before: Lock, after: Lock) -> Iterator[Change]:
    yield Change("architecture", before.architecture.value, after.architecture.value)
    yield Change("mode", before.mode.value, after.mode.value)
    yield Change("epoch", moment(_time(before.epoch)), moment(_time(after.epoch)))
    yield Change("base", _base(before.base), _base(after.base))
    yield Change("toolchain", before.toolchain.tree[:12], after.toolchain.tree[:12])
    changed = changed_since(before, after.definition)
    if changed:
        yield Change("definition", "as locked", f"other {listed(changed)}")
    for archive in sorted({*before.mirrors, *after.mirrors}, key=lambda each: each.value):
        old, new = before.mirrors.get(archive, ""), after.mirrors.get(archive, "")
        yield Change(f"mirror {archive.value}", old, new)


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
        case LockedTemplateBase(template):
            return template


def _packages(before: Inputs, after: Inputs) -> tuple[Change, ...]:
    def name(package: Package) -> str:
        return f"{package.name} {package.architecture}"

    def said(package: Package) -> tuple[str, str]:
        return package.version, f"{package.version}, sha256 {package.sha256}"

    return _changes(before.packages, after.packages, name, said)


def _download(download: Download) -> tuple[str, str]:
    if download.size:
        short = f"{download.sha256[:12]} ({download.size:,} bytes)"
    else:
        short = f"to {download.location}" if download.location else "empty"
    kind = f"{download.status} {download.content_type}".rstrip()
    return short, f"{short}, {kind}, sha256 {download.sha256}"


def _changes(
    before: Iterable[T],
    after: Iterable[T],
    key: Callable[[T], str],
    said: Callable[[T], tuple[str, str]],
) -> tuple[Change, ...]:
    """Inputs by name. Where a build reads several of one name, they are told together.

    *said* gives two texts: one for people, and one that is there for what differs all the same: a
    mirror may have other bytes under the version that it had before.
    """
    old, new = _named(before, key), _named(after, key)

    def texts(inputs: Iterable[T], which: int) -> str:
        return ", ".join(sorted({said(each)[which] for each in inputs}))

    changes = []
    for name in sorted({*old, *new}):
        one, other = old.get(name, set()), new.get(name, set())
        which = int(texts(one, 0) == texts(other, 0))
        change = Change(name, texts(one, which), texts(other, which))
        if change.before != change.after:
            changes.append(change)
    return tuple(changes)


def _named(inputs: Iterable[T], key: Callable[[T], str]) -> dict[str, set[T]]:
    found: dict[str, set[T]] = {}
    for each in inputs:
        found.setdefault(key(each), set()).add(each)
    return found
