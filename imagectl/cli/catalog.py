"""``imagectl catalog``: look after the catalog itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, TypedDict

import click

from imagectl.cli import forget_location, rebuild_catalog, refresh, rotate_keys
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.verb import Family, Verb
from imagectl.cli.waiting import publish_anew, tell_waiting
from imagectl.errors import summed_up
from imagectl.policy.wording import counted


class Verified(TypedDict):
    """Whether the catalog is sound."""

    sound: Annotated[bool, "true where nothing is wrong"]
    generation: Annotated[int, "its generation: the number of changes that made it"]
    wrong: Annotated[list[str], "everything that is wrong"]
    state: Annotated[
        str | None,
        "one sha256 for all that the catalog knows, the same where it was made again from its "
        "history by this release; null where something is wrong",
    ]


class PublishedTree(TypedDict):
    """What consumers are shown now."""

    generation: Annotated[int, "the catalog generation that the trees show"]
    trees: Annotated[list[str], "where they are: folders, and places in buckets"]
    waiting: Annotated[list[str], "roles whose new content waits for signatures of others"]


@click.group("catalog", cls=Family)
def command() -> None:
    """Look after the catalog itself."""


command.add_command(forget_location.command)
command.add_command(refresh.command)
command.add_command(rebuild_catalog.command)
command.add_command(rotate_keys.command)


@command.command(
    "verify",
    cls=Verb,
    answers=Verified,
    exits={
        0: "the catalog is sound",
        1: "something is wrong; everything that is wrong is listed",
        5: "cannot tell: the catalog cannot be read",
        6: "there is no project here",
    },
    examples=[("imagectl catalog verify", "check every event and every table")],
)
@pass_invocation
def verify(invocation: Invocation) -> int:
    """Check that the catalog is what its history makes it.

    Follows the chain of hashes from the first event to the last, makes the catalog again from the
    events alone, and compares. Says too whether it is older than what consumers are shown. Changes
    nothing.
    """
    from imagectl.formats.state_digest import state_digest
    from imagectl.services.current import not_the_newest

    project = invocation.open_project()
    # This first: what is wrong may be the very thing that keeps a snapshot from being read.
    wrong = project.catalog.verify()
    if not wrong and (older := not_the_newest(project.catalog, project.publishers)) is not None:
        wrong = (f"{older.what}: {older.why} ({older.where}); {older.hint}",)
    snapshot = project.catalog.snapshot(() if wrong else None)
    invocation.out.answer(
        Verified(
            sound=not wrong,
            generation=snapshot.generation,
            wrong=list(wrong),
            state=None if wrong else state_digest(snapshot),
        ),
        _verdict(snapshot.generation, wrong),
    )
    if wrong:
        invocation.out.say("change nothing until it is known how that came about; keep a copy")
        return 1
    return 0


def _verdict(generation: int, wrong: tuple[str, ...]) -> Iterator[str]:
    if not wrong:
        yield f"sound: {counted(generation, 'change')}"
        return
    yield f"NOT sound: {counted(len(wrong), 'problem')} in {counted(generation, 'change')}"
    for each in wrong:
        yield f"  - {each}"


@command.command(
    "publish",
    cls=Verb,
    answers=PublishedTree,
    exits={
        1: "not done: a tree cannot be written, or a key that has to sign is not here",
        4: "conflict: another process keeps publishing",
        5: "cannot tell: a tree cannot be read, and the others are written; or the catalog "
        "cannot be read, or a tree shows a later generation or another catalog: nothing is "
        "changed then",
        6: "there is no project here",
    },
    examples=[("imagectl catalog publish", "write what consumers read anew, and repair it")],
)
@pass_invocation
def publish(invocation: Invocation) -> None:
    """Write and sign the trees that consumers read anew, and the locations' own pointers.

    Every command that changes a channel does this by itself. Needed where it could not, where files
    of a tree were lost or changed, and to begin one where channels have moved before.
    """
    from imagectl.services.show import point

    project = invocation.open_project()
    generation = publish_anew(invocation.out, project)
    behind = point(project.releasing)
    if behind:
        causes = {f"{each.image} in {each.location}": each.error for each in behind}
        raise summed_up(
            "published trees are written, but not all families show what channels have",
            causes,
            counting=list(causes),
            hint="put that right, and type it again",
        )
    trees = [each.where for each in project.publishers]
    waiting = list(tell_waiting(invocation.out, project))
    invocation.out.answer(
        PublishedTree(generation=generation, trees=trees, waiting=waiting),
        (f"{tree} shows generation {generation}" for tree in trees),
    )
