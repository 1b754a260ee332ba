"""In what two versions differ: what a reader of release notes wants to know.

Compares the documents that were made when each version was built, so nothing has to be unpacked.
Where a version has none, that is said: a difference that is not known is never shown as none (P8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from imagectl.errors import CannotTell, Corrupt, NotFound
from imagectl.model.comparison import (
    ChangeKind,
    Comparison,
    Ecosystem,
    FileChange,
    NameChange,
    PackageChange,
    SizeChange,
    TestChange,
)
from imagectl.model.contents import Contents, Group, Listed, User
from imagectl.model.debian_version import version_order
from imagectl.model.version import Inside, Version
from imagectl.services.ports.looking_inside import Documents

Facts = tuple[tuple[str, str], ...]
"""What is to be said of something: pairs of a word and a value."""

T = TypeVar("T")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Seen:
    """A version with the documents that tell what is in it."""

    version: Version
    inside: Inside
    contents: Contents


def look(documents: Documents, *versions: Version) -> tuple[Seen, ...]:
    """What is known of the inside of each version.

    Raises CannotTell, naming every version of which nothing is known and why.
    """
    seen = []
    unknown: list[tuple[Version, str]] = []
    for version in versions:
        if version.inside is None:
            unknown.append((version, _why_not(version)))
            continue
        try:
            seen.append(Seen(version, version.inside, documents.contents(version.inside)))
        except NotFound as missing:
            unknown.append((version, f"the document about it is gone: {missing.what}"))
    if unknown:
        names = " and ".join(dict.fromkeys(str(version.ref) for version, _ in unknown))
        raise CannotTell(
            f"it is not known what is in {names}",
            where=names,
            why="; ".join(dict.fromkeys(f"{version.ref}: {why}" for version, why in unknown)),
            hint=f"`imagectl build {unknown[0][0].image} --force` makes a version of which it is",
        )
    return tuple(seen)


def compare(
    documents: Documents, before: Version, after: Version, *, files: bool = True
) -> Comparison:
    """In what *after* differs from *before*.

    Without *files*, manifests are not read, which takes most of the time: no file is named then,
    whether or not one differs. Raises CannotTell where it is not known what is in one of them, and
    Corrupt.
    """
    one, other = look(documents, before, after)
    return Comparison(
        before=before,
        after=after,
        packages=tuple(_packages(one.contents, other.contents)),
        aspects=_aspects(one.contents, other.contents),
        files=_files(documents, one, other) if files else (),
        sizes=tuple(_sizes(one, other)),
        tests=_tests(documents, before, after),
    )


def _why_not(version: Version) -> str:
    if version.origin is not None and version.tree is None:
        return version.origin.cause or "its disk is kept as it was made, and was not looked into"
    if version.adopted:
        return "it was adopted, and imagectl has not looked into it"
    return "it was recorded by an imagectl that did not look into versions"


def _packages(before: Contents, after: Contents) -> Iterator[PackageChange]:
    def debian(contents: Contents) -> Mapping[tuple[str, str], str]:
        return {(each.name, each.architecture): each.version for each in contents.debian}

    for (name, where), old, new in _changed(debian(before), debian(after)):
        kind = _kind(old, new)
        if old is not None and new is not None:
            newer = version_order(new) > version_order(old)
            kind = ChangeKind.UPGRADED if newer else ChangeKind.DOWNGRADED
        yield PackageChange(Ecosystem.DEBIAN, name, where, old, new, kind)
    for ecosystem in (Ecosystem.PIP, Ecosystem.NPM):
        lists = (before.pip, after.pip) if ecosystem is Ecosystem.PIP else (before.npm, after.npm)
        one, other = ({(each.name, each.folder): each.version for each in its} for its in lists)
        for (name, where), old, new in _changed(one, other):
            yield PackageChange(ecosystem, name, where, old, new, _kind(old, new))


def _aspects(before: Contents, after: Contents) -> Mapping[str, tuple[NameChange, ...]]:
    def names(of: Callable[[Contents], Iterable[str]]) -> tuple[NameChange, ...]:
        return _names(dict.fromkeys(of(before), ()), dict.fromkeys(of(after), ()))

    return {
        "kernels": names(lambda contents: contents.kernels),
        "services": names(lambda contents: contents.services),
        "masked": names(lambda contents: contents.masked),
        "ports": names(lambda contents: contents.ports),
        "users": _names(*({u.name: _user(u) for u in c.users} for c in (before, after))),
        "groups": _names(*({g.name: _group(g) for g in c.groups} for c in (before, after))),
        "system": _names(
            *({key: (("", value),) for key, value in c.system.items()} for c in (before, after))
        ),
    }


def _names(before: Mapping[str, Facts], after: Mapping[str, Facts]) -> tuple[NameChange, ...]:
    found = []
    for name, old, new in _changed(before, after):
        details = tuple(_details(old, new)) if old is not None and new is not None else ()
        found.append(NameChange(name, _kind(old, new), details))
    return tuple(found)


def _files(documents: Documents, one: Seen, other: Seen) -> tuple[FileChange, ...]:
    if one.inside.manifest == other.inside.manifest:
        return ()
    try:
        return tuple(compare_files(documents.files(one.inside), documents.files(other.inside)))
    except NotFound as missing:
        raise CannotTell(
            f"it is not known which files differ between {one.version.ref} and {other.version.ref}",
            where=missing.where,
            why=f"a manifest is gone: {missing.what}",
            hint="`imagectl build --force` makes a version with another one",
        ) from missing


def compare_files(before: Iterable[Listed], after: Iterable[Listed]) -> Iterator[FileChange]:
    """The paths that differ between two manifests, a path at a time. Raises Corrupt where one of
    them is not sorted."""
    for old, new in _merged(_sorted(before), _sorted(after)):
        if old is None and new is not None:
            yield FileChange(new.path, ChangeKind.ADDED)
        elif new is None and old is not None:
            yield FileChange(old.path, ChangeKind.REMOVED)
        elif old is not None and new is not None and old != new:
            yield FileChange(new.path, ChangeKind.CHANGED, tuple(_details(_file(old), _file(new))))


def _sorted(listed: Iterable[Listed]) -> Iterator[tuple[bytes, Listed]]:
    before = b""
    for each in listed:
        path = each.path.encode("utf-8", "surrogateescape")
        if path <= before:
            raise Corrupt(f"a manifest is not in order: {each.path}")
        before = path
        yield path, each


def _merged(
    before: Iterator[tuple[bytes, Listed]], after: Iterator[tuple[bytes, Listed]]
) -> Iterator[tuple[Listed | None, Listed | None]]:
    old, new = next(before, None), next(after, None)
    while old is not None or new is not None:
        if new is None or (old is not None and old[0] < new[0]):
            assert old is not None
            yield old[1], None
            old = next(before, None)
        elif old is None or new[0] < old[0]:
            yield None, new[1]
            new = next(after, None)
        else:
            yield old[1], new[1]
            old, new = next(before, None), next(after, None)


def _file(listed: Listed) -> Facts:
    device = listed.device
    return (
        ("kind", listed.kind),
        ("mode", f"{listed.mode:04o}"),
        ("owner", f"{listed.uid}:{listed.gid}"),
        ("content", listed.sha256 or ""),
        ("size", str(listed.size)),
        ("target", listed.target),
        ("device", f"{device[0]}:{device[1]}" if device else ""),
        *((f"attribute {name}", value) for name, value in sorted((listed.xattrs or {}).items())),
    )


def _user(user: User) -> Facts:
    owner = f"{user.uid}:{user.gid}"
    return (("id", owner), ("home", user.home), ("shell", user.shell))


def _group(group: Group) -> Facts:
    return (("id", str(group.gid)), ("members", ",".join(group.members)))


def _sizes(one: Seen, other: Seen) -> Iterator[SizeChange]:
    """Of the tree, its paths and each format, whether or not they differ."""

    def sizes(seen: Seen) -> Mapping[str, int]:
        formats = {each.format.value: each.size for each in seen.version.artifacts}
        return {"tree": seen.contents.size, "paths": seen.contents.files, **formats}

    before, after = sizes(one), sizes(other)
    for name in dict.fromkeys((*before, *after)):
        yield SizeChange(name, before.get(name), after.get(name))


def _tests(documents: Documents, before: Version, after: Version) -> tuple[TestChange, ...] | None:
    try:
        one, other = documents.outcomes(before.tests), documents.outcomes(after.tests)
    except (NotFound, Corrupt):
        return None
    return tuple(TestChange(name, old, new) for name, old, new in _changed(one, other))


def _details(before: Facts, after: Facts) -> Iterator[str]:
    """Each fact that differs: ``mode 0644 -> 0600``. Contents differ without being quoted."""
    for word, old, new in _changed(dict(before), dict(after)):
        if word == "content":
            yield "content"
        else:
            yield f"{word} {old or 'none'} -> {new or 'none'}".strip()


def _changed(before: Mapping[T, V], after: Mapping[T, V]) -> Iterator[tuple[T, V | None, V | None]]:
    """Each key, sorted, whose value differs, with both values; None where it is not there."""
    for key in sorted({*before, *after}):  # type: ignore[type-var]  # texts, or tuples of them
        old, new = before.get(key), after.get(key)
        if old != new:
            yield key, old, new


def _kind(before: object, after: object) -> ChangeKind:
    if before is None:
        return ChangeKind.ADDED
    return ChangeKind.REMOVED if after is None else ChangeKind.CHANGED
