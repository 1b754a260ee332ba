"""Which events of the catalog somebody should be told of, and in which words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from imagectl.model.announcement import AnnouncedKind
from imagectl.model.change import (
    AnnounceDeprecation,
    AnnounceMove,
    MoveChannel,
    Operation,
    RestoreVersion,
    RevokeVersion,
    StepVersion,
    WithdrawAnnouncement,
)
from imagectl.model.channel import MoveKind
from imagectl.model.event import Event
from imagectl.model.names import ImageRef
from imagectl.model.notice import Happened, Notice, Subject
from imagectl.model.retention import Stage
from imagectl.policy.announced import when_refused
from imagectl.policy.wording import moment

MOST_SUBJECTS = 50
"""How many subjects a notice names; it says how many more there are."""


def notices_of(catalog_id: str, events: Iterable[Event], actor: str) -> tuple[Notice, ...]:
    """What happened by *actor*, oldest first. Steps of a cleanup that follow each other are one.

    Of others' doings others are told: by the machine on which they did it.
    """
    found: list[Notice] = []
    for event in events:
        change = event.change
        if change.actor != actor:
            continue
        said: dict[Happened, list[Subject]] = {}
        for operation in change.operations:
            for happened, subject in _said(operation):
                said.setdefault(happened, []).append(subject)
        for happened, subjects in said.items():
            notice = Notice(
                f"{catalog_id}-{event.generation}-{happened.value}",
                happened,
                event.generation,
                change.at,
                change.actor,
                change.reason,
                tuple(subjects),
            )
            last = found[-1] if found else None
            if (
                last is not None
                and happened is Happened.CLEANED_UP
                and (last.event, last.reason) == (happened, notice.reason)
            ):
                subjects = [*last.subjects, *subjects]
                found[-1] = replace(notice, id=last.id, subjects=tuple(subjects))
            else:
                found.append(notice)
    return tuple(_cut(each) for each in found)


def _cut(notice: Notice) -> Notice:
    more = len(notice.subjects) - MOST_SUBJECTS
    if more <= 0:
        return notice
    rest = Subject("", "", "", f"{more} more", notice.event.value)
    return replace(notice, subjects=(*notice.subjects[:MOST_SUBJECTS], rest))


def _said(operation: Operation) -> Iterator[tuple[Happened, Subject]]:
    match operation:
        case MoveChannel(image, channel, to, kind) if kind is not MoveKind.ENTRY:
            promoted = kind is MoveKind.PROMOTE
            happened = Happened.PROMOTED if promoted else Happened.ROLLED_BACK
            what = f"{'promoted' if promoted else 'rolled back'} to {to}"
            yield happened, _subject(ImageRef(image, channel), what, version=str(to))
        case AnnounceMove(image, channel, to, due):
            what = f"goes to {to} on {moment(due)}"
            yield Happened.ANNOUNCED, _subject(ImageRef(image, channel), what, version=str(to))
        case AnnounceDeprecation(of, due, successor, brownouts):
            instead = f"; go to {successor}" if successor else ""
            refused = f"; {when_refused(brownouts)}" if brownouts else ""
            what = f"is not supported from {moment(due)} on{instead}{refused}"
            yield Happened.ANNOUNCED, _subject(of, what)
        case WithdrawAnnouncement(of, kind):
            what = "does not move as announced" if kind is AnnouncedKind.MOVE else "stays supported"
            yield Happened.WITHDRAWN, _subject(of, what)
        case RevokeVersion(ref):
            yield Happened.REVOKED, _subject(ImageRef(ref.image, version=ref.version), "is revoked")
        case RestoreVersion(ref):
            of = ImageRef(ref.image, version=ref.version)
            yield Happened.RESTORED, _subject(of, "is safe after all")
        case StepVersion(ref, stage) if stage is not Stage.ACTIVE:
            of = ImageRef(ref.image, version=ref.version)
            yield Happened.CLEANED_UP, _subject(of, f"is {stage.value}")
        case _:
            pass


def _subject(of: ImageRef, what: str, *, version: str = "") -> Subject:
    return Subject(
        of.image,
        of.channel or "",
        str(of.version) if of.version is not None else version,
        str(of),
        what,
    )


def in_words(notice: Notice) -> str:
    """The notice for people: one line for each thing, then who and why."""
    lines = [f"{each.of} {each.what}" for each in notice.subjects]
    because = f": {notice.reason}" if notice.reason else ""
    return "\n".join((*lines, f"by {notice.by} on {moment(notice.at)}{because}"))
