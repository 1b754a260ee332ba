"""Look whether channels still point to what works, and whether one could roll back (P6).

Promises: for every channel, what it points to and its rollback window are read live in every
location that is required now, and in no other (those are named); a location that does not answer
is unknown, neither good nor gone (P3, P8). What is there is recorded as verified; nothing is
repaired.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from imagectl.errors import Conflict, Corrupt
from imagectl.model.change import Change, RecordPlacement
from imagectl.model.channel import Channel, ReleasePolicy
from imagectl.model.names import ChannelName, ImageName, LocationName, VersionId
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Placement, VersionRef
from imagectl.policy.promotion import check_channel, find_image
from imagectl.policy.readiness import (
    out_of_reach,
    required_now,
    required_placements,
    rule_of,
    taken_away,
    unready,
    way_back,
)
from imagectl.policy.wording import listed
from imagectl.services.current import check_newest
from imagectl.services.ledger import commit
from imagectl.services.live import Key, Looked, look, still_recorded, takes_of
from imagectl.services.releasing import Releasing

ATTEMPTS = 5
"""How often recording is tried where something else changes the catalog each time: that something
was seen is true whatever else happens."""


class State(enum.Enum):
    """What is known of a version in a location."""

    GOOD = "good"
    MISSING = "missing"
    """It is certainly not there, or was never put there."""
    CORRUPT = "corrupt"
    REVOKED = "revoked"
    """It is there, and nobody is to get it: consumers of the channel get an error."""
    UNKNOWN = "unknown"
    """The location could not be asked."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One version in one location. ``verified``: when all of it was last seen there to be what it
    is, aware and in UTC; None where not all of it ever was. ``reasons`` are empty where it is good.
    """

    version: VersionRef
    location: LocationName
    state: State
    verified: datetime | None
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChannelChecked:
    """A channel of an image: what it points to, what one can roll back to (the nearest first), and
    each of these in each location that is required now."""

    image: ImageName
    channel: ChannelName
    head: VersionId
    window: tuple[VersionId, ...]
    required: tuple[LocationName, ...]
    checked: tuple[Checked, ...]

    def of_head(self, location: LocationName) -> Checked:
        return next(
            each
            for each in self.checked
            if each.location == location and each.version.version == self.head
        )

    def of_window(self, location: LocationName) -> tuple[Checked, ...]:
        return tuple(
            each
            for each in self.checked
            if each.location == location and each.version.version in self.window
        )


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found at ``at``. ``renewed`` counts the placements that were recorded as verified;
    ``generation`` is the catalog's since then. ``beside`` is what was not looked at: where some of
    these versions are too, and no channel requires them there."""

    at: datetime
    channels: tuple[ChannelChecked, ...]
    renewed: int
    generation: int
    beside: tuple[tuple[VersionRef, LocationName], ...]

    def having(self, *states: State) -> tuple[Checked, ...]:
        """What is in one of those states, each once."""
        found = {
            (each.version, each.location): each
            for channel in self.channels
            for each in channel.checked
            if each.state in states
        }
        return tuple(found.values())


def verify(
    releasing: Releasing,
    policy: ReleasePolicy,
    channels: Collection[ChannelName] = (),
    images: Collection[ImageName] = (),
    *,
    fresh: timedelta = timedelta(0),
) -> Verified:
    """Look at *channels* (all where none are named) of *images* (the same).

    What the catalog already has as verified less than *fresh* ago is not recorded again: who looks
    every few minutes would fill the history, which is kept for ever, with nothing else.

    Raises NotFound for an unknown channel or image, and CannotTell where the catalog cannot be
    read, or is not the newest one; what locations say is in the answer.
    """
    for name in channels:
        check_channel(policy, name)
    check_newest(releasing.catalog, releasing.publishers)
    snapshot = releasing.catalog.snapshot(images or None)
    for image in images:
        find_image(snapshot, image)
    chosen = [
        channel
        for _, channel in sorted(snapshot.channels.items())
        if not channels or channel.name in channels
    ]
    takes = takes_of(releasing.locations)
    relied = [
        placement
        for channel in chosen
        for ref, location in _places(snapshot, policy, channel)
        for placement in required_placements(snapshot, ref, (location,), takes)
    ]
    looked = look(releasing.locations, relied, releasing.clock, releasing.waiting)
    judged = tuple(_judge(releasing, policy, snapshot, channel, looked) for channel in chosen)
    renewed = [
        each.renewed
        for each in looked.values()
        if each.renewed is not None and not _said_already(each.placement, each.renewed, fresh)
    ]
    recorded, generation = _record(releasing, snapshot, renewed)
    beside = {each for channel in chosen for each in _places_of_all(snapshot, policy, channel)}
    beside -= {each for channel in chosen for each in _places(snapshot, policy, channel)}
    return Verified(releasing.clock.now(), judged, recorded, generation, tuple(sorted(beside)))


def _places(
    snapshot: Snapshot, policy: ReleasePolicy, channel: Channel
) -> Iterator[tuple[VersionRef, LocationName]]:
    """Which versions have to be where, for the channel to be good and to have a way back."""
    for version in (channel.head.version, *_window(snapshot, policy, channel)):
        for location in required_now(snapshot, channel):
            yield VersionRef(channel.image, version), location


def _places_of_all(
    snapshot: Snapshot, policy: ReleasePolicy, channel: Channel
) -> Iterator[tuple[VersionRef, LocationName]]:
    """Where these versions are, required there or not."""
    for version in (channel.head.version, *_window(snapshot, policy, channel)):
        ref = VersionRef(channel.image, version)
        for placement in snapshot.placed(ref):
            yield ref, placement.location


def _window(snapshot: Snapshot, policy: ReleasePolicy, channel: Channel) -> tuple[VersionId, ...]:
    gone = out_of_reach(snapshot, channel.image)
    return way_back(channel, rule_of(policy, channel), without=gone)


def _judge(
    releasing: Releasing,
    policy: ReleasePolicy,
    snapshot: Snapshot,
    channel: Channel,
    looked: Mapping[Key, Looked],
) -> ChannelChecked:
    return ChannelChecked(
        channel.image,
        channel.name,
        channel.head.version,
        _window(snapshot, policy, channel),
        required_now(snapshot, channel),
        tuple(
            _checked(releasing, snapshot, ref, location, looked)
            for ref, location in _places(snapshot, policy, channel)
        ),
    )


def _checked(
    releasing: Releasing,
    snapshot: Snapshot,
    ref: VersionRef,
    location: LocationName,
    looked: Mapping[Key, Looked],
) -> Checked:
    takes = takes_of(releasing.locations)
    answers = [looked[each.key] for each in required_placements(snapshot, ref, (location,), takes)]
    away = taken_away(ref, snapshot)
    reasons = [
        *unready(snapshot.versions[ref], snapshot, (location,), takes),
        *(each.words for each in answers if each.trouble is not None),
    ]
    if any(isinstance(each.trouble, Corrupt) for each in answers):
        state = State.CORRUPT
    elif any(each.wrong for each in answers) or len(reasons) - len(away) > sum(
        each.trouble is not None for each in answers
    ):
        state = State.MISSING
    elif away:
        state = State.REVOKED
    else:
        state = State.UNKNOWN if reasons else State.GOOD
    whole = bool(answers) and state in (State.GOOD, State.UNKNOWN, State.REVOKED)
    times = [(each.renewed or each.placement).verified for each in answers]
    return Checked(ref, location, state, min(times) if whole else None, tuple(reasons))


def _said_already(known: Placement, seen: Placement, fresh: timedelta) -> bool:
    """Whether the catalog says of it what was seen, as of less than *fresh* ago."""
    age = seen.verified - known.verified
    return replace(seen, verified=known.verified) == known and timedelta(0) <= age < fresh


def _record(
    releasing: Releasing, snapshot: Snapshot, renewed: Sequence[Placement]
) -> tuple[int, int]:
    """Record what was seen, but for what somebody else has changed meanwhile. How many placements
    that were, and the catalog's generation."""
    images = sorted({each.version.image for each in renewed})
    key = releasing.new_key()
    for attempt in range(ATTEMPTS):
        fresh = releasing.catalog.snapshot(images)
        still = tuple(RecordPlacement(each) for each in renewed if still_recorded(each, fresh))
        if not still:
            return 0, fresh.generation
        change = Change(
            key,
            fresh.generation,
            releasing.actor,
            "verify",
            f"seen in {listed(sorted({each.placement.location for each in still}))}",
            releasing.clock.now(),
            still,
        )
        try:
            return len(still), commit(releasing.catalog, change).generation
        except Conflict:
            if attempt + 1 == ATTEMPTS:
                raise
    raise AssertionError("unreachable")
