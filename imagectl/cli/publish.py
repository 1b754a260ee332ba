"""``imagectl publish``: put a version where consumers pull it from."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Annotated, TypedDict

import click

from imagectl.cli.arguments import LOCATION, PROMOTABLE
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.moves import tell_behind
from imagectl.cli.output import TroubleDocument, trouble_document
from imagectl.cli.text import size, stamp
from imagectl.cli.verb import Verb
from imagectl.cli.waiting import tell_waiting
from imagectl.errors import BadUsage, ImagectlError, Interrupted, NotFound, summed_up
from imagectl.policy.wording import counted, has_to, listed

if TYPE_CHECKING:
    from imagectl.bootstrap.project import Project
    from imagectl.cli.output import Output
    from imagectl.model.names import ImageName, ImageRef, LocationName
    from imagectl.model.version import Intent, Placement, VersionRef
    from imagectl.services.publish import Placed


class PublishedPlacement(TypedDict):
    """An artifact at a location."""

    version: Annotated[str, "IMAGE@VERSION"]
    location: Annotated[str, "the location"]
    format: Annotated[str, "the artifact's format"]
    architecture: Annotated[str, "the artifact's architecture"]
    reference: Annotated[str, "what a consumer pulls"]
    sha256: Annotated[str, "its digest"]
    size: Annotated[int, "bytes"]
    verified: Annotated[str, "when the location confirmed it"]
    new: Annotated[bool, "false where it was recorded there already"]
    unproven: Annotated[list[str], "what the location cannot prove, although it was verified"]


class FailedLocation(TroubleDocument):
    """An optional location that the version could not be put in."""

    location: Annotated[str, "the location"]


class Unfinished(TypedDict):
    """What was begun in a location and never finished."""

    location: Annotated[str, "the location"]
    format: Annotated[str, "the artifact's format"]
    architecture: Annotated[str, "the artifact's architecture"]
    named: Annotated[str, "what it was to be called there"]
    since: Annotated[str, "when it was begun"]
    by: Annotated[str, "who began it"]


class Published(TypedDict):
    """Where a version is now; with `--backfill`, several of them."""

    version: Annotated[str | None, "IMAGE@VERSION; null with `--backfill`"]
    placements: Annotated[list[PublishedPlacement], "where it is, each verified just now"]
    failed: Annotated[list[FailedLocation], "optional locations that it is not in"]
    given_up: Annotated[list[Unfinished], "`--give-up`: what is not waited for any more"]


@click.command(
    "publish",
    cls=Verb,
    answers=Published,
    exits={
        0: "it is in all locations that count, verified",
        1: "a location failed; the others are done and recorded",
        2: "bad usage, such as a location that takes none of its formats",
        3: "refused: it is deleted; or what is to be given up is there, or was begun within the "
        "last hour",
        4: "conflict: something that is not ours has its name in a location, or others kept "
        "changing the catalog",
        5: "cannot tell: a location or the catalog cannot be read; other locations are done. Or a "
        "published tree shows a later generation or another catalog; nothing is done then",
        6: "there is no such version or location, or an artifact is gone from the store",
    },
    examples=[
        ("imagectl publish debian-ci@20261120.1", "put it where its definition requires"),
        ("imagectl publish debian-ci@20261120.1 --to dc2", "and in one more location"),
        (
            "imagectl publish debian-ci@20261120.1 --give-up --to dc2",
            "do not wait for dc2 any more",
        ),
        ("imagectl publish --backfill", "whatever one would roll back to, wherever it has to be"),
    ],
)
@click.argument(
    "refs",
    metavar="[IMAGE@VERSION]...",
    nargs=-1,
    type=PROMOTABLE,
    help="The version. With --backfill: images, or nothing for all.",
)
@click.option(
    "--to",
    metavar="LOCATION",
    type=LOCATION,
    multiple=True,
    help="Also put it there; may be given several times.",
)
@click.option(
    "--give-up",
    is_flag=True,
    help="Put nothing anywhere; forget what was begun and never finished, in all locations or in "
    "those of --to, where nothing of it is there, and it was begun an hour ago or longer.",
)
@click.option(
    "--backfill",
    is_flag=True,
    help="Put what channels point to, and what one would roll back to, in every location that is "
    "required now: after a location was added or switched to another place.",
)
@pass_invocation
def command(
    invocation: Invocation,
    refs: tuple[ImageRef, ...],
    to: tuple[LocationName, ...],
    give_up: bool,
    backfill: bool,
) -> None:
    """Put a version in its locations, and verify it there.

    All locations are filled at the same time, each with the formats that it takes. What is there
    already is verified, and put there anew where it is gone; so it can be repeated. One location
    that fails does not keep the others from being filled: what is done is recorded, and typing it
    again goes on. A location that is optional for the image fails nothing, and is reported.

    Before anything is made in a location, the catalog notes that it is about to be. What a killed
    imagectl may have left there is therefore known: `imagectl show` tells it. No channel moves.
    """
    if backfill:
        if to or give_up or any(each.version is not None for each in refs):
            raise BadUsage(
                "--backfill takes images, and decides by itself what has to be where",
                hint="`imagectl publish --backfill [IMAGE]...`",
            )
        _backfill(invocation, invocation.open_project(), [each.image for each in refs])
        return
    ref = _the_version(refs)
    project = invocation.open_project()
    if give_up:
        _give_up(invocation, project, ref, to)
    else:
        _place(invocation, project, ref, to)


def _the_version(refs: tuple[ImageRef, ...]) -> VersionRef:
    from imagectl.model.version import VersionRef

    if len(refs) != 1 or refs[0].version is None:
        given = " ".join(map(str, refs))
        raise BadUsage(
            f"one IMAGE@VERSION is expected{f', not {given}' if given else ''}",
            hint="`imagectl list IMAGE` shows versions",
        )
    return VersionRef(refs[0].image, refs[0].version)


def _backfill(invocation: Invocation, project: Project, images: Collection[ImageName]) -> None:
    from imagectl.services.backfill import backfill
    from imagectl.services.show import show

    with invocation.out.progress(project.clock) as progress:
        done = backfill(
            project.releasing, project.store, project.policy, images, project.fetched(), progress
        )
    behind = show(project.releasing)
    tell_behind(invocation.out, behind)
    tell_waiting(invocation.out, project)
    if done.failed:
        raise summed_up(
            f"{counted(len(done.failed), 'version')} could not be put where "
            f"{has_to(len(done.failed))} be",
            {str(ref): error for ref, error in done.failed.items()},
            counting=[str(ref) for ref in done.failed],
            hint=f"the others ({len(done.placed)}) are there; mend that, and type it again"
            if done.placed
            else "mend that, and type it again",
        )
    document = Published(
        version=None,
        placements=[
            _placement(each, project, new=each in placed.new)
            for placed in done.placed
            for each in placed.placements
        ],
        failed=[],
        given_up=[],
    )
    lines = (
        f"{placed.version}  {line}" if not line.startswith(" ") else line
        for placed in done.placed
        for line in _lines(placed, project)
    )
    invocation.out.answer(document, lines)


def _place(
    invocation: Invocation, project: Project, ref: VersionRef, to: tuple[LocationName, ...]
) -> None:
    from imagectl.services.publish import place
    from imagectl.services.show import show

    optional = _optional(invocation, project, ref.image)
    with invocation.out.progress(project.clock) as progress:
        progress.stage(f"publish {ref}")
        try:
            placed = place(project.releasing, project.store, ref, to, progress, optional=optional)
        except KeyboardInterrupt:
            raise Interrupted(
                f"interrupted; what was begun of {ref} is written down",
                hint=f"`imagectl publish {ref}` goes on where it stopped; `imagectl show {ref}` "
                "says what is unfinished",
            ) from None
        except ImagectlError:
            with contextlib.suppress(ImagectlError):  # the next command makes it good
                show(project.releasing)
            raise
    behind = show(project.releasing)
    invocation.out.answer(_document(placed, project), _lines(placed, project))
    tell_failed(invocation.out, placed)
    tell_behind(invocation.out, behind)
    _tell_choice(invocation.out, project, placed)
    tell_waiting(invocation.out, project)


def _tell_choice(out: Output, project: Project, placed: Placed) -> None:
    """Warn where consumers have to say now which location they want, and until now had not to."""
    ways: dict[object, set[LocationName]] = {}
    before: dict[object, set[LocationName]] = {}
    for each in placed.placements:
        trait = (each.format, each.architecture)
        ways.setdefault(trait, set()).add(each.location)
        if each not in placed.new:
            before.setdefault(trait, set()).add(each.location)
    torn: set[LocationName] = set()
    for kind, where in ways.items():
        if len(before.get(kind, ())) == 1 < len(where):
            torn |= where
    ref = placed.version
    channels = project.catalog.snapshot([ref.image]).channels.values()
    names = [f"{ref.image}:{each.name}" for each in channels if each.head.version == ref.version]
    if torn and names:
        out.warn(
            f"consumers of {listed(sorted(names))} have to say from now on which one they want: it "
            f"is in {listed(sorted(torn))}; --location or IMAGECTL_LOCATION says it"
        )


def tell_failed(out: Output, placed: Placed) -> None:
    """Say in which optional locations the version is not, and why. Nothing has failed for it."""
    for name, error in placed.failed.items():
        out.warn(f"{placed.version} is not in {name}, which is optional")
        out.tell_error(error)


def _optional(
    invocation: Invocation, project: Project, name: ImageName
) -> Collection[LocationName]:
    """The optional locations of the image's definition, which a version does not need to have."""
    try:
        images = project.definitions.load([name])
    except NotFound:
        return ()
    except ImagectlError as problem:
        invocation.out.warn(f"optional locations of {name} are left out: {problem.what}")
        return ()
    return next(each.optional_locations for each in images if each.name == name)


def _give_up(
    invocation: Invocation, project: Project, ref: VersionRef, at: tuple[LocationName, ...]
) -> None:
    from imagectl.services.publish import give_up
    from imagectl.services.show import show

    ended = give_up(project.releasing, ref, at)
    behind = show(project.releasing)
    document = Published(
        version=str(ref), placements=[], failed=[], given_up=[unfinished(each) for each in ended]
    )
    invocation.out.answer(document, (f"{each.location}  {each.named}: given up" for each in ended))
    tell_behind(invocation.out, behind)


def unfinished(intent: Intent) -> Unfinished:
    """The document of an open intent."""
    return Unfinished(
        location=intent.location,
        format=intent.format.value,
        architecture=intent.architecture.value,
        named=intent.named,
        since=stamp(intent.since),
        by=intent.by,
    )


def _placement(placement: Placement, project: Project, *, new: bool) -> PublishedPlacement:
    return PublishedPlacement(
        version=str(placement.version),
        location=placement.location,
        format=placement.format.value,
        architecture=placement.architecture.value,
        reference=placement.reference,
        sha256=placement.sha256,
        size=placement.size,
        verified=stamp(placement.verified),
        new=new,
        unproven=list(project.locations[placement.location].unproven),
    )


def _document(placed: Placed, project: Project) -> Published:
    return Published(
        version=str(placed.version),
        placements=[
            _placement(each, project, new=each in placed.new) for each in placed.placements
        ],
        failed=[
            {"location": name, **trouble_document(error)} for name, error in placed.failed.items()
        ],
        given_up=[],
    )


def _lines(placed: Placed, project: Project) -> Iterator[str]:
    for each in placed.placements:
        done = "put there and verified" if each in placed.new else "is there, verified"
        if each in placed.again:
            done = "was gone; put there again and verified"
        yield (
            f"{each.location}  {each.format.value} {each.architecture.value}, {size(each.size)}: "
            f"{done}"
        )
        yield f"    {each.reference}"
        for what in project.locations[each.location].unproven:
            yield f"    not proven there: {what}"
