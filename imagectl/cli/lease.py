"""``imagectl lease``: a consumer works with a version for a while."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, TypedDict

import click

from imagectl.cli.arguments import DURATION, IMAGE, VERSION_REF
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.text import stamp
from imagectl.cli.verb import Family, Verb
from imagectl.policy.wording import moment

if TYPE_CHECKING:
    from imagectl.model.names import ImageName
    from imagectl.model.retention import Lease
    from imagectl.model.version import VersionRef


class LeaseDocument(TypedDict):
    """A consumer's lease of a version."""

    version: Annotated[str, "IMAGE@VERSION"]
    consumer: Annotated[str, "who works with it"]
    since: Annotated[str, "since when"]
    until: Annotated[str, "until when it is kept for that consumer"]


class Leases(TypedDict):
    """The leases that hold now."""

    leases: Annotated[list[LeaseDocument], "those that end first first"]


class LeaseEnded(TypedDict):
    """A lease that holds no more."""

    version: Annotated[str, "IMAGE@VERSION"]
    consumer: Annotated[str, "whose lease it was"]
    ended: Annotated[bool, "false where there was none"]


_CONSUMER = click.option(
    "--consumer",
    metavar="ID",
    required=True,
    envvar="IMAGECTL_CONSUMER",
    help="Who works with it: a host, a job, a service. IMAGECTL_CONSUMER says it too.",
)
_EXITS = {
    4: "conflict: the catalog kept changing; nothing was done",
    5: "cannot tell: the catalog cannot be read",
    6: "there is no such image or version",
}


@click.group("lease", cls=Family)
def command() -> None:
    """Have versions kept for a consumer for a while.

    As long as a lease holds, no cleanup takes the version down, nor what it was built on. A lease
    ends by itself; what has no end is a hold (`imagectl hold`).
    """


@command.command(
    "take",
    cls=Verb,
    answers=LeaseDocument,
    exits={3: "refused: nobody is to get that version any more", **_EXITS},
    examples=[
        (
            "imagectl lease take debian-ci@20261120.1 --for 4h --consumer job-4711",
            "keep it for four hours; again: renew",
        ),
    ],
)
@click.argument("ref", metavar="IMAGE@VERSION", type=VERSION_REF, help="The version.")
@click.option(
    "--for",
    "length",
    metavar="DURATION",
    required=True,
    type=DURATION,
    help="How long from now, such as 4h or 2d; 90d at most.",
)
@_CONSUMER
@click.option("--reason", metavar="TEXT", default="", help="Why; kept in the history.")
@pass_invocation
def take(
    invocation: Invocation, ref: VersionRef, length: timedelta, consumer: str, reason: str
) -> None:
    """Have a version kept for a consumer; again: renew that. A lease is never shortened."""
    from imagectl.services.protect import take_lease

    project = invocation.open_project()
    lease = take_lease(project.releasing, ref, consumer, length, reason)
    invocation.out.answer(_document(lease), _lines([lease]))


@command.command(
    "end",
    cls=Verb,
    answers=LeaseEnded,
    exits={0: "it is not leased to that consumer, now or since earlier", **_EXITS},
    examples=[
        ("imagectl lease end debian-ci@20261120.1 --consumer job-4711", "done before its time"),
    ],
)
@click.argument("ref", metavar="IMAGE@VERSION", type=VERSION_REF, help="The version.")
@_CONSUMER
@click.option("--reason", metavar="TEXT", default="", help="Why; kept in the history.")
@pass_invocation
def end(invocation: Invocation, ref: VersionRef, consumer: str, reason: str) -> None:
    """Say that a consumer is done with a version."""
    from imagectl.services.protect import end_lease

    ended = end_lease(invocation.open_project().releasing, ref, consumer, reason)
    said = "no longer" if ended else "not"
    invocation.out.answer(
        LeaseEnded(version=str(ref), consumer=consumer, ended=ended),
        [f"{ref} is {said} leased by {consumer}"],
    )


@command.command(
    "list",
    cls=Verb,
    answers=Leases,
    exits={5: "cannot tell: the catalog cannot be read", 6: "there is no such image or project"},
    examples=[("imagectl lease list", "who works with what, and until when")],
)
@click.argument("images", metavar="[IMAGE]...", nargs=-1, type=IMAGE, help="Only of these images.")
@pass_invocation
def list_(invocation: Invocation, images: tuple[ImageName, ...]) -> None:
    """Show the leases that hold now."""
    from imagectl.policy.promotion import find_image
    from imagectl.services.protect import leases_of

    project = invocation.open_project()
    snapshot = project.catalog.snapshot(images or None)
    for image in images:
        find_image(snapshot, image)
    leases = leases_of(snapshot, project.clock.now())
    invocation.out.answer(Leases(leases=[_document(each) for each in leases]), _lines(leases))
    if not leases:
        invocation.out.say("nothing is leased")


def _document(lease: Lease) -> LeaseDocument:
    return LeaseDocument(
        version=str(lease.version),
        consumer=lease.consumer,
        since=stamp(lease.since),
        until=stamp(lease.until),
    )


def _lines(leases: Sequence[Lease]) -> Iterator[str]:
    for each in leases:
        yield f"{each.version}  {each.consumer}  until {moment(each.until)}"
