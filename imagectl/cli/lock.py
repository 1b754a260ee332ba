"""``imagectl lock``: make an image's lock, extend it, or take newer inputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

import click

from imagectl.cli.arguments import IMAGE
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.output import ErrorDocument, failure
from imagectl.cli.text import clean, size
from imagectl.cli.verb import Verb
from imagectl.errors import ImagectlError, Interrupted
from imagectl.model.lock import Access
from imagectl.policy.lock_changes import LockChanges, lock_changes
from imagectl.policy.wording import counted, listed

if TYPE_CHECKING:
    from imagectl.bootstrap.project import Project
    from imagectl.model.image import Image
    from imagectl.model.names import ImageName
    from imagectl.services.lock import LockRequest, Proposal


class ChangeDocument(TypedDict):
    """Something that becomes different."""

    what: Annotated[str, "`epoch`, `base`, `NAME ARCHITECTURE` of a package, a URL"]
    before: Annotated[str, "as it was; empty for what is new"]
    after: Annotated[str, "as it is now; empty for what is gone"]


class ChangesDocument(TypedDict):
    """In what the new lock differs from the one before."""

    settings: Annotated[list[ChangeDocument], "epoch, base, toolchain, definition, mirrors"]
    packages: Annotated[list[ChangeDocument], "Debian packages in the image"]
    downloads: Annotated[list[ChangeDocument], "everything else that was downloaded, by URL"]
    toolchain: Annotated[list[ChangeDocument], "packages of the tools that write the bytes"]
    indexes: Annotated[int, "how many signed files of mirrors changed"]
    result: Annotated[bool, "whether other bytes are expected than before"]


class LockDocument(TypedDict):
    """What became of one image's lock."""

    image: Annotated[str, "the image"]
    outcome: Annotated[
        Literal["made", "extended", "updated", "current", "failed"],
        "`current`: it is as it should be; `extended`: what is locked stays, and what a changed "
        "definition needs more is added",
    ]
    file: Annotated[str | None, "the lock, from the project's root; null where there is none"]
    written: Annotated[bool, "whether the file was written"]
    inputs: Annotated[int | None, "how many inputs it lists; null where there is none"]
    bytes: Annotated[int | None, "their size; null where there is none"]
    changes: Annotated[ChangesDocument | None, "against the lock before; null where none was"]
    error: Annotated[ErrorDocument | None, "what went wrong; null where nothing did"]


class Locked(TypedDict):
    """What became of each lock, parents before children."""

    dry_run: Annotated[bool, "true where nothing was written on purpose"]
    locks: Annotated[list[LockDocument], "one for each image"]


@click.command(
    "lock",
    cls=Verb,
    answers=Locked,
    exits={
        0: "each lock is as it should be, or was written",
        1: "a build failed; that image's lock is as it was",
        3: "refused: the parent version has no file tree to build on",
        4: "conflict: a build of the image is running (--wait waits for it), or somebody else "
        "changed the lock meanwhile",
        5: "cannot tell: the catalog, the input store or the mirror cannot be read",
        6: "there is no such image, or not the parent version it is built on",
    },
    examples=[
        ("imagectl lock debian-ci", "make it, or add what a changed playbook needs"),
        ("imagectl lock debian-ci --update --dry-run", "what would newer packages change?"),
        ("imagectl lock debian-ci --update", "take them"),
    ],
)
@click.argument(
    "images", metavar="IMAGE...", nargs=-1, type=IMAGE, required=True, help="Lock these."
)
@click.option(
    "--update", is_flag=True, help="Take everything anew: packages, parent, tools, downloads."
)
@click.option("--dry-run", is_flag=True, help="Show what would change, but write no lock.")
@click.option("--wait", is_flag=True, help="Wait for another build of the same image to end.")
@pass_invocation
def command(
    invocation: Invocation, images: tuple[ImageName, ...], update: bool, dry_run: bool, wait: bool
) -> int:
    """Write images/IMAGE/image.lock: every input of a build, by digest.

    What a build reads is only known by building, so the image is built, but neither tested nor
    recorded; the build that follows is the second from the same inputs, and shows whether it gives
    the same bytes. Without --update what is locked stays as it is, and only what a changed
    definition needs more is added. Changes are shown before they are written. Commit the file.
    """
    from imagectl.services.lock import LockRequest

    project = invocation.open_project()
    request = LockRequest(update=update, wait=wait)
    documents: list[LockDocument] = []
    codes: list[int] = []
    wanted = project.definitions.load(images)
    for image in wanted:
        try:
            documents.append(_lock(invocation, project, image, request, dry_run=dry_run))
        except Interrupted:
            raise
        except ImagectlError as problem:
            if len(wanted) == 1:
                raise
            invocation.out.tell_error(problem)
            codes.append(problem.exit_code)
            documents.append(_failed(image, problem))
    invocation.out.answer(Locked(dry_run=dry_run, locks=documents), ())
    if any(each["written"] for each in documents):
        invocation.out.say("next: commit the lock, then imagectl build")
    if codes:
        invocation.out.warn(f"{counted(len(codes), 'image')} of {len(wanted)} failed, see above")
        return codes[0]
    return 0


def _lock(
    invocation: Invocation, project: Project, image: Image, request: LockRequest, *, dry_run: bool
) -> LockDocument:
    """Propose, show, and only then write."""
    from imagectl.services.lock import accept, propose

    with invocation.out.progress(project.clock, image.name) as progress:
        bench = project.workbench(progress)
        proposal = propose(bench, image, request, progress)
    changes = None
    if proposal.access is not None and proposal.before is not None:
        changes = lock_changes(proposal.before, proposal.lock)
    if not invocation.out.json:
        for line in _lines(proposal, changes, dry_run=dry_run):
            invocation.out.data(clean(line))
    written = proposal.access is not None and not dry_run and proposal.lock != proposal.before
    if written:
        accept(bench, proposal)
    exists = written or proposal.before is not None
    return LockDocument(
        image=image.name,
        outcome=_outcome(proposal),
        file=f"images/{image.name}/image.lock" if exists else None,
        written=written,
        inputs=len(proposal.lock.inputs.all),
        bytes=proposal.lock.inputs.size,
        changes=None if changes is None else _document(changes),
        error=None,
    )


def _outcome(proposal: Proposal) -> Literal["made", "extended", "updated", "current"]:
    match proposal.access:
        case None:
            return "current"
        case Access.EXTEND:
            return "extended"
        case _:
            return "made" if proposal.before is None else "updated"


def _document(changes: LockChanges) -> ChangesDocument:
    def listing(kind: str) -> list[ChangeDocument]:
        return [
            {"what": each.what, "before": each.before, "after": each.after}
            for each in getattr(changes, kind)
        ]

    return ChangesDocument(
        settings=listing("settings"),
        packages=listing("packages"),
        downloads=listing("downloads"),
        toolchain=listing("toolchain"),
        indexes=changes.indexes,
        result=changes.result,
    )


def _failed(image: Image, problem: ImagectlError) -> LockDocument:
    return LockDocument(
        image=image.name,
        outcome="failed",
        file=None,
        written=False,
        inputs=None,
        bytes=None,
        changes=None,
        error=failure(problem)["error"],
    )


def _lines(proposal: Proposal, changes: LockChanges | None, *, dry_run: bool) -> Iterator[str]:
    name, lock = proposal.image.name, proposal.lock
    would = "would be " if dry_run else ""
    match _outcome(proposal):
        case "current":
            yield f"{name}  its lock is as it should be; --update takes newer inputs"
            return
        case "made":
            inputs = counted(len(lock.inputs.all), "input")
            yield f"{name}  {would}locked: {inputs}, {size(lock.inputs.size)}"
            return
        case "extended":
            because = listed(proposal.changed)
            yield f"{name}  {would}extended, since its {because} changed: {_said(changes)}"
        case "updated":
            yield f"{name}  {would}updated: {_said(changes)}"
    assert changes is not None
    for each in changes.settings:
        yield f"    {each.what}: {each.before or 'none'} -> {each.after or 'none'}"
    for title, kind in (
        ("packages", changes.packages),
        ("downloads", changes.downloads),
        ("toolchain", changes.toolchain),
    ):
        if kind:
            yield f"    {title}:"
        for each in kind:
            versions = " -> ".join(filter(None, (each.before, each.after)))
            yield f"      {each.mark} {each.what}  {versions}"


def _said(changes: LockChanges | None) -> str:
    assert changes is not None
    return changes.summary
