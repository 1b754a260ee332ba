"""Parents before children: the order in which images are built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from imagectl.errors import BadInput, Problem
from imagectl.model.image import Image, ParentBase
from imagectl.model.names import ImageName


def parent_of(image: Image) -> ImageName | None:
    """The image whose version this one is made from; None where it has another base."""
    return image.base.ref.image if isinstance(image.base, ParentBase) else None


def circle(name: ImageName, parents: Mapping[ImageName, ImageName | None]) -> tuple[ImageName, ...]:
    """The ancestors from *name* back to itself; empty where it is not its own ancestor."""
    line = [name]
    parent = parents.get(name)
    while parent is not None and parent not in line:
        line.append(parent)
        parent = parents.get(parent)
    return (*line, name) if parent == name else ()


def build_order(images: Iterable[Image]) -> tuple[Image, ...]:
    """The images with each parent before its children, and by name where that leaves a choice.

    Parents that are not among *images* are taken to be built already. Raises BadInput where an
    image is its own ancestor.
    """
    waiting = {image.name: image for image in sorted(images, key=lambda image: image.name)}
    parents = {name: parent_of(image) for name, image in waiting.items()}
    ordered: list[Image] = []
    while waiting:
        ready = [name for name in waiting if parents[name] not in waiting]
        if not ready:
            lines = [line for name in waiting if (line := circle(name, parents))]
            raise BadInput([_own_ancestor(line) for line in lines])
        ordered.extend(waiting.pop(name) for name in ready)
    return tuple(ordered)


def _own_ancestor(line: tuple[ImageName, ...]) -> Problem:
    what = f"parents in a circle: {' -> '.join(line)}"
    return Problem(f"images/{line[0]}/image.yaml", 0, 0, what)
