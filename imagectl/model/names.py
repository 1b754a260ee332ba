"""The names that everything else is spoken of by, and the only parsers for them.

Text becomes one of these types once, at the edge; after that nobody checks it again. Each parser
raises :class:`BadName` (a ``ValueError``) whose message says what is allowed. Names go into file
names, URLs, cloud resource names and host names, so they are plain ASCII: a look-alike letter from
another alphabet, a NUL or ``../`` cannot get through.
"""

from __future__ import annotations

import enum
import re
import sys
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from typing import NewType

ImageName = NewType("ImageName", str)
ChannelName = NewType("ChannelName", str)
LocationName = NewType("LocationName", str)
Sha256 = NewType("Sha256", str)
"""64 lower-case hexadecimal digits."""

MAX_NAME = 40
"""Longest image, channel or location name, in characters. GCE names end at 63: an image name, a
version (``20261120-100``) and an architecture must fit into one with their hyphens."""

_NAME = re.compile(r"[a-z](?:[a-z0-9]|-(?=[a-z0-9]))*\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_VERSION = re.compile(r"([0-9]{8})\.([1-9][0-9]{0,5})\Z")


class BadName(ValueError):
    """Text is not a name of the kind asked for. The message is for people."""


class Architecture(enum.Enum):
    """A processor architecture, in Debian's words."""

    AMD64 = "amd64"
    ARM64 = "arm64"


class Format(enum.Enum):
    """A disk format that a version can be delivered in."""

    RAW = "raw"
    QCOW2 = "qcow2"
    """QEMU's own, compressed with zstd."""
    GCE = "gce"
    """``disk.raw`` in a gzipped tar, as Google Compute Engine imports it."""
    VMDK = "vmdk"
    """VMware's ``streamOptimized`` form."""
    OVA = "ova"
    """A machine of vSphere: a description, its manifest and a VMDK, in a tar."""
    NATIVE = "native"
    """What a cloud builder made in a location itself: only a description of it is kept here."""


DISKS: tuple[Format, ...] = tuple(each for each in Format if each is not Format.NATIVE)
"""The formats that are files of a disk."""


def bootable_format(formats: Collection[Format]) -> Format | None:
    """Which of the formats QEMU boots as it is, the quickest where there are several."""
    order = (Format.QCOW2, Format.RAW, Format.VMDK)
    return next((each for each in order if each in formats), None)


def _name(text: str, what: str) -> str:
    if len(text) > MAX_NAME:
        raise BadName(f"{what} {text[:20]!r}... has {len(text)} characters; {MAX_NAME} are allowed")
    if not _NAME.match(text):
        article = "an" if what[0] in "aeiou" else "a"
        raise BadName(
            f"{text!r} is not {article} {what}: it begins with a letter a-z and holds only a-z, "
            "0-9 and single hyphens in between"
        )
    # There are few names, and with a million versions a great many texts of them.
    return sys.intern(text)


def parse_image_name(text: str) -> ImageName:
    """The image's name, or :class:`BadName`."""
    return ImageName(_name(text, "image name"))


def parse_channel_name(text: str) -> ChannelName:
    """The channel's name, or :class:`BadName`."""
    return ChannelName(_name(text, "channel name"))


def parse_location_name(text: str) -> LocationName:
    """The location's name, or :class:`BadName`."""
    return LocationName(_name(text, "location name"))


def parse_sha256(text: str) -> Sha256:
    """A sha256 in lower-case hexadecimal, with or without a leading ``sha256:``."""
    digits = text.removeprefix("sha256:")
    if not _SHA256.match(digits):
        raise BadName(f"{text[:80]!r} is not a sha256: 64 digits 0-9a-f are expected")
    return Sha256(digits)


@dataclass(frozen=True, slots=True, order=True)
class VersionId:
    """``YYYYMMDD.N``: the day of the build in UTC and a serial from 1. Sorts by age."""

    day: str
    serial: int

    def __str__(self) -> str:
        return f"{self.day}.{self.serial}"


def parse_version_id(text: str) -> VersionId:
    """A version such as ``20261120.1``, or :class:`BadName`."""
    match = _VERSION.match(text)
    if match:
        day, serial = match.groups()
        try:
            date(int(day[:4]), int(day[4:6]), int(day[6:]))
        except ValueError:
            raise BadName(f"{text!r} is not a version: {day} is not a day") from None
        return VersionId(sys.intern(day), int(serial))
    raise BadName(f"{text[:80]!r} is not a version: YYYYMMDD.N is expected, such as 20261120.1")


@dataclass(frozen=True, slots=True)
class ImageRef:
    """``IMAGE``, ``IMAGE:CHANNEL`` or ``IMAGE@VERSION``. Not both a channel and a version."""

    image: ImageName
    channel: ChannelName | None = None
    version: VersionId | None = None

    def __str__(self) -> str:
        if self.version is not None:
            return f"{self.image}@{self.version}"
        return f"{self.image}:{self.channel}" if self.channel is not None else self.image


def parse_image_ref(text: str) -> ImageRef:
    """``IMAGE``, ``IMAGE:CHANNEL`` or ``IMAGE@VERSION``, or :class:`BadName`."""
    name, at, version = text.partition("@")
    if at:
        return ImageRef(parse_image_name(name), version=parse_version_id(version))
    name, colon, channel = text.partition(":")
    if colon:
        return ImageRef(parse_image_name(name), channel=parse_channel_name(channel))
    return ImageRef(parse_image_name(name))
