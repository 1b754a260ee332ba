"""``imagectl notify``: tell people and programs what happened to channels and versions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, TypedDict

import click

from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.text import stamp
from imagectl.cli.verb import Family, Verb
from imagectl.errors import BadUsage, Failed, ImagectlError, NotFound, summed_up
from imagectl.policy.wording import counted, listed

if TYPE_CHECKING:
    from imagectl.services.notify import Box


class WaitingDocument(TypedDict):
    """A notice that is still to be sent."""

    id: Annotated[str, "which; the same each time it is sent"]
    event: Annotated[str, "what happened"]
    target: Annotated[str, "who is to be told: a name under `notify`"]
    since: Annotated[str, "since when"]
    tries: Annotated[int, "how often it was tried"]
    trouble: Annotated[str, "why it could not be sent; empty where it was not tried yet"]


class Notices(TypedDict):
    """What the outbox of notices has."""

    waiting: Annotated[list[WaitingDocument], "still to be sent, the oldest first"]


class Tested(TypedDict):
    """Who could be told."""

    arrived: Annotated[list[str], "the targets that have taken the notice"]


@click.group("notify", cls=Family)
def command() -> None:
    """Tell people and programs what happened: webhooks, Slack, mail.

    Who is told of what is under `notify` in imagectl.yaml. Notices are sent by the verb that did
    it; what could not be sent is tried again by the next ones, or by `imagectl notify retry`.
    """


@command.command(
    "test",
    cls=Verb,
    answers=Tested,
    exits={0: "all have taken it", 1: "failed: one of them has not", 6: "there is no such target"},
    examples=[
        ("imagectl notify test", "to every target"),
        ("imagectl notify test team-chat", "to one of them"),
    ],
)
@click.argument("names", metavar="[TARGET]...", nargs=-1, help="Only these, by their names.")
@pass_invocation
def test_command(invocation: Invocation, names: tuple[str, ...]) -> None:
    """Send a notice that says that nothing has happened."""
    from imagectl.services.notify import trial_notice

    project = invocation.open_project()
    notifying = project.notifying
    targets = notifying.targets
    if not targets:
        raise BadUsage("nobody is to be told of anything", hint="`notify` in imagectl.yaml")
    for name in names:
        if name not in targets:
            raise NotFound(f"there is no {name}", why=f"imagectl.yaml names {listed(targets)}")
    key = project.releasing.new_key()
    catalog_id = notifying.catalog.snapshot(()).catalog_id
    notice = trial_notice(catalog_id, key, notifying.actor, project.clock.now())
    arrived, problems = [], dict[str, ImagectlError]()
    for name in names or targets:
        try:
            notifying.sender.send(name, targets[name], notice)
            arrived.append(name)
        except ImagectlError as problem:
            problems[name] = problem
    if problems:
        raise summed_up(f"{listed(problems)} cannot be told", problems, counting=tuple(problems))
    invocation.out.answer(Tested(arrived=arrived), (f"{each} has taken it" for each in arrived))


@command.command(
    "retry",
    cls=Verb,
    answers=Notices,
    exits={
        0: "nothing is left to be sent",
        1: "failed: something could not be sent; it stays in the outbox",
        4: "conflict: another process is sending",
        5: "cannot tell: the outbox or the catalog cannot be read",
    },
    examples=[("imagectl notify retry", "send at once what waits")],
)
@pass_invocation
def retry_command(invocation: Invocation) -> None:
    """Send at once what could not be sent before."""
    from imagectl.errors import Conflict
    from imagectl.services.notify import tell

    box = tell(invocation.open_project().notifying, at_once=True)
    if box is None:
        raise Conflict("another process is sending notices", hint="type it again")
    if box.waiting:
        raise Failed(
            f"{counted(len(box.waiting), 'notice')} could not be sent",
            why="\n".join(_lines(box)),
            hint="`imagectl notify test` shows whether a target can be reached",
        )
    invocation.out.answer(Notices(waiting=[]), ["nothing is left to be sent"])


@command.command(
    "list",
    cls=Verb,
    answers=Notices,
    exits={5: "cannot tell: the outbox cannot be read"},
    examples=[("imagectl notify list", "what waits, and why")],
)
@pass_invocation
def list_command(invocation: Invocation) -> None:
    """Show what could not be sent yet."""
    box = invocation.open_project().outbox.read()
    waiting = box.waiting if box else ()
    document = Notices(
        waiting=[
            WaitingDocument(
                id=each.notice.id,
                event=each.notice.event.value,
                target=each.target,
                since=stamp(each.since),
                tries=each.tries,
                trouble=each.trouble,
            )
            for each in waiting
        ]
    )
    invocation.out.answer(document, _lines(box) if box else ())
    if not waiting:
        invocation.out.say("nothing waits to be sent")


def _lines(box: Box) -> Iterator[str]:
    for each in box.waiting:
        yield f"{each.target}: {each.notice.event.value} ({each.notice.id})  {each.trouble}"
