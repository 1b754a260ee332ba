"""Whether a version works, and whether there is a way back, as far as the catalog knows (P6).

Ready means: its tests passed, and it is placed at every location that its image requires *now*. An
old version was built for the locations of its day; where consumers have been switched to another
one since, an old version that is not there is no way back. So what counts are the locations of the
newest version concerned. Whether the bytes are still there is asked live, by the services, just
before a channel is moved.

A version is in a location when all its artifacts that the location takes are there, and it takes
one at least. What was revoked, or is on its way down, is not to be had: no channel is moved to it,
and it is no way back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from imagectl.model.channel import Channel, ChannelRule, ReleasePolicy
from imagectl.model.names import ImageName, LocationName, VersionId
from imagectl.model.place import Takes
from imagectl.model.retention import Stage
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Artifact, Placement, Reproducible, Version, VersionRef
from imagectl.policy.standing import standing
from imagectl.policy.wording import counted, listed, moment


def required_now(
    snapshot: Snapshot, channel: Channel | None, *targets: Version
) -> tuple[LocationName, ...]:
    """Where whatever that channel points to has to be: what the newest version concerned requires.

    Concerned are *targets*, and all that the channel has ever pointed to: also a version that was
    rolled back from says where consumers pull from now.
    """
    concerned = {each.id: each for each in targets}
    if channel is not None:
        for move in channel.moves:
            known = snapshot.versions[VersionRef(channel.image, move.version)]
            concerned.setdefault(known.id, known)
    return concerned[max(concerned)].required_locations if concerned else ()


def way_back(
    channel: Channel | None,
    rule: ChannelRule,
    *,
    once_at: VersionId | None = None,
    without: Collection[VersionId] = (),
) -> tuple[VersionId, ...]:
    """The versions that a rollback can go to, the nearest first: as many as the channel's rollback
    window asks for, fewer where there are fewer. *once_at*: when the channel will be there.
    *without*: those that are not to be had (see ``out_of_reach``); a rollback passes them by."""
    stands = standing(channel)
    below = (
        stands.earlier
        if once_at is None
        else tuple(version for version in reversed(tuple(stands.since)) if version < once_at)
    )
    return tuple(each for each in below if each not in without)[: rule.rollback_window]


def out_of_reach(snapshot: Snapshot, image: ImageName) -> frozenset[VersionId]:
    """The image's versions that no channel is to get any more: revoked, or on their way down."""
    down = (ref for ref, each in snapshot.stages.items() if each.stage is not Stage.ACTIVE)
    return frozenset(ref.version for ref in (*down, *snapshot.revoked) if ref.image == image)


def can_be_had(ref: VersionRef, snapshot: Snapshot) -> bool:
    """Whether consumers, and builds on it, still get *ref*: it may be on its way down already."""
    gone = snapshot.stage(ref) in (Stage.QUARANTINED, Stage.DELETED)
    return not gone and ref not in snapshot.revoked


def taken_away(ref: VersionRef, snapshot: Snapshot) -> tuple[str, ...]:
    """Why no channel is to get *ref* any more, each with what takes that back; empty where there is
    nothing against it."""
    reasons = []
    revoked = snapshot.revoked.get(ref)
    if revoked is not None:
        because = f": {revoked.reason}" if revoked.reason else ""
        reasons.append(
            f"{ref.version} was revoked on {moment(revoked.at)} by {revoked.by}{because}; "
            f"`imagectl restore {ref} --reason TEXT` takes that back"
        )
    staged = snapshot.stages.get(ref)
    if staged is not None and staged.stage is not Stage.ACTIVE:
        reasons.append(
            f"{ref.version} is {staged.stage.value} since {moment(staged.at)}, by {staged.by}; "
            f"`{brings_back(snapshot, ref)}` brings it back"
        )
    return tuple(reasons)


def brings_back(
    snapshot: Snapshot, ref: VersionRef, locations: Collection[LocationName] = ()
) -> str:
    """The command that makes *ref* active again, which is on its way down or deleted. Without
    *locations*, those of the project, one that is back in some of them only counts as back."""
    stage = snapshot.stage(ref)
    gone = stage is Stage.DELETED or (
        stage is Stage.QUARANTINED and not_back(snapshot, ref, locations)
    )
    return f"imagectl cleanup {'undelete' if gone else 'undo'} {ref}"


def not_back(
    snapshot: Snapshot, ref: VersionRef, locations: Collection[LocationName]
) -> tuple[LocationName, ...]:
    """Where *ref* was deleted from, and is not again: of *locations*, since an undelete is over
    without what the project has no more; all of them where it is nowhere."""
    placed = {each.key for each in snapshot.placed(ref)}
    buried = [each.placement for each in snapshot.buried(ref)]
    lacking = {
        each.location
        for each in buried
        if each.key not in placed and (each.location in locations or not placed)
    }
    return tuple(sorted(lacking))


def due(
    snapshot: Snapshot, policy: ReleasePolicy, image: ImageName, *targets: Version
) -> Mapping[VersionRef, tuple[LocationName, ...]]:
    """Where versions of *image* have to be, for its channels to point to them or to go back to
    them, oldest first: what is in a channel or in its rollback window, in each location that the
    channel requires, and that the image's newest version does, of *targets* and of all that any
    channel has had: a channel that is to move there needs its window there first."""
    channels = [each for (owner, _), each in snapshot.channels.items() if owner == image]
    gone = out_of_reach(snapshot, image)
    released = [
        snapshot.versions[VersionRef(image, move.version)]
        for channel in channels
        for move in channel.moves
    ]
    newest = required_now(snapshot, None, *released, *targets)
    found: dict[VersionRef, dict[LocationName, None]] = {}
    for channel in channels:
        locations = dict.fromkeys((*required_now(snapshot, channel), *newest))
        window = way_back(channel, rule_of(policy, channel), without=gone)
        for version in (channel.head.version, *window):
            found.setdefault(VersionRef(image, version), {}).update(locations)
    return {ref: tuple(found[ref]) for ref in sorted(found)}


def rule_of(policy: ReleasePolicy, channel: Channel) -> ChannelRule:
    """The channel's rule; the defaults for a channel that the policy has forgotten: consumers may
    still follow it."""
    return policy.rule(channel.image, channel.name) or ChannelRule(channel.name)


def unready(
    version: Version, snapshot: Snapshot, locations: Sequence[LocationName], takes: Takes
) -> tuple[str, ...]:
    """Every reason why no channel may point to *version*, where *locations* are required; empty
    where it is ready (P6)."""
    return (
        *taken_away(version.ref, snapshot),
        *untested(version),
        *_unplaced(version, snapshot, locations, takes),
    )


NO_WAY_BACK = "one could not roll back from it"
"""How the reasons of ``no_way_back`` begin."""


def no_way_back(
    image: ImageName,
    versions: Collection[VersionId],
    snapshot: Snapshot,
    locations: Sequence[LocationName],
    takes: Takes,
) -> tuple[str, ...]:
    """Why one could not roll back to some of *versions*, where *locations* are required."""
    return tuple(
        f"{NO_WAY_BACK}: {reason}"
        for version in versions
        for reason in unready(
            snapshot.versions[VersionRef(image, version)], snapshot, locations, takes
        )
    )


def withheld(version: Version, snapshot: Snapshot) -> tuple[str, ...]:
    """Why consumers are not shown *version*, judged by what is recorded alone.

    Less than ``unready``: what counts is where it had to be when it was built, and that something
    of it is there. All that a location takes of a version is recorded at once.
    """
    return (*untested(version), *_unrecorded(version, snapshot))


def untested(version: Version) -> tuple[str, ...]:
    """Why its tests do not prove it; empty where they do."""
    if version.tests.ok:
        return ()
    if version.tests.failed:
        total = version.tests.passed + version.tests.failed
        return (f"{version.id}: {version.tests.failed} of {counted(total, 'test')} failed",)
    return (f"{version.id}: no test has run, which proves nothing",)


def wanted_at(version: Version, location: LocationName, takes: Takes) -> tuple[Artifact, ...]:
    """The artifacts of *version* that have to be there for it to be in *location*."""
    taken = takes.get(location, ())
    return tuple(each for each in version.artifacts if each.format in taken)


def placed_at(
    version: Version, location: LocationName, snapshot: Snapshot
) -> tuple[Placement, ...]:
    """Where the artifacts of *version* are in *location*, as recorded."""
    return tuple(each for each in snapshot.placed(version.ref) if each.location == location)


def required_placements(
    snapshot: Snapshot, ref: VersionRef, locations: Collection[LocationName], takes: Takes
) -> tuple[Placement, ...]:
    """The placements without which the version is not in *locations*, as far as there are any."""
    return tuple(
        each
        for each in snapshot.placed(ref)
        if each.location in locations and each.format in takes.get(each.location, ())
    )


def _unplaced(
    version: Version, snapshot: Snapshot, locations: Sequence[LocationName], takes: Takes
) -> Iterator[str]:
    if not version.artifacts:
        yield f"{version.id} has no artifacts"
        return
    if not locations:
        yield f"{version.id} requires no location, so there is nowhere to get it from"
        return
    for location in locations:
        if location not in takes:
            yield (
                f"{version.id} has to be in {location}, "
                "which is not among the locations of imagectl.yaml"
            )
            continue
        wanted = wanted_at(version, location, takes)
        if not wanted:
            yield (
                f"{version.id} has to be in {location}, which takes "
                f"{listed(sorted(each.value for each in takes[location]))}, and not "
                f"{listed(each.format.value for each in version.artifacts)}"
            )
        yield from _missing(version, location, wanted, placed_at(version, location, snapshot))


def _unrecorded(version: Version, snapshot: Snapshot) -> Iterator[str]:
    if not version.artifacts:
        yield f"{version.id} has no artifacts"
    elif not version.required_locations:
        yield f"{version.id} requires no location, so there is nowhere to get it from"
    for location in version.required_locations:
        placed = placed_at(version, location, snapshot)
        there = {(each.format, each.architecture) for each in placed}
        known = [each for each in version.artifacts if (each.format, each.architecture) in there]
        yield from _missing(version, location, known or version.artifacts, placed)


def _missing(
    version: Version,
    location: LocationName,
    wanted: Sequence[Artifact],
    placed: Sequence[Placement],
) -> Iterator[str]:
    there = {(each.format, each.architecture): each for each in placed}
    missing = []
    for artifact in wanted:
        found = there.get((artifact.format, artifact.architecture))
        name = f"{artifact.format.value} for {artifact.architecture.value}"
        if found is None:
            missing.append(name)
        elif (found.sha256, found.size) != (artifact.sha256, artifact.size):
            yield f"{version.id}: the {name} in {location} is not the one that was tested"
    if missing:
        yield (
            f"{version.id} is not in {location} ({listed(missing)}): "
            f"`imagectl publish {version.ref} --to {location}`"
        )


def evidence(version: Version, locations: Sequence[LocationName]) -> tuple[str, ...]:
    """What speaks for a version that is ready, for the reasons of a move."""
    repeated = version.origin is not None and version.origin.reproducible is Reproducible.YES
    return (
        f"{counted(version.tests.passed, 'test')} passed",
        f"placed in {listed(locations)}",
        *(["built twice, with the same bytes"] if repeated else []),
    )
