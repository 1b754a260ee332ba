"""Says what consumers are not shown yet, because others have to sign it, and who they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, TypedDict

from imagectl.errors import ImagectlError
from imagectl.formats.tuf_roles import image_role
from imagectl.model.names import ImageName

if TYPE_CHECKING:
    from imagectl.adapters.published.ceremony import Ceremony
    from imagectl.adapters.published.waiting import Waiting
    from imagectl.bootstrap.project import Project
    from imagectl.cli.output import Output

_IMAGE = image_role(ImageName(""))
"""How the names of the roles begin that sign the versions of one image."""


class MissingDocument(TypedDict):
    """Signatures that are missing."""

    count: Annotated[int, "how many, each of another key"]
    of: Annotated[list[str], "whose they may be"]


class WaitingDocument(TypedDict):
    """What waits for signatures."""

    role: Annotated[str, "`root`, `targets`, `images`, `channel-NAME` or `image-NAME`"]
    file: Annotated[str, "where it waits; it can be carried to another machine"]
    says: Annotated[list[str], "what it would change, in plain words"]
    signed_by: Annotated[list[str], "who has signed it"]
    missing: Annotated[list[MissingDocument], "what it waits for; empty: nothing"]


def ceremony_of(project: Project) -> Ceremony:
    """The ceremonies of a project."""
    from imagectl.adapters.published.ceremony import Ceremony

    return Ceremony(project.signing, project.publishers, project.clock.now())


def settle(out: Output, project: Project, ceremony: Ceremony) -> Sequence[str]:
    """Have the changes of keys count that enough have signed; which of root and targets. Warns
    where a key that does not count any more has said that the catalog at hand is not the newest:
    that may be what its thief has signed, and nothing else tells it from the truth."""
    from imagectl.services.current import not_the_newest

    before = not_the_newest(project.catalog, project.publishers)
    settled = ceremony.settle()
    if settled and before and not not_the_newest(project.catalog, project.publishers):
        out.warn(
            f"{before.where} is written anew from this catalog, although it said: {before.what} "
            f"({before.why}). The key that signed that counts no more. If it was true, "
            f"{before.hint}"
        )
    return settled


def publish_anew(out: Output, project: Project) -> int:
    """Write every tree anew, and warn of what was damaged in one. The generation."""
    from imagectl.services.publish import publish_catalog

    try:
        return publish_catalog(project.catalog, project.publishers)
    finally:
        tell_damaged(out, project)


def tell_damaged(out: Output, project: Project) -> None:
    """Warn of what was damaged in a tree."""
    for tree in project.publishers:
        for word in tree.mended:
            out.warn(word)


def waiting_document(waiting: Waiting) -> WaitingDocument:
    """The document of what waits."""
    return WaitingDocument(
        role=waiting.role,
        file=waiting.where,
        says=list(waiting.says),
        signed_by=[str(each) for each in waiting.signed_by],
        missing=[
            MissingDocument(count=each.count, of=[str(who) for who in each.of])
            for each in waiting.missing()
        ],
    )


def lacks(project: Project, role: str) -> bool:
    """Whether signatures of the role itself are missing; false where that cannot be told."""
    try:
        return any(each.missing() for each in ceremony_of(project).waiting([role], None))
    except ImagectlError:
        return False


def tell_waiting(out: Output, project: Project) -> Sequence[str]:
    """Warn of each role that waits: for how many signatures, and whose; and of keys elsewhere that
    have not answered. The roles."""
    for silent in project.signing.keys.silent:
        out.warn(silent.said)
    roles = project.signing.waiting()
    if not roles:
        return ()
    ceremony = ceremony_of(project)
    for role in roles:
        try:
            (waiting,) = ceremony.waiting([role], None)
        except ImagectlError as trouble:
            out.warn(f"what {role} is to say is not shown yet: {trouble.said}; {trouble.hint}")
            continue
        left = " and ".join(map(str, waiting.missing()))
        if not left:
            first = "root, which says whose keys count for it" if "root" in roles else "a publish"
            out.warn(f"{role} is signed, and waits for {first}")
            continue
        # The keys that an image gets of its own take over what is published.
        until = (
            "consumers see it as it was until then"
            if waiting.published is not None or role.startswith(_IMAGE)
            else "consumers get nothing of it until then where nothing of it is published"
        )
        out.warn(f"{role} waits for {left}; {until}: `imagectl sign {role}`")
    return roles
