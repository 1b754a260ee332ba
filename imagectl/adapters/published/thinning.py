"""Removes from a tree what nobody can be led to any more.

A state is a snapshot; it names lists, and these name documents. Those of the newest states stay
whole, and so does what a publisher has claimed that works beside this one. Only files of ours are
removed, which the catalog can always write again; nothing is removed that a list which stays names.
Old files are not verified, and whoever may write to the tree may have made them: what they name is
removed only where it is a list or a document of this tree. Roots and versions are neither. However
many states were made up, the one that was shown until now stays, as somebody may be reading it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from imagectl.adapters.published.place import side_by_side
from imagectl.formats.tuf_roles import (
    METADATA,
    SNAPSHOT,
    TARGETS,
    delegated_paths,
    metadata_path,
    role_of,
    target_path,
)
from imagectl.model.names import parse_sha256

if TYPE_CHECKING:
    from imagectl.adapters.published.place import Place


_SNAPSHOT = re.compile(rf"([1-9][0-9]*)\.{SNAPSHOT}\.json")
# Of these no two lead to the same file, on any file system, and all can be asked for.
_PART = r"[a-z][a-z0-9\-]*(\.[a-z]+)*"
_NAME = re.compile(rf"(?=.{{1,150}}\Z){_PART}(/{_PART})*")
_MOST = 1 << 63
"""No version is as high: its number has 19 digits."""


def snapshot_number(path: str) -> int:
    """Which snapshot a file is, by its name; 0 where it is none."""
    found = _SNAPSHOT.fullmatch(path.rpartition("/")[2])
    return int(found[1]) if found else 0


def thin_out(place: Place, kept: int, newest: int, before: Collection[int] = ()) -> None:
    """Keep the *kept* newest states up to *newest*, all after it, and those that were shown
    *before*. Documents go first and snapshots last, so that what a killed process left is found by
    the next one. Roots and versions stay."""
    old, _ = _states(place, kept, newest, before)
    if not old:
        return
    with place.thinning(len(old)) as may:
        if may:
            _remove(place, *_states(place, kept, newest, before))


def _states(
    place: Place, kept: int, newest: int, before: Collection[int]
) -> tuple[list[int], list[int]]:
    """The snapshots that go, and those that stay."""
    numbers = sorted(filter(None, map(snapshot_number, place.names(METADATA))))
    goes = [each for each in numbers if each <= newest][:-kept]
    goes = [each for each in goes if each not in before]
    return goes, sorted({*numbers} - {*goes})


def _remove(place: Place, old: Collection[int], new: Collection[int]) -> None:
    stays = _lists(place, new)
    goes = _lists(place, old) - stays
    if goes:
        named = _documents(place, stays)
        side_by_side(place.remove, sorted(_documents(place, goes) - named))
    side_by_side(place.remove, sorted(goes))
    side_by_side(place.remove, [f"{METADATA}/{number}.{SNAPSHOT}.json" for number in old])


def _lists(place: Place, numbers: Iterable[int]) -> set[str]:
    """The metadata that snapshots name."""
    paths = [f"{METADATA}/{number}.{SNAPSHOT}.json" for number in numbers]
    found = set()
    for name, meta in _named(place, paths, "meta"):
        role = name.removesuffix(".json")
        version = meta.get("version")
        if type(version) is int and role != name and _lists_documents(role):
            found |= {metadata_path(role, version)} if 0 < version < _MOST else set()
    return found


def _lists_documents(role: str) -> bool:
    """Whether it is a role whose lists come and go."""
    try:
        found = role == TARGETS or bool(delegated_paths(role))
        return found and "/" not in role and bool(_NAME.fullmatch(role))
    except ValueError:
        return False


def _documents(place: Place, paths: Iterable[str]) -> set[str]:
    """The files of the documents that lists name."""
    found = set()
    for target, file in _named(place, paths, "targets"):
        try:
            role_of(target, ())
            digest = parse_sha256(file["hashes"]["sha256"])
        except (ValueError, TypeError, KeyError):
            continue
        if _NAME.fullmatch(target):
            found.add(target_path(target, digest))
    return found


def _named(
    place: Place, paths: Iterable[str], part: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What these files name in that part of them; nothing, where one is no metadata."""
    for data in side_by_side(place.read, paths):
        try:
            found = {} if data is None else dict(json.loads(data)["signed"][part])
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
        yield from ((name, each) for name, each in found.items() if isinstance(each, dict))
