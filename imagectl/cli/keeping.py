"""What protects a version and how far it is on its way down, as verbs that show versions say it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

from imagectl.cli.text import age, stamp
from imagectl.policy.wording import counted, moment

if TYPE_CHECKING:
    from imagectl.model.snapshot import Snapshot
    from imagectl.model.version import VersionRef

StageName = Literal["active", "deprecated", "obsolete", "quarantined", "deleted"]


class StageDocument(TypedDict):
    """How far a version is on its way down."""

    stage: Annotated[StageName, "consumers get it in the first three"]
    at: Annotated[str | None, "since when; null where it never was on its way"]
    by: Annotated[str | None, "who brought it there"]
    reason: Annotated[str | None, "why; may be empty"]


class RevocationDocument(TypedDict):
    """That a version is unsafe: nobody gets it."""

    at: Annotated[str, "since when"]
    by: Annotated[str, "who revoked it"]
    reason: Annotated[str, "why"]


class HeldDocument(TypedDict):
    """A person's hold."""

    by: Annotated[str, "who"]
    at: Annotated[str, "since when"]
    reason: Annotated[str, "why"]


class LeasedDocument(TypedDict):
    """A consumer's lease."""

    consumer: Annotated[str, "who works with it"]
    since: Annotated[str, "since when"]
    until: Annotated[str, "until when"]
    over: Annotated[bool, "true where that is over: it protects nothing any more"]


class TombstoneDocument(TypedDict):
    """A placement that was to be deleted, and what became of it."""

    location: Annotated[str, "the location"]
    format: Annotated[str, "the artifact's format"]
    architecture: Annotated[str, "the artifact's architecture"]
    provider_id: Annotated[str, "how the location named it"]
    at: Annotated[str, "when it was decided"]
    by: Annotated[str, "who"]
    reason: Annotated[str, "why"]
    begun: Annotated[str | None, "when the location was asked last to delete it; null before"]
    gone: Annotated[str | None, "when the location said that it is gone; null before"]
    returned: Annotated[str | None, "when it was there again; null where it was not"]


class Keeping(TypedDict):
    """What protects a version, and how far it is on its way down."""

    stage: Annotated[StageDocument, "how far it is on its way down"]
    revoked: Annotated[RevocationDocument | None, "that it is unsafe; null where it is not"]
    holds: Annotated[list[HeldDocument], "who protects it from cleanups"]
    leases: Annotated[list[LeasedDocument], "which consumers work with it"]
    tombstones: Annotated[list[TombstoneDocument], "placements that were deleted, or are to be"]


def keeping(snapshot: Snapshot, ref: VersionRef, now: datetime) -> Keeping:
    """The document about *ref*."""
    staged = snapshot.stages.get(ref)
    revoked = snapshot.revoked.get(ref)
    return Keeping(
        stage=StageDocument(
            stage=snapshot.stage(ref).value,
            at=stamp(staged.at) if staged else None,
            by=staged.by if staged else None,
            reason=staged.reason if staged else None,
        ),
        revoked=RevocationDocument(at=stamp(revoked.at), by=revoked.by, reason=revoked.reason)
        if revoked
        else None,
        holds=[
            HeldDocument(by=each.by, at=stamp(each.at), reason=each.reason)
            for each in snapshot.holds.get(ref, ())
        ],
        leases=[
            LeasedDocument(
                consumer=each.consumer,
                since=stamp(each.since),
                until=stamp(each.until),
                over=each.until <= now,
            )
            for each in snapshot.leases.get(ref, ())
        ],
        tombstones=[
            TombstoneDocument(
                location=each.placement.location,
                format=each.placement.format.value,
                architecture=each.placement.architecture.value,
                provider_id=each.placement.provider_id,
                at=stamp(each.at),
                by=each.by,
                reason=each.reason,
                begun=stamp(each.begun) if each.begun else None,
                gone=stamp(each.gone) if each.gone else None,
                returned=stamp(each.returned) if each.returned else None,
            )
            for each in snapshot.buried(ref)
        ],
    )


def in_short(kept: Keeping) -> str:
    """All of it in a few words, for a table; empty for a version like any other."""
    words = []
    if kept["revoked"]:
        words.append("REVOKED")
    if kept["stage"]["stage"] != "active":
        words.append(kept["stage"]["stage"])
    words += [f"held by {each['by']}" for each in kept["holds"]]
    leases = sum(not each["over"] for each in kept["leases"])
    if leases:
        words.append("leased" if leases == 1 else f"leased {leases} times")
    return ", ".join(words)


def in_full(kept: Keeping) -> Iterator[tuple[str, str]]:
    """All of it but tombstones: a word and what there is to say."""
    if revoked := kept["revoked"]:
        yield "REVOKED", f"{_on(revoked['at'])} by {revoked['by']}{_because(revoked['reason'])}"
    stage = kept["stage"]
    if stage["at"] and stage["by"] and stage["stage"] != "active":
        yield (
            "stage",
            f"{stage['stage']} since {_on(stage['at'])}, by {stage['by']}"
            f"{_because(stage['reason'] or '')}",
        )
    for hold in kept["holds"]:
        yield "held", f"by {hold['by']} since {_on(hold['at'])}{_because(hold['reason'])}"
    for lease in kept["leases"]:
        if not lease["over"]:
            yield "leased", f"by {lease['consumer']} until {_on(lease['until'])}"


def buried(kept: Keeping, now: datetime) -> Iterator[str]:
    """What there is to say of tombstones."""
    stones = kept["tombstones"]
    if not stones:
        return
    yield f"{counted(len(stones), 'placement')} that a cleanup took away"
    for each in stones:
        what = f"{each['location']}: {each['format']} {each['architecture']}"
        if each["returned"]:
            became = f"put back {age(datetime.fromisoformat(each['returned']), now)}"
        elif each["gone"]:
            became = f"gone {age(datetime.fromisoformat(each['gone']), now)}"
        else:
            became = "whether it is gone is NOT KNOWN yet"
        yield f"  {what}, {became}; by {each['by']}{_because(each['reason'])}"
        yield f"    {each['provider_id']}"


def _on(at: str) -> str:
    return moment(datetime.fromisoformat(at))


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""
