"""Whether everything is as it should be, with alarms by age.

Promises: each line rests on something that was looked at; what could not be looked at, or never
was, is UNKNOWN, which is no kind of good (P8). Ages are given as times, with the limits beside
them, so that a page that nobody has made anew still tells its reader that they are over.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from imagectl.errors import CannotTell, ImagectlError
from imagectl.model.channel import Channel
from imagectl.model.retention import Stage
from imagectl.model.version import VersionRef
from imagectl.policy.readiness import required_now, unready
from imagectl.policy.wording import counted, listed, moment, span
from imagectl.site import paths
from imagectl.site.looking import Looking
from imagectl.site.sources import Sources, Tree

OLD, VERY_OLD = timedelta(days=30), timedelta(days=60)
"""Of what a channel points to: nobody dares to replace what is old. The later one is that of the
alert in packaging/prometheus."""

LOOKED = timedelta(days=1)
"""Since something that should be done daily went well, such as ``imagectl verify``."""

RENEW, LEFT = timedelta(days=6), timedelta(days=5)
"""Of the time that signatures hold. ``imagectl catalog refresh`` renews those of two weeks when a
week is left: with less than six days it has not run, and with five somebody has to look."""

PAGE = timedelta(days=2)
"""Since this site was made."""


class State(enum.Enum):
    """How something is. The word is shown, so colour is never all there is."""

    OK = "ok"
    WARNING = "warning"
    ALARM = "alarm"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the status page. ``since`` is what the age counts from, None where age does not
    matter; ``warn`` and ``alarm`` are at what age it is one. ``until`` is when it ends, where that
    matters: then they are of the time that is left. ``page`` tells more."""

    what: str
    state: State
    said: str
    since: datetime | None = None
    warn: timedelta | None = None
    alarm: timedelta | None = None
    page: str = ""
    until: datetime | None = None

    @property
    def ages(self) -> tuple[datetime, timedelta, timedelta] | None:
        """From when on it gets worse, and how long after that it is a warning and an alarm."""
        if self.warn is None or self.alarm is None:
            return None
        if self.until is not None:
            return self.until - self.warn, timedelta(0), self.warn - self.alarm
        return (self.since, self.warn, self.alarm) if self.since is not None else None


@dataclass(frozen=True, slots=True)
class Area:
    """Checks of one kind."""

    title: str
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """All of it. ``state`` is the worst there is; UNKNOWN is worse than OK and no alarm."""

    areas: tuple[Area, ...]

    @property
    def checks(self) -> tuple[Check, ...]:
        return tuple(each for area in self.areas for each in area.checks)

    @property
    def state(self) -> State:
        there = {each.state for each in self.checks}
        for state in (State.ALARM, State.WARNING, State.UNKNOWN):
            if state in there:
                return state
        return State.OK if there else State.UNKNOWN

    def count(self, state: State) -> int:
        """How many lines are in that state."""
        return sum(each.state is state for each in self.checks)


def judge(sources: Sources, looking: Looking) -> Status:
    """The status at ``sources.now``."""
    heads = [channel for _, channel in sorted(sources.snapshot.channels.items())]
    return Status(
        tuple(
            area
            for area in (
                Area("What channels point to", tuple(_head(sources, each) for each in heads)),
                Area("What consumers read", tuple(_trees(sources))),
                Area(
                    "What is known of the outside", (*_security(sources, looking), *_ran(sources))
                ),
                Area("Work that was begun", (_unfinished(sources), _deletions(sources))),
            )
            if area.checks
        )
    )


def _head(sources: Sources, channel: Channel) -> Check:
    """Whether a channel gives its consumers something good."""
    snapshot = sources.snapshot
    ref = VersionRef(channel.image, channel.head.version)
    version = snapshot.versions[ref]
    what = f"{channel.image}:{channel.name}"
    page = paths.channel(channel.image, channel.name)
    if (revoked := snapshot.revoked.get(ref)) is not None:
        because = f": {revoked.reason}" if revoked.reason else ""
        said = f"points to {ref.version}, which was revoked on {moment(revoked.at)}{because}"
        return Check(what, State.ALARM, said, page=page)
    required = required_now(snapshot, channel)
    stage = snapshot.stage(ref)
    faults = unready(version, snapshot, required, sources.takes)
    if faults and stage in (Stage.ACTIVE, Stage.QUARANTINED, Stage.DELETED):
        return Check(what, State.ALARM, "; ".join(faults), page=page)
    if stage is not Stage.ACTIVE:
        return Check(
            what, State.WARNING, f"points to {ref.version}, which is {stage.value}", page=page
        )
    state = _by_age(sources.now - version.created, OLD, VERY_OLD)
    said = f"{ref.version}, built {moment(version.created)}"
    return Check(what, state, said, version.created, OLD, VERY_OLD, page)


def _trees(sources: Sources) -> Iterator[Check]:
    ours = sources.snapshot.generation
    for tree in sources.trees:
        what = f"published catalog {tree.name}"
        if tree.trouble is not None:
            yield Check(what, State.UNKNOWN, f"not known: {tree.trouble.what}")
        elif tree.generation is None:
            yield Check(what, State.WARNING, "nothing is published there yet")
        elif tree.generation == ours and sources.unsigned:
            behind = f"shows generation {ours}, but for what waits for signatures: "
            yield Check(what, State.WARNING, behind + listed(sources.unsigned))
        elif tree.generation == ours:
            yield Check(what, State.OK, f"shows what the catalog has, generation {ours}")
        elif tree.generation < ours:
            said = f"shows generation {tree.generation}; the catalog is at {ours}"
            yield Check(what, State.ALARM, said)
        else:
            said = f"shows generation {tree.generation}, later than the catalog's {ours}"
            yield Check(what, State.ALARM, said)
        if tree.trouble is not None or tree.generation is not None:
            yield _signed(tree, sources.now)


def _signed(tree: Tree, now: datetime) -> Check:
    """How long consumers still believe what is published."""
    what = f"signatures of {tree.name}"
    found = tree.trouble or tree.signatures
    if isinstance(found, ImagectlError):
        return Check(what, State.UNKNOWN, f"not known: {found.what}")
    if not found:
        return Check(what, State.UNKNOWN, "not known: nobody has looked")
    until, role = min((until, role) for role, until in found.items())
    state = _by_age(now - (until - RENEW), timedelta(0), RENEW - LEFT)
    said = f"hold until {moment(until)} ({role})"
    if until <= now:
        said = f"over since {moment(until)} ({role}): consumers do not believe it any more"
    return Check(what, state, said, warn=RENEW, alarm=LEFT, until=until)


def _security(sources: Sources, looking: Looking) -> Iterator[Check]:
    for suite in looking.suites():
        what = f"security data about {suite}"
        try:
            taken = looking.data(suite).taken
        except CannotTell as trouble:
            yield Check(what, State.UNKNOWN, f"not known: {trouble.what}")
        else:
            state = _by_age(sources.now - taken, LOOKED * 2, LOOKED * 7)
            yield Check(what, state, f"of {moment(taken)}", taken, LOOKED * 2, LOOKED * 7)


def _ran(sources: Sources) -> Iterator[Check]:
    """How what runs again and again has ended here, as ``imagectl metrics`` and builds note it."""
    title = "channels and ways back looked at live"
    known = sources.outcomes
    if known is None:
        yield Check(title, State.UNKNOWN, "how earlier runs ended cannot be read")
        return
    looked = known.get(("verify", ""))
    if looked is None or looked.last_success is None:
        yield Check(title, State.UNKNOWN, "imagectl metrics has never seen all of them here")
    else:
        last = looked.last_success
        state = _by_age(sources.now - last, LOOKED, LOOKED * 3)
        yield Check(title, state, f"last on {moment(last)}", last, LOOKED, LOOKED * 3)
    for image in sources.snapshot.images:
        built = known.get(("build", image))
        if built is None or built.last_failure is None:
            continue
        if built.last_success is None or built.last_failure > built.last_success:
            said = f"the last one failed, on {moment(built.last_failure)}"
            yield Check(f"builds of {image}", State.WARNING, said, page=paths.image(image))


def _unfinished(sources: Sources) -> Check:
    begun = [each for its in sources.snapshot.intents.values() for each in its]
    if not begun:
        return Check("uploads", State.OK, "none is unfinished")
    oldest = min(begun, key=lambda each: (each.since, each.version))
    state = _by_age(sources.now - oldest.since, LOOKED, LOOKED * 7)
    where = listed(sorted({each.location for each in begun}))
    said = (
        f"{counted(len(begun), 'upload')} to {where} not finished, the oldest of {oldest.version}"
    )
    return Check("uploads", state, said, oldest.since, LOOKED, LOOKED * 7)


def _deletions(sources: Sources) -> Check:
    stones = sources.snapshot.tombstones.values()
    still = [each for its in stones for each in its if each.open]
    if not still:
        return Check("deletions", State.OK, "none is unfinished")
    oldest = min(each.at for each in still)
    state = _by_age(sources.now - oldest, LOOKED, LOOKED * 7)
    said = f"{counted(len(still), 'deletion')} not seen to end"
    return Check("deletions", state, said, oldest, LOOKED, LOOKED * 7)


def _by_age(age: timedelta, warn: timedelta, alarm: timedelta) -> State:
    return State.ALARM if age >= alarm else State.WARNING if age >= warn else State.OK


def limits(check: Check) -> str:
    """At what age a line is another: ``warning after 30 d, alarm after 60 d``. In a narrow column
    no line begins with a unit."""
    if check.warn is None or check.alarm is None:
        return ""
    warn, alarm = (
        span(each).replace(" ", "\N{NO-BREAK SPACE}") for each in (check.warn, check.alarm)
    )
    if check.until is not None:
        return f"warning with {warn} left, alarm with {alarm}"
    return f"warning after {warn}, alarm after {alarm}"
