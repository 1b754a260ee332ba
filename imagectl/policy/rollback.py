"""What a channel goes back to, and whether it can.

Promises: the way back leads one good version further each time, never to one that was left, and
past those that were revoked or are on their way down; what is gone back to is ready (P6), where
consumers pull from now; images are rolled back all together or not at all; and the rollback is a
move like any other, appended to the history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from itertools import takewhile

from imagectl.errors import BadUsage, NotFound
from imagectl.model.channel import Channel, MoveKind, ReleasePolicy
from imagectl.model.names import ImageName, VersionId
from imagectl.model.place import Takes
from imagectl.model.release import Decision, ReleasePlan, RollbackRequest, Verdict
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import VersionRef
from imagectl.policy.promotion import check_channel, find_image, find_version, insist
from imagectl.policy.readiness import (
    evidence,
    no_way_back,
    out_of_reach,
    required_now,
    rule_of,
    taken_away,
    unready,
    way_back,
)
from imagectl.policy.standing import Standing, standing
from imagectl.policy.wording import listed, moment, span


def plan_rollback(
    snapshot: Snapshot,
    policy: ReleasePolicy,
    takes: Takes,
    request: RollbackRequest,
    now: datetime,
) -> ReleasePlan:
    """What ``rollback`` does at *now*.

    Raises Refused with every reason of every image where one of them cannot go back; NotFound for
    an unknown channel, image or version, and where the channel is empty; BadUsage for one version
    and several images.
    """
    if not any(known.name == request.channel for known in snapshot.channels.values()):
        check_channel(policy, request.channel)
    images = _images(snapshot, request)
    if request.to is not None:
        if len(images) != 1:
            raise BadUsage(
                f"--to {request.to} is a version of one image, but this concerns {listed(images)}",
                hint=f"`imagectl rollback {request.channel} IMAGE --to {request.to}`",
            )
        find_version(snapshot, VersionRef(images[0], request.to))
    plan = ReleasePlan(
        MoveKind.ROLLBACK,
        request.channel,
        tuple(_decide(snapshot, takes, request, image, now) for image in images),
    )
    return insist(plan, all_or_nothing=True)


def plan_check(
    snapshot: Snapshot,
    policy: ReleasePolicy,
    takes: Takes,
    request: RollbackRequest,
    now: datetime,
) -> ReleasePlan:
    """The same plan, which also asks for all else that the channel's rollback window holds: what
    ``rollback --check`` says no to before anybody needs it. Raises as ``plan_rollback`` does."""
    plan = plan_rollback(snapshot, policy, takes, request, now)
    decisions = []
    for each in plan.decisions:
        channel = snapshot.channel(each.image, each.channel)
        if each.verdict is not Verdict.MOVE or channel is None:
            decisions.append(each)
            continue
        gone = out_of_reach(snapshot, each.image)
        window = way_back(channel, rule_of(policy, channel), without=gone)
        others = tuple(version for version in window if version != each.to)
        behind = no_way_back(each.image, others, snapshot, each.required, takes)
        decisions.append(
            replace(each, verdict=Verdict.HELD_BACK, reasons=behind)
            if behind
            else replace(each, way_back=others)
        )
    return insist(replace(plan, decisions=tuple(decisions)), all_or_nothing=True)


def _images(snapshot: Snapshot, request: RollbackRequest) -> tuple[ImageName, ...]:
    if request.images:
        return tuple(find_image(snapshot, image) for image in sorted(set(request.images)))
    heads = {
        image: known.head.generation
        for (image, name), known in snapshot.channels.items()
        if name == request.channel
    }
    if not heads:
        raise NotFound(
            f"nothing is in {request.channel} yet",
            hint=f"`imagectl promote {request.channel}` brings something there",
        )
    latest = max(heads.values())
    return tuple(sorted(image for image, generation in heads.items() if generation == latest))


def _decide(
    snapshot: Snapshot, takes: Takes, request: RollbackRequest, image: ImageName, now: datetime
) -> Decision:
    name = request.channel
    channel = snapshot.channel(image, name)
    if channel is None:
        nothing = f"nothing of it was ever in {name}"
        return Decision(image, name, None, request.to, Verdict.HELD_BACK, (nothing,))
    before = channel.head.version
    stands = standing(channel)
    gone = out_of_reach(snapshot, image)
    passed_by = tuple(takewhile(gone.__contains__, stands.earlier))
    to = request.to or next((each for each in stands.earlier if each not in gone), None)

    def decided(verdict: Verdict, *reasons: str) -> Decision:
        return Decision(image, name, before, to, verdict, reasons)

    if to is None:
        away = [why for each in passed_by for why in taken_away(VersionRef(image, each), snapshot)]
        return decided(Verdict.HELD_BACK, _no_earlier(before, stands), *away)
    if to == before:
        return decided(Verdict.KEEP, f"{name} points to {to} already")
    last = next((move for move in reversed(channel.moves) if move.version == to), None)
    if last is None:
        never = f"{to} was never in {name}, which has had {listed(_had(channel))}"
        return decided(Verdict.HELD_BACK, never)
    version = snapshot.versions[VersionRef(image, to)]
    required = required_now(snapshot, channel)
    faults = unready(version, snapshot, required, takes)
    if faults:
        ready = [
            other
            for other in stands.earlier
            if other != to
            and not unready(snapshot.versions[VersionRef(image, other)], snapshot, required, takes)
        ]
        return decided(Verdict.HELD_BACK, *faults, *_others(request, image, ready))
    notes = [f"{name} has pointed to it before, from {moment(last.at)}, {span(now - last.at)} ago"]
    if to in stands.left:
        left = stands.left[to]
        because = f" because: {left.reason}" if left.reason else ""
        notes.append(f"it was rolled back from on {moment(left.at)}{because}; but it was named")
    if request.to is None:
        notes += [
            f"passed by: {why}"
            for each in passed_by
            for why in taken_away(VersionRef(image, each), snapshot)
        ]
    reasons = (*notes, *evidence(version, required))
    return Decision(image, name, before, to, Verdict.MOVE, reasons, required)


def _no_earlier(before: VersionId, stands: Standing) -> str:
    left = f"; rolled back from already: {listed(stands.left)}" if stands.left else ""
    return f"there is no earlier good version than {before} to go back to{left}"


def _had(channel: Channel) -> tuple[VersionId, ...]:
    return tuple(sorted({move.version for move in channel.moves}))


def _others(
    request: RollbackRequest, image: ImageName, ready: Sequence[VersionId]
) -> tuple[str, ...]:
    """What the operator can type instead, where an older version is ready."""
    if not ready:
        return ()
    other = f"`imagectl rollback {request.channel} {image} --to {ready[0]}`"
    return (f"{ready[0]} would be ready: {other}",)
