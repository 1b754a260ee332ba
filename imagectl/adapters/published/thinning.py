"""Removes from a tree what nobody can be led to any more.

A state is a snapshot; it names lists, and these name documents. Those of the newest states stay
whole, and so does what a publisher has claimed that works beside this one. Only files of ours are
removed, which the catalog can always write again; nothing is removed that a list which stays names.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from imagectl.adapters.published.place import side_by_side
from imagectl.formats.tuf_roles import METADATA, SNAPSHOT, target_path
from imagectl.model.names import BadName, parse_sha256

if TYPE_CHECKING:
    from imagectl.adapters.published.place import Place


def snapshot_number(path: str) -> int:
    """Which snapshot a file is, by its name; 0 where it is none."""
    number, _, name = path.rpartition("/")[2].partition(".")
    return int(number) if name == f"{SNAPSHOT}.json" and number.isdecimal() else 0


def thin_out(place: Place, kept: int, newest: int) -> None:
    """Keep the *kept* newest states up to *newest*, and all after it. Documents go first and
    snapshots last, so that what a killed process left is found by the next one. Roots and versions
    stay."""
    old, _ = _states(place, kept, newest)
    if not old:
        return
    with place.thinning(len(old)) as may:
        if may:
            _remove(place, *_states(place, kept, newest))


def _states(place: Place, kept: int, newest: int) -> tuple[list[int], list[int]]:
    """The snapshots that go, and those that stay."""
    numbers = sorted(filter(None, map(snapshot_number, place.names(METADATA))))
    goes = [each for each in numbers if each <= newest][:-kept]
    return goes, numbers[len(goes) :]


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
    return {
        f"{METADATA}/{meta['version']}.{name}"
        for signed in side_by_side(lambda path: _signed(place, path), paths)
        for name, meta in signed.get("meta", {}).items()
    }


def _documents(place: Place, paths: Iterable[str]) -> set[str]:
    """The files of the documents that lists name."""
    found = set()
    for signed in side_by_side(lambda path: _signed(place, path), paths):
        for target, file in signed.get("targets", {}).items():
            try:
                found.add(target_path(target, parse_sha256(file["hashes"]["sha256"])))
            except BadName:
                continue
    return found


def _signed(place: Place, path: str) -> dict[str, Any]:
    data = place.read(path)
    found: dict[str, Any] = {} if data is None else json.loads(data)["signed"]
    return found
