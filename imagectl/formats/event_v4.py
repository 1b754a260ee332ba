"""Version 4 of events: what protects versions, how they go, and what is announced.

Thirteen operations more than version 3 has. Who did it, when and why is said by the change, as of a
channel's moves. Versions are written as version 2 writes them.
"""

from __future__ import annotations

from imagectl.formats import event_parts as parts
from imagectl.formats.event_parts import Fields
from imagectl.model.announcement import AnnouncedKind, Brownout
from imagectl.model.change import (
    AnnounceDeprecation,
    AnnounceMove,
    BeginDeletion,
    ConfirmGone,
    EndLease,
    ForgetPlacement,
    HoldVersion,
    LeaseVersion,
    Operation,
    RestoreVersion,
    RevokeVersion,
    StepVersion,
    UnholdVersion,
    WithdrawAnnouncement,
)
from imagectl.model.names import (
    parse_channel_name,
    parse_image_name,
    parse_image_ref,
    parse_version_id,
)
from imagectl.model.retention import Stage, Tombstone

Added = (
    StepVersion
    | ForgetPlacement
    | BeginDeletion
    | ConfirmGone
    | HoldVersion
    | UnholdVersion
    | LeaseVersion
    | EndLease
    | RevokeVersion
    | RestoreVersion
    | AnnounceMove
    | AnnounceDeprecation
    | WithdrawAnnouncement
)
"""The operations that this version has brought."""


def write_operation(operation: Added) -> dict[str, object]:
    if isinstance(operation, BeginDeletion | ConfirmGone):
        op = "confirm-gone" if isinstance(operation, ConfirmGone) else "begin-deletion"
        return {"op": op, "tombstone": _write_tombstone(operation.tombstone)}
    if isinstance(operation, ForgetPlacement):
        return {"op": "forget-placement", "placement": parts.write_placement(operation.placement)}
    if isinstance(operation, AnnounceMove | AnnounceDeprecation | WithdrawAnnouncement):
        return _write_announcement(operation)
    said: dict[str, object] = {"version": parts.write_ref(operation.version)}
    match operation:
        case StepVersion():
            return {"op": "step-version", **said, "stage": operation.stage.value}
        case HoldVersion():
            return {"op": "hold-version", **said}
        case UnholdVersion():
            return {"op": "unhold-version", **said, "by": operation.by}
        case LeaseVersion():
            until = parts.write_time(operation.until)
            return {"op": "lease-version", **said, "consumer": operation.consumer, "until": until}
        case EndLease():
            return {"op": "end-lease", **said, "consumer": operation.consumer}
        case RevokeVersion():
            return {"op": "revoke-version", **said}
        case RestoreVersion():
            return {"op": "restore-version", **said}


def read_operation(name: str, fields: Fields) -> Operation | None:
    """The operation of that name; None where this version has not brought it."""
    if name == "begin-deletion":
        return BeginDeletion(_read_tombstone(fields.inner("tombstone")))
    if name == "confirm-gone":
        return ConfirmGone(_read_tombstone(fields.inner("tombstone")))
    if name == "forget-placement":
        return ForgetPlacement(parts.read_placement(fields.inner("placement")))
    if name in _ANNOUNCING:
        return _read_announcement(name, fields)
    if name not in _NAMES:
        return None
    ref = parts.read_ref(fields.inner("version"))
    match name:
        case "step-version":
            return StepVersion(ref, fields.word("stage", Stage))
        case "hold-version":
            return HoldVersion(ref)
        case "unhold-version":
            return UnholdVersion(ref, fields.text("by"))
        case "lease-version":
            return LeaseVersion(ref, fields.text("consumer"), fields.time("until"))
        case "end-lease":
            return EndLease(ref, fields.text("consumer"))
        case "revoke-version":
            return RevokeVersion(ref)
        case _:
            return RestoreVersion(ref)


_NAMES = frozenset(
    {
        *("step-version", "hold-version", "unhold-version", "lease-version", "end-lease"),
        *("revoke-version", "restore-version"),
    }
)


_ANNOUNCING = frozenset({"announce-move", "announce-deprecation", "withdraw-announcement"})


def _write_announcement(
    operation: AnnounceMove | AnnounceDeprecation | WithdrawAnnouncement,
) -> dict[str, object]:
    match operation:
        case AnnounceMove():
            return {
                "op": "announce-move",
                "image": operation.image,
                "channel": operation.channel,
                "to": str(operation.to),
                "due": parts.write_time(operation.due),
            }
        case AnnounceDeprecation():
            return {
                "op": "announce-deprecation",
                "of": str(operation.of),
                "due": parts.write_time(operation.due),
                "successor": None if operation.successor is None else str(operation.successor),
                "brownouts": [
                    {"begins": parts.write_time(each.begins), "ends": parts.write_time(each.ends)}
                    for each in operation.brownouts
                ],
            }
        case WithdrawAnnouncement():
            return {
                "op": "withdraw-announcement",
                "of": str(operation.of),
                "kind": operation.kind.value,
            }


def _read_announcement(name: str, fields: Fields) -> Operation:
    match name:
        case "announce-move":
            return AnnounceMove(
                fields.named("image", parse_image_name),
                fields.named("channel", parse_channel_name),
                fields.named("to", parse_version_id),
                fields.time("due"),
            )
        case "announce-deprecation":
            return AnnounceDeprecation(
                fields.named("of", parse_image_ref),
                fields.time("due"),
                fields.maybe_named("successor", parse_image_ref),
                tuple(_read_brownout(each) for each in fields.each("brownouts")),
            )
        case _:
            return WithdrawAnnouncement(
                fields.named("of", parse_image_ref), fields.word("kind", AnnouncedKind)
            )


def _read_brownout(fields: Fields) -> Brownout:
    brownout = Brownout(fields.time("begins"), fields.time("ends"))
    fields.done()
    return brownout


def _write_tombstone(tombstone: Tombstone) -> dict[str, object]:
    """An open one: only that can be begun to be deleted, or be confirmed."""
    return {
        "placement": parts.write_placement(tombstone.placement),
        "at": parts.write_time(tombstone.at),
        "by": tombstone.by,
        "reason": tombstone.reason,
        "begun": None if tombstone.begun is None else parts.write_time(tombstone.begun),
    }


def _read_tombstone(fields: Fields) -> Tombstone:
    tombstone = Tombstone(
        placement=parts.read_placement(fields.inner("placement")),
        at=fields.time("at"),
        by=fields.text("by"),
        reason=fields.text("reason"),
        begun=fields.maybe_time("begun"),
    )
    fields.done()
    return tombstone
