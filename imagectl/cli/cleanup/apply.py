"""``imagectl cleanup apply``: do what a plan says, as far as it still holds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import click

from imagectl.cli.arguments import PLAN_FILE
from imagectl.cli.cleanup.page import Page, page_of
from imagectl.cli.cleanup.plan_document import StepDocument
from imagectl.cli.cleanup.tally import Tally
from imagectl.cli.cleanup.unmarked import UnmarkedDocument, tell_unmarked, unmarked_documents
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.keeping import StageName
from imagectl.cli.noting import Ended, noting
from imagectl.cli.output import TroubleDocument, trouble_document
from imagectl.cli.text import table
from imagectl.cli.verb import Verb
from imagectl.errors import Interrupted
from imagectl.policy.wording import counted

if TYPE_CHECKING:
    from imagectl.services.apply_cleanup import Applied
    from imagectl.services.compare_cleanup_plans import FallenOut


class DroppedDocument(TypedDict):
    """A step of the plan that is not taken any more."""

    version: Annotated[str, "IMAGE@VERSION"]
    to: Annotated[StageName, "what it was to become"]
    why: Annotated[str, "what speaks against it now"]


class DeletedPlace(TypedDict):
    """A thing in a location, of a version that is deleted."""

    version: Annotated[str, "IMAGE@VERSION"]
    location: Annotated[str, "the location"]
    provider_id: Annotated[str, "how the location named it"]


class DeletedDocument(DeletedPlace):
    """A thing that is not in a location any more."""

    was_there: Annotated[bool, "false where it was gone already"]


class AppliedDocument(TypedDict):
    """What applying a plan did."""

    digest: Annotated[str, "the plan"]
    dry_run: Annotated[bool, "true where nothing was changed on purpose"]
    done: Annotated[list[StepDocument], "the steps that were taken now, or would be"]
    before: Annotated[list[StepDocument], "those that an earlier run of this plan has taken"]
    dropped: Annotated[list[DroppedDocument], "those that are not taken any more"]
    stopped_at: Annotated[StepDocument | None, "what the surprise kept from being taken"]
    left: Annotated[list[StepDocument], "those after the surprise"]
    would_finish: Annotated[
        list[DeletedPlace], "of a dry run: what was to be deleted before, and may still be there"
    ]
    deleted: Annotated[list[DeletedDocument], "what is gone from locations"]
    store_removed: Annotated[list[str], "digests that the artifact store keeps no more"]
    store_spared: Annotated[list[str], "why it keeps some that nothing needs, until the next time"]
    unmarked: Annotated[list[UnmarkedDocument], "what still looks as before in its location"]
    surprise: Annotated[TroubleDocument | None, "null where the plan was applied to its end"]


@click.command(
    "apply",
    cls=Verb,
    answers=AppliedDocument,
    exits={
        0: "all of the plan that still holds is done",
        1: "something failed, or is not what was recorded: what was done until then is told",
        2: "bad usage, or this is no plan",
        3: "refused: the plan has expired, or too few people have signed it; nothing was done",
        4: "conflict: something was changed or brought back meanwhile; what was done until then is "
        "told",
        5: "cannot tell: something could not be read, or is not complete. Where that was before "
        "anything was begun, nothing was done",
        6: "there is no such plan",
    },
    examples=[
        ("imagectl cleanup apply plan.json", "do it; again, it goes on where it stopped"),
        ("imagectl cleanup apply plan.json --dry-run", "what would be done now?"),
    ],
)
@click.argument("plan", metavar="PLAN", type=PLAN_FILE, help="The plan's file.")
@click.option("--dry-run", is_flag=True, help="Read and judge everything anew, but change nothing.")
@pass_invocation
def command(invocation: Invocation, plan: Path, dry_run: bool) -> int:
    """Do what a plan says, as far as it still holds.

    Everything is read anew and judged again. A step is taken only where the plan and today's
    decision agree; just before it, the catalog is read once more, and before something is deleted,
    the location is asked about that very thing. The first surprise ends it. What earlier runs
    have begun to delete comes last; what does not end in one location holds up no other. What was
    done is told, and the same command goes on where it stopped.
    """
    from imagectl.adapters.plan_file import read_plan
    from imagectl.services.apply_cleanup import apply

    signed = read_plan(plan)
    project = invocation.open_project()
    with (
        # Nothing is cleaned up without doing it.
        contextlib.nullcontext(Ended())
        if dry_run
        else noting(invocation.out, project, "cleanup") as ended,
        invocation.out.progress(project.clock, str(plan)) as progress,
    ):
        progress.stage("apply a cleanup plan")
        cleaning = project.cleaning(progress)
        try:
            applied = apply(cleaning, project.policy, signed, dry_run=dry_run, progress=progress)
        except KeyboardInterrupt:
            raise Interrupted(
                "interrupted; what was done is recorded",
                hint=f"`imagectl cleanup apply {plan}` goes on where it stopped; "
                f"`imagectl cleanup undo {plan}` takes back what is not deleted",
            ) from None
        ended.ok = applied.surprise is None and not applied.unmarked
    page = page_of(project, signed.plan, signed.steps, Tally(), plan, signed)
    invocation.out.answer(_document(applied, page), applied_lines(applied, plan))
    status = tell_unmarked(invocation, applied.unmarked)
    if applied.surprise is not None:
        invocation.out.tell_error(applied.surprise)
        return applied.surprise.exit_code
    if dry_run and applied.done:
        invocation.out.say(f"nothing was done; next: imagectl cleanup apply {plan}")
    return status


def _document(applied: Applied, page: Page) -> AppliedDocument:
    surprise = applied.surprise
    return AppliedDocument(
        digest=applied.plan.digest,
        dry_run=applied.dry_run,
        done=[page.step(each) for each in applied.done],
        before=[page.step(each) for each in applied.before],
        dropped=[
            DroppedDocument(
                version=str(each.entry.version),
                to=each.entry.to.value if each.entry.to else each.entry.stage.value,
                why=each.why,
            )
            for each in applied.fallen_out
        ],
        stopped_at=None if applied.stopped_at is None else page.step(applied.stopped_at),
        left=[page.step(each) for each in applied.left],
        would_finish=[
            DeletedPlace(
                version=str(each.placement.version),
                location=each.placement.location,
                provider_id=each.placement.provider_id,
            )
            for each in applied.would_finish
        ],
        deleted=[
            DeletedDocument(
                version=str(each.tombstone.placement.version),
                location=each.tombstone.placement.location,
                provider_id=each.tombstone.placement.provider_id,
                was_there=each.was_there,
            )
            for each in applied.deleted
        ],
        store_removed=list(applied.cleared.removed),
        store_spared=list((applied.cleared.spared or {}).values()),
        unmarked=unmarked_documents(applied.unmarked),
        surprise=None if surprise is None else trouble_document(surprise),
    )


def applied_lines(applied: Applied, file: Path) -> Iterator[str]:
    rows = [
        (str(each.version), each.stage.value, each.to.value if each.to else "", said)
        for those, said in (
            (applied.before, "done before"),
            (applied.done, "would be done" if applied.dry_run else "done"),
            ((applied.stopped_at,) if applied.stopped_at else (), "NOT done: the surprise"),
            (applied.left, "NOT done, after the surprise"),
        )
        for each in those
    ]
    rows += [
        (
            str(each.entry.version),
            each.entry.stage.value,
            each.entry.to.value if each.entry.to else "",
            _why_not(each),
        )
        for each in applied.fallen_out
    ]
    if rows:
        yield from table(("VERSION", "FROM", "TO", ""), rows)
    for stone in applied.would_finish:
        at = stone.placement
        yield f"{at.version} in {at.location} ({at.provider_id}): would be deleted, as begun before"
    for gone in applied.deleted:
        at = gone.tombstone.placement
        how = "deleted" if gone.was_there else "was gone already"
        yield f"{at.version} in {at.location} ({at.provider_id}): {how}"
    if applied.cleared.removed:
        yield f"the artifact store keeps {counted(len(applied.cleared.removed), 'file')} less"
    for image, why in (applied.cleared.spared or {}).items():
        yield f"the artifact store keeps what is left of {image} until the next time: {why}"
    if not rows and not applied.deleted and not applied.would_finish:
        yield "nothing to do"
    taken = [*applied.before, *applied.done]
    if taken and not applied.dry_run:
        deleted = [each for each in taken if each.to is not None and each.to.below is None]
        if len(deleted) < len(taken):
            yield f"to take it back: imagectl cleanup undo {file}"
        for each in deleted:
            yield f"to bring it back: imagectl cleanup undelete {each.version}"


def _why_not(fallen: FallenOut) -> str:
    """Why a step was not taken; where two apply at the same time, it was, by the other one."""
    entry = fallen.entry
    if entry.to and fallen.why.startswith(f"it was {entry.stage.value}, and is {entry.to.value} "):
        return "done meanwhile by somebody else"
    return f"not done: {fallen.why}"
