"""What of a location is taken into the catalog, and as what: things that nobody recorded.

Promises: each thing that was asked about is in exactly one of the lists of the plan, with the
reason where it is left out. What says that it is this catalog's is recorded as nothing else than it
says; what says that it is another's is left alone (P2). What somebody else made becomes a version
of its own, in order of age; tests have never proven it, so no channel can come to point to it (P6).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from imagectl.model.names import Architecture, BadName, ImageName, parse_image_name
from imagectl.model.retention import Stage
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Artifact, VersionRef
from imagectl.model.view import Found, Ownership

_ARCHITECTURES = {
    "amd64": Architecture.AMD64,
    "x86-64": Architecture.AMD64,
    "arm64": Architecture.ARM64,
    "aarch64": Architecture.ARM64,
}
_END = re.compile(
    r"(?:-v?(?:\d{4}-\d\d-\d\d|\d{6,})(?:-\d+)*)?"
    rf"(?:-(?P<architecture>{'|'.join(_ARCHITECTURES)}))?\Z"
)
"""How names end that are made anew for each image: a date or a time, a number, an architecture."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody asks to adopt. ``patterns``: shell patterns of names; none means all.

    ``image``: what all become versions of that are not versions of something by their own word;
    None: that follows from their names. ``architecture``: of those that do not tell.
    """

    patterns: tuple[str, ...] = ()
    image: ImageName | None = None
    architecture: Architecture = Architecture.AMD64

    def means(self, found: Found) -> bool:
        """Whether it is asked for."""
        return not self.patterns or any(fnmatchcase(found.name, each) for each in self.patterns)


@dataclass(frozen=True, slots=True)
class Strange:
    """Somebody else's thing, and what it becomes a version of."""

    found: Found
    image: ImageName
    architecture: Architecture


@dataclass(frozen=True, slots=True)
class Unrecorded:
    """A thing that is the artifact of a recorded version, in a place where none is recorded."""

    found: Found
    version: VersionRef
    artifact: Artifact


@dataclass(frozen=True, slots=True)
class Left:
    """What is left as it is, and why."""

    name: str
    provider_id: str
    why: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Sorted:
    """What is to become of each thing. ``known`` counts what is recorded already."""

    known: int
    strange: tuple[Strange, ...]
    unrecorded: tuple[Unrecorded, ...]
    lost: Mapping[VersionRef, tuple[tuple[Found, Ownership], ...]]
    """Things of versions that nobody has recorded, or that were forgotten with a newer catalog."""
    left: tuple[Left, ...]


def images_of(found: Sequence[Found], wanted: Wanted) -> frozenset[ImageName]:
    """The images whose part of the catalog ``sort_found`` looks at."""
    names: set[ImageName] = set() if wanted.image is None else {wanted.image}
    for each in found:
        if each.owner is not None:
            names.add(each.owner.version.image)
        elif wanted.image is None and (strange := _strange(each, wanted)) is not None:
            names.add(strange.image)
    return frozenset(names)


def sort_found(
    found: Sequence[Found], snapshot: Snapshot, location: str, wanted: Wanted, *, builds: bool
) -> Sorted:
    """What is to become of *found*, all of which *wanted* means. *builds*: whether in that location
    others may make images that imagectl can describe."""
    known = 0
    strange: list[Strange] = []
    unrecorded: list[Unrecorded] = []
    lost: dict[VersionRef, tuple[tuple[Found, Ownership], ...]] = {}
    left: list[Left] = []
    for each in found:
        match _verdict(each, snapshot, location, wanted, builds=builds):
            case Left() as reason:
                left.append(reason)
            case Strange() as one:
                strange.append(one)
            case Unrecorded() as one:
                unrecorded.append(one)
            case Ownership() as owner:
                lost[owner.version] = (*lost.get(owner.version, ()), (each, owner))
            case None:
                known += 1
    strange.sort(key=lambda each: (each.found.created, each.found.name))
    return Sorted(known, tuple(strange), tuple(unrecorded), lost, tuple(left))


def been_deleted(ref: VersionRef) -> tuple[str, str]:
    """Why nothing is recorded as of a deleted version, and the way to have it again."""
    return f"{ref} has been deleted", f"`imagectl cleanup undelete {ref}` brings it back"


def _verdict(
    found: Found, snapshot: Snapshot, location: str, wanted: Wanted, *, builds: bool
) -> Left | Strange | Unrecorded | Ownership | None:
    """None where it is recorded already; its owner where its version is not."""
    owner = found.owner
    if owner is None:
        return _of_others(found, wanted, builds=builds)
    if owner.catalog != snapshot.catalog_id:
        return _left(found, f"it belongs to another catalog, {owner.catalog}")
    ref = owner.version
    version = snapshot.versions.get(ref)
    if version is None:
        return owner
    if snapshot.stage(ref) is Stage.DELETED:
        return _left(found, *been_deleted(ref))
    same = [
        each
        for each in version.artifacts
        if (each.format, each.architecture) == (owner.format, owner.architecture)
    ]
    if not same or same[0].sha256 != owner.sha256:
        return _left(found, f"it says that it is another artifact than {ref} has")
    for placement in snapshot.placed(ref):
        if (placement.location, placement.format, placement.architecture) == (
            location,
            owner.format,
            owner.architecture,
        ):
            if placement.provider_id == found.provider_id:
                return None
            return _left(found, f"{ref} is recorded there as {placement.provider_id}")
    return Unrecorded(found, ref, same[0])


def _of_others(found: Found, wanted: Wanted, *, builds: bool) -> Left | Strange:
    if not builds:
        return _left(
            found,
            "it is not imagectl's, and is no image that could be used where it is",
            "build a version of it, with `base: {disk: ...}`",
        )
    if found.created is None:
        return _left(found, "nobody tells when it was made, so it has no place among versions")
    strange = _strange(found, wanted)
    if strange is None:
        return _left(found, "its name gives no image's name", "name the image: `--image NAME`")
    return strange


def _strange(found: Found, wanted: Wanted) -> Strange | None:
    """What it becomes a version of; None where that cannot be told."""
    text = re.sub(r"[^a-z0-9]+", "-", found.name.lower()).strip("-")
    end = _END.search(text)
    assert end is not None  # it matches nothing, too
    architecture = found.architecture or _ARCHITECTURES.get(end["architecture"] or "")
    try:
        image = wanted.image or parse_image_name(text[: end.start()])
    except BadName:
        return None
    return Strange(found, image, architecture or wanted.architecture)


def _left(found: Found, why: str, hint: str = "") -> Left:
    return Left(found.name, found.provider_id, why, hint)
