"""``imagectl rebuild``: a version's bytes again, from what is kept of how it was made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

import click

from imagectl.cli.arguments import VERSION_REF
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.verb import Verb
from imagectl.policy.wording import counted, listed

if TYPE_CHECKING:
    from imagectl.model.version import VersionRef
    from imagectl.services.rebuild import Rebuilt


class DeviationDocument(TypedDict):
    """A digest that is not the recorded one."""

    what: Annotated[str, "`tree`, `raw disk`, `compressed tree`, or a format"]
    recorded: Annotated[str | None, "the digest in the catalog; null where there is none"]
    rebuilt: Annotated[str | None, "the digest of what was made now; null where nothing was"]


class DifferenceDocument(TypedDict):
    """A path in which the file tree is not the recorded one."""

    path: Annotated[str, "the path in the image"]
    detail: Annotated[str, "how it differs"]
    advice: Annotated[str, "what to do about it"]


class RebuiltVersion(TypedDict):
    """A version that was made again."""

    version: Annotated[str, "IMAGE@VERSION"]
    outcome: Annotated[Literal["same", "different"], "whether every digest is the recorded one"]
    restored: Annotated[list[str], "what the artifact store had lost and has again"]
    deviations: Annotated[list[DeviationDocument], "each digest that is another; empty where same"]
    differences: Annotated[
        list[DifferenceDocument] | None,
        "the paths that differ, as far as shown; null where the recorded tree is gone",
    ]
    log: Annotated[str, "the build log, with all paths that differ"]


class RebuiltDocument(TypedDict):
    """What was made again, ancestors first."""

    verify: Annotated[bool, "true with `--verify`: nothing was changed"]
    versions: Annotated[
        list[RebuiltVersion],
        "the version; before it ancestors whose trees were gone. It ends with the first that is "
        "not the same",
    ]


@click.command(
    "rebuild",
    cls=Verb,
    answers=RebuiltDocument,
    exits={
        0: "every byte is the same again",
        1: "other bytes came out, and nothing was put back; or the build failed",
        4: "conflict: a build of the image is running (--wait waits for it)",
        5: "cannot tell: the catalog, the artifact store or the input store cannot be read",
        6: "there is no such version, or its sources, or (--offline) not all of its inputs",
    },
    examples=[
        ("imagectl rebuild debian-ci@20261120.1", "its artifacts were deleted: make them again"),
        ("imagectl rebuild debian-ci@20261120.1 --offline", "although upstream is gone"),
        ("imagectl rebuild debian-ci@20261120.1 --verify", "would it still give the same bytes?"),
    ],
)
@click.argument("ref", metavar="IMAGE@VERSION", type=VERSION_REF, help="The version.")
@click.option("--verify", is_flag=True, help="Build and compare, but change nothing.")
@click.option(
    "--offline", is_flag=True, help="Fetch nothing: all inputs must be in the input store."
)
@click.option("--wait", is_flag=True, help="Wait for another build of the same image to end.")
@pass_invocation
def command(
    invocation: Invocation, ref: VersionRef, verify: bool, offline: bool, wait: bool
) -> int:
    """Make a version again from its own definition, playbooks and lock, and compare every byte.

    All of these were kept with the version: the project may have changed since, or lost its
    history. Where every digest is the recorded one, what the artifact store has lost is put back.
    Where one is not, nothing is put back, and every path that differs is named with what to do
    about it.
    """
    from imagectl.bootstrap.identity import tool_version
    from imagectl.services.rebuild import RebuildRequest, rebuild

    project = invocation.open_project()
    request = RebuildRequest(tool_version(), verify=verify, offline=offline, wait=wait)
    with invocation.out.progress(project.clock, str(ref)) as progress:
        rebuilt = rebuild(project.workbench(progress), ref, request, progress)
    invocation.out.answer(
        RebuiltDocument(verify=verify, versions=[_document(each) for each in rebuilt]),
        (line for each in rebuilt for line in _lines(each, verify=verify)),
    )
    if not rebuilt[-1].comparison.same:
        invocation.out.warn(f"nothing was put back of {rebuilt[-1].version.ref}")
        return 1
    if not verify:
        invocation.out.say(f"next: imagectl publish {ref}")
    return 0


def _document(rebuilt: Rebuilt) -> RebuiltVersion:
    differences = rebuilt.comparison.differences
    return RebuiltVersion(
        version=str(rebuilt.version.ref),
        outcome="same" if rebuilt.comparison.same else "different",
        restored=list(rebuilt.restored),
        deviations=[
            {"what": each.what, "recorded": each.expected, "rebuilt": each.found}
            for each in rebuilt.comparison.deviations
        ],
        differences=None
        if differences is None
        else [
            {"path": each.path, "detail": each.detail, "advice": each.advice}
            for each in differences
        ],
        log=str(rebuilt.log),
    )


def _lines(rebuilt: Rebuilt, *, verify: bool) -> Iterator[str]:
    version = rebuilt.version
    if rebuilt.comparison.same:
        what = counted(len(version.artifacts), "artifact")
        yield f"{version.ref}  the same bytes again: tree, raw disk and {what}"
        for artifact in version.artifacts:
            yield f"    {artifact.format.value} {artifact.architecture.value} {artifact.sha256}"
        if rebuilt.restored:
            yield f"    put back into the artifact store: {listed(rebuilt.restored)}"
        elif not verify:
            yield "    the artifact store had everything already"
        return
    yield f"{version.ref}  NOT the same bytes: {rebuilt.comparison.cause}"
    for deviation in rebuilt.comparison.deviations:
        yield f"    {deviation.what}"
        yield f"      recorded {deviation.expected or 'nothing'}"
        yield f"      rebuilt  {deviation.found or 'nothing'}"
    for each in rebuilt.comparison.differences or ():
        yield f"    {each.path}: {each.detail}"
        if each.advice:
            yield f"      {each.advice}"
    yield f"    log: {rebuilt.log}"
