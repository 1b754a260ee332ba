"""``imagectl diff``: in what two versions differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

import click

from imagectl.cli.arguments import IMAGE_REF
from imagectl.cli.differences import comparison_lines, release_notes
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.refs import version_of
from imagectl.cli.verb import Verb
from imagectl.errors import BadUsage, NotFound
from imagectl.policy.wording import listed

if TYPE_CHECKING:
    from imagectl.model.channel import ReleasePolicy
    from imagectl.model.comparison import Comparison, NameChange
    from imagectl.model.names import ImageRef
    from imagectl.model.snapshot import Snapshot
    from imagectl.model.version import Version

Kind = Literal["added", "removed", "upgraded", "downgraded", "changed"]


class DiffPackage(TypedDict):
    """A package that differs."""

    ecosystem: Annotated[str, "whose it is: `debian`, `pip` or `npm`"]
    name: Annotated[str, "its name"]
    where: Annotated[str, "its architecture; of pip and npm, the folder that it is in"]
    before: Annotated[str | None, "its version before; null where it was not there"]
    after: Annotated[str | None, "its version now; null where it is not there"]
    kind: Annotated[Kind, "what became of it; only Debian's versions have an order"]


class DiffName(TypedDict):
    """Something with a name that differs."""

    name: Annotated[str, "its name"]
    kind: Annotated[Kind, "what became of it"]
    details: Annotated[list[str], "in what it differs, such as `shell /bin/sh -> /bin/bash`"]


class DiffFiles(TypedDict):
    """The paths that differ."""

    added: Annotated[int, "how many paths are new"]
    removed: Annotated[int, "how many are gone"]
    changed: Annotated[int, "how many are others, in content, mode, owner, target or attributes"]
    paths: Annotated[list[DiffName] | None, "each of them; null without `--files`"]


class DiffSize(TypedDict):
    """A size, whether or not it differs."""

    name: Annotated[str, "`tree`, a format (both in bytes), or `paths` (their number)"]
    before: Annotated[int | None, "before; null where there was none"]
    after: Annotated[int | None, "now; null where there is none"]


class DiffTest(TypedDict):
    """A test that ended otherwise."""

    name: Annotated[str, "its suite and name"]
    before: Annotated[str | None, "how it ended before; null where there was no such test"]
    after: Annotated[str | None, "how it ends now; null where there is none"]


class DiffTests(TypedDict):
    """Test results."""

    before_passed: Annotated[int, "how many passed before"]
    before_failed: Annotated[int, "how many failed before"]
    after_passed: Annotated[int, "how many pass now"]
    after_failed: Annotated[int, "how many fail now"]
    changes: Annotated[list[DiffTest] | None, "which differ; null where a report is gone"]


class Diff(TypedDict):
    """In what one version differs from another. A list is empty where nothing differs."""

    before: Annotated[str, "IMAGE@VERSION that is compared with"]
    after: Annotated[str, "IMAGE@VERSION that is looked at"]
    identical: Annotated[bool, "whether the file trees are the same, byte for byte"]
    packages: Annotated[list[DiffPackage], "packages"]
    kernels: Annotated[list[DiffName], "kernels that can be booted"]
    services: Annotated[list[DiffName], "systemd's units that are enabled"]
    masked: Annotated[list[DiffName], "systemd's units that cannot be started"]
    ports: Annotated[list[DiffName], "what listened when each was booted for its tests"]
    users: Annotated[list[DiffName], "users"]
    groups: Annotated[list[DiffName], "groups"]
    system: Annotated[list[DiffName], "what /etc/os-release says"]
    files: Annotated[DiffFiles, "files and all other paths"]
    sizes: Annotated[list[DiffSize], "sizes"]
    tests: Annotated[DiffTests, "test results"]


@click.command(
    "diff",
    cls=Verb,
    answers=Diff,
    exits={
        0: "compared, whether or not they differ",
        5: "cannot tell: it is not known what is in one of them, or the catalog cannot be read",
        6: "there is no such image, channel or version",
    },
    examples=[
        ("imagectl diff debian-base", "what would the next promotion bring?"),
        ("imagectl diff debian-ci@20261118.1 debian-ci@20261120.1", "two versions"),
        ("imagectl diff debian-ci:stable debian-ci:beta --markdown", "release notes"),
        ("imagectl diff debian-base:stable debian-ci:stable --files", "also of other images"),
    ],
)
@click.argument(
    "refs",
    metavar="A [B]",
    nargs=-1,
    required=True,
    type=IMAGE_REF,
    help="IMAGE@VERSION or IMAGE:CHANNEL, before and after. An IMAGE alone: the channel that is "
    "promoted to, and the one that it is promoted from.",
)
@click.option("--files", is_flag=True, help="Name each file that differs, not only how many.")
@click.option("--markdown", is_flag=True, help="Release notes in Markdown.")
@pass_invocation
def command(
    invocation: Invocation, refs: tuple[ImageRef, ...], files: bool, markdown: bool
) -> None:
    """Show in what two versions differ.

    Packages, files, services, users, listening ports, kernels, sizes and test results, from the
    documents that are kept with each version. Nothing is unpacked or booted. It is an answer only
    where it is known what is in both of them.
    """
    from imagectl.services.diff import compare

    if markdown and invocation.json:
        raise BadUsage("--json and --markdown are two answers", hint="ask for one of them")
    if len(refs) > 2:
        raise BadUsage(f"two versions can be compared, not {len(refs)}")
    project = invocation.open_project()
    images = [ref.image for ref in refs]
    snapshot = project.catalog.snapshot(images)
    if not set(images) <= set(snapshot.images):
        snapshot = project.catalog.snapshot()  # to say what there is
    before, after = _sides(snapshot, project.policy if len(refs) == 1 else None, refs)
    comparison = compare(project.documents, before, after)
    if markdown:
        invocation.out.data("\n".join(release_notes(comparison, all_files=files)))
    else:
        invocation.out.answer(
            _document(comparison, files), comparison_lines(comparison, all_files=files)
        )


def _sides(
    snapshot: Snapshot, policy: ReleasePolicy | None, refs: tuple[ImageRef, ...]
) -> tuple[Version, Version]:
    """What is compared, before and after."""
    from imagectl.model.names import ImageRef
    from imagectl.policy.promotion import find_image

    if len(refs) == 2:
        return version_of(snapshot, refs[0], "diff"), version_of(snapshot, refs[1], "diff")
    (ref,) = refs
    find_image(snapshot, ref.image)
    if ref.version is not None or ref.channel is not None:
        raise BadUsage(
            f"with what is {ref} to be compared?",
            hint=f"`imagectl diff A {ref}`; `imagectl list {ref.image}` shows what there is",
        )
    assert policy is not None
    rules = [policy.rule(ref.image, name) for name in policy.names]
    promoted = [rule for rule in rules if rule is not None and rule.source is not None]
    if not promoted:
        raise NotFound(
            f"no channel of {ref.image} is promoted from another one",
            why=f"channels.yaml names {listed(policy.names)}",
            hint=f"name both: `imagectl diff {ref.image}@A {ref.image}@B`",
        )
    rule = next((rule for rule in promoted if rule.source == policy.entry), promoted[0])
    return (
        version_of(snapshot, ImageRef(ref.image, rule.name), "diff"),
        version_of(snapshot, ImageRef(ref.image, rule.source), "diff"),
    )


def _document(comparison: Comparison, all_files: bool) -> Diff:
    from imagectl.model.comparison import ChangeKind

    before, after = comparison.before, comparison.after
    kinds = [each.kind for each in comparison.files]
    aspects = {name: [_name(each) for each in its] for name, its in comparison.aspects.items()}
    return Diff(
        before=str(before.ref),
        after=str(after.ref),
        identical=comparison.identical,
        packages=[
            {
                "ecosystem": each.ecosystem.value,
                "name": each.name,
                "where": each.where,
                "before": each.before,
                "after": each.after,
                "kind": each.kind.value,
            }
            for each in comparison.packages
        ],
        kernels=aspects["kernels"],
        services=aspects["services"],
        masked=aspects["masked"],
        ports=aspects["ports"],
        users=aspects["users"],
        groups=aspects["groups"],
        system=aspects["system"],
        files={
            "added": kinds.count(ChangeKind.ADDED),
            "removed": kinds.count(ChangeKind.REMOVED),
            "changed": kinds.count(ChangeKind.CHANGED),
            "paths": [
                {"name": each.path, "kind": each.kind.value, "details": list(each.details)}
                for each in comparison.files
            ]
            if all_files
            else None,
        },
        sizes=[
            {"name": each.name, "before": each.before, "after": each.after}
            for each in comparison.sizes
        ],
        tests={
            "before_passed": before.tests.passed,
            "before_failed": before.tests.failed,
            "after_passed": after.tests.passed,
            "after_failed": after.tests.failed,
            "changes": [
                {"name": each.name, "before": each.before, "after": each.after}
                for each in comparison.tests
            ]
            if comparison.tests is not None
            else None,
        },
    )


def _name(change: NameChange) -> DiffName:
    return {"name": change.name, "kind": change.kind.value, "details": list(change.details)}
