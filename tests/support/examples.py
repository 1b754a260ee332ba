"""A few plain versions, placements and changes, for tests that need some."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from imagectl.model.catalog import (
    Change,
    MoveChannel,
    Operation,
    RecordPlacement,
    RecordVersion,
)
from imagectl.model.channel import MoveKind
from imagectl.model.names import (
    Architecture,
    ChannelName,
    Format,
    ImageName,
    LocationName,
    Sha256,
    VersionId,
    parse_image_ref,
)
from imagectl.model.version import Artifact, Placement, TestSummary, Tree, Version, VersionRef

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
BETA = ChannelName("beta")
STABLE = ChannelName("stable")
CI = ImageName("debian-ci")
BASE = ImageName("debian-base")


def digest(text: str) -> Sha256:
    return Sha256(hashlib.sha256(text.encode()).hexdigest())


def ref(text: str) -> VersionRef:
    """``IMAGE@VERSION``."""
    parsed = parse_image_ref(text)
    assert parsed.version is not None
    return VersionRef(parsed.image, parsed.version)


def version(text: str, *, parent: VersionRef | None = None) -> Version:
    """A tested version with one artifact, under the name ``IMAGE@VERSION``."""
    return Version(
        ref=ref(text),
        created=NOW,
        created_by="alice",
        summary="a CI worker",
        fingerprint=digest(f"{text} inputs"),
        parent=parent,
        tree=Tree(digest(f"{text} tree"), 850_000_000, digest(f"{text} stored tree")),
        artifacts=(Artifact(Format.QCOW2, Architecture.AMD64, digest(text), 310_000_000),),
        tests=TestSummary(12, 0, 4.25, digest(f"{text} report"), digest(f"{text} console")),
        required_locations=(LocationName("local"),),
        tool="0.1.0",
        build_log=digest(f"{text} log"),
        seconds=148.5,
    )


def placement(
    text: str, location: str = "local", *, at: datetime = NOW, provider_id: str = "sha256/ab"
) -> Placement:
    """The artifact of ``version(text)`` at *location*."""
    return Placement(
        version=ref(text),
        format=Format.QCOW2,
        architecture=Architecture.AMD64,
        location=LocationName(location),
        provider_id=provider_id,
        reference=f"/locations/{location}/{provider_id}",
        sha256=digest(text),
        size=310_000_000,
        verified=at,
    )


def record(text: str) -> RecordVersion:
    return RecordVersion(version(text))


def place(text: str, location: str = "local", *, at: datetime = NOW) -> RecordPlacement:
    return RecordPlacement(placement(text, location, at=at))


def move(
    image: ImageName, channel: ChannelName, to: str, kind: MoveKind = MoveKind.PROMOTE
) -> MoveChannel:
    """*to* is the version alone, such as ``20261120.1``."""
    day, _, serial = to.partition(".")
    return MoveChannel(image, channel, VersionId(day, int(serial)), kind)


def change(key: str, based_on: int, *operations: Operation, reason: str = "because") -> Change:
    return Change(key, based_on, "alice", "promote stable", reason, NOW, operations)
