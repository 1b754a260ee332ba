"""Single rows of the tables as the model's values, and back. A row is read strictly or not at all:
ValueError and TypeError say that it is not what imagectl writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Row

from imagectl.adapters.catalog_sql import tables
from imagectl.formats.event_parts import write_time
from imagectl.model.announcement import (
    AnnouncedDeprecation,
    AnnouncedKind,
    AnnouncedMove,
    Announcement,
    Brownout,
)
from imagectl.model.channel import Channel, Move, MoveKind
from imagectl.model.names import (
    Architecture,
    ChannelName,
    Format,
    ImageName,
    ImageRef,
    LocationName,
    Sha256,
    VersionId,
    parse_image_ref,
)
from imagectl.model.retention import Hold, Lease, Revocation, Stage, Staged, Tombstone
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

_COLUMNS = {
    part: tuple(each.name for each in tables.versions.c if each.name.startswith(f"{part}_"))
    for part in ("tree", "origin", "inside")
}
"""The columns of the parts that a version may lack."""

T = TypeVar("T")


def ref(row: Row[Any]) -> VersionRef:
    return VersionRef(ImageName(row.image), VersionId(row.day, row.serial))


def version(
    ref: VersionRef, row: Row[Any], artifacts: Sequence[Row[Any]], locations: Sequence[Row[Any]]
) -> Version:
    parent = (
        None
        if row.parent_image is None
        else VersionRef(ImageName(row.parent_image), VersionId(row.parent_day, row.parent_serial))
    )
    return Version(
        ref=ref,
        created=datetime.fromisoformat(row.created),
        created_by=row.created_by,
        summary=row.summary,
        fingerprint=Sha256(row.fingerprint),
        parent=parent,
        tree=_whole(row, "tree", _tree),
        artifacts=tuple(
            Artifact(
                Format(each.format), Architecture(each.architecture), Sha256(each.sha256), each.size
            )
            for each in artifacts
        ),
        tests=TestSummary(
            passed=row.tests_passed,
            failed=row.tests_failed,
            seconds=row.tests_seconds,
            report=Sha256(row.tests_report),
            console=Sha256(row.tests_console),
        ),
        required_locations=tuple(LocationName(each.location) for each in locations),
        tool=row.tool,
        build_log=Sha256(row.build_log),
        seconds=row.seconds,
        origin=_whole(row, "origin", _origin),
        inside=_whole(row, "inside", _inside),
    )


def _whole(row: Row[Any], part: str, read: Callable[[Row[Any]], T]) -> T | None:
    """A part whose columns are all null, or none of them. Raises ValueError for half a part."""
    absent = [name for name in _COLUMNS[part] if getattr(row, name) is None]
    if not absent:
        return read(row)
    if len(absent) < len(_COLUMNS[part]):
        raise ValueError(f"{', '.join(absent)} is missing")
    return None


def _tree(row: Row[Any]) -> Tree:
    return Tree(Sha256(row.tree_sha256), row.tree_size, Sha256(row.tree_stored))


def _origin(row: Row[Any]) -> Origin:
    return Origin(
        epoch=row.origin_epoch,
        lock=Sha256(row.origin_lock),
        source=Sha256(row.origin_source),
        raw=Sha256(row.origin_raw),
        reproducible=Reproducible(row.origin_reproducible),
        cause=row.origin_cause,
    )


def _inside(row: Row[Any]) -> Inside:
    return Inside(
        contents=Sha256(row.inside_contents),
        manifest=Sha256(row.inside_manifest),
        spdx=Sha256(row.inside_spdx),
        cyclonedx=Sha256(row.inside_cyclonedx),
        provenance=Sha256(row.inside_provenance),
    )


def placement(ref: VersionRef, row: Row[Any]) -> Placement:
    return Placement(
        version=ref,
        format=Format(row.format),
        architecture=Architecture(row.architecture),
        location=LocationName(row.location),
        provider_id=row.provider_id,
        reference=row.reference,
        sha256=Sha256(row.sha256),
        size=row.size,
        verified=datetime.fromisoformat(row.verified),
    )


def intent(ref: VersionRef, row: Row[Any]) -> Intent:
    return Intent(
        version=ref,
        format=Format(row.format),
        architecture=Architecture(row.architecture),
        location=LocationName(row.location),
        named=row.named,
        since=datetime.fromisoformat(row.since),
        by=row.by,
    )


def staged(ref: VersionRef, row: Row[Any]) -> Staged:
    return Staged(Stage(row.stage), datetime.fromisoformat(row.at), row.by, row.reason)


def hold(ref: VersionRef, row: Row[Any]) -> Hold:
    return Hold(ref, row.by, datetime.fromisoformat(row.at), row.reason)


def lease(ref: VersionRef, row: Row[Any]) -> Lease:
    return Lease(
        ref, row.consumer, datetime.fromisoformat(row.since), datetime.fromisoformat(row.until)
    )


def revocation(ref: VersionRef, row: Row[Any]) -> Revocation:
    return Revocation(ref, row.by, datetime.fromisoformat(row.at), row.reason)


def tombstone(ref: VersionRef, row: Row[Any]) -> Tombstone:
    return Tombstone(
        placement=placement(ref, row),
        at=datetime.fromisoformat(row.at),
        by=row.by,
        reason=row.reason,
        begun=None if row.begun is None else datetime.fromisoformat(row.begun),
        gone=None if row.gone is None else datetime.fromisoformat(row.gone),
        returned=None if row.returned is None else datetime.fromisoformat(row.returned),
    )


def announcement(row: Row[Any]) -> Announcement:
    image, channel = ImageName(row.image), row.channel
    version = None if row.day is None else VersionId(row.day, row.serial)
    due, at = datetime.fromisoformat(row.due), datetime.fromisoformat(row.at)
    if AnnouncedKind(row.kind) is AnnouncedKind.DEPRECATION:
        of = ImageRef(image, None if channel is None else ChannelName(channel), version)
        successor = None if row.successor is None else parse_image_ref(row.successor)
        brownouts = tuple(_brownout(each) for each in row.brownouts.split())
        return AnnouncedDeprecation(of, due, successor, brownouts, at, row.by, row.reason)
    if channel is None or version is None or row.successor is not None or row.brownouts:
        raise ValueError("a move needs a channel and a version, and has nothing else")
    return AnnouncedMove(image, ChannelName(channel), version, due, at, row.by, row.reason)


def _brownout(text: str) -> Brownout:
    begins, _, ends = text.partition("/")
    return Brownout(datetime.fromisoformat(begins), datetime.fromisoformat(ends))


def announcement_row(announcement: Announcement) -> dict[str, object]:
    channel, version, successor, brownouts = announcement.of.channel, None, None, ""
    if isinstance(announcement, AnnouncedMove):
        version = announcement.to
    else:
        version = announcement.of.version
        successor = None if announcement.successor is None else str(announcement.successor)
        brownouts = " ".join(
            f"{write_time(each.begins)}/{write_time(each.ends)}" for each in announcement.brownouts
        )
    return {
        "image": announcement.image,
        "kind": announcement.kind.value,
        "channel": channel,
        "day": None if version is None else version.day,
        "serial": None if version is None else version.serial,
        "due": write_time(announcement.due),
        "successor": successor,
        "brownouts": brownouts,
        **_deed(announcement),
    }


def move(row: Row[Any]) -> Move:
    return Move(
        version=VersionId(row.day, row.serial),
        kind=MoveKind(row.kind),
        at=datetime.fromisoformat(row.at),
        by=row.by,
        reason=row.reason,
        generation=row.generation,
    )


def ref_row(ref: VersionRef) -> dict[str, object]:
    return {"image": ref.image, "day": ref.version.day, "serial": ref.version.serial}


def version_row(version: Version) -> dict[str, object]:
    parent, tree, origin, inside = version.parent, version.tree, version.origin, version.inside
    return {
        **ref_row(version.ref),
        "created": write_time(version.created),
        "created_by": version.created_by,
        "summary": version.summary,
        "fingerprint": version.fingerprint,
        "parent_image": parent.image if parent else None,
        "parent_day": parent.version.day if parent else None,
        "parent_serial": parent.version.serial if parent else None,
        "tree_sha256": tree.sha256 if tree else None,
        "tree_size": tree.size if tree else None,
        "tree_stored": tree.stored if tree else None,
        "tests_passed": version.tests.passed,
        "tests_failed": version.tests.failed,
        "tests_seconds": version.tests.seconds,
        "tests_report": version.tests.report,
        "tests_console": version.tests.console,
        "tool": version.tool,
        "build_log": version.build_log,
        "seconds": version.seconds,
        "origin_epoch": origin.epoch if origin else None,
        "origin_lock": origin.lock if origin else None,
        "origin_source": origin.source if origin else None,
        "origin_raw": origin.raw if origin else None,
        "origin_reproducible": origin.reproducible.value if origin else None,
        "origin_cause": origin.cause if origin else None,
        "inside_contents": inside.contents if inside else None,
        "inside_manifest": inside.manifest if inside else None,
        "inside_spdx": inside.spdx if inside else None,
        "inside_cyclonedx": inside.cyclonedx if inside else None,
        "inside_provenance": inside.provenance if inside else None,
    }


def artifact_rows(version: Version) -> list[dict[str, object]]:
    return [
        {
            **ref_row(version.ref),
            "position": position,
            "format": artifact.format.value,
            "architecture": artifact.architecture.value,
            "sha256": artifact.sha256,
            "size": artifact.size,
        }
        for position, artifact in enumerate(version.artifacts, start=1)
    ]


def location_rows(version: Version) -> list[dict[str, object]]:
    return [
        {**ref_row(version.ref), "position": position, "location": location}
        for position, location in enumerate(version.required_locations, start=1)
    ]


def placement_row(placement: Placement) -> dict[str, object]:
    return {
        "format": placement.format.value,
        "architecture": placement.architecture.value,
        "location": placement.location,
        "provider_id": placement.provider_id,
        "reference": placement.reference,
        "sha256": placement.sha256,
        "size": placement.size,
        "verified": write_time(placement.verified),
    }


def intent_row(intent: Intent) -> dict[str, object]:
    return {
        "format": intent.format.value,
        "architecture": intent.architecture.value,
        "location": intent.location,
        "named": intent.named,
        "since": write_time(intent.since),
        "by": intent.by,
    }


def staged_row(staged: Staged) -> dict[str, object]:
    return {"stage": staged.stage.value, **_deed(staged)}


def hold_row(hold: Hold) -> dict[str, object]:
    return _deed(hold)


def lease_row(lease: Lease) -> dict[str, object]:
    return {
        "consumer": lease.consumer,
        "since": write_time(lease.since),
        "until": write_time(lease.until),
    }


def revocation_row(revocation: Revocation) -> dict[str, object]:
    return _deed(revocation)


def tombstone_row(tombstone: Tombstone) -> dict[str, object]:
    return {
        **placement_row(tombstone.placement),
        **_deed(tombstone),
        "begun": write_time(tombstone.begun) if tombstone.begun else None,
        "gone": write_time(tombstone.gone) if tombstone.gone else None,
        "returned": write_time(tombstone.returned) if tombstone.returned else None,
    }


def _deed(what: Staged | Hold | Revocation | Tombstone | Announcement) -> dict[str, object]:
    return {"at": write_time(what.at), "by": what.by, "reason": what.reason}


def move_rows(channel: Channel, known: int) -> list[dict[str, object]]:
    """The channel's moves after the first *known* ones."""
    return [
        {
            "image": channel.image,
            "channel": channel.name,
            "position": position,
            "day": move.version.day,
            "serial": move.version.serial,
            "kind": move.kind.value,
            "at": write_time(move.at),
            "by": move.by,
            "reason": move.reason,
            "generation": move.generation,
        }
        for position, move in enumerate(channel.moves[known:], start=known + 1)
    ]
