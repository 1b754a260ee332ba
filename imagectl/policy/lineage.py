"""Which versions there are, and which one each was built on: in some twenty bytes for each version,
since there may be millions of them."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from itertools import pairwise

from imagectl.model.channel import Channel
from imagectl.model.names import ImageName, VersionId
from imagectl.model.retention import Stage
from imagectl.model.stock import Shelf
from imagectl.model.version import VersionRef


class Lineage:
    """Filled image by image; afterwards it answers for each version. Versions are numbers here, and
    those of an image, which rise, are an array with one of their parents beside it."""

    def __init__(self) -> None:
        self._names: list[ImageName] = []
        self._indexes: dict[ImageName, int] = {}
        self._rows: dict[ImageName, tuple[array[int], array[int], array[int]]] = {}
        self.needed: dict[VersionRef, VersionRef] = {}
        """What undeleted versions were built on, each with one of them."""
        self._once: dict[VersionRef, VersionRef] = {}

    def add(self, shelf: Shelf) -> Iterator[str]:
        """Take in an image's versions; tells what is wrong with them."""
        if shelf.image in self._rows:
            yield f"{shelf.image} was read twice"
        numbers = [_number(each.id) for each in shelf.versions]
        if any(one >= other for one, other in pairwise(numbers)):
            yield f"the versions of {shelf.image} are out of order"
        owners, parents = array("i"), array("q")
        index = -1
        for each in shelf.versions:
            parent = each.parent
            if parent is None:
                owners.append(-1)
                parents.append(0)
                continue
            children = self._once if each.stage is Stage.DELETED else self.needed
            if parent not in children:
                children[parent] = VersionRef(shelf.image, each.id)
            if index < 0 or self._names[index] != parent.image:
                index = self._index(parent.image)
            owners.append(index)
            parents.append(_number(parent.version))
        self._rows[shelf.image] = (array("q", numbers), owners, parents)

    def missing(self, image: ImageName, channel: Channel) -> set[VersionId]:
        """What a channel of the image has had, and is not there."""
        numbers = frozenset(self._rows[image][0])
        return {move.version for move in channel.moves if _number(move.version) not in numbers}

    def __contains__(self, ref: VersionRef) -> bool:
        return self._at(ref) is not None

    def parent(self, ref: VersionRef) -> VersionRef | None:
        """What the version was built on; None also for a version that is not there."""
        at = self._at(ref)
        if at is None:
            return None
        _, owners, parents = self._rows[ref.image]
        owner = owners[at]
        return None if owner < 0 else VersionRef(self._names[owner], _version(parents[at]))

    def orphans(self) -> Iterator[tuple[VersionRef, VersionRef]]:
        """Versions that are not there although something was built on them, each with one that
        was."""
        for parent, child in {**self._once, **self.needed}.items():
            if parent not in self:
                yield parent, child

    def _at(self, ref: VersionRef) -> int | None:
        row = self._rows.get(ref.image)
        if row is None:
            return None
        number = _number(ref.version)
        at = bisect_left(row[0], number)
        return at if at < len(row[0]) and row[0][at] == number else None

    def _index(self, image: ImageName) -> int:
        if image not in self._indexes:
            self._indexes[image] = len(self._names)
            self._names.append(image)
        return self._indexes[image]


_SERIALS = 1_000_000
"""A serial has at most six digits."""


def _number(version: VersionId) -> int:
    return int(version.day) * _SERIALS + version.serial


def _version(number: int) -> VersionId:
    day, serial = divmod(number, _SERIALS)
    return VersionId(f"{day:08}", serial)
