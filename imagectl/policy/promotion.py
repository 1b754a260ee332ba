"""Which images a promotion moves, and why the others stay (P6).

Promises: a channel is only ever promoted to a newer version; what it gets is ready, has passed the
channel's gates and its time in the source channel, and was not rolled back from; and afterwards one
can roll back, since the channel's rollback window is wherever the new version has to be. An image
that fails a rule is held back with every rule that it fails. The versions that builds bring into
the entry channel are judged here too.

All moves of one promotion become one change of the catalog; see ``services/release.py``.

What was announced moves when its time has come, and to what was announced: see
``policy/announcing.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from imagectl.errors import BadUsage, NotFound, Refused
from imagectl.model.announcement import AnnouncedMove
from imagectl.model.channel import ChannelRule, Gate, Move, MoveKind, ReleasePolicy
from imagectl.model.names import ChannelName, ImageName, ImageRef, VersionId
from imagectl.model.place import Takes
from imagectl.model.release import Decision, PromotionRequest, ReleasePlan, Verdict
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Version, VersionRef
from imagectl.policy.announcing import (
    another_stands,
    coming_moves,
    earlier_than_told,
    not_yet,
)
from imagectl.policy.readiness import (
    NO_WAY_BACK,
    evidence,
    no_way_back,
    out_of_reach,
    required_now,
    unready,
    untested,
    way_back,
)
from imagectl.policy.reproducibility import unrepeatable
from imagectl.policy.standing import Standing, standing
from imagectl.policy.wording import listed, moment, nearest, span


def plan_promotion(
    snapshot: Snapshot,
    policy: ReleasePolicy,
    takes: Takes,
    request: PromotionRequest,
    now: datetime,
) -> ReleasePlan:
    """What ``promote`` does at *now*; where it is to be announced, what it could do when it is due.

    Without targets, every image with something in the source channel is considered, or where moves
    of the channel are announced, those images alone, so that nobody is surprised: those that are
    ready move, the others are held back, and only where none can move is it refused. With targets,
    one that is held back refuses them all. Raises Refused, NotFound for an unknown channel, image
    or version, and BadUsage for a channel that nothing is promoted into.
    """
    _check_channels(policy, request)
    decisions = []
    for target in _targets(snapshot, policy, request):
        rule = policy.rule(target.image, request.channel)
        source = request.source or (rule.source if rule else None)
        if rule is None or source is None:
            missing = f"channels.yaml gives it no channel {request.channel} to promote into"
            decisions.append(_held(target.image, request.channel, None, None, missing))
        else:
            decisions.append(_decide(snapshot, takes, target, rule, source, request, now))
    plan = ReleasePlan(MoveKind.PROMOTE, request.channel, tuple(decisions))
    return insist(plan, all_or_nothing=bool(request.targets))


def insist(plan: ReleasePlan, *, all_or_nothing: bool) -> ReleasePlan:
    """The plan itself, or Refused where it may not be carried out.

    ``all_or_nothing``: one image held back refuses the whole plan. Else it takes that nothing can
    move at all although something should.
    """
    held = plan.held_back
    if held and (all_or_nothing or not plan.moves):
        doing = "rolled back" if plan.kind is MoveKind.ROLLBACK else "moved"
        raise Refused(
            f"{plan.channel} was not {doing}",
            reasons=tuple(f"{each.image}: {reason}" for each in held for reason in each.reasons),
            where=", ".join(each.image for each in held),
            hint=_way_out(plan),
        )
    return plan


def _way_out(plan: ReleasePlan) -> str:
    behind = [
        each.image
        for each in plan.held_back
        if any(reason.startswith(NO_WAY_BACK) for reason in each.reasons)
    ]
    if behind:
        return (
            f"`imagectl publish --backfill {' '.join(behind)}` puts what one rolls back to in its "
            "places"
        )
    if plan.moves:
        return (
            f"without {listed(each.image for each in plan.held_back)} it would work: name only "
            f"{listed(each.image for each in plan.moves)}"
        )
    return ""


def plan_entry(
    snapshot: Snapshot, policy: ReleasePolicy, takes: Takes, ref: VersionRef
) -> ReleasePlan:
    """What happens to the entry channel when the build of *ref* has been recorded and placed.

    The channel never goes back: where a newer build arrived first, or this version was already
    rolled back from, it stays. Raises Refused where the version is not ready (P6), fails one of the
    channel's gates, or could not be rolled back from.
    """
    version = find_version(snapshot, ref)
    channel = policy.entry
    known = snapshot.channel(ref.image, channel)
    before = known.head.version if known else None
    stands = standing(known)

    def decided(verdict: Verdict, *reasons: str) -> Decision:
        return Decision(ref.image, channel, before, ref.version, verdict, reasons)

    rule = policy.rule(ref.image, channel)
    assert rule is not None  # the entry channel is one of the policy's
    required = required_now(snapshot, known, version)
    gone = out_of_reach(snapshot, ref.image)
    back = way_back(known, rule, once_at=ref.version, without=gone)
    # A gate and readiness may say the same; it is said once.
    faults = dict.fromkeys(
        (
            *_gates(rule, version),
            *unready(version, snapshot, required, takes),
            *no_way_back(ref.image, back, snapshot, required, takes),
        )
    )
    if before == ref.version:
        decision = decided(Verdict.KEEP, f"{channel} points to it already")
    elif before is not None and before > ref.version:
        decision = decided(Verdict.KEEP, f"{channel} has {before}, which is newer")
    elif ref.version in stands.left:
        decision = decided(Verdict.KEEP, _was_left(channel, ref.version, stands))
    elif faults:
        decision = decided(Verdict.HELD_BACK, *faults)
    else:
        decision = Decision(
            ref.image,
            channel,
            before,
            ref.version,
            Verdict.MOVE,
            evidence(version, required),
            required,
            back,
        )
    return insist(ReleasePlan(MoveKind.ENTRY, channel, (decision,)), all_or_nothing=True)


def find_image(snapshot: Snapshot, image: ImageName) -> ImageName:
    """The image, where the catalog has a version of it. Raises NotFound."""
    if image not in snapshot.images:
        raise NotFound(
            f"the catalog has no version of {image}",
            why=f"it has {listed(snapshot.images)}",
            hint=nearest(image, snapshot.images) or f"`imagectl build {image}`",
        )
    return image


def find_version(snapshot: Snapshot, ref: VersionRef) -> Version:
    """The version, where the catalog has it. Raises NotFound."""
    found = snapshot.versions.get(ref)
    if found is None:
        known = snapshot.of(find_image(snapshot, ref.image))
        raise NotFound(
            f"the catalog has no {ref}",
            why=f"its newest is {known[-1].id}",
            hint=f"`imagectl list {ref.image}` shows all",
        )
    return found


def check_channel(policy: ReleasePolicy, channel: ChannelName) -> None:
    """Raise NotFound where ``channels.yaml`` names no such channel."""
    special = {name for rules in policy.images.values() for name in rules}
    names = (*policy.names, *sorted(special.difference(policy.names)))
    if channel not in names:
        raise NotFound(
            f"there is no channel {channel}",
            why=f"channels.yaml names {listed(names)}",
            hint=nearest(channel, names),
        )


def _check_channels(policy: ReleasePolicy, request: PromotionRequest) -> None:
    check_channel(policy, request.channel)
    if request.source is not None:
        check_channel(policy, request.source)
        if request.source == request.channel:
            raise BadUsage(f"{request.channel} cannot be promoted from itself")
    if request.channel == policy.entry:
        raise BadUsage(
            f"nothing is promoted into {request.channel}",
            why="it is the entry channel: builds arrive there by themselves",
            hint="`imagectl build`, or `imagectl rollback` to go back to an earlier version",
        )
    rules = [rule for rule in policy.channels if rule.name == request.channel]
    if request.source is None and rules and rules[0].source is None:
        raise BadUsage(
            f"channels.yaml does not say what {request.channel} is promoted from",
            hint=f"add `from:` to it, or type `--from CHANNEL`; there is {listed(policy.names)}",
        )


def _targets(
    snapshot: Snapshot, policy: ReleasePolicy, request: PromotionRequest
) -> Iterator[ImageRef]:
    """What is considered, sorted by image: what was named, else what was announced, else all that
    the source channel has."""
    if not request.targets and request.due is None:
        coming = coming_moves(snapshot, request.channel)
        if coming:
            yield from (ImageRef(each.image, version=each.to) for each in coming)
            return
    if not request.targets:
        for image in snapshot.images:
            rule = policy.rule(image, request.channel)
            source = request.source or (rule.source if rule else None)
            if rule and source and snapshot.channel(image, source):
                yield ImageRef(image)
        return
    seen: set[ImageName] = set()
    for target in sorted(request.targets, key=lambda each: each.image):
        if target.channel is not None:
            raise BadUsage(
                f"{target} names a channel, where an image or IMAGE@VERSION is expected",
                hint=f"`imagectl promote {request.channel} {target.image} --from {target.channel}`",
            )
        if target.image in seen:
            raise BadUsage(f"{target.image} is named twice")
        seen.add(find_image(snapshot, target.image))
        if target.version is not None:
            find_version(snapshot, VersionRef(target.image, target.version))
        yield target


def _decide(
    snapshot: Snapshot,
    takes: Takes,
    target: ImageRef,
    rule: ChannelRule,
    source: ChannelName,
    request: PromotionRequest,
    now: datetime,
) -> Decision:
    image, channel = target.image, rule.name
    coming = snapshot.coming(image, channel)
    if coming is not None and request.due is None and target.version is None:
        target = ImageRef(image, version=coming.to)
    before = snapshot.head(image, channel)
    came_by = snapshot.channel(image, source)
    if came_by is None:
        return _held(image, channel, before, target.version, f"nothing of it is in {source}")
    to = target.version or came_by.head.version
    version = snapshot.versions[VersionRef(image, to)]
    if to == before:
        already = f"{channel} points to {to} already"
        return Decision(image, channel, before, to, Verdict.KEEP, (already,))

    current = snapshot.channel(image, channel)
    here = standing(current)
    there = standing(came_by)
    unmet: list[str] = []
    notes: list[str] = []
    if coming is not None:
        unmet.extend(_unlike_told(coming, to, request, now))
        notes.append(f"announced for {moment(coming.due)} by {coming.by}")
    if before is not None and to < before:
        unmet.append(
            f"{to} is older than {before}, which {channel} has: that is not a promotion; "
            f"`imagectl rollback {channel} {image} --to {to}`"
        )
    if to in here.left:
        left = _was_left(channel, to, here)
        if target.version is None:
            unmet.append(f"{left}; to promote it all the same, name it: {image}@{to}")
        else:
            notes.append(f"{left}, but it was named")
    if to not in [move.version for move in came_by.moves]:
        unmet.append(f"{to} was never in {source}")
    elif to not in there.since:
        unmet.append(f"{to} is not in {source} any more: {_was_left(source, to, there)}")
    else:
        over, soaked = _soak(rule.soak, there.since[to], source, request.due or now)
        (notes if over else unmet).append(soaked)
    unmet.extend(_gates(rule, version))
    required = required_now(snapshot, current, version)
    back = way_back(current, rule, once_at=to, without=out_of_reach(snapshot, image))
    unmet.extend(unready(version, snapshot, required, takes))
    unmet.extend(no_way_back(image, back, snapshot, required, takes))
    if unmet:
        return _held(image, channel, before, to, *unmet)
    if to != came_by.head.version:
        notes.append(f"{source} has gone on to {came_by.head.version}")
    reasons = (*notes, *evidence(version, required))
    return Decision(image, channel, before, to, Verdict.MOVE, reasons, required, back)


def _unlike_told(
    coming: AnnouncedMove, to: VersionId, request: PromotionRequest, now: datetime
) -> Iterator[str]:
    """In what the move would be another than consumers were told."""
    if request.due is not None:
        told = earlier_than_told(coming, request.due)
    elif to != coming.to:
        told = another_stands(coming, to)
    else:
        told = "" if request.early else not_yet(coming, now)
    if told:
        yield told


def _held(
    image: ImageName,
    channel: ChannelName,
    before: VersionId | None,
    to: VersionId | None,
    *reasons: str,
) -> Decision:
    # A gate and readiness may say the same; it is said once.
    return Decision(image, channel, before, to, Verdict.HELD_BACK, tuple(dict.fromkeys(reasons)))


def _soak(
    asked: timedelta, since: datetime, source: ChannelName, now: datetime
) -> tuple[bool, str]:
    """Whether the time in the source channel is over, and how to say it."""
    stayed = f"in {source} since {moment(since)}, {span(now - since)}"
    if not asked:
        return True, f"{stayed}; no soak is asked for"
    ready = since + asked
    if now >= ready:
        return True, f"{stayed}; the soak of {span(asked)} is over"
    return False, (
        f"soak of {span(asked)}: {stayed}; ready at {moment(ready)}, in {span(ready - now)}"
    )


def _gates(rule: ChannelRule, version: Version) -> Iterator[str]:
    for gate in rule.gates:
        match gate:
            case Gate.TESTS:
                yield from untested(version)
            case Gate.REPRODUCIBLE:
                yield from unrepeatable(version)
            case Gate.ROLLBACK_READY:
                pass  # asked of every move forward: see no_way_back


def _was_left(channel: ChannelName, version: VersionId, stands: Standing) -> str:
    move: Move | None = stands.left.get(version)
    if move is None:
        return f"{channel} was moved below it"
    because = f" because: {move.reason}" if move.reason else ""
    return f"{channel} was rolled back from {version} on {moment(move.at)} by {move.by}{because}"
