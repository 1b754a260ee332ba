"""``imagectl cleanup undo``: bring back what is on its way down, and not deleted."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import click

from imagectl.cli.cleanup.unmarked import UnmarkedDocument, tell_unmarked, unmarked_documents
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.keeping import StageName
from imagectl.cli.verb import Verb
from imagectl.errors import BadUsage, NotFound, Refused
from imagectl.policy.readiness import brings_back
from imagectl.policy.wording import listed

if TYPE_CHECKING:
    from imagectl.bootstrap.project import Project
    from imagectl.model.retention import Staged
    from imagectl.model.version import VersionRef
    from imagectl.services.undo import TakenDown, Undone


class BroughtBack(TypedDict):
    """A version that is active again."""

    version: Annotated[str, "IMAGE@VERSION"]
    was: Annotated[StageName, "what it was"]


class TakenFurther(TypedDict):
    """A version whose stage somebody else has changed since."""

    version: Annotated[str, "IMAGE@VERSION"]
    now: Annotated[StageName, "what it is now; it stays that"]
    by: Annotated[str, "who has changed it"]
    reason: Annotated[str, "`plan NAME`, or what was said; may be empty"]


class UndoneDocument(TypedDict):
    """What was brought back."""

    dry_run: Annotated[bool, "true where nothing was changed on purpose"]
    versions: Annotated[list[BroughtBack], "what is active again, or would be"]
    already: Annotated[list[str], "what was active already"]
    deleted: Annotated[list[str], "of a plan: what is deleted, and needs `cleanup undelete`"]
    further: Annotated[list[TakenFurther], "of a plan: what others have taken further since"]
    unmarked: Annotated[list[UnmarkedDocument], "what still looks as before in its location"]


@click.command(
    "undo",
    cls=Verb,
    answers=UndoneDocument,
    exits={
        0: "all of them are active again",
        1: "failed: the plan's file is damaged, consumers cannot be shown it yet, or a location "
        "does not take the mark back",
        2: "bad usage, or this is no plan",
        3: "refused: one of them, or all that the plan took down, is deleted, taken further by "
        "others, or not where it was; nothing was done",
        4: "conflict: others kept changing the catalog; nothing was done",
        5: "cannot tell: the catalog, a location or a published tree cannot be read, or the plan "
        "is of another catalog",
        6: "there is no such version or plan, or it is another plan that has taken down what is on "
        "its way; nothing was done",
    },
    examples=[
        ("imagectl cleanup undo plan.json", "all that this plan has taken down"),
        ("imagectl cleanup undo 52ab78d622e5", "the same, where its file is gone"),
        ("imagectl cleanup undo debian-ci@20260120.1", "one version"),
        ("imagectl cleanup undo --all", "everything that is on its way down"),
    ],
)
@click.argument(
    "what",
    metavar="[IMAGE@VERSION|PLAN]...",
    nargs=-1,
    type=str,
    help="Versions, files of plans, or the names of plans, as `imagectl show` has them.",
)
@click.option("--all", "everything", is_flag=True, help="Every version that is on its way down.")
@click.option("--reason", metavar="TEXT", default="", help="Why; it is recorded.")
@click.option("--dry-run", is_flag=True, help="Only say what would be brought back.")
@pass_invocation
def command(
    invocation: Invocation, what: tuple[str, ...], everything: bool, reason: str, dry_run: bool
) -> int:
    """Bring back what cleanups have taken down: deprecated, obsolete or quarantined versions.

    All of it is one change: consumers get these versions again, without a notice. What is deleted
    needs `imagectl cleanup undelete`; of a plan, what another has taken further is named, with that
    plan. A version that nobody needs is due again after a while:
    `imagectl hold` keeps it.
    """
    from imagectl.services.undo import undo

    project = invocation.open_project()
    if everything and what:
        raise BadUsage(
            f"{listed(what)} and --all cannot both be said; nothing was done",
            hint=f"`imagectl cleanup undo {' '.join(what)}` brings back that alone, `imagectl "
            "cleanup undo --all` everything that is on its way down",
        )
    if not everything and not what:
        raise BadUsage(
            "say what to bring back: versions, plans, or --all",
            hint="`imagectl list IMAGE` shows what is on its way down",
        )
    meant, idle = _meant(project, what)
    with invocation.out.progress(project.clock) as progress:
        progress.stage("bring back")
        undone = undo(project.releasing, meant.still, reason, dry_run=dry_run, progress=progress)
    document = UndoneDocument(
        dry_run=dry_run,
        versions=[
            BroughtBack(version=str(ref), was=staged.stage.value) for ref, staged in undone.versions
        ],
        already=[str(ref) for ref in undone.already],
        deleted=[str(ref) for ref in meant.deleted],
        further=[
            TakenFurther(
                version=str(ref), now=staged.stage.value, by=staged.by, reason=staged.reason
            )
            for ref, staged in meant.further
        ],
        unmarked=unmarked_documents(undone.unmarked),
    )
    commands = _commands(project, [ref for ref, _ in meant.further])
    invocation.out.answer(document, _lines(undone, meant, idle, commands))
    if (meant.deleted or meant.further) and not meant.still:
        invocation.out.tell_error(_nothing_left(meant, commands))
        return Refused.exit_code
    return tell_unmarked(invocation, undone.unmarked)


def _meant(project: Project, what: Sequence[str]) -> tuple[TakenDown, Sequence[str]]:
    """The versions that are meant, and what became of the others of plans; and the names of plans
    that have taken nothing down."""
    from imagectl.model.names import BadName, parse_image_ref
    from imagectl.model.version import VersionRef
    from imagectl.services.undo import TakenDown, taken_down

    if not what:
        return TakenDown(taken_down(project.catalog.snapshot()), (), ()), ()
    refs: list[VersionRef] = []
    plans: list[TakenDown] = []
    idle: list[str] = []
    for each in what:
        try:
            named = parse_image_ref(each)
        except BadName:
            named = None
        if named is not None and named.version is not None:
            refs.append(VersionRef(named.image, named.version))
        else:
            taken, name = _planned(project, each)
            plans.append(taken)
            if taken == TakenDown((), (), ()):
                idle.append(name)
    still = dict.fromkeys([*refs, *(ref for each in plans for ref in each.still)])
    deleted = dict.fromkeys(ref for each in plans for ref in each.deleted)
    further = {ref: staged for each in plans for ref, staged in each.further if ref not in still}
    return TakenDown(tuple(still), tuple(deleted), tuple(further.items())), idle


def _planned(project: Project, plan: str) -> tuple[TakenDown, str]:
    """What the plan of that file, or of that name, has taken down, and its name. Raises NotFound
    also where that is nothing, while others have taken something down; CannotTell where the plan is
    of another catalog."""
    from imagectl.adapters.plan_file import read_plan
    from imagectl.services.check_cleanup_plan import check_same_catalog
    from imagectl.services.current import check_newest
    from imagectl.services.undo import TakenDown, check_took_down, plans_to_undo, taken_by

    try:
        signed = read_plan(Path(plan))
    except NotFound as missing:
        taken = taken_by(project.catalog, plan)
        if taken == TakenDown((), (), ()):
            check_newest(project.catalog, project.publishers)
            raise NotFound(
                missing.what,
                why="no plan of that name has taken down anything, either",
                hint="say IMAGE@VERSION, a plan's file or name, or --all; "
                + plans_to_undo(project.catalog.snapshot()),
            ) from None
        return taken, plan
    check_same_catalog(project.catalog, signed.plan)
    taken = taken_by(project.catalog, signed.digest, since=signed.plan.generation)
    if taken == TakenDown((), (), ()):
        check_took_down(project.releasing, signed.name, plan)
    return taken, signed.name


def _commands(project: Project, refs: Collection[VersionRef]) -> Mapping[VersionRef, str]:
    """What brings each of them back."""
    snapshot = project.catalog.snapshot(sorted({ref.image for ref in refs}))
    return {ref: brings_back(snapshot, ref, project.settings.locations) for ref in refs}


def _nothing_left(meant: TakenDown, commands: Mapping[VersionRef, str]) -> Refused:
    reasons = [f"{ref} is deleted" for ref in meant.deleted]
    reasons += [_by_whom(ref, staged) for ref, staged in meant.further]
    hint = (
        f"`imagectl cleanup undelete {meant.deleted[0]}`"
        if meant.deleted
        else f"`{commands[meant.further[0][0]]}`"
    )
    return Refused("nothing of it can be brought back by undo", reasons=reasons, hint=hint)


def _by_whom(ref: VersionRef, staged: Staged) -> str:
    """What somebody else has done to it since: the plan's name, else who it was."""
    by = staged.reason if staged.reason.startswith("plan ") else staged.by
    return f"{ref} is {staged.stage.value} since, by {by}"


def _lines(
    undone: Undone, meant: TakenDown, idle: Sequence[str], commands: Mapping[VersionRef, str]
) -> Iterator[str]:
    verb = "would be active again" if undone.dry_run else "is active again"
    for ref, staged in undone.versions:
        yield f"{ref}  {verb}; it was {staged.stage.value}"
    for ref in undone.already:
        yield f"{ref}  is active already"
    for ref in meant.deleted:
        yield f"{ref}  is deleted: imagectl cleanup undelete {ref}"
    for ref, staged in meant.further:
        yield f"{_by_whom(ref, staged)}: {commands[ref]}"
    for name in idle:
        yield f"{name} has taken nothing down"
    if not (undone.versions or undone.already or meant.deleted or meant.further):
        yield "nothing is on its way down"
