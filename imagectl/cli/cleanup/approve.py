"""``imagectl cleanup approve``: sign somebody else's plan."""

from __future__ import annotations

from pathlib import Path

import click

from imagectl.cli.arguments import PLAN_FILE
from imagectl.cli.cleanup.key import own_key
from imagectl.cli.cleanup.page import page_of, say_next
from imagectl.cli.cleanup.plan_document import PlanDocument
from imagectl.cli.cleanup.tally import Tally
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.verb import Verb


@click.command(
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
def command(invocation: Invocation, plan: Path) -> None:
    """Put your signature under somebody else's plan, and show what you have signed.

    How many have to, and whose signatures count, is said by `retention` in catalog/channels.yaml.
    No signature makes a protected version go.
    """
    from imagectl.adapters.plan_file import approve_plan, read_plan
    from imagectl.bootstrap.identity import actor
    from imagectl.policy.approval import check_approver

    project = invocation.open_project()
    before = read_plan(plan)
    key = own_key()
    author = before.author.key if before.author else ""
    check_approver(project.policy.retention, author, key.public)
    signed = approve_plan(plan, actor(), project.clock.now(), key)
    tally = Tally()
    for _ in tally.over(signed.plan.entries):
        pass
    page = page_of(project, signed.plan, signed.steps, tally, plan, signed)
    invocation.out.answer(page.document(), page.lines(verbose=invocation.verbose))
    names = {each.key: each.name for each in project.policy.retention.approvers}
    invocation.out.say(f"signed as {names[key.public]}")
    say_next(invocation, page, plan)
