"""Tell people and programs what happened: an outbox beside the catalog's events.

Promises: what the catalog has recorded is told at least once to each target that wants it, under an
id that is the same each time, also where the process that did it was killed; a target that does not
answer takes a bounded time, is tried again later, less and less often, and fails nothing. After a
week, or where the target's section is gone, it is given up, and that is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from imagectl.errors import ImagectlError
from imagectl.model.event import Event
from imagectl.model.notice import Happened, Notice, NotifyTarget, Subject
from imagectl.policy.notices import notices_of
from imagectl.services.ports.catalog import Catalog
from imagectl.services.ports.clock import Clock

GIVEN_UP = timedelta(days=7)
"""After that time nobody wants to be told any more."""

FIRST = timedelta(minutes=10)
"""What is told of where nothing was before: what has just happened, and not all of the history."""

REMEMBERED = 200
"""How many deliveries are remembered as done, for people."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A notice that is still to be sent to a target, not before ``after``. ``trouble``: why it
    could not be sent the last time."""

    target: str
    notice: Notice
    since: datetime
    tries: int = 0
    after: datetime | None = None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """A notice that arrived."""

    target: str
    notice: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Box:
    """What is in the outbox. Events up to generation ``told`` of that catalog were put into it."""

    catalog: str
    told: int
    waiting: tuple[Waiting, ...] = ()
    sent: tuple[Sent, ...] = ()


class Outbox(Protocol):
    """Keeps the box, durably. Raises CannotTell where it cannot be read, and Failed or NoSpace
    where it cannot be written."""

    def alone(self) -> AbstractContextManager[bool]:
        """Have it for oneself; False where another process is sending."""
        ...

    def read(self) -> Box | None:
        """What is in it; None where there never was anything."""
        ...

    def write(self, box: Box) -> None:
        """Keep that instead. Before or after a kill, never between (P7)."""
        ...


class Sender(Protocol):
    """Sends a notice to a target. Takes a bounded time."""

    def send(self, name: str, target: NotifyTarget, notice: Notice) -> None:
        """Raises an ImagectlError, without any secret in it, where it has not arrived for sure."""
        ...


@dataclass(frozen=True, slots=True)
class Notifying:
    """What is needed to tell."""

    catalog: Catalog
    outbox: Outbox
    sender: Sender
    targets: Mapping[str, NotifyTarget]
    clock: Clock
    actor: str
    said: Callable[[str], None] = lambda _: None
    """Is told what goes wrong; nothing of it is an error."""


def tell(notifying: Notifying, *, at_once: bool = False) -> Box | None:
    """Send what is to be sent; what the outbox has then, None where another process is sending.

    ``at_once``: also what failed a moment ago. Raises what the outbox and the catalog raise.
    """
    with notifying.outbox.alone() as alone:
        if not alone:
            return None
        before = notifying.outbox.read()
        box = _filled(notifying, before)
        if box != before:
            notifying.outbox.write(box)
        behind: set[str] = set()
        for each in box.waiting:
            now = notifying.clock.now()
            early = not at_once and each.after is not None and now < each.after
            # Who does not answer is waited for once; one notice that is refused stops no other.
            if early or each.target in behind:
                continue
            waiting = len(box.waiting)
            box = _sent(notifying, box, each)
            if len(box.waiting) == waiting:
                behind.add(each.target)
            notifying.outbox.write(box)
        return box


def trial_notice(catalog_id: str, key: str, actor: str, now: datetime) -> Notice:
    """A notice by which somebody sees whether notices arrive."""
    subject = Subject("", "", "", "imagectl", "can send notices here; nothing has happened")
    return Notice(f"{catalog_id}-test-{key}", Happened.TEST, 0, now, actor, "", (subject,))


def _filled(notifying: Notifying, box: Box | None) -> Box:
    """The box with what has happened since."""
    now = notifying.clock.now()
    snapshot = notifying.catalog.snapshot(())
    if box is not None and (box.catalog != snapshot.catalog_id or box.told > snapshot.generation):
        notifying.said("the outbox of notices was of another catalog, and begins anew")
        box = None
    if box is None:
        events: Iterator[Event] = (
            each for each in notifying.catalog.events(0) if now - each.change.at <= FIRST
        )
        box = Box(snapshot.catalog_id, 0)
    else:
        events = notifying.catalog.events(box.told)
    told = box.told
    fresh: list[Waiting] = []
    seen: list[Event] = []
    for event in events:
        seen.append(event)
        told = event.generation
    for notice in notices_of(snapshot.catalog_id, seen, notifying.actor):
        fresh += [
            Waiting(name, notice, now)
            for name, target in notifying.targets.items()
            if notice.event in target.events
        ]
    kept = [each for each in box.waiting if _worth_it(notifying, each, now)]
    return replace(box, told=max(told, snapshot.generation), waiting=(*kept, *fresh))


def _worth_it(notifying: Notifying, waiting: Waiting, now: datetime) -> bool:
    if waiting.target not in notifying.targets:
        gone = "it is not in imagectl.yaml any more"
    elif now - waiting.since > GIVEN_UP:
        gone = f"it has not worked for a week: {waiting.trouble}"
    else:
        return True
    notifying.said(f"{waiting.target} is not told of {waiting.notice.id} any more: {gone}")
    return False


def _sent(notifying: Notifying, box: Box, waiting: Waiting) -> Box:
    others = tuple(each for each in box.waiting if each != waiting)
    try:
        notifying.sender.send(waiting.target, notifying.targets[waiting.target], waiting.notice)
    except ImagectlError as problem:
        trouble = f"{problem.what}{f': {problem.why}' if problem.why else ''}"
        notifying.said(
            f"{waiting.target} was not told ({trouble}); `imagectl notify retry` tries it again"
        )
        now = notifying.clock.now()
        tries = waiting.tries + 1
        pause = min(timedelta(minutes=2**tries), timedelta(hours=6))
        failed = replace(waiting, tries=tries, after=now + pause, trouble=trouble)
        at = box.waiting.index(waiting)
        return replace(box, waiting=(*box.waiting[:at], failed, *box.waiting[at + 1 :]))
    done = Sent(waiting.target, waiting.notice.id, notifying.clock.now())
    return replace(box, waiting=others, sent=(*box.sent, done)[-REMEMBERED:])
