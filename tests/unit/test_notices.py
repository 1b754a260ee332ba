"""Which events of the catalog become notices, and what is waited for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

from support.examples import (
    BETA,
    CI,
    NOW,
    STABLE,
    announce,
    change,
    deprecate,
    move,
    place,
    record,
    ref,
    revoke,
)

from imagectl.errors import Failed
from imagectl.model.change import Change, Operation, StepVersion
from imagectl.model.channel import MoveKind
from imagectl.model.notice import EVENTS, Happened, Notice, NotifyTarget, WebhookTarget
from imagectl.model.retention import Stage
from imagectl.policy.notices import MOST_SUBJECTS, in_words, notices_of
from imagectl.services.notify import FIRST, GIVEN_UP, Box, Notifying, tell
from imagectl.testing.catalog import MemoryCatalog
from imagectl.testing.clock import FixedClock

ONE, TWO = "debian-ci@20261120.1", "debian-ci@20261121.1"
HOOK = WebhookTarget("https://hooks.example/", EVENTS, None, None, None)
ACTOR = change("k", 0, record(ONE)).actor


class MemoryOutbox:
    """Implements ``services.notify.Outbox``. ``busy``: somebody else is sending."""

    def __init__(self) -> None:
        self.box: Box | None = None
        self.busy = False

    @contextmanager
    def alone(self) -> Iterator[bool]:
        yield not self.busy

    def read(self) -> Box | None:
        return self.box

    def write(self, box: Box) -> None:
        self.box = box


class MemorySender:
    """Implements ``services.notify.Sender``; ``down`` are the targets that do not answer."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.asked: list[str] = []
        self.down: set[str] = set()

    def send(self, name: str, target: NotifyTarget, notice: Notice) -> None:
        self.asked.append(name)
        if name in self.down:
            raise Failed("it answered 500")
        self.sent.append((name, notice.event.value))


class Office:
    """A catalog, and who is told of it."""

    def __init__(self, *names: str) -> None:
        self.catalog = MemoryCatalog()
        self.outbox = MemoryOutbox()
        self.sender = MemorySender()
        self.names = names or ("hook",)
        self.warnings: list[str] = []
        self.now = NOW

    def happens(self, *operations: Operation, by: str = ACTOR, at: datetime | None = None) -> None:
        generation = self.catalog.snapshot().generation
        made = change(f"k{generation}", generation, *operations)
        self.catalog.commit(replace(made, actor=by, at=at or self.now))

    def tell(self, *, at_once: bool = False) -> Box | None:
        notifying = Notifying(
            self.catalog,
            self.outbox,
            self.sender,
            dict.fromkeys(self.names, HOOK),
            FixedClock(self.now),
            ACTOR,
            self.warnings.append,
        )
        return tell(notifying, at_once=at_once)


def notices(*changes: Change) -> tuple[Notice, ...]:
    catalog = MemoryCatalog()
    for each in changes:
        catalog.commit(each)
    return notices_of("id", catalog.events(), ACTOR)


def released(*names: str) -> Office:
    office = Office(*names)
    arrives = move(CI, BETA, "20261120.1", MoveKind.ENTRY)
    office.happens(record(ONE), place(ONE), record(TWO), place(TWO), arrives)
    return office


def test_what_is_told_and_what_is_not() -> None:
    office = released()
    office.happens(move(CI, STABLE, "20261120.1", MoveKind.PROMOTE))
    office.happens(move(CI, STABLE, "20261121.1", MoveKind.ROLLBACK))
    office.happens(announce(ONE, BETA))
    office.happens(revoke(TWO))
    office.tell()
    assert [event for _, event in office.sender.sent] == [
        *("promoted", "rolled-back", "announced", "revoked")
    ]
    office.tell()
    assert len(office.sender.sent) == 4


def test_who_is_told_that_support_ends_knows_when_it_is_refused() -> None:
    ends = deprecate("debian-ci:beta", successor="debian-ci:stable", brownouts=((2, 2.5), (5, 6)))
    office = released()
    office.happens(ends)
    (notice,) = notices_of("id", office.catalog.events(), ACTOR)
    assert in_words(notice).splitlines()[0] == (
        "debian-ci:beta is not supported from 2026-12-20 12:00 UTC on; go to debian-ci:stable; "
        "refused on purpose from 2026-11-22 12:00 UTC to 2026-11-23 00:00 UTC "
        "and from 2026-11-25 12:00 UTC to 2026-11-26 12:00 UTC"
    )


def test_what_others_did_their_machines_tell() -> None:
    office = released()
    office.happens(revoke(TWO), by="somebody@else")
    office.tell()
    assert office.sender.sent == []


def test_the_history_is_not_told() -> None:
    office = released()
    office.happens(revoke(TWO), at=NOW - FIRST - timedelta(seconds=1))
    office.happens(revoke(ONE), at=NOW - FIRST)
    office.tell()
    assert len(office.sender.sent) == 1


def test_the_steps_of_a_cleanup_are_one_notice() -> None:
    texts = [f"debian-ci@20261120.{serial}" for serial in range(1, MOST_SUBJECTS + 3)]
    made = [change("k", 0, *(each for text in texts for each in (record(text), place(text))))]
    for number, text in enumerate(texts, start=1):
        made.append(change(f"k{number}", number, StepVersion(ref(text), Stage.DEPRECATED)))
    (notice,) = notices(*made)
    assert notice.event is Happened.CLEANED_UP
    assert len(notice.subjects) == MOST_SUBJECTS + 1
    assert notice.subjects[-1].of == "2 more"
    assert "debian-ci@20261120.1 is deprecated" in in_words(notice)


def test_who_does_not_answer_is_waited_for_once_and_the_others_are_told() -> None:
    office = released("down", "up")
    office.sender.down.add("down")
    office.happens(revoke(ONE))
    office.happens(revoke(TWO))
    office.tell()
    assert office.sender.asked == ["down", "up", "up"]
    office.tell()
    assert office.sender.asked == ["down", "up", "up", "down"]
    office.tell()
    assert office.sender.asked == ["down", "up", "up", "down"]
    office.now += timedelta(minutes=3)
    office.sender.down.clear()
    office.tell()
    assert office.sender.sent == [("up", "revoked")] * 2 + [("down", "revoked")] * 2
    assert office.outbox.box is not None
    assert office.outbox.box.waiting == ()


def test_it_is_tried_less_and_less_often_and_given_up_after_a_week() -> None:
    office = released()
    office.sender.down.add("hook")
    office.happens(revoke(ONE))
    tries = []
    for _ in range(8 * 24 * 12):
        asked = len(office.sender.asked)
        office.tell()
        if len(office.sender.asked) > asked:
            tries.append(office.now)
        office.now += timedelta(minutes=5)
    pauses = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert pauses == sorted(pauses)
    assert max(pauses) <= timedelta(hours=6, minutes=5)
    assert tries[-1] - NOW <= GIVEN_UP
    assert "it has not worked for a week: it answered 500" in office.warnings[-1]


def test_where_another_process_sends_this_one_does_not() -> None:
    office = released()
    office.happens(revoke(ONE))
    office.outbox.busy = True
    assert office.tell() is None
    assert office.sender.asked == []


def test_a_target_that_is_gone_is_told_nothing() -> None:
    office = released()
    office.sender.down.add("hook")
    office.happens(revoke(ONE))
    office.tell()
    office.names = ("other",)
    office.now += timedelta(hours=1)
    box = office.tell()
    assert box is not None
    assert box.waiting == ()
    assert "not in imagectl.yaml any more" in office.warnings[-1]


def test_the_outbox_of_another_catalog_begins_anew() -> None:
    office = released()
    office.tell()
    assert office.outbox.box is not None
    office.outbox.box = replace(office.outbox.box, catalog="another", told=99)
    office.happens(revoke(ONE))
    office.tell()
    assert office.sender.sent == [("hook", "revoked")]
