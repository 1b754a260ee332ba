"""``imagectl cleanup plan``: what would be taken down, what is protected, and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from imagectl.cli.arguments import IMAGE, LOCATION, PLAN_FILE
from imagectl.cli.cleanup.key import own_key
from imagectl.cli.cleanup.page import page_of, say_next
from imagectl.cli.cleanup.plan_document import PlanDocument
from imagectl.cli.cleanup.tally import Tally
from imagectl.cli.exceptions import strangers
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.noting import noting
from imagectl.cli.verb import Verb
from imagectl.errors import BadUsage, ImagectlError
from imagectl.policy.wording import counted

if TYPE_CHECKING:
    from imagectl.bootstrap.project import Project
    from imagectl.model.names import ImageName, LocationName


@click.command(
    "plan",
    cls=Verb,
    answers=PlanDocument,
    exits={
        0: "here is the plan; it may be to do nothing",
        2: "bad usage, such as a file in a folder that is not there, or a bad input file",
        3: "refused by policy; every reason is listed",
        5: "cannot tell: a location, the catalog or a published tree could not be read, or does "
        "not show everything that must be there; there is no plan",
        6: "there is no such image or location",
    },
    examples=[
        ("imagectl cleanup plan", "look what would go, and why the rest is kept"),
        ("imagectl cleanup plan --out plan.json", "write it down, signed, to be applied"),
        (
            "imagectl cleanup plan --image debian-ci --location gce-prod --out plan.json",
            "of one image in one location; nothing else is even looked at",
        ),
    ],
)
@click.option(
    "--image",
    "images",
    metavar="IMAGE",
    type=IMAGE,
    multiple=True,
    help="Only versions of this image; may be given several times.",
)
@click.option(
    "--location",
    "locations",
    metavar="LOCATION",
    type=LOCATION,
    multiple=True,
    help="Look at this location only; may be given several times. What is elsewhere too is "
    "not taken from anybody: it becomes OBSOLETE at most.",
)
@click.option("--out", metavar="FILE", type=PLAN_FILE, help="Write the plan to FILE, signed.")
@pass_invocation
def command(
    invocation: Invocation,
    images: tuple[ImageName, ...],
    locations: tuple[LocationName, ...],
    out: Path | None,
) -> None:
    """Show what would be taken down, what is protected and why, and what is not known.

    Every location in the plan's scope is listed, whole; where one does not show everything that
    must be there, there is no plan. Nothing is changed. With --out the plan is signed with your own
    key (`imagectl cleanup key`), and can be applied until it expires.
    """
    from imagectl.adapters.plan_file import write_plan
    from imagectl.model.signature import oldest_first
    from imagectl.services.cleanup import planned, scope_of

    project = invocation.open_project()
    replaced = ""
    if out is not None:
        _check_folder(out)
        replaced = _still_needed(project, out)
    tally = Tally()
    with (
        noting(invocation.out, project, "cleanup-plan"),
        invocation.out.progress(project.clock) as progress,
    ):
        progress.stage("plan a cleanup")
        cleaning = project.cleaning(progress)
        scope = scope_of(cleaning.releasing, images, locations)
        signed = None
        with planned(cleaning, project.policy, scope, progress=progress) as made:
            counted_plan = replace(made, entries=tally.over(made.entries))
            if out is not None:
                progress.step(f"writing {out}")
                signed = write_plan(out, counted_plan, own_key())
            else:
                for _ in counted_plan.entries:
                    pass
    # Rules of a misspelt image leave the image itself to the rules of all.
    if not images and not locations:
        strangers(invocation, project.policy, {*project.image_names, *tally.images})
    steps = oldest_first(tally.steps)
    page = page_of(project, replace(made, entries=()), steps, tally, out, signed)
    invocation.out.answer(page.document(), page.lines(verbose=invocation.verbose))
    if replaced:
        invocation.out.warn(replaced)
    if steps or made.unfinished:
        if out is None:
            invocation.out.say("next: the same with --out FILE, which can be applied")
        else:
            say_next(invocation, page, out)


def _check_folder(out: Path) -> None:
    """See that the plan's file has a folder, before all locations are listed. Raises BadUsage."""
    folder = out.absolute().parent
    if not folder.is_dir():
        raise BadUsage(
            f"{out} cannot be written: there is no such folder",
            where=str(folder),
            hint="make the folder, or name a file in another one",
        )


def _still_needed(project: Project, file: Path) -> str:
    """A warning where that file has a plan that has taken down what still is on its way: to undo
    it, it has to be named from now on. Else nothing."""
    from imagectl.adapters.plan_file import read_plan
    from imagectl.services.undo import still_down

    if not file.is_file():
        return ""
    try:
        before = read_plan(file)
    except ImagectlError:
        return ""
    down = still_down(project.catalog, before)
    if not down:
        return ""
    return (
        f"{file} was {before.name}, which took down {counted(len(down), 'version')} that "
        f"{'are' if down[1:] else 'is'} not back; `imagectl cleanup undo {before.digest[:12]}` "
        "still takes that back"
    )
