"""Removes from a tree what nobody can be led to any more.

A state is a snapshot; it names lists, and these name documents. Those of the newest states stay
whole. Only files of ours are removed, which the catalog can always write again; nothing is removed
that a list which stays names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from imagectl.formats.tuf_roles import METADATA, SNAPSHOT, target_path
from imagectl.model.names import BadName, parse_sha256

if TYPE_CHECKING:
    from imagectl.adapters.published.place import Place


def thin_out(place: Place, kept: int) -> None:
    """Keep the *kept* newest states. Documents go first and snapshots last, so that what a killed
    process left is found by the next one. Roots and versions stay."""
    snapshots = sorted(
        int(name.partition(".")[0])
        for name in place.names(METADATA)
        if name.endswith(f".{SNAPSHOT}.json") and name.partition(".")[0].isdigit()
    )
    old, new = snapshots[:-kept], snapshots[-kept:]
    if not old:
        return
    stays = {path for number in new for path in _lists(place, number)}
    goes = {path for number in old for path in _lists(place, number)} - stays
    if goes:
        named = {path for each in stays for path in _documents(place, each)}
        for path in sorted({path for each in goes for path in _documents(place, each)} - named):
            place.remove(path)
    for path in sorted(goes):
        place.remove(path)
    for number in old:
        place.remove(f"{METADATA}/{number}.{SNAPSHOT}.json")


def _lists(place: Place, number: int) -> Iterator[str]:
    """The metadata that a snapshot names."""
    signed = _signed(place, f"{METADATA}/{number}.{SNAPSHOT}.json")
    for name, meta in signed.get("meta", {}).items():
        yield f"{METADATA}/{meta['version']}.{name}"


def _documents(place: Place, path: str) -> Iterator[str]:
    """The files of the documents that a list names."""
    for target, file in _signed(place, path).get("targets", {}).items():
        try:
            yield target_path(target, parse_sha256(file["hashes"]["sha256"]))
        except BadName:
            continue


def _signed(place: Place, path: str) -> dict[str, Any]:
    data = place.read(path)
    found: dict[str, Any] = {} if data is None else json.loads(data)["signed"]
    return found
