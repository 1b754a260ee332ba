"""``imagectl test``: boot a version again and run its suites."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

import click

from imagectl.cli.arguments import IMAGE_REF
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.refs import head_of
from imagectl.cli.text import duration
from imagectl.cli.verb import Verb
from imagectl.errors import BadUsage
from imagectl.policy.wording import counted

if TYPE_CHECKING:
    from imagectl.model.names import ImageRef
    from imagectl.services.prove import Proved


class ResultDocument(TypedDict):
    """One test."""

    suite: Annotated[str, "its suite"]
    test: Annotated[str, "its name"]
    outcome: Annotated[Literal["passed", "failed", "skipped"], "how it ended"]
    seconds: Annotated[float, "how long it took"]


class ProvedDocument(TypedDict):
    """A disk that passed its suites."""

    what: Annotated[str, "IMAGE@VERSION, or which disk it was"]
    passed: Annotated[int, "tests that passed"]
    skipped: Annotated[int, "tests that were skipped"]
    seconds: Annotated[float, "how long all tests took"]
    log: Annotated[str, "the log of the run"]
    results: Annotated[list[ResultDocument], "each test, in order"]


@click.command(
    "test",
    cls=Verb,
    answers=ProvedDocument,
    exits={
        0: "every test passed",
        1: "a test failed, or the VM did not come up",
        5: "cannot tell: the catalog or the artifact store cannot be read",
        6: "there is no such version, or its artifact is gone",
    },
    examples=[
        ("imagectl test debian-ci@20261120.1", "a version"),
        ("imagectl test debian-ci:stable", "what a channel points to"),
        ("imagectl test debian-ci --failed --keep", "get into the VM of the build that failed"),
    ],
)
@click.argument(
    "ref",
    metavar="IMAGE@VERSION",
    type=IMAGE_REF,
    help="A version; or IMAGE:CHANNEL, for what the channel points to; IMAGE alone with --failed.",
)
@click.option("--failed", is_flag=True, help="The disk of the last build whose tests failed.")
@click.option("--keep", is_flag=True, help="Leave the VM running, say how to get in, and wait.")
@pass_invocation
def command(invocation: Invocation, ref: ImageRef, failed: bool, keep: bool) -> None:
    """Boot a throw-away copy of a version and run its suites on it.

    The suites are those that the project has now. Nothing is recorded, and no channel moves.
    """
    from imagectl.model.version import VersionRef
    from imagectl.services import prove

    if failed and (ref.version is not None or ref.channel is not None):
        raise BadUsage(
            f"--failed is about a build that became no version; {ref} is one",
            hint=f"`imagectl test {ref.image} --failed`, or `imagectl test {ref}`",
        )
    if not failed and ref.version is None and ref.channel is None:
        raise BadUsage(
            f"which version of {ref.image}?",
            hint=f"`imagectl list {ref.image}` shows them; --failed means the last failed build",
        )
    project = invocation.open_project()
    with invocation.out.progress(project.clock, str(ref)) as progress:
        bench = project.workbench(progress)
        if failed:
            (image,) = project.definitions.load([ref.image])
            proved = prove.prove_failed(bench, image, progress, keep=keep)
        else:
            version = ref.version or head_of(project.catalog.snapshot([ref.image]), ref)
            proved = prove.prove_version(
                bench, project.locations, VersionRef(ref.image, version), progress, keep=keep
            )
    invocation.out.answer(_document(proved), _lines(proved))


def _document(proved: Proved) -> ProvedDocument:
    results = proved.report.results
    return ProvedDocument(
        what=proved.what,
        passed=sum(each.outcome.value == "passed" for each in results),
        skipped=sum(each.outcome.value == "skipped" for each in results),
        seconds=round(proved.report.seconds, 3),
        log=str(proved.log),
        results=[
            {
                "suite": each.suite,
                "test": each.name,
                "outcome": each.outcome.value,
                "seconds": each.seconds,
            }
            for each in results
        ],
    )


def _lines(proved: Proved) -> Iterator[str]:
    for each in proved.report.results:
        why = f": {each.said}" if each.said else ""
        yield f"{each.outcome.value:<7}  {each.suite}::{each.name}{why}"
    passed = counted(len(proved.report.results), "test")
    yield f"{proved.what}  {passed} in {duration(proved.report.seconds)}, none failed"
