"""``imagectl revoke``: a version is unsafe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, TypedDict

import click

from imagectl.cli.arguments import VERSION_REF
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.moves import BehindDocument, behind_document, tell_behind, watched
from imagectl.cli.text import stamp
from imagectl.cli.verb import Verb

if TYPE_CHECKING:
    from imagectl.model.version import VersionRef
    from imagectl.services.protect import Revoked


class RevokedDocument(TypedDict):
    """A revocation."""

    version: Annotated[str, "IMAGE@VERSION"]
    by: Annotated[str, "who revoked it"]
    at: Annotated[str, "since when"]
    reason: Annotated[str, "why; consumers are told"]
    generation: Annotated[
        int | None, "the catalog generation made; null where it was revoked already"
    ]
    pointing: Annotated[list[str], "channels that point to it: an error until they are moved"]
    children: Annotated[
        list[str] | None,
        "versions that were built on it, and are not revoked; null where that cannot be told",
    ]
    behind: Annotated[list[BehindDocument], "whose own pointers (families) may not show it yet"]


@click.command(
    "revoke",
    cls=Verb,
    answers=RevokedDocument,
    exits={
        0: "it is revoked, now or since earlier",
        3: "refused: a channel points to it; nothing was done",
        4: "conflict: the catalog kept changing; nothing was done",
        5: "cannot tell: the catalog cannot be read; nothing was done",
        6: "there is no such image or version",
    },
    examples=[
        ('imagectl revoke debian-ci@20261120.1 --reason "CVE-2026-1234"', "nobody gets it"),
        (
            'imagectl revoke debian-ci@20261120.1 --reason "a hole" --even-if-released',
            "rather an error than this version",
        ),
    ],
)
@click.argument("ref", metavar="IMAGE@VERSION", type=VERSION_REF, help="The version.")
@click.option("--reason", metavar="TEXT", required=True, help="Why; consumers are told.")
@click.option(
    "--even-if-released",
    is_flag=True,
    help="Also where a channel points to it: its consumers get an error until it is moved.",
)
@pass_invocation
def command(invocation: Invocation, ref: VersionRef, reason: str, even_if_released: bool) -> None:
    """Say that a version is unsafe: resolving it is an error from now on, also where it is pinned.

    No channel can be moved to it, and rollbacks go past it. Nothing of it is deleted; `imagectl
    restore` takes it back.
    """
    from imagectl.services.protect import revoke

    releasing = watched(invocation, invocation.open_project())
    revoked = revoke(releasing, ref, reason, even_if_released=even_if_released)
    document = _document(revoked)
    invocation.out.answer(document, _lines(document))
    if revoked.untold is not None:
        invocation.out.warn(f"{ref} IS revoked; what was built on it cannot be told:")
        invocation.out.tell_error(revoked.untold)
    tell_behind(invocation.out, revoked.behind)


def _document(revoked: Revoked) -> RevokedDocument:
    return RevokedDocument(
        version=str(revoked.revocation.version),
        by=revoked.revocation.by,
        at=stamp(revoked.revocation.at),
        reason=revoked.revocation.reason,
        generation=revoked.generation,
        pointing=list(revoked.pointing),
        children=None if revoked.children is None else [str(each) for each in revoked.children],
        behind=behind_document(revoked.behind),
    )


def _lines(document: RevokedDocument) -> Iterator[str]:
    image, _, _ = document["version"].partition("@")
    already = "" if document["generation"] else " already, "
    who = f"by {document['by']}: {document['reason']}"
    yield f"{document['version']} is revoked{already or ' '}{who}"
    for channel in document["pointing"]:
        yield (
            f"    {channel} points to it: its consumers get an error until "
            f"`imagectl rollback {channel} {image}`"
        )
    if document["children"]:
        yield "    built on it, and not revoked:"
        for child in document["children"]:
            yield f"      {child}"
