"""``imagectl doctor``: what this machine lacks, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

import click

from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.verb import Verb

if TYPE_CHECKING:
    from imagectl.services.doctor import Finding


class FindingDocument(TypedDict):
    """One thing that was looked at."""

    name: Annotated[str, "what was looked at: a tool, a folder, ..."]
    level: Annotated[Literal["ok", "warn", "fail"], "`fail`: builds will not work without it"]
    what: Annotated[str, "what was found"]
    fix: Annotated[str, "what to type; empty where nothing is wrong"]


class Examined(TypedDict):
    """This machine, as far as imagectl cares."""

    ok: Annotated[bool, "true where nothing needed is missing"]
    findings: Annotated[list[FindingDocument], "all that was looked at"]


@click.command(
    "doctor",
    cls=Verb,
    answers=Examined,
    exits={0: "nothing needed is missing", 1: "something needed is missing; each has its fix"},
    examples=[
        ("imagectl doctor", "look at this machine and this project"),
        ("imagectl doctor --json", "the same for a program, or for a report"),
    ],
)
@pass_invocation
def command(invocation: Invocation) -> int:
    """Check this machine, and say how to mend what is missing.

    Looks at each tool and its version, whether virtual machines can be accelerated, user
    namespaces, the Debian mirror, memory, the room in the project's folders, whether the catalog is
    the one that consumers are shown, whether a folder is gone that had versions in it, and whether
    each location takes our credential, and for how long. Changes nothing.
    """
    from imagectl.bootstrap.doctor import examine
    from imagectl.services.doctor import Level

    findings = examine(invocation.directory)
    failed = [each for each in findings if each.level is Level.FAIL]
    invocation.out.answer(
        Examined(
            ok=not failed,
            findings=[
                {"name": each.name, "level": each.level.value, "what": each.what, "fix": each.fix}
                for each in findings
            ],
        ),
        _lines(findings),
    )
    if failed:
        invocation.out.say(
            f"{len(failed)} of {len(findings)} checks failed: mend them from top to bottom"
        )
        return 1
    return 0


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    width = max(len(each.name) for each in findings)
    for each in findings:
        yield f"{each.level.value:<4}  {each.name:<{width}}  {each.what}"
        if each.fix:
            yield f"{'':<4}  {'':<{width}}  fix: {each.fix}"
