"""A few plain versions, placements and changes, for tests that need some."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from imagectl.model.announcement import AnnouncedKind, Brownout
from imagectl.model.change import (
    AnnounceDeprecation,
    AnnounceMove,
    BeginDeletion,
    Change,
    ConfirmGone,
    EndIntent,
    EndLease,
    ForgetPlacement,
    HoldVersion,
    LeaseVersion,
    MoveChannel,
    Operation,
    RecordIntent,
    RecordPlacement,
    RecordVersion,
    RestoreVersion,
    RevokeVersion,
    StepVersion,
    UnholdVersion,
    WithdrawAnnouncement,
)
from imagectl.model.channel import MoveKind
from imagectl.model.lock import (
    Archive,
    BuildMode,
    DefinitionDigests,
    Download,
    Expected,
    Index,
    Lock,
    LockedPackagesBase,
    LockedToolchain,
    Package,
    sorted_inputs,
)
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
from imagectl.model.retention import Stage, Tombstone
from imagectl.model.version import (
    Artifact,
    Inside,
    Intent,
    Origin,
    Placement,
    Reproducible,
    TestSummary,
    Tree,
    Version,
    VersionRef,
)

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


def locked(text: str, reproducible: Reproducible = Reproducible.YES, cause: str = "") -> Version:
    """Like ``version(text)``, and it is known how it was made and what is inside."""
    origin = Origin(
        epoch=round(NOW.timestamp()),
        lock=digest(f"{text} lock"),
        source=digest(f"{text} source"),
        raw=digest(f"{text} raw"),
        reproducible=reproducible,
        cause=cause,
    )
    inside = Inside(*(digest(f"{text} {name}") for name in ("a", "b", "c", "d", "e")))
    return replace(version(text), origin=origin, inside=inside)


def opaque(text: str) -> Version:
    """Like ``locked(text)``, but its disk is kept as Packer left it."""
    return replace(
        locked(text, Reproducible.NO, "its file system is btrfs"), tree=None, inside=None
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


def intent(text: str, location: str = "local", *, named: str = "sha256/ab") -> Intent:
    """The artifact of ``version(text)`` is about to be put in *location*."""
    return Intent(
        version=ref(text),
        format=Format.QCOW2,
        architecture=Architecture.AMD64,
        location=LocationName(location),
        named=named,
        since=NOW,
        by="alice",
    )


def record(text: str) -> RecordVersion:
    return RecordVersion(version(text))


def place(text: str, location: str = "local", *, at: datetime = NOW) -> RecordPlacement:
    return RecordPlacement(placement(text, location, at=at))


def intend(text: str, location: str = "local", *, named: str = "sha256/ab") -> RecordIntent:
    return RecordIntent(intent(text, location, named=named))


def end(text: str, location: str = "local", *, named: str = "sha256/ab") -> EndIntent:
    return EndIntent(intent(text, location, named=named))


def move(
    image: ImageName, channel: ChannelName, to: str, kind: MoveKind = MoveKind.PROMOTE
) -> MoveChannel:
    """*to* is the version alone, such as ``20261120.1``."""
    day, _, serial = to.partition(".")
    return MoveChannel(image, channel, VersionId(day, int(serial)), kind)


def step(text: str, *stages: Stage) -> tuple[StepVersion, ...]:
    """One after the other; all the way down where none are named."""
    return tuple(StepVersion(ref(text), each) for each in stages or tuple(Stage)[1:])


def tombstone(
    text: str, location: str = "local", *, at: datetime = NOW, begun: datetime | None = None
) -> Tombstone:
    """What ``change`` leaves of ``place(text, location)`` when it deletes that version."""
    return Tombstone(placement(text, location), at, "alice", "because", begun)


def begin(text: str, location: str = "local", *, begun: datetime | None = None) -> BeginDeletion:
    """*begun* is when it was begun before."""
    return BeginDeletion(tombstone(text, location, begun=begun))


def confirm(text: str, location: str = "local", *, begun: datetime | None = None) -> ConfirmGone:
    return ConfirmGone(tombstone(text, location, begun=begun))


def hold(text: str) -> HoldVersion:
    return HoldVersion(ref(text))


def unhold(text: str, by: str = "alice") -> UnholdVersion:
    return UnholdVersion(ref(text), by)


def lease(text: str, consumer: str = "ci-7", hours: float = 1) -> LeaseVersion:
    """Until *hours* after ``NOW``."""
    return LeaseVersion(ref(text), consumer, NOW + timedelta(hours=hours))


def end_lease(text: str, consumer: str = "ci-7") -> EndLease:
    return EndLease(ref(text), consumer)


def forget(text: str, location: str = "local") -> ForgetPlacement:
    return ForgetPlacement(placement(text, location))


def revoke(text: str) -> RevokeVersion:
    return RevokeVersion(ref(text))


def restore(text: str) -> RestoreVersion:
    return RestoreVersion(ref(text))


def change(key: str, based_on: int, *operations: Operation, reason: str = "because") -> Change:
    return Change(key, based_on, "alice", "promote stable", reason, NOW, operations)


def package(name: str, version: str, *, architecture: str = "amd64") -> Package:
    """A package of Debian's main archive, at the path where a mirror has it."""
    file = f"{name}_{version.partition(':')[2] or version}_{architecture}.deb"
    path = f"pool/main/{name[0]}/{name}/{file}"
    return Package(
        name, version, architecture, Archive.DEBIAN, path, digest(file), len(file) * 1000
    )


def lock(image: ImageName = BASE) -> Lock:
    """A lock with some of everything."""
    release = Index(Archive.DEBIAN, "dists/bookworm/InRelease", digest("InRelease"), 151_075)
    updates = Index(
        Archive.SECURITY, "dists/bookworm-security/InRelease", digest("security"), 48_000
    )
    page = Download(
        "https://mirror.example/simple/black/",
        200,
        digest("black"),
        25_000,
        content_type="text/html; charset=utf-8",
    )
    moved = Download(
        "https://mirror.example/tool?arch=amd64#latest", 302, digest(""), 0, location="/tool-1.2"
    )
    tools = [package("e2fsprogs", "1.47.2-3"), package("mtools", "4.0.48-1")]
    return Lock(
        image=image,
        architecture=Architecture.AMD64,
        mode=BuildMode.VM,
        epoch=round(NOW.timestamp()),
        definition=DefinitionDigests(
            digest("definition"), digest("playbooks"), digest("suites"), digest("rules")
        ),
        mirrors={
            Archive.DEBIAN: "http://mirror.example/debian",
            Archive.SECURITY: "http://mirror.example/debian-security",
        },
        toolchain=LockedToolchain("trixie", digest("toolchain"), sorted_inputs(tools)),
        base=LockedPackagesBase("bookworm"),
        inputs=sorted_inputs(
            [
                package("openssh-server", "1:9.2p1-2+deb12u7"),
                package("adduser", "3.134", architecture="all"),
                release,
                updates,
                page,
                moved,
            ]
        ),
        expected=Expected(digest("tree"), digest("raw"), {Format.QCOW2: digest("qcow2")}),
    )


def announce(text: str, channel: ChannelName = STABLE, days: float = 7) -> AnnounceMove:
    """Due *days* after ``NOW``."""
    named = ref(text)
    return AnnounceMove(named.image, channel, named.version, NOW + timedelta(days=days))


def deprecate(
    text: str,
    days: float = 30,
    *,
    successor: str | None = None,
    brownouts: tuple[tuple[float, float], ...] = (),
) -> AnnounceDeprecation:
    """``IMAGE[:CHANNEL|@VERSION]``, *days* after ``NOW``; brownouts in days after ``NOW`` too."""
    return AnnounceDeprecation(
        parse_image_ref(text),
        NOW + timedelta(days=days),
        None if successor is None else parse_image_ref(successor),
        tuple(
            Brownout(NOW + timedelta(days=begins), NOW + timedelta(days=ends))
            for begins, ends in brownouts
        ),
    )


def withdraw(text: str, kind: AnnouncedKind = AnnouncedKind.MOVE) -> WithdrawAnnouncement:
    return WithdrawAnnouncement(parse_image_ref(text), kind)
