"""``imagectl cleanup undo``: bring back what is on its way down, and not deleted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import click

from imagectl.cli.cleanup.unmarked import UnmarkedDocument, tell_unmarked, unmarked_documents
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.keeping import StageName
from imagectl.cli.verb import Verb
from imagectl.errors import BadUsage, NotFound, Refused

if TYPE_CHECKING:
    from imagectl.bootstrap.project import Project
    from imagectl.model.version import VersionRef
    from imagectl.services.undo import Undone


class BroughtBack(TypedDict):
    """A version that is active again."""

    version: Annotated[str, "IMAGE@VERSION"]
    was: Annotated[StageName, "what it was"]


class UndoneDocument(TypedDict):
    """What was brought back."""

    dry_run: Annotated[bool, "true where nothing was changed on purpose"]
    versions: Annotated[list[BroughtBack], "what is active again, or would be"]
    already: Annotated[list[str], "what was active already"]
    deleted: Annotated[list[str], "of a plan: what is deleted, and needs `cleanup undelete`"]
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
        3: "refused: one of them, or all that the plan took down, is deleted, or is not where it "
        "was; nothing was done",
        4: "conflict: others kept changing the catalog; nothing was done",
        5: "cannot tell: the catalog, a location or a published tree cannot be read",
        6: "there is no such version or plan",
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
    needs `imagectl cleanup undelete`. A version that nobody needs is due again after a while:
    `imagectl hold` keeps it.
    """
    from imagectl.services.undo import undo

    project = invocation.open_project()
    if everything == bool(what):
        raise BadUsage(
            "say what to bring back: versions, plans, or --all",
            hint="`imagectl list IMAGE` shows what is on its way down",
        )
    refs, deleted = _meant(invocation, project, what)
    with invocation.out.progress(project.clock) as progress:
        progress.stage("bring back")
        undone = undo(project.releasing, refs, reason, dry_run=dry_run, progress=progress)
    document = UndoneDocument(
        dry_run=dry_run,
        versions=[
            BroughtBack(version=str(ref), was=staged.stage.value) for ref, staged in undone.versions
        ],
        already=[str(ref) for ref in undone.already],
        deleted=[str(ref) for ref in deleted],
        unmarked=unmarked_documents(undone.unmarked),
    )
    invocation.out.answer(document, _lines(undone, deleted))
    if deleted and not refs:
        invocation.out.tell_error(
            Refused(
                "nothing of it can be brought back by undo",
                reasons=[f"{ref} is deleted" for ref in deleted],
                hint=f"`imagectl cleanup undelete {deleted[0]}`",
            )
        )
        return Refused.exit_code
    return tell_unmarked(invocation, undone.unmarked)


def _meant(
    invocation: Invocation, project: Project, what: Sequence[str]
) -> tuple[list[VersionRef], list[VersionRef]]:
    """The versions that are meant; and of plans, those that are deleted and not brought back."""
    from imagectl.adapters.plan_file import read_plan
    from imagectl.model.names import BadName, parse_image_ref
    from imagectl.model.retention import Stage
    from imagectl.model.version import VersionRef
    from imagectl.services.undo import taken_by, taken_down

    if not what:
        return list(taken_down(project.catalog.snapshot())), []
    refs: list[VersionRef] = []
    planned: list[VersionRef] = []
    for each in what:
        try:
            named = parse_image_ref(each)
        except BadName:
            named = None
        if named is not None and named.version is not None:
            refs.append(VersionRef(named.image, named.version))
            continue
        snapshot = project.catalog.snapshot()
        if taken := taken_by(snapshot, each):
            planned += taken
            continue
        try:
            signed = read_plan(Path(each))
        except NotFound as missing:
            raise NotFound(
                missing.what,
                why="no plan of that name has taken down anything that is still down, either",
                hint="say IMAGE@VERSION, a plan's file or name, or --all; `imagectl list IMAGE` "
                "shows what is on its way down",
            ) from None
        planned += taken_by(snapshot, signed.digest)
        # An undo that was killed may not have taken back their marks.
        active = (step.version for step in signed.steps)
        planned += [ref for ref in active if snapshot.stage(ref) is Stage.ACTIVE]
    snapshot = project.catalog.snapshot(sorted({ref.image for ref in planned}))
    deleted = [ref for ref in planned if snapshot.stage(ref) is Stage.DELETED]
    return [*refs, *(ref for ref in planned if ref not in deleted)], deleted


def _lines(undone: Undone, deleted: Sequence[VersionRef]) -> Iterator[str]:
    verb = "would be active again" if undone.dry_run else "is active again"
    for ref, staged in undone.versions:
        yield f"{ref}  {verb}; it was {staged.stage.value}"
    for ref in undone.already:
        yield f"{ref}  is active already"
    for ref in deleted:
        yield f"{ref}  is deleted: imagectl cleanup undelete {ref}"
    if not undone.versions and not undone.already and not deleted:
        yield "nothing is on its way down"
