"""``imagectl cleanup undelete``: bring back a version that was deleted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, TypedDict

import click

from imagectl.cli.arguments import VERSION_REF
from imagectl.cli.cleanup.unmarked import UnmarkedDocument, tell_unmarked, unmarked_documents
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.verb import Verb
from imagectl.errors import Failed
from imagectl.policy.wording import listed

if TYPE_CHECKING:
    from imagectl.model.version import VersionRef
    from imagectl.services.undelete import Undeleted


class UndeletedDocument(TypedDict):
    """A deleted version that is back."""

    version: Annotated[str, "IMAGE@VERSION"]
    found: Annotated[list[str], "locations where it still was, verified"]
    put: Annotated[list[str], "locations where it was put again, verified"]
    remade: Annotated[bool, "whether it had to be made again, to the byte"]
    elsewhere: Annotated[list[str], "locations where it was, and that the project has no more"]
    unmarked: Annotated[list[UnmarkedDocument], "what still looks as before in its location"]


@click.command(
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
def command(invocation: Invocation, ref: VersionRef, reason: str, offline: bool) -> int:
    """Bring back a version that was deleted.

    What is still in a location is verified, and recorded again. What is gone is put there again
    from the artifact store; where that has it no more, the version is made again from its own lock
    and sources, and every byte is compared. Only when it is everywhere where it was, consumers get
    it again.

    While a cleanup is deleting it, nothing is done, and the message says when to try again: at most
    15 minutes later, where the cleanup was killed in the middle.
    """
    from imagectl.services.undelete import undelete

    project = invocation.open_project()
    with invocation.out.progress(project.clock, str(ref)) as progress:
        progress.stage("bring back")

        def remake(each: VersionRef) -> None:
            from imagectl.bootstrap.identity import tool_version
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
        unmarked=unmarked_documents(undeleted.unmarked),
    )
    invocation.out.answer(document, _lines(undeleted))
    return tell_unmarked(invocation, undeleted.unmarked)


def _lines(undeleted: Undeleted) -> Iterator[str]:
    yield f"{undeleted.version}  is active again"
    if undeleted.remade:
        yield "    it was made again: the same bytes"
    if undeleted.found:
        yield f"    still was in {listed(sorted({each.location for each in undeleted.found}))}"
    if undeleted.put:
        yield f"    put again into {listed(sorted({each.location for each in undeleted.put}))}"
    for name in undeleted.elsewhere:
        yield f"    not in {name}, which imagectl.yaml has no more"
