"""``imagectl announce``: what consumers are told of before it happens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

import click

from imagectl.cli.arguments import DURATION, IMAGE_REF
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.text import stamp
from imagectl.cli.verb import Family, Verb
from imagectl.formats.sizes import BadSize, parse_duration
from imagectl.model.announcement import AnnouncedDeprecation, AnnouncedMove, Brownout
from imagectl.policy.announced import notice_of

if TYPE_CHECKING:
    from imagectl.model.announcement import Announcement
    from imagectl.model.names import ImageRef


class BrownoutDocument(TypedDict):
    """A time in which consumers are refused on purpose."""

    begins: Annotated[str, "when it begins"]
    ends: Annotated[str, "when it is over"]


class AnnouncementDocument(TypedDict):
    """Something that consumers are told of before it happens."""

    kind: Annotated[
        Literal["move", "deprecation"], "`move`: a channel moves; `deprecation`: support ends"
    ]
    of: Annotated[str, "IMAGE:CHANNEL that moves; or IMAGE, IMAGE:CHANNEL or IMAGE@VERSION"]
    to: Annotated[str | None, "`move`: the version; else null"]
    due: Annotated[str, "not before"]
    successor: Annotated[str | None, "`deprecation`: what to go to; null where none was named"]
    brownouts: Annotated[list[BrownoutDocument], "`deprecation`: in order; may be none"]
    at: Annotated[str, "when it was announced"]
    by: Annotated[str, "by whom"]
    reason: Annotated[str, "why; may be empty"]


class Announcements(TypedDict):
    """What is announced, or what was taken back."""

    announcements: Annotated[list[AnnouncementDocument], "the next first"]


class _BrownoutParameter(click.ParamType[Brownout, object]):
    """``START/DURATION``, such as ``2026-12-01T09:00Z/2h``."""

    name = "brownout"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Brownout:
        if isinstance(value, Brownout):
            return value
        begins, _, length = str(value).partition("/")
        try:
            at = datetime.fromisoformat(begins)
            if at.tzinfo is None:
                self.fail(f"{begins!r} does not say its zone: put Z behind it for UTC", param, ctx)
            at = at.astimezone(UTC)
            return Brownout(at, at + parse_duration(length))
        except BadSize as problem:
            self.fail(str(problem), param, ctx)
        except (ValueError, OverflowError):
            self.fail(
                f"{str(value)[:60]!r} is not START/DURATION, such as 2026-12-01T09:00Z/2h",
                param,
                ctx,
            )


_EXITS = {
    1: "failed: it is in the catalog, but consumers cannot be shown it yet",
    4: "conflict: the catalog kept changing; nothing was done",
    5: "cannot tell: the catalog cannot be read; nothing was done",
}


@click.group("announce", cls=Family)
def command() -> None:
    """Tell consumers what is coming, and take that back.

    Moves of channels are announced by `imagectl promote CHANNEL --announce-in 7d`.
    """


@command.command(
    "list",
    cls=Verb,
    answers=Announcements,
    exits={5: "cannot tell: the catalog cannot be read", 6: "there is no project here"},
    examples=[("imagectl announce list", "everything that is to come")],
)
@pass_invocation
def list_command(invocation: Invocation) -> None:
    """Show what is announced, the next first."""
    from imagectl.services.announce import announcements

    project = invocation.open_project()
    found = announcements(project.releasing)
    invocation.out.answer(_document(found), _lines(found, project.clock.now()))
    if not found:
        invocation.out.say("nothing is announced")


@command.command(
    "withdraw",
    cls=Verb,
    answers=Announcements,
    exits={6: "nothing is announced of that", **_EXITS},
    examples=[
        ('imagectl announce withdraw debian-ci:stable --reason "found a bug"', "it will not move")
    ],
)
@click.argument(
    "of",
    metavar="IMAGE[:CHANNEL|@VERSION]",
    type=IMAGE_REF,
    help="What it was announced of, exactly as `imagectl announce list` shows it.",
)
@click.option("--reason", metavar="TEXT", required=True, help="Why; it stays in the history.")
@pass_invocation
def withdraw_command(invocation: Invocation, of: ImageRef, reason: str) -> None:
    """Take back what was announced: it is not going to happen."""
    from imagectl.services.announce import withdraw

    project = invocation.open_project()
    withdrawn = withdraw(project.releasing, of, reason)
    now = project.clock.now()
    invocation.out.answer(
        _document(withdrawn), (f"withdrawn: {notice_of(each, now)}" for each in withdrawn)
    )


@command.command(
    "deprecate",
    cls=Verb,
    answers=Announcements,
    exits={
        3: "refused: a rule is unmet; every reason is listed, nothing was done",
        6: "there is no such image, channel or version",
        **_EXITS,
    },
    examples=[
        (
            'imagectl announce deprecate ci:old --in 30d --reason "see ci:stable"',
            "tell whoever follows that channel",
        ),
        (
            "imagectl announce deprecate ci --in 9d --brownout 2026-12-01T09Z/2h --reason x",
            "and refuse it for two hours, so that who has pinned it finds out",
        ),
    ],
)
@click.argument(
    "of",
    metavar="IMAGE[:CHANNEL|@VERSION]",
    type=IMAGE_REF,
    help="An image, a channel of it, or a version.",
)
@click.option(
    "--in",
    "ahead",
    metavar="DURATION",
    required=True,
    type=DURATION,
    help="How long it is supported yet, such as 30d.",
)
@click.option(
    "--successor",
    metavar="IMAGE[:CHANNEL]",
    type=IMAGE_REF,
    help="What consumers should go to. Of a version: what its channels point to.",
)
@click.option(
    "--brownout",
    "brownouts",
    metavar="START/DURATION",
    multiple=True,
    type=_BrownoutParameter(),
    help="Refuse it on purpose for that time, such as 2026-12-01T09:00Z/2h. May be repeated.",
)
@click.option("--reason", metavar="TEXT", required=True, help="Why; consumers are told.")
@pass_invocation
def deprecate_command(
    invocation: Invocation,
    of: ImageRef,
    ahead: timedelta,
    successor: ImageRef | None,
    brownouts: tuple[Brownout, ...],
    reason: str,
) -> None:
    """Announce that something is not supported any more from some time on.

    Nothing is taken away by it, now or then: what goes is decided by cleanups and people. In a
    brownout `imagectl resolve` refuses it, says until when, and how to go on all the same
    (--despite-brownout). There are none without something else to go to.
    """
    from imagectl.policy.announcing import Deprecation
    from imagectl.services.announce import announce_deprecation, announcements

    project = invocation.open_project()
    due = project.clock.now() + ahead
    ordered = tuple(sorted(brownouts, key=lambda each: each.begins))
    announce_deprecation(project.releasing, Deprecation(of, due, successor, ordered), reason)
    made = [
        each
        for each in announcements(project.releasing)
        if isinstance(each, AnnouncedDeprecation) and each.of == of
    ]
    invocation.out.answer(_document(made), _lines(made, project.clock.now()))


def _document(found: Sequence[Announcement]) -> Announcements:
    return Announcements(announcements=[announcement_document(each) for each in found])


def announcement_document(announcement: Announcement) -> AnnouncementDocument:
    """One of them."""
    return AnnouncementDocument(
        kind=announcement.kind.value,
        of=str(announcement.of),
        to=str(announcement.to) if isinstance(announcement, AnnouncedMove) else None,
        due=stamp(announcement.due),
        successor=None
        if isinstance(announcement, AnnouncedMove) or announcement.successor is None
        else str(announcement.successor),
        brownouts=[]
        if isinstance(announcement, AnnouncedMove)
        else [
            BrownoutDocument(begins=stamp(each.begins), ends=stamp(each.ends))
            for each in announcement.brownouts
        ],
        at=stamp(announcement.at),
        by=announcement.by,
        reason=announcement.reason,
    )


def _lines(found: Sequence[Announcement], now: datetime) -> Iterator[str]:
    for each in found:
        yield notice_of(each, now)
        yield f"    announced by {each.by}"
