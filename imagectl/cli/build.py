"""``imagectl build``: from a definition to a tested version in the entry channel."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

import click

from imagectl.cli.arguments import IMAGE
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.moves import Moved, moved_document, moved_lines, tell_behind
from imagectl.cli.noting import noting
from imagectl.cli.output import ErrorDocument, failure
from imagectl.cli.publish import tell_failed
from imagectl.cli.text import duration
from imagectl.cli.verb import Verb
from imagectl.errors import ImagectlError, Interrupted
from imagectl.model.version import Reproducible
from imagectl.policy.wording import counted

if TYPE_CHECKING:
    from imagectl.bootstrap.project import Project
    from imagectl.model.image import Image
    from imagectl.model.names import ImageName
    from imagectl.services.build import BuildRequest, Delivered


class BuildDocument(TypedDict):
    """What became of one image."""

    image: Annotated[str, "the image"]
    outcome: Annotated[
        Literal["built", "unchanged", "failed"],
        "`unchanged`: the newest version was made from the same, so nothing was built",
    ]
    version: Annotated[str | None, "the version; null where the build failed"]
    seconds: Annotated[float | None, "how long that version's build took; null where it failed"]
    tests_passed: Annotated[int | None, "tests that passed on it; null where it failed"]
    reproducible: Annotated[
        Literal["yes", "no", "unproven"] | None,
        "whether the same inputs gave the same bytes again; `unproven`: it was built once; null "
        "where the build failed or the version is older than locks",
    ]
    cause: Annotated[str, "why it is not reproducible; empty where it is, or where not known"]
    lock: Annotated[str | None, "the image's lock, where this build has written it; else null"]
    log: Annotated[str | None, "the build log; null where nothing was built"]
    entered: Annotated[Moved | None, "the entry channel; null where the build failed"]
    error: Annotated[ErrorDocument | None, "what went wrong; null where nothing did"]


class Built(TypedDict):
    """What became of each image, parents before children."""

    builds: Annotated[list[BuildDocument], "one for each image"]


@click.command(
    "build",
    cls=Verb,
    answers=Built,
    exits={
        0: "every image is built, tested and in the entry channel",
        1: "a build or a test failed; nothing of that image was released",
        2: "bad usage, a bad input file, or a lock that does not fit its definition",
        3: "refused: a version may not enter its channel; every reason is listed",
        4: "conflict: another build of the image is running (--wait waits for it)",
        5: "cannot tell: the catalog, a location or the mirror cannot be read",
        6: "there is no such image, not the parent version it is built on, or (--offline) no lock "
        "or not all of its inputs",
    },
    examples=[
        ("imagectl build", "every image of the project, parents first"),
        ("imagectl build debian-ci", "one image"),
        ("imagectl build debian-ci --force", "again, although nothing has changed"),
        ("imagectl build debian-ci --twice", "see whether the same inputs give the same bytes"),
        ("imagectl build --offline", "from the input store alone"),
    ],
)
@click.argument(
    "images",
    metavar="[IMAGE]...",
    nargs=-1,
    type=IMAGE,
    help="Build these; every image where none is named.",
)
@click.option("--force", is_flag=True, help="Build also where nothing has changed.")
@click.option(
    "--twice",
    is_flag=True,
    help="Build a second time from nothing but the lock, and record whether the bytes are the "
    "same. Also where nothing has changed and that is not known yet.",
)
@click.option(
    "--offline", is_flag=True, help="Fetch nothing: all inputs must be in the input store."
)
@click.option("--wait", is_flag=True, help="Wait for another build of the same image to end.")
@pass_invocation
def command(
    invocation: Invocation,
    images: tuple[ImageName, ...],
    force: bool,
    twice: bool,
    offline: bool,
    wait: bool,
) -> int:
    """Build images, boot and test each one, and let what passes enter its channel.

    Makes the base, provisions it with Packer and Ansible, writes the disks, boots a throw-away copy
    of the finished disk and runs its tests. A version is recorded only when all of them pass. Where
    nothing has changed since the newest version, nothing is built. One image that fails does not
    keep the others from being built.

    What a build reads is what images/IMAGE/image.lock lists, whatever a mirror has by now; the
    first build writes that file. `imagectl lock` is how to take something new.
    """
    from imagectl.bootstrap.identity import actor, tool_version
    from imagectl.services.build import BuildRequest

    project = invocation.open_project()
    request = BuildRequest(
        actor(), tool_version(), force=force, wait=wait, twice=twice, offline=offline
    )
    wanted = project.definitions.load(images)
    built: list[BuildDocument] = []
    lines: list[str] = []
    codes: list[int] = []
    for image in wanted:
        try:
            delivered = _build(invocation, project, image, request)
        except Interrupted:
            raise
        except ImagectlError as problem:
            if len(wanted) == 1:
                raise
            invocation.out.tell_error(problem)
            codes.append(problem.exit_code)
            built.append(_failed(image, problem))
            lines.append(f"{image.name}  FAILED: {problem.what}")
        else:
            waiting = project.signing.waiting()
            built.append(_document(delivered, waiting))
            lines += _lines(delivered, waiting)
            tell_failed(invocation.out, delivered.placed)
            tell_behind(invocation.out, delivered.entered.behind)
    if not wanted:
        invocation.out.say("there is no image to build: `imagectl init` shows what one looks like")
    invocation.out.answer(Built(builds=built), lines)
    if any(each["entered"] and each["entered"]["generation"] for each in built):
        entry = project.policy.entry
        for rule in project.policy.channels:
            if rule.source == entry:
                invocation.out.say(f"next: imagectl promote {rule.name}")
    if codes:
        invocation.out.warn(f"{counted(len(codes), 'image')} of {len(wanted)} failed, see above")
        return codes[0]
    return 0


def _build(
    invocation: Invocation, project: Project, image: Image, request: BuildRequest
) -> Delivered:
    from imagectl.services.build import build_and_release

    with (
        noting(invocation.out, project, "build", image.name),
        invocation.out.progress(project.clock, image.name) as progress,
    ):
        return build_and_release(
            project.workbench(progress),
            project.releasing,
            project.policy,
            image,
            request,
            progress,
        )


def _document(delivered: Delivered, waiting: Collection[str]) -> BuildDocument:
    built = delivered.built
    origin = built.version.origin
    return BuildDocument(
        image=built.version.image,
        outcome="built" if built.fresh else "unchanged",
        version=str(built.version.id),
        seconds=built.version.seconds,
        tests_passed=built.version.tests.passed,
        reproducible=origin.reproducible.value if origin else None,
        cause=origin.cause if origin else "",
        lock=str(built.lock) if built.lock else None,
        log=str(built.log) if built.log else None,
        entered=moved_document(delivered.entered, waiting),
        error=None,
    )


def _failed(image: Image, problem: ImagectlError) -> BuildDocument:
    return BuildDocument(
        image=image.name,
        outcome="failed",
        version=None,
        seconds=None,
        tests_passed=None,
        reproducible=None,
        cause="",
        lock=None,
        log=None,
        entered=None,
        error=failure(problem)["error"],
    )


def _lines(delivered: Delivered, waiting: Collection[str]) -> Iterator[str]:
    version = delivered.built.version
    if delivered.built.fresh:
        passed = counted(version.tests.passed, "test")
        yield f"{version.ref}  built in {duration(version.seconds)}, {passed} passed"
    else:
        yield f"{version.ref}  unchanged: it was made from the same, so nothing was built"
    if version.origin is not None and version.origin.reproducible is not Reproducible.UNPROVEN:
        because = f": {version.origin.cause}" if version.origin.cause else ""
        yield f"    reproducible: {version.origin.reproducible.value}{because}"
    if delivered.entered.plan.moves or delivered.entered.plan.held_back:
        yield from moved_lines(delivered.entered, explain=False, waiting=waiting)
