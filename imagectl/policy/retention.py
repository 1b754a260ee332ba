"""What protects a version, and what keeps it a while longer (P1).

Promises: each reason to keep a version is named, not only the first, but for a wait that is over
before the version is old enough; what cannot be read as "not needed" is kept; and a reason more
never lets a version go that was kept without it. What follows from other images (children), from a
plan's scope and its caps is added by ``policy.cleanup``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from math import floor
from types import MappingProxyType

from imagectl.errors import Refused
from imagectl.model.channel import ChannelRule, ReleasePolicy
from imagectl.model.cleanup import Because, Reason
from imagectl.model.names import ChannelName, VersionId
from imagectl.model.retention import RetentionPolicy, RetentionRule, Stage
from imagectl.model.stock import Shelf, Shelved
from imagectl.model.version import VersionRef
from imagectl.policy.readiness import rule_of
from imagectl.policy.standing import Standing, standing
from imagectl.policy.wording import counted, listed, moment

ALL_GONE = (Reason(Because.DELETED),)
"""Of what is deleted."""

Judged = tuple[Shelved, tuple[Reason, ...]]
"""A version, and each reason to keep it where it is; none: it is due for a step down."""

AHEAD = timedelta(days=1)
"""How far ahead of ours a consumer's clock may be, before that is told."""


def judge(
    shelf: Shelf,
    policy: ReleasePolicy,
    resolved: Mapping[VersionRef, datetime],
    now: datetime,
    shown: Mapping[VersionRef, Collection[ChannelName]] = MappingProxyType({}),
) -> Iterator[Judged]:
    """Each version of the image, oldest first, with what keeps it as far as the image itself knows.

    *resolved*: when consumers have resolved versions last; *shown*: see ``CleanupRequest``.
    """
    rule = policy.retention.rule(shelf.image)
    released = _released(shelf, policy)
    # There may be a million, of which nearly all are old and nobody's.
    young = now - _grows_for(rule)
    unrested = now - rule.grace
    for version in shelf.versions:
        if version.stage is Stage.DELETED:
            yield version, ALL_GONE
            continue
        reasons = released.get(version.id, ())
        for name in sorted(shown.get(VersionRef(shelf.image, version.id), ())) if shown else ():
            reasons = (*reasons, Reason(Because.SHOWN, name))
        if version.held or version.leased is not None or version.begun:
            reasons = (*reasons, *_claimed(version, now))
        if version.created > young or version.staged > unrested:
            reasons = (*reasons, *_recent(version, rule, now))
        if resolved and (last := resolved.get(VersionRef(shelf.image, version.id))):
            reasons = (*reasons, *_resolved(last, rule, now))
        yield version, reasons


def _released(shelf: Shelf, policy: ReleasePolicy) -> Mapping[VersionId, tuple[Reason, ...]]:
    """What the image's channels protect: their heads, their rollback windows, the last of those
    that stand in them, and what they are announced to point to."""
    reasons: dict[VersionId, tuple[Reason, ...]] = {}
    if not shelf.channels and not shelf.announced:
        return reasons
    versions = {each.id: each for each in shelf.versions}
    retention = policy.retention.rule(shelf.image)
    for name in sorted(shelf.channels):
        channel = shelf.channels[name]
        stands = standing(channel)
        protected = (
            (Because.CHANNEL, (channel.head.version,)),
            (Because.WINDOW, _window(stands, rule_of(policy, channel), versions)),
            (Because.KEPT_LAST, _last(stands, retention.kept_in(name), versions)),
        )
        for because, kept in protected:
            reason = Reason(because, name)
            for version in kept:
                reasons[version] = (*reasons.get(version, ()), reason)
    for name, version in shelf.announced.items():
        reasons[version] = (*reasons.get(version, ()), Reason(Because.ANNOUNCED, name))
    return reasons


def _window(
    stands: Standing, rule: ChannelRule, versions: Mapping[VersionId, Shelved]
) -> Iterator[VersionId]:
    """A channel's rollback window, the nearest first: all that stand below its head, until there
    are as many usable ones as it asks for. A rollback passes the others by, so they must not use
    up the window; yet they are in it, and come back into reach when they are restored."""
    missing = rule.rollback_window
    for version in stands.earlier:
        if missing <= 0:
            return
        yield version
        known = versions.get(version)
        missing -= known is not None and known.stage is Stage.ACTIVE and not known.revoked


def _last(
    stands: Standing, count: int, versions: Mapping[VersionId, Shelved]
) -> Iterator[VersionId]:
    """The last *count* of those that stand and exist."""
    for version in reversed(tuple(stands.since)):
        if count <= 0:
            return
        known = versions.get(version)
        if known is not None and known.stage is not Stage.DELETED:
            yield version
            count -= 1


def _claimed(version: Shelved, now: datetime) -> Iterator[Reason]:
    """What somebody needs, or is just working with."""
    for holder in version.held:
        yield Reason(Because.HELD, holder)
    if version.leased is not None and version.leased > now:
        until = version.leased
        yield Reason(Because.LEASED, f"by {version.leased_by} until {moment(until)}", until)
    if version.begun:
        yield Reason(Because.PLACING)


def _grows_for(rule: RetentionRule) -> timedelta:
    return max(rule.min_age, rule.grace)


def _recent(version: Shelved, rule: RetentionRule, now: datetime) -> Iterator[Reason]:
    """What is too young, or has not been at its stage for long enough. A time that is still to come
    (somebody's clock is wrong) is as recent as can be."""
    grown = version.created + _grows_for(rule)
    if grown > now:
        yield Reason(Because.YOUNG, f"until {moment(grown)}", grown)
    rested = version.staged + rule.grace
    if rested > now and rested > grown:
        yield Reason(Because.WAITING, f"{version.stage.value} until {moment(rested)}", rested)


def _resolved(last: datetime, rule: RetentionRule, now: datetime) -> Iterator[Reason]:
    """What a consumer may still be working with."""
    if last > now + AHEAD:
        # Believed all the same: somebody has resolved it, and when cannot be told (P8).
        yield Reason(
            Because.RESOLVED,
            f"on {moment(last)}, still to come: its folder of receipts says by whose clock",
        )
    elif last + rule.unused > now:
        until = last + rule.unused
        yield Reason(Because.RESOLVED, f"until {moment(until)}", until)


def cap(policy: RetentionPolicy, versions: int, went: int = 0, went_inside: int = 0) -> int:
    """How many of that many versions one plan takes down: both caps hold, and a share allows one at
    least.

    *went*: how many anything has taken down within ``policy.expires``; *went_inside*: those of them
    that the plan is about. They use up the caps too: plans in a loop may take down no more.
    """
    share = max(1, floor(policy.max_share * versions))
    return max(0, min(policy.max_count - went, share - went_inside))


def went_lately(version: Shelved, policy: RetentionPolicy, now: datetime) -> bool:
    """Whether it came to its stage within the time that the caps count. A time that is still to
    come is as late as can be."""
    return version.stage is not Stage.ACTIVE and version.staged > now - policy.expires


def stranger(policy: RetentionPolicy, author: str) -> str:
    """Why a plan by that key can never be applied, whoever approves it; empty where it can."""
    names = {each.key: each.name for each in policy.approvers}
    if policy.approvers and author not in names:
        return (
            f"its author's key {author[:16]}... is not among the approvers of channels.yaml: "
            f"{listed(sorted(names.values()))}"
        )
    return ""


ANEW = (
    "an approver has to make the plan: `imagectl cleanup plan --out PLAN`, by one of them; "
    "`imagectl cleanup key` shows which key is yours"
)
"""The way out where the author is a stranger."""


def check_signed(policy: RetentionPolicy, author: str, others: Collection[str]) -> None:
    """Whether enough people stand behind a plan. *author* and *others* are the public keys, as
    ``Approver`` has them, of signatures that have been verified.

    Raises Refused with every reason: an author whose signature does not count, or too few people
    beside the author. One person with two keys is one person.
    """
    names = {each.key: each.name for each in policy.approvers}
    alone = stranger(policy, author)
    reasons = [alone] if alone else []
    approved = {names[key] for key in others if key in names} - {names.get(author)}
    if len(approved) < policy.approvals:
        reasons.append(
            f"{counted(policy.approvals, 'approval')} beside its author's asked for, and it has "
            f"{len(approved)}{f': {listed(sorted(approved))}' if approved else ''}"
        )
    if reasons:
        raise Refused(
            "the plan is not signed by enough people",
            reasons=reasons,
            hint=ANEW if alone else "`imagectl cleanup approve PLAN`, by another approver",
        )
