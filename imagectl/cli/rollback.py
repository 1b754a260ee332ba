"""``imagectl rollback``: move a channel back to what was good."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, NotRequired, TypedDict

import click

from imagectl.cli.arguments import CHANNEL, IMAGE, VERSION
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.moves import Moved, moved_document, moved_lines, tell_behind, watched
from imagectl.cli.verb import Verb
from imagectl.cli.waiting import tell_waiting
from imagectl.errors import BadUsage
from imagectl.model.proof import Outcome
from imagectl.policy.wording import counted, listed

if TYPE_CHECKING:
    from imagectl.bootstrap.project import Project
    from imagectl.model.names import ChannelName, ImageName, VersionId
    from imagectl.model.release import RollbackRequest
    from imagectl.services.drill import Drilled
    from imagectl.services.release import Released


class DrillDocument(TypedDict):
    """What became of one version from one location."""

    version: Annotated[str, "IMAGE@VERSION"]
    location: Annotated[str, "the location that it was taken from"]
    how: Annotated[str, "where it ran; may be empty where it did not"]
    passed: Annotated[int | None, "tests that passed; null where it did not run"]
    failed: Annotated[int | None, "tests that failed; null where it did not run"]
    error: Annotated[str | None, "what went wrong; null where nothing did"]


class RolledBack(Moved):
    """What a rollback did, or with `--dry-run`, `--check` and `--drill` would do."""

    drilled: NotRequired[Annotated[list[DrillDocument], "`--drill`: each version and location"]]


@click.command(
    "rollback",
    cls=Verb,
    answers=RolledBack,
    exits={
        1: "failed: with --drill, also: what was booted did not pass its tests",
        3: "refused: there is nothing good to go back to; every reason is listed, nothing was done",
        4: "conflict: the catalog changed meanwhile; nothing was done",
        5: "cannot tell: a location or the catalog cannot be read; nothing was done",
        6: "there is no such channel, image or version",
    },
    examples=[
        ("imagectl rollback stable", "undo the last change of stable, whatever it moved"),
        ('imagectl rollback stable debian-ci --reason "broken DNS"', "one image"),
        ("imagectl rollback stable debian-ci --to 20261118.1", "further back"),
        ("imagectl rollback stable --dry-run", "would it work, and what would consumers get?"),
        ("imagectl rollback stable --check", "would it work, also further back?"),
        ("imagectl rollback stable --drill", "boot what it would go to, and test it"),
    ],
)
@click.argument("channel", metavar="CHANNEL", type=CHANNEL, help="The channel to move back.")
@click.argument(
    "images",
    metavar="[IMAGE]...",
    nargs=-1,
    type=IMAGE,
    help="Only these; all of them or none. Where none is named, those that were moved last.",
)
@click.option(
    "--to",
    metavar="VERSION",
    type=VERSION,
    help="Go back to this version, which the channel has had before.",
)
@click.option("--dry-run", is_flag=True, help="Decide and verify, but change nothing.")
@click.option(
    "--check",
    is_flag=True,
    help="Only say whether it would work, now and for all of the rollback window; change nothing.",
)
@click.option(
    "--drill",
    is_flag=True,
    help="Boot what it would go to, from each location that consumers pull from, and run its "
    "suites; change nothing.",
)
@click.option("--explain", is_flag=True, help="Say why this version.")
@click.option("--reason", metavar="TEXT", default="", help="Why; kept in the history.")
@pass_invocation
def command(
    invocation: Invocation,
    channel: ChannelName,
    images: tuple[ImageName, ...],
    to: VersionId | None,
    dry_run: bool,
    check: bool,
    drill: bool,
    explain: bool,
    reason: str,
) -> None:
    """Move a channel back to the version that was good before.

    Each rollback goes one good version further back, never to one that was left for being bad. The
    version is verified in every location first. What was released together goes back together.
    """
    from imagectl.model.release import RollbackRequest
    from imagectl.services.release import check_rollback, rollback

    if dry_run + check + drill > 1:
        raise BadUsage("--dry-run, --check and --drill are three questions: ask one at a time")
    project = invocation.open_project()
    request = RollbackRequest(channel, images, to)
    if drill:
        _drill(invocation, project, request)
        return
    if check:
        checked = check_rollback(watched(invocation, project), project.policy, request)
        invocation.out.answer(
            moved_document(checked, ()),
            (*moved_lines(checked, explain=explain), *_further_back(checked)),
        )
        return
    releasing = watched(invocation, project)
    released = rollback(releasing, project.policy, request, reason=reason, dry_run=dry_run)
    waiting = project.signing.waiting()
    lines = moved_lines(released, explain=explain, waiting=waiting)
    invocation.out.answer(moved_document(released, waiting), lines)
    tell_behind(invocation.out, released.behind)
    tell_waiting(invocation.out, project)
    if released.plan.moves and not dry_run and not reason:
        invocation.out.say("next time say why: --reason TEXT is kept in the history")


def _further_back(checked: Released) -> Iterator[str]:
    for each in checked.plan.moves:
        if each.way_back:
            yield f"{each.image}:{each.channel}  could go further back to {listed(each.way_back)}"


def _drill(invocation: Invocation, project: Project, request: RollbackRequest) -> None:
    from imagectl.services.drill import drill, worst

    with invocation.out.progress(project.clock) as progress:
        bench = project.workbench(progress)
        would, drilled = drill(bench, project.releasing, project.policy, request, progress)
    error = worst(drilled)
    if error is not None:
        for each in drilled:
            if each.error is not None and each.error is not error:
                invocation.out.tell_error(each.error)
        if not invocation.out.json:
            invocation.out.answer({}, _drill_lines(drilled))
        raise error
    document = RolledBack(
        **moved_document(would, ()), drilled=[_document(each) for each in drilled]
    )
    invocation.out.answer(document, _drill_lines(drilled))


def _document(drilled: Drilled) -> DrillDocument:
    report = drilled.report
    return DrillDocument(
        version=str(drilled.version),
        location=drilled.location,
        how=drilled.how,
        passed=report.count(Outcome.PASSED) if report else None,
        failed=len(report.failures) if report else None,
        error=drilled.error.what if drilled.error else None,
    )


def _drill_lines(drilled: Sequence[Drilled]) -> Iterator[str]:
    for each in drilled:
        report = each.report
        if report is None:
            said = f"could not be tried: {each.error}"
        elif report.failures:
            names = listed(f"{one.suite}::{one.name}" for one in report.failures)
            said = f"{each.how}: FAILED: {names}"
        else:
            said = f"{each.how}: {counted(len(report.results), 'test')}, none failed"
        yield f"{each.version} from {each.location}  {said}"
