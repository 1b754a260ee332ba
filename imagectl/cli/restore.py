"""``imagectl restore``: a revoked version is safe after all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, TypedDict

import click

from imagectl.cli.arguments import VERSION_REF
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.moves import BehindDocument, behind_document, tell_behind, watched
from imagectl.cli.verb import Verb

if TYPE_CHECKING:
    from imagectl.model.version import VersionRef
    from imagectl.services.protect import Restored


class RestoredDocument(TypedDict):
    """A version that is not revoked any more."""

    version: Annotated[str, "IMAGE@VERSION"]
    generation: Annotated[int | None, "the catalog generation made; null where it was not revoked"]
    behind: Annotated[list[BehindDocument], "whose own pointers (families) may not show it yet"]


@click.command(
    "restore",
    cls=Verb,
    answers=RestoredDocument,
    exits={
        0: "it is not revoked, now or since earlier",
        4: "conflict: the catalog kept changing; nothing was done",
        5: "cannot tell: the catalog cannot be read; nothing was done",
        6: "there is no such image or version",
    },
    examples=[
        ('imagectl restore debian-ci@20261120.1 --reason "not affected"', "it can be had again"),
    ],
)
@click.argument("ref", metavar="IMAGE@VERSION", type=VERSION_REF, help="The version.")
@click.option("--reason", metavar="TEXT", required=True, help="Why; kept in the history.")
@pass_invocation
def command(invocation: Invocation, ref: VersionRef, reason: str) -> None:
    """Say that a revoked version is safe after all: consumers get it again.

    It undoes `imagectl revoke`. What a cleanup took down, `imagectl cleanup undo` brings back.
    """
    from imagectl.services.protect import restore

    releasing = watched(invocation, invocation.open_project())
    restored = restore(releasing, ref, reason)
    document = RestoredDocument(
        version=str(ref),
        generation=restored.generation,
        behind=behind_document(restored.behind),
    )
    invocation.out.answer(document, _lines(restored))
    tell_behind(invocation.out, restored.behind)


def _lines(restored: Restored) -> Iterator[str]:
    if restored.generation is None:
        yield f"{restored.version} is not revoked"
    elif restored.still:
        yield f"{restored.version} is no longer revoked"
    else:
        yield f"{restored.version} can be had again"
    if restored.still:
        yield f"    nobody gets it yet: {restored.still}"
