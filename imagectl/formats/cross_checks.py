"""What is right in each file of a project, and still does not fit together."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from imagectl.errors import Problem
from imagectl.formats.reading import Path, Source, did_you_mean
from imagectl.formats.yaml_strict import ListNode
from imagectl.model.channel import ReleasePolicy
from imagectl.model.image import Image, PackerTemplate, ParentBase
from imagectl.model.names import DISKS, Format, ImageName
from imagectl.model.place import GceLocation
from imagectl.model.project import Project
from imagectl.policy.ancestry import circle, parent_of


class Defined(NamedTuple):
    """An image, and the file that it is defined in."""

    image: Image
    source: Source


def check_locations(defined: Defined, project: Project) -> Iterator[Problem]:
    """Every location of the image is in imagectl.yaml, and takes one of the image's formats."""
    image = defined.image
    if isinstance(image.base, PackerTemplate) and image.base.builds is not None:
        return  # see check_template
    for key, names in (
        ("required", image.required_locations),
        ("optional", image.optional_locations),
    ):
        for index, name in enumerate(names):
            if name not in project.locations:
                yield defined.source.problem(
                    _location_path(defined.source, key, index),
                    f"there is no location {name!r} in imagectl.yaml",
                    did_you_mean(name, tuple(project.locations)),
                )
            elif not project.locations[name].takes.intersection(image.formats):
                takes = sorted(
                    each.value for each in project.locations[name].takes.intersection(DISKS)
                )
                has = ", ".join(each.value for each in image.formats)
                yield defined.source.problem(
                    _location_path(defined.source, key, index),
                    f"{name!r} takes none of the image's formats: {has}",
                    f"add one of these to `formats`: {', '.join(takes)}",
                )


def check_pointers(project: Project, source: Source, policy: ReleasePolicy) -> Iterator[Problem]:
    """Every family shows the head of a channel that there is: else it would show an old one."""
    known = {*policy.names, *(name for rules in policy.images.values() for name in rules)}
    for name, settings in project.locations.items():
        if isinstance(settings, GceLocation) and settings.family_channel not in (None, *known):
            yield source.problem(
                ("locations", name, "family_channel"),
                f"there is no channel {settings.family_channel!r} in channels.yaml",
                did_you_mean(str(settings.family_channel), sorted(known)),
            )


def check_template(defined: Defined, project: Project) -> Iterator[Problem]:
    """Where a Packer template makes the image in a location, it can be made and tested there."""
    base = defined.image.base
    if not isinstance(base, PackerTemplate) or base.builds is None:
        return
    where = ("packer", "builds")
    settings = project.locations.get(base.builds)
    if settings is None:
        what = f"there is no location {base.builds!r} in imagectl.yaml"
        yield defined.source.problem(where, what, did_you_mean(base.builds, [*project.locations]))
    elif Format.NATIVE not in settings.takes:
        what = f"in {base.builds}, of type {settings.type}, nothing can be built"
        hint = "leave it out where the template makes a disk on this machine"
        yield defined.source.problem(where, what, hint)
    elif isinstance(settings, GceLocation) and settings.zone is None:
        what = f"what is built in {base.builds} cannot be tested there"
        hint = f"give {base.builds} a `zone` in imagectl.yaml, for the machine that is tested"
        yield defined.source.problem(where, what, hint)


def _location_path(source: Source, key: str, index: int) -> Path:
    short = isinstance(source.root.get("locations"), ListNode)
    return ("locations", index) if short else ("locations", key, index)


def check_parent(
    defined: Defined, names: Collection[ImageName], policy: ReleasePolicy | None
) -> Iterator[Problem]:
    """The parent is an image of the project, and the channel is one of the policy (if known)."""
    if not isinstance(defined.image.base, ParentBase):
        return
    ref = defined.image.base.ref
    where = ("base", "parent")
    if ref.image not in names:
        others = [name for name in names if name != defined.image.name]
        hint = did_you_mean(ref.image, others)
        yield defined.source.problem(where, f"there is no image {ref.image!r}", hint)
    if policy is not None and ref.channel is not None and ref.channel not in policy.names:
        hint = did_you_mean(ref.channel, policy.names)
        yield defined.source.problem(where, f"there is no channel {ref.channel!r}", hint)


def check_families(images: Mapping[ImageName, Defined]) -> Iterator[Problem]:
    """No image is its own ancestor, and a child is for the same processor as its parent."""
    parents = {name: parent_of(defined.image) for name, defined in images.items()}
    for name, defined in images.items():
        line = circle(name, parents)
        if line:
            what = f"parents in a circle: {' -> '.join(line)}"
            yield defined.source.problem(("base", "parent"), what)
        parent = images.get(parents[name] or name)
        if parent is not None and parent.image.architecture is not defined.image.architecture:
            what = f"the parent {parent.image.name!r} is for {parent.image.architecture.value}"
            yield defined.source.problem(("architecture",), what)


def check_policy(
    policy: ReleasePolicy, source: Source, names: Collection[ImageName]
) -> Iterator[Problem]:
    """Every image with an exception is an image of the project."""
    for name in policy.images:
        if name not in names:
            hint = did_you_mean(name, tuple(names))
            yield source.problem(("images", name), f"there is no image {name!r}", hint)
