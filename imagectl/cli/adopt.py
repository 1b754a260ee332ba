"""``imagectl adopt``: take into the catalog what is in a location and nobody has recorded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, TypedDict

import click

from imagectl.cli.arguments import ARCHITECTURE, IMAGE, LOCATION
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.moves import tell_behind
from imagectl.cli.output import TroubleDocument, trouble_document
from imagectl.cli.text import stamp
from imagectl.cli.verb import Verb
from imagectl.errors import CannotTell
from imagectl.model.names import Architecture
from imagectl.policy.wording import counted

if TYPE_CHECKING:
    from imagectl.model.names import ImageName, LocationName, VersionId
    from imagectl.services.adopt import Adoption


class AdoptedThing(TypedDict):
    """A thing that is in the catalog now."""

    version: Annotated[str, "IMAGE@VERSION; with `--dry-run`, what it would be"]
    name: Annotated[str, "what the location calls it"]
    provider_id: Annotated[str, "what names it there for good"]
    created: Annotated[str | None, "when it was made, as the location says"]
    again: Annotated[bool, "it carried the marks of this catalog, and is what they say"]
    held: Annotated[bool, "the version is new to the catalog, and so held"]


class LeftThing(TypedDict):
    """A thing that nothing was done to."""

    name: Annotated[str, "what the location calls it"]
    provider_id: Annotated[str, "what names it there for good"]
    why: Annotated[str, "why"]
    hint: Annotated[str, "the next thing to type; may be empty"]


class FailedThing(TroubleDocument):
    """A thing that could not be taken."""

    name: Annotated[str, "what the location calls it"]
    provider_id: Annotated[str, "what names it there for good"]


class AdoptedDocument(TypedDict):
    """What became of each thing in the location that was asked about."""

    location: Annotated[str, "the location"]
    scope: Annotated[str, "what was listed there"]
    dry_run: Annotated[bool, "nothing was done"]
    adopted: Annotated[list[AdoptedThing], "what is in the catalog now"]
    known: Annotated[int, "how many were recorded already"]
    left: Annotated[list[LeftThing], "what was left as it is"]
    failed: Annotated[
        list[FailedThing],
        "what could not be taken; typed again, it is tried again. With "
        "`--dry-run`, what cannot be, as far as the listing shows it",
    ]


@click.command(
    "adopt",
    cls=Verb,
    answers=AdoptedDocument,
    exits={
        0: "all that could be adopted is; what was left as it is is listed",
        1: "something could not be taken; all the rest is recorded (with `--dry-run`: nothing is)",
        4: "conflict: the catalog kept changing",
        5: "cannot tell: not all of the location could be seen, or the catalog not be read; "
        "nothing was done",
        6: "there is no such location, or nothing there has such a name",
    },
    examples=[
        ("imagectl adopt gce-prod --dry-run", "what would become what?"),
        ("imagectl adopt gce-prod 'ci-2017*' --image legacy-ci", "these, as one image's versions"),
        ('imagectl adopt gce-prod --reason "ticket 4711"', "all of it"),
    ],
)
@click.argument("location", metavar="LOCATION", type=LOCATION, help="Where to look.")
@click.argument(
    "patterns",
    metavar="[NAME-PATTERN]...",
    nargs=-1,
    help="Only what has such a name there: shell patterns, in quotes. Everything where none is.",
)
@click.option(
    "--image",
    metavar="IMAGE",
    type=IMAGE,
    help="Make all of it versions of this image. Else each name says it, without the date, the "
    "number and the architecture at its end.",
)
@click.option(
    "--architecture",
    type=ARCHITECTURE,
    default=Architecture.AMD64.value,
    show_default=True,
    help="Of what tells none, neither by itself nor by its name.",
)
@click.option("--dry-run", is_flag=True, help="List what would be adopted as what; do nothing.")
@click.option("--reason", metavar="TEXT", default="", help="Why; kept with the holds.")
@pass_invocation
def command(
    invocation: Invocation,
    location: LocationName,
    patterns: tuple[str, ...],
    image: ImageName | None,
    architecture: Architecture,
    dry_run: bool,
    reason: str,
) -> int:
    """Take images that imagectl did not make into the catalog, or into it again.

    In Compute Engine and vSphere, images and templates that others made become versions: they are
    marked as this catalog's and stay where they are. Each is held by you from the start, so no
    cleanup takes it down until you `unhold` it; and since no test has proven it, no channel can
    ever point to it. Its version number is the day on which its provider says that it was made.

    In every location, what carries this catalog's marks and is not recorded is recorded again as
    what it says: such as after the catalog came back from an older backup. Bring back the newest
    one first: it knows more of them than their marks do.

    What belongs to another catalog is left alone. Typed again, it goes on where it stopped.
    """
    from imagectl.bootstrap.identity import tool_version
    from imagectl.policy.adoption import Wanted
    from imagectl.services.adopt import adopt
    from imagectl.services.adopting import AdoptRequest
    from imagectl.services.show import show

    project = invocation.open_project()
    with invocation.out.progress(project.clock) as progress:
        workspaces = project.workspaces(progress)

        def reserved(of: ImageName) -> frozenset[VersionId]:
            return frozenset(each.version.version for each in workspaces.leftovers(of))

        progress.stage(f"adopt from {location}")
        request = AdoptRequest(
            location,
            Wanted(patterns, image, architecture),
            reason,
            tool_version(),
            project.fetched(),
            reserved,
            dry_run,
        )
        adoption = adopt(project.releasing, project.store, request, progress)
    if adoption.taken and not dry_run:
        try:
            tell_behind(invocation.out, show(project.releasing))
        except CannotTell as problem:  # such as a tree that a newer catalog has written
            invocation.out.warn(f"consumers are not shown it: {problem.what}; {problem.hint}")
    invocation.out.answer(_document(location, adoption, dry_run), _lines(adoption, dry_run))
    held = [each.version for each in adoption.taken if each.held]
    if held and not dry_run:
        invocation.out.say(
            f"each that is new is held by you: `imagectl unhold {held[0]}` lets a cleanup take it "
            "down, one stage at a time"
        )
    return 1 if adoption.failed else 0


def _document(location: LocationName, adoption: Adoption, dry_run: bool) -> AdoptedDocument:
    return AdoptedDocument(
        location=location,
        scope=adoption.scope,
        dry_run=dry_run,
        adopted=[
            AdoptedThing(
                version=str(each.version),
                name=each.found.name,
                provider_id=each.found.provider_id,
                created=stamp(each.found.created) if each.found.created else None,
                again=each.again,
                held=each.held,
            )
            for each in adoption.taken
        ],
        known=adoption.known,
        left=[
            LeftThing(name=each.name, provider_id=each.provider_id, why=each.why, hint=each.hint)
            for each in adoption.left
        ],
        failed=[
            {"name": found.name, "provider_id": found.provider_id, **trouble_document(error)}
            for found, error in adoption.failed
        ],
    )


def _lines(adoption: Adoption, dry_run: bool) -> Iterator[str]:
    for each in adoption.taken:
        how = "recorded again" if each.again else "adopted"
        said = (f"would be {how}" if dry_run else how) + (", held" if each.held else "")
        yield f"{each.version}  {each.found.name}: {said}"
    for left in adoption.left:
        yield f"left as it is: {left.name}: {left.why}{f' ({left.hint})' if left.hint else ''}"
    for found, error in adoption.failed:
        hint = f" ({error.hint})" if error.hint else ""
        yield f"{'CANNOT BE' if dry_run else 'NOT'} ADOPTED: {found.name}: {error.said}{hint}"
    total = [counted(len(adoption.taken), "thing") + (" to adopt" if dry_run else " adopted")]
    total.append(f"{adoption.known} known before")
    total.append(f"{len(adoption.left)} left as they are")
    if adoption.failed:
        total.append(f"{len(adoption.failed)} failed")
    yield f"{', '.join(total)}; in {adoption.scope}"
