"""Catalogs written move by move, as facts: for tests of what is decided on them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import strategies as st

from imagectl.model.change import (
    Change,
    MoveChannel,
    Operation,
    RecordPlacement,
    RecordVersion,
    RevokeVersion,
    StepVersion,
)
from imagectl.model.channel import Channel, ChannelRule, MoveKind, ReleasePolicy
from imagectl.model.excerpt import Excerpt, excerpt_of
from imagectl.model.fold import apply_change
from imagectl.model.names import ChannelName, Format, LocationName
from imagectl.model.retention import Stage
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Reproducible, Version, VersionRef
from imagectl.policy.readiness import out_of_reach
from support.examples import BASE, BETA, CI, NOW, STABLE, locked, placement, ref, version

LOCAL = LocationName("local")
DC1 = LocationName("dc1")
DAY = timedelta(days=1)
TAKES = {LOCAL: frozenset(Format), DC1: frozenset(Format)}
"""What the locations take: everything."""

POLICY = ReleasePolicy((ChannelRule(BETA, entry=True), ChannelRule(STABLE, source=BETA)))
"""What a new project has: beta, and stable promoted from it at any time."""


def soaking(soak: timedelta) -> ReleasePolicy:
    """``POLICY`` with a soak for stable."""
    return ReleasePolicy(
        (ChannelRule(BETA, entry=True), ChannelRule(STABLE, source=BETA, soak=soak))
    )


class Book:
    """The catalog at ``snapshot``, and what happened to it, in the order it is told.

    ``at`` counts in days from ``NOW``; without it, everything happens at once.
    """

    def __init__(self) -> None:
        self.snapshot = Snapshot("id", 0)
        self._changes: list[Change] = []

    def excerpt(self, since: int) -> Excerpt:
        """What has to do with consumers of what happened after that generation."""
        return excerpt_of(self.snapshot, since, self._changes[since:])

    def built(
        self,
        text: str,
        *,
        at: float = 0,
        failed: int = 0,
        needs: Collection[LocationName] = (LOCAL,),
        placed: Collection[LocationName] | None = None,
        enters: bool = True,
        reproducible: Reproducible | None = None,
        cause: str = "",
    ) -> Version:
        """A build: recorded, placed where it has to be (or only in *placed*), and in beta.

        *reproducible* is None where it was made without a lock.
        """
        made = version(text) if reproducible is None else locked(text, reproducible, cause)
        made = replace(
            made,
            created=NOW + at * DAY,
            required_locations=tuple(needs),
            tests=replace(made.tests, failed=failed),
        )
        operations: list[Operation] = [RecordVersion(made)]
        for location in needs if placed is None else placed:
            operations.append(RecordPlacement(placement(text, location)))
        if enters:
            operations.append(MoveChannel(made.image, BETA, made.id, MoveKind.ENTRY))
        self._append(operations, at, "")
        return made

    def moved(
        self,
        channel: ChannelName,
        *texts: str,
        kind: MoveKind = MoveKind.PROMOTE,
        at: float = 0,
        reason: str = "",
    ) -> None:
        """One change that moves the channel of each image to the version named."""
        refs = [ref(text) for text in texts]
        self._append(
            [MoveChannel(each.image, channel, each.version, kind) for each in refs], at, reason
        )

    def rolled_back(
        self, channel: ChannelName, *texts: str, at: float = 0, reason: str = ""
    ) -> None:
        self.moved(channel, *texts, kind=MoveKind.ROLLBACK, at=at, reason=reason)

    def revoked(self, text: str, *, at: float = 0, reason: str = "") -> None:
        self._append([RevokeVersion(ref(text))], at, reason)

    def taken_down(self, text: str, *, at: float = 0, reason: str = "") -> None:
        """One stage down, as a cleanup does it."""
        stage = self.snapshot.stage(ref(text)).below
        assert stage is not None
        self._append([StepVersion(ref(text), stage)], at, reason)

    def brought_back(self, text: str, *, at: float = 0) -> None:
        self._append([StepVersion(ref(text), Stage.ACTIVE)], at, "")

    def placed_elsewhere(self, text: str, *, at: float = 0) -> None:
        """The same bytes have another name in their location."""
        serial = self.snapshot.generation
        where = replace(placement(text, LOCAL), reference=f"elsewhere-{serial}")
        self._append([RecordPlacement(where)], at, "")

    def placed_as_at_first(self, text: str, *, at: float = 0) -> None:
        """And have their first name again."""
        self._append([RecordPlacement(placement(text, LOCAL))], at, "")

    def channel(self, text: str, channel: ChannelName) -> Channel:
        found = self.snapshot.channel(ref(text + "@20260101.1").image, channel)
        assert found is not None
        return found

    def _append(self, operations: list[Operation], at: float, reason: str) -> None:
        generation = self.snapshot.generation
        change = Change(
            f"key-{generation}",
            generation,
            "alice",
            "test",
            reason,
            day(at),
            tuple(operations),
        )
        self.snapshot = apply_change(self.snapshot, change)
        self._changes.append(change)


def day(at: float) -> datetime:
    """*at* days after ``NOW``."""
    return NOW + at * DAY


@st.composite
def catalogs(draw: st.DrawFn) -> Snapshot:
    """Catalogs of two images with every kind of history: good and bad versions, some of them
    revoked or on their way down."""
    book = Book()
    serials = {BASE: 0, CI: 0}
    now = 0.0
    for _ in range(draw(st.integers(0, 14))):
        now += draw(st.sampled_from([0, 0.5, 1]))
        image = draw(st.sampled_from([BASE, CI]))
        known = book.snapshot.of(image)
        if not known or draw(st.booleans()):
            serials[image] += 1
            book.built(
                f"{image}@20261120.{serials[image]}",
                at=now,
                failed=draw(st.sampled_from([0, 0, 0, 1])),
                placed=draw(st.sampled_from([(LOCAL,), (LOCAL,), ()])),
                enters=draw(st.booleans()),
                reproducible=draw(st.sampled_from([None, *Reproducible])),
            )
            continue
        to = draw(st.sampled_from(known)).ref
        match draw(st.sampled_from(["move", "move", "move", "revoke", "down"])):
            case "move" if to.version not in out_of_reach(book.snapshot, image):
                kind = draw(st.sampled_from([MoveKind.PROMOTE, MoveKind.ROLLBACK]))
                book.moved(draw(st.sampled_from([BETA, STABLE])), str(to), kind=kind, at=now)
            case "revoke" if to not in book.snapshot.revoked:
                book.revoked(str(to), at=now, reason="a hole")
            case "down" if not _pointed_to(book.snapshot, to):
                if book.snapshot.stage(to).below is not None:
                    book.taken_down(str(to), at=now)
            case _:
                pass
    return book.snapshot


def _pointed_to(snapshot: Snapshot, to: VersionRef) -> bool:
    return any(
        VersionRef(image, channel.head.version) == to
        for (image, _), channel in snapshot.channels.items()
    )
