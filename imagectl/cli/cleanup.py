"""``imagectl cleanup``: take down versions that nobody needs, one stage at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import click

from imagectl.cli.arguments import IMAGE, LOCATION, VERSION_REF
from imagectl.cli.cleanup_page import Page, PlanDocument, StepDocument, Tally
from imagectl.cli.exceptions import strangers
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.keeping import StageName
from imagectl.cli.noting import noting
from imagectl.cli.text import table
from imagectl.cli.verb import Verb
from imagectl.errors import BadUsage, Failed, Interrupted, NotFound, Refused
from imagectl.policy.wording import counted, listed

if TYPE_CHECKING:
    from imagectl.adapters.person_key import PersonKey
    from imagectl.bootstrap import Project
    from imagectl.model.cleanup import CleanupPlan, Entry
    from imagectl.model.names import ImageName, LocationName
    from imagectl.model.signature import SignedPlan
    from imagectl.model.version import VersionRef
    from imagectl.services.apply_cleanup import Applied, FallenOut
    from imagectl.services.undo import Undeleted, Undone, Unmarked


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


class UnmarkedDocument(TypedDict):
    """A placement that still looks there as it did before."""

    version: Annotated[str, "IMAGE@VERSION"]
    location: Annotated[str, "the location"]
    what: Annotated[str, "what went wrong"]


class SurpriseDocument(TypedDict):
    """What ended it before the plan's end."""

    kind: Annotated[str, "a word for programs, as of errors"]
    what: Annotated[str, "what was not as expected"]
    where: Annotated[str, "may be empty"]
    why: Annotated[str, "may be empty"]
    hint: Annotated[str, "the next thing to type; may be empty"]


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
    surprise: Annotated[SurpriseDocument | None, "null where the plan was applied to its end"]


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


class UndeletedDocument(TypedDict):
    """A deleted version that is back."""

    version: Annotated[str, "IMAGE@VERSION"]
    found: Annotated[list[str], "locations where it still was, verified"]
    put: Annotated[list[str], "locations where it was put again, verified"]
    remade: Annotated[bool, "whether it had to be made again, to the byte"]
    elsewhere: Annotated[list[str], "locations where it was, and that the project has no more"]
    unmarked: Annotated[list[UnmarkedDocument], "what still looks as before in its location"]


class KeyDocument(TypedDict):
    """Your key."""

    key: Annotated[str, "its public half: what goes into retention.approvers"]
    file: Annotated[str, "where the private half is"]


PLAN_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group("cleanup")
def command() -> None:
    """Take down versions that nobody needs, one stage at a time.

    A version is deprecated first, then obsolete, then quarantined (nobody gets it any more), and
    only then deleted. It stays at each stage for a while (`retention.grace`), and each step but the
    last is taken back with one command. What a channel points to or may be rolled back to, what is
    held, leased, young, lately resolved, or the parent of such a version is never deleted; nothing
    overrides that.
    """


@command.command(
    "plan",
    cls=Verb,
    answers=PlanDocument,
    exits={
        0: "here is the plan; it may be to do nothing",
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
def plan(
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
    tally = Tally()
    with (
        noting(invocation.out, project, "cleanup"),
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
                signed = write_plan(out, counted_plan, _key())
            else:
                for _ in counted_plan.entries:
                    pass
    # Rules of a misspelt image leave the image itself to the rules of all.
    if not images and not locations:
        strangers(invocation, project.policy, {*project.image_names, *tally.images})
    steps = oldest_first(tally.steps)
    page = _page(project, replace(made, entries=()), steps, tally, out, signed)
    invocation.out.answer(page.document(), page.lines(verbose=invocation.verbose))
    if steps or made.unfinished:
        if out is None:
            invocation.out.say("next: the same with --out FILE, which can be applied")
        else:
            _say_next(invocation, page, out)


@command.command(
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
def apply(invocation: Invocation, plan: Path, dry_run: bool) -> int:
    """Do what a plan says, as far as it still holds.

    Everything is read anew and judged again. A step is taken only where the plan and today's
    decision agree; just before it, the catalog is read once more, and before something is deleted,
    the location is asked about that very thing. The first surprise ends it. What was done is told,
    and the same command goes on where it stopped.
    """
    from imagectl.adapters.plan_file import read_plan
    from imagectl.services.apply_cleanup import apply

    signed = read_plan(plan)
    project = invocation.open_project()
    with (
        noting(invocation.out, project, "cleanup") as ended,
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
    page = _page(project, signed.plan, signed.steps, Tally(), plan, signed)
    invocation.out.answer(_applied(applied, page), _applied_lines(applied, plan))
    status = _tell_unmarked(invocation, applied.unmarked)
    if applied.surprise is not None:
        invocation.out.tell_error(applied.surprise)
        return applied.surprise.exit_code
    if dry_run and applied.done:
        invocation.out.say(f"nothing was done; next: imagectl cleanup apply {plan}")
    return status


@command.command(
    "approve",
    cls=Verb,
    answers=PlanDocument,
    exits={
        0: "your signature is under it",
        1: "the plan is not what its author has signed, or your key cannot be read",
        2: "bad usage, or this is no plan",
        3: "refused: your signature would not count; nothing was written",
        6: "there is no such plan",
    },
    examples=[("imagectl cleanup approve plan.json", "read the page, and sign it")],
)
@click.argument("plan", metavar="PLAN", type=PLAN_FILE, help="The plan's file.")
@pass_invocation
def approve(invocation: Invocation, plan: Path) -> None:
    """Put your signature under somebody else's plan, and show what you have signed.

    How many have to, and whose signatures count, is said by `retention` in catalog/channels.yaml.
    No signature makes a protected version go.
    """
    from imagectl.adapters.plan_file import approve_plan, read_plan
    from imagectl.bootstrap import actor
    from imagectl.policy.approval import check_approver

    project = invocation.open_project()
    before = read_plan(plan)
    key = _key()
    author = before.author.key if before.author else ""
    check_approver(project.policy.retention, author, key.public)
    signed = approve_plan(plan, actor(), project.clock.now(), key)
    tally = Tally()
    for _ in tally.over(signed.plan.entries):
        pass
    page = _page(project, signed.plan, signed.steps, tally, plan, signed)
    invocation.out.answer(page.document(), page.lines(verbose=invocation.verbose))
    names = {each.key: each.name for each in project.policy.retention.approvers}
    invocation.out.say(f"signed as {names[key.public]}")
    _say_next(invocation, page, plan)


@command.command(
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
def undo(
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
        unmarked=_unmarked(undone.unmarked),
    )
    invocation.out.answer(document, _undone_lines(undone, deleted))
    if deleted and not refs:
        invocation.out.tell_error(
            Refused(
                "nothing of it can be brought back by undo",
                reasons=[f"{ref} is deleted" for ref in deleted],
                hint=f"`imagectl cleanup undelete {deleted[0]}`",
            )
        )
        return Refused.exit_code
    return _tell_unmarked(invocation, undone.unmarked)


@command.command(
    "undelete",
    cls=Verb,
    answers=UndeletedDocument,
    exits={
        0: "it is active again, in its locations, verified there",
        1: "failed: other bytes came out, or a location failed; it stays quarantined",
        3: "refused: it is not deleted, or has to be where imagectl.yaml has no location any more",
        4: "conflict: a cleanup may be deleting it just now (it says until when), or something "
        "that is not ours has its name in a location",
        5: "cannot tell: a location or the catalog cannot be read; it stays quarantined",
        6: "there is no such version, or what it was made from is gone",
    },
    examples=[
        ("imagectl cleanup undelete debian-ci@20260120.1", "bring it back, to the byte"),
    ],
)
@click.argument("ref", metavar="IMAGE@VERSION", type=VERSION_REF, help="The version.")
@click.option("--reason", metavar="TEXT", default="", help="Why; it is recorded.")
@click.option("--offline", is_flag=True, help="Where it has to be made again: fetch nothing.")
@pass_invocation
def undelete(invocation: Invocation, ref: VersionRef, reason: str, offline: bool) -> int:
    """Bring back a version that was deleted.

    What is still in a location is verified, and recorded again. What is gone is put there again
    from the artifact store; where that has it no more, the version is made again from its own lock
    and sources, and every byte is compared. Only when it is everywhere where it was, consumers get
    it again.

    While a cleanup is deleting it, nothing is done, and the message says when to try again: at most
    15 minutes later, where the cleanup was killed in the middle.
    """
    from imagectl.services.undo import undelete

    project = invocation.open_project()
    with invocation.out.progress(project.clock, str(ref)) as progress:
        progress.stage("bring back")

        def remake(each: VersionRef) -> None:
            from imagectl.bootstrap import tool_version
            from imagectl.services.rebuild import RebuildRequest, rebuild

            request = RebuildRequest(tool_version(), offline=offline)
            made = rebuild(project.workbench(progress), each, request, progress)[-1]
            if not made.comparison.same:
                raise Failed(
                    f"{each} was made again, and is not the same: {made.comparison.cause}",
                    where=str(made.log),
                    hint=f"`imagectl rebuild {each} --verify` names every path that differs",
                )
            progress.stage("bring back")

        undeleted = undelete(
            project.releasing,
            project.store,
            ref,
            reason,
            project.fetched(),
            remake,
            project.workspaces(progress).undisturbed,
            progress,
        )
    document = UndeletedDocument(
        version=str(ref),
        found=sorted({each.location for each in undeleted.found}),
        put=sorted({each.location for each in undeleted.put}),
        remade=undeleted.remade,
        elsewhere=list(undeleted.elsewhere),
        unmarked=_unmarked(undeleted.unmarked),
    )
    invocation.out.answer(document, _undeleted_lines(undeleted))
    return _tell_unmarked(invocation, undeleted.unmarked)


@command.command(
    "key",
    cls=Verb,
    answers=KeyDocument,
    exits={1: "failed: the key cannot be kept, or others can read it"},
    examples=[("imagectl cleanup key", "what to send to whoever keeps retention.approvers")],
)
@pass_invocation
def key(invocation: Invocation) -> None:
    """Show the public half of the key that you sign plans with; it is made where there is none.

    It is in the file that IMAGECTL_KEY names, else in imagectl/key.pem of your settings' folder.
    """
    import os

    from imagectl.adapters.person_key import key_file

    path = key_file(os.environ)
    public = _key().public
    invocation.out.answer(KeyDocument(key=public, file=str(path)), [public])


def _key() -> PersonKey:
    import os

    from imagectl.adapters.person_key import key_file, open_key

    return open_key(key_file(os.environ))


def _say_next(invocation: Invocation, page: Page, file: Path) -> None:
    """What to do with the plan, which may not be the author's to do."""
    if page.never:
        from imagectl.policy.retention import ANEW

        invocation.out.warn(f"this plan can never be applied: {page.never}")
        invocation.out.say(f"next: {ANEW}")
    elif page.lacking:
        invocation.out.say(f"next: imagectl cleanup approve {file}, by another approver")
    else:
        invocation.out.say(f"next: imagectl cleanup apply {file}")


def _page(
    project: Project,
    plan: CleanupPlan,
    steps: tuple[Entry, ...],
    tally: Tally,
    file: Path | None,
    signed: SignedPlan | None,
) -> Page:
    from imagectl.policy.retention import stranger
    from imagectl.services.clear_store import final_ones

    author = signed.author if signed else None
    return Page(
        plan,
        steps,
        tally,
        project.policy.retention,
        str(file) if file is not None else None,
        signed.digest if signed else None,
        tuple(each.by for each in signed.approvals) if signed else (),
        final_ones(project.catalog, steps),
        stranger(project.policy.retention, author.key) if author else "",
    )


def _applied(applied: Applied, page: Page) -> AppliedDocument:
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
        unmarked=_unmarked(applied.unmarked),
        surprise=None
        if surprise is None
        else SurpriseDocument(
            kind=surprise.kind,
            what=surprise.what,
            where=surprise.where,
            why=surprise.why,
            hint=surprise.hint,
        ),
    )


def _applied_lines(applied: Applied, file: Path) -> Iterator[str]:
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


def _undone_lines(undone: Undone, deleted: Sequence[VersionRef]) -> Iterator[str]:
    verb = "would be active again" if undone.dry_run else "is active again"
    for ref, staged in undone.versions:
        yield f"{ref}  {verb}; it was {staged.stage.value}"
    for ref in undone.already:
        yield f"{ref}  is active already"
    for ref in deleted:
        yield f"{ref}  is deleted: imagectl cleanup undelete {ref}"
    if not undone.versions and not undone.already and not deleted:
        yield "nothing is on its way down"


def _undeleted_lines(undeleted: Undeleted) -> Iterator[str]:
    yield f"{undeleted.version}  is active again"
    if undeleted.remade:
        yield "    it was made again: the same bytes"
    if undeleted.found:
        yield f"    still was in {listed(sorted({each.location for each in undeleted.found}))}"
    if undeleted.put:
        yield f"    put again into {listed(sorted({each.location for each in undeleted.put}))}"
    for name in undeleted.elsewhere:
        yield f"    not in {name}, which imagectl.yaml has no more"


def _unmarked(unmarked: Sequence[Unmarked]) -> list[UnmarkedDocument]:
    return [
        UnmarkedDocument(
            version=str(each.placement.version),
            location=each.placement.location,
            what=each.error.what,
        )
        for each in unmarked
    ]


def _tell_unmarked(invocation: Invocation, unmarked: Sequence[Unmarked]) -> int:
    """The exit code: the catalog is right, and a location does not look like it."""
    for each in unmarked:
        invocation.out.warn(
            f"{each.placement.version} still looks as before in {each.placement.location}"
        )
        invocation.out.tell_error(each.error)
    return 1 if unmarked else 0
