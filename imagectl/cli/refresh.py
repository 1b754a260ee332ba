"""``imagectl catalog refresh``: sign again, before signatures are over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, TypedDict

import click

from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.text import stamp
from imagectl.cli.verb import Verb
from imagectl.cli.waiting import tell_damaged, tell_waiting
from imagectl.errors import ImagectlError, summed_up


class RefreshedTree(TypedDict):
    """A published tree, and until when it is believed."""

    tree: Annotated[str, "where it is"]
    signed: Annotated[bool, "whether anything was signed again"]
    expires: Annotated[dict[str, str], "until when the signatures hold, by role"]
    damaged: Annotated[
        list[str], "roles whose list is damaged, and waits for its signers; not in `expires`"
    ]


class Refreshed(TypedDict):
    """Until when consumers believe what is published."""

    trees: Annotated[list[RefreshedTree], "the published trees; those without content left out"]
    waiting: Annotated[list[str], "roles whose new content waits for signatures of others"]


@click.command(
    "refresh",
    cls=Verb,
    answers=Refreshed,
    exits={
        1: "a key that has to sign is not here, or a tree is damaged: it stays as it is",
        4: "conflict: another process keeps publishing",
        5: "cannot tell: a tree cannot be read",
        6: "there is no project here",
    },
    examples=[("imagectl catalog refresh", "once a day, by a timer")],
)
@pass_invocation
def command(invocation: Invocation) -> None:
    """Sign again what has less than half of its time left, with the keys that are here.

    Consumers believe a published catalog for 14 days, so that nobody can show them an old one for
    ever. Every publish renews that; where nothing is published for days, this does. What is due and
    cannot be signed here waits for whoever can.

    What is damaged is written again by `imagectl catalog publish`. Where that takes signatures of
    others, all else goes on being signed here until they have signed.
    """
    project = invocation.open_project()
    trees: list[RefreshedTree] = []
    failed: dict[str, ImagectlError] = {}
    for publisher in project.publishers:
        try:
            signed = publisher.refresh()
            expires = publisher.signatures(publisher.damaged)
        except ImagectlError as error:
            failed[publisher.where] = error
            continue
        if expires:
            until = {role: stamp(expires[role]) for role in sorted(expires)}
            trees.append(
                RefreshedTree(
                    tree=publisher.where,
                    signed=signed,
                    expires=until,
                    damaged=sorted(publisher.damaged),
                )
            )
    tell_damaged(invocation.out, project)
    if failed and len(project.publishers) == 1:
        raise failed.popitem()[1]
    if failed:
        raise summed_up(
            f"{len(failed)} of {len(project.publishers)} published trees cannot be refreshed"
            f"{'; the others are refreshed' if len(failed) < len(project.publishers) else ''}",
            failed,
            counting=list(failed),
        )
    waiting = list(tell_waiting(invocation.out, project))
    invocation.out.answer(Refreshed(trees=trees, waiting=waiting), _lines(trees))


def _lines(trees: list[RefreshedTree]) -> Iterator[str]:
    for each in trees:
        role, until = min(each["expires"].items(), key=lambda item: item[1])
        done = "signed again" if each["signed"] else "nothing was due"
        yield f"{each['tree']}: {done}; believed until {until} ({role})"
