"""``imagectl show``: everything about one version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

import click

from imagectl.cli.arguments import IMAGE_REF
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.keeping import Keeping, StageName, buried, in_full, keeping
from imagectl.cli.publish import Unfinished, unfinished
from imagectl.cli.refs import version_of
from imagectl.cli.text import age, duration, size, stamp
from imagectl.cli.verb import Verb
from imagectl.errors import ImagectlError
from imagectl.model.announcement import AnnouncedMove
from imagectl.model.retention import Stage
from imagectl.policy.announced import concerns, notice_of
from imagectl.policy.announcing import standing_announcements
from imagectl.policy.readiness import brings_back
from imagectl.policy.wording import counted, listed, moment

if TYPE_CHECKING:
    from imagectl.bootstrap.project import Project
    from imagectl.model.names import ImageRef, Sha256
    from imagectl.model.snapshot import Snapshot
    from imagectl.model.version import Origin, Version, VersionRef
    from imagectl.services.ports.stores import ArtifactStore


DocumentName = Literal["lock", "source", "contents", "manifest", "spdx", "cyclonedx", "provenance"]


class ShownArtifact(TypedDict):
    """A disk of the version."""

    format: Annotated[str, "its format, such as `qcow2`"]
    architecture: Annotated[str, "its architecture, such as `amd64`"]
    sha256: Annotated[str, "its digest"]
    size: Annotated[int, "bytes"]


class ShownPlacement(TypedDict):
    """An artifact at a location."""

    location: Annotated[str, "the location"]
    format: Annotated[str, "the artifact's format"]
    architecture: Annotated[str, "the artifact's architecture"]
    reference: Annotated[str, "what a consumer pulls"]
    provider_id: Annotated[str, "how the location itself names it"]
    sha256: Annotated[str, "its digest"]
    size: Annotated[int, "bytes"]
    verified: Annotated[str, "when the location last confirmed it"]


class ShownTests(TypedDict):
    """What the suites said about the booted image."""

    passed: Annotated[int, "tests passed"]
    failed: Annotated[int, "tests failed"]
    seconds: Annotated[float, "how long they took"]


class ShownOrigin(TypedDict):
    """How the version was made."""

    reproducible: Annotated[
        Literal["yes", "no", "unproven"], "whether its lock is known to give the same bytes again"
    ]
    cause: Annotated[str, "why it is not reproducible; empty where it is, or where nobody knows"]
    epoch: Annotated[str, "no file of it is newer, and its lock was made then"]
    raw: Annotated[str, "sha256 of the raw disk that all its artifacts hold"]


class ShownDocument(TypedDict):
    """A document about the version."""

    name: Annotated[
        DocumentName,
        "what it is: the lock; definition, playbooks and suites in an archive; what is inside, as "
        "JSON; each file with its digest; two bills of materials; a signed statement of provenance",
    ]
    sha256: Annotated[str, "its digest"]
    file: Annotated[str | None, "where it is kept; null where it is gone"]


class ShownChannel(TypedDict):
    """A channel that points to the version."""

    name: Annotated[str, "the channel"]
    since: Annotated[str, "since when"]


class NextDocument(TypedDict):
    """What may become of the version, as a cleanup of now would judge it."""

    to: Annotated[StageName | None, "the next stage on its way down; null where it is deleted"]
    earliest: Annotated[
        str | None, "from when on; null where something keeps it that does not end by itself"
    ]
    reasons: Annotated[list[str], "each reason that keeps it now"]
    trouble: Annotated[str, "why it cannot be told; empty where it can"]


class Shown(TypedDict):
    """One version."""

    image: Annotated[str, "the image"]
    version: Annotated[str, "the version"]
    summary: Annotated[str, "the image's summary when it was built"]
    created: Annotated[str, "when it was built"]
    by: Annotated[str, "who built it"]
    tool: Annotated[str, "the imagectl that built it"]
    adopted: Annotated[bool, "true where imagectl has neither built nor tested it"]
    seconds: Annotated[float, "how long the build took"]
    fingerprint: Annotated[str, "digest of everything it was made from"]
    parent: Annotated[str | None, "IMAGE@VERSION that it was built on; null where none"]
    channels: Annotated[list[ShownChannel], "the channels that point to it now"]
    announced: Annotated[list[str], "what consumers were told is going to happen to it, in words"]
    keeping: Annotated[Keeping, "what protects it, and how far it is on its way down"]
    next: Annotated[NextDocument, "when it may go down, or what keeps it"]
    tests: Annotated[ShownTests, "what the suites said"]
    tree: Annotated[
        str | None, "sha256 of its canonical file tree; null where the disk is as Packer left it"
    ]
    tree_size: Annotated[int | None, "bytes of that"]
    origin: Annotated[ShownOrigin | None, "how it was made; null where there was no lock"]
    documents: Annotated[list[ShownDocument], "what is kept to make it again, and to look into it"]
    artifacts: Annotated[list[ShownArtifact], "its disks"]
    placements: Annotated[list[ShownPlacement], "where they are"]
    unfinished: Annotated[
        list[Unfinished], "what was begun in locations and is neither there nor given up yet"
    ]
    required_locations: Annotated[list[str], "where it has to be, for a channel to point to it"]
    report: Annotated[str | None, "file with the result of each test; null where it is gone"]
    console: Annotated[str | None, "file with the console of the tested VM; null where gone"]
    log: Annotated[str | None, "file with the build log; null where gone"]


@click.command(
    "show",
    cls=Verb,
    answers=Shown,
    exits={5: "cannot tell: the catalog cannot be read", 6: "there is no such image or version"},
    examples=[
        ("imagectl show debian-ci@20261120.1", "a version"),
        ("imagectl show debian-ci:stable", "what a channel points to"),
    ],
)
@click.argument(
    "ref",
    metavar="IMAGE@VERSION",
    type=IMAGE_REF,
    help="A version; or IMAGE:CHANNEL, for what the channel points to.",
)
@pass_invocation
def command(invocation: Invocation, ref: ImageRef) -> None:
    """Show everything about one version.

    Where it is, what its tests said, what it was built on, and the files that are kept as evidence.
    """

    project = invocation.open_project()
    snapshot = project.catalog.snapshot([ref.image])
    version = version_of(snapshot, ref, "show")
    now = project.clock.now()
    document = _document(version, snapshot, project.store, now, _next(project, version.ref, now))
    back = (
        brings_back(snapshot, version.ref, project.settings.locations)
        if snapshot.stage(version.ref) is not Stage.ACTIVE
        else ""
    )
    invocation.out.answer(document, _lines(document, back, now))


def _next(project: Project, ref: VersionRef, now: datetime) -> NextDocument:
    """What cannot be told is said, and keeps nobody from seeing all the rest."""
    from imagectl.bootstrap.trees import published
    from imagectl.policy.outlook import look_ahead
    from imagectl.services.still_shown import still_shown

    try:
        project.receipts_at()
        shown = still_shown(published(project).values())
        resolved = project.receipts.latest()
        with project.catalog.stock() as stock:
            found = look_ahead(
                stock, ref, project.policy, resolved, project.settings.locations, shown, now
            )
    except ImagectlError as error:
        return NextDocument(to=None, earliest=None, reasons=[], trouble=error.what)
    return NextDocument(
        to=found.to.value if found.to else None,
        earliest=stamp(found.earliest) if found.to and found.earliest else None,
        reasons=[str(each) for each in found.reasons],
        trouble="",
    )


def _document(
    version: Version,
    snapshot: Snapshot,
    store: ArtifactStore,
    now: datetime,
    ahead: NextDocument,
) -> Shown:
    return Shown(
        image=version.image,
        version=str(version.id),
        summary=version.summary,
        created=stamp(version.created),
        by=version.created_by,
        tool=version.tool,
        adopted=version.adopted,
        seconds=version.seconds,
        fingerprint=version.fingerprint,
        parent=str(version.parent) if version.parent else None,
        channels=[
            {"name": name, "since": stamp(channel.head.at)}
            for (image, name), channel in sorted(snapshot.channels.items())
            if image == version.image and channel.head.version == version.id
        ],
        announced=_announced(snapshot, version.ref, now),
        keeping=keeping(snapshot, version.ref, now),
        next=ahead,
        tests={
            "passed": version.tests.passed,
            "failed": version.tests.failed,
            "seconds": version.tests.seconds,
        },
        tree=version.tree.sha256 if version.tree else None,
        tree_size=version.tree.size if version.tree else None,
        origin=_origin(version.origin) if version.origin else None,
        documents=list(_documents(version, store)),
        artifacts=[
            {
                "format": each.format.value,
                "architecture": each.architecture.value,
                "sha256": each.sha256,
                "size": each.size,
            }
            for each in version.artifacts
        ],
        placements=[
            {
                "location": each.location,
                "format": each.format.value,
                "architecture": each.architecture.value,
                "reference": each.reference,
                "provider_id": each.provider_id,
                "sha256": each.sha256,
                "size": each.size,
                "verified": stamp(each.verified),
            }
            for each in snapshot.placed(version.ref)
        ],
        unfinished=[unfinished(each) for each in snapshot.intended(version.ref)],
        required_locations=list(version.required_locations),
        report=_kept(store, version.tests.report),
        console=_kept(store, version.tests.console),
        log=_kept(store, version.build_log),
    )


def _origin(origin: Origin) -> ShownOrigin:
    return ShownOrigin(
        reproducible=origin.reproducible.value,
        cause=origin.cause,
        epoch=stamp(datetime.fromtimestamp(origin.epoch, UTC)),
        raw=origin.raw,
    )


def _documents(version: Version, store: ArtifactStore) -> Iterator[ShownDocument]:
    def shown(name: DocumentName, sha256: Sha256) -> ShownDocument:
        return ShownDocument(name=name, sha256=sha256, file=_kept(store, sha256))

    if version.origin is not None:
        yield shown("lock", version.origin.lock)
        yield shown("source", version.origin.source)
    if version.inside is not None:
        yield shown("contents", version.inside.contents)
        yield shown("manifest", version.inside.manifest)
        yield shown("spdx", version.inside.spdx)
        yield shown("cyclonedx", version.inside.cyclonedx)
        yield shown("provenance", version.inside.provenance)


def _kept(store: ArtifactStore, sha256: Sha256) -> str | None:
    try:
        return str(store.path(sha256))
    except ImagectlError:
        return None


def _announced(snapshot: Snapshot, ref: VersionRef, now: datetime) -> list[str]:
    """What is going to happen to it: channels that come or go, and the end of its support."""
    pointing = [
        name
        for (image, name), channel in snapshot.channels.items()
        if image == ref.image and channel.head.version == ref.version
    ]
    return [
        notice_of(each, now)
        for each in standing_announcements(snapshot, [ref.image])
        if (isinstance(each, AnnouncedMove) and each.to == ref.version)
        or any(concerns(each, ref.image, name, ref.version) for name in (None, *pointing))
    ]


def _lines(shown: Shown, back: str, now: datetime) -> Iterator[str]:
    """*back*: what makes it active again; empty where it is."""

    def ago(at: str) -> str:
        return age(datetime.fromisoformat(at), now)

    yield f"{shown['image']}@{shown['version']}"
    yield shown["summary"]
    yield ""
    for name, fact in in_full(shown["keeping"]):
        yield f"{name:<9} {fact}"
    if back:
        yield f"{'way back':<9} {back}"
    if ahead := _ahead(shown, now):
        yield f"{'next':<9} {ahead}"
    for notice in shown["announced"]:
        yield f"{'announced':<9} {notice}"
    if shown["channels"]:
        those = [each["name"] for each in shown["channels"]]
        points = "points" if len(those) == 1 else "point"
        yield f"{'protected':<9} {listed(those)} {points} to it"
    made = f"{moment(datetime.fromisoformat(shown['created']))}, {ago(shown['created'])}"
    facts: Mapping[str, str] = {
        "made": f"{made}, not by imagectl" if shown["adopted"] else "",
        "adopted": f"by {shown['by']}, with imagectl {shown['tool']}" if shown["adopted"] else "",
        "built": made if not shown["adopted"] else "",
        "by": f"{shown['by']}, in {duration(shown['seconds'])}, with imagectl {shown['tool']}"
        if not shown["adopted"]
        else "",
        "on": shown["parent"] or "",
        "channels": ", ".join(
            f"{each['name']} ({ago(each['since'])})" for each in shown["channels"]
        )
        or "none points to it",
        "tests": "none: no channel can point to it"
        if shown["adopted"]
        else f"{shown['tests']['passed']} passed in {duration(shown['tests']['seconds'])}"
        + (f", {shown['tests']['failed']} FAILED" if shown["tests"]["failed"] else ""),
        "tree": f"{size(shown['tree_size'])}, sha256 {shown['tree'][:16]}..."
        if shown["tree"] is not None and shown["tree_size"] is not None
        else "none: the disk is as Packer left it"
        if not shown["adopted"]
        else "",
        **_again(shown),
    }
    for name, fact in facts.items():
        if fact:
            yield f"{name:<9} {fact}"
    yield ""
    yield counted(len(shown["artifacts"]), "artifact")
    for artifact in shown["artifacts"]:
        yield f"  {artifact['format']} {artifact['architecture']}, {size(artifact['size'])}"
        yield f"    sha256 {artifact['sha256']}"
    yield ""
    yield counted(len(shown["placements"]), "placement")
    for placement in shown["placements"]:
        yield (
            f"  {placement['location']}: {placement['format']} {placement['architecture']}, "
            f"verified {ago(placement['verified'])}"
        )
        yield f"    {placement['reference']}"
    deleted = shown["keeping"]["stage"]["stage"] == "deleted"
    wanted = () if deleted else shown["required_locations"]
    missing = set(wanted) - {each["location"] for each in shown["placements"]}
    for location in sorted(missing):
        yield f"  {location}: not there, and required"
    for begun in shown["unfinished"]:
        yield (
            f"  {begun['location']}: {begun['format']} {begun['architecture']} NOT FINISHED, begun "
            f"{ago(begun['since'])} by {begun['by']}"
        )
        yield f"    as {begun['named']}"
    yield from buried(shown["keeping"], now)
    yield ""
    yield "evidence"
    for name, path in (
        ("tests", shown["report"]),
        ("console", shown["console"]),
        ("build log", shown["log"]),
        *((document["name"], document["file"]) for document in shown["documents"]),
    ):
        yield f"  {name:<10} {_near(path) if path else 'gone from the store'}"


def _ahead(shown: Shown, now: datetime) -> str:
    """When it may go down, or what keeps it; empty where it is deleted."""
    ahead = shown["next"]
    if ahead["trouble"]:
        return f"cannot tell when it may go down: {ahead['trouble']}"
    if ahead["to"] is None:
        return ""
    if ahead["earliest"] is None:
        stage = shown["keeping"]["stage"]["stage"]
        return f"stays {stage} ({'; '.join(ahead['reasons'])})"
    earliest = datetime.fromisoformat(ahead["earliest"])
    if earliest <= now:
        return f"may become {ahead['to']} now: nothing keeps it"
    return f"may become {ahead['to']} from {moment(earliest)} ({'; '.join(ahead['reasons'])})"


def _again(shown: Shown) -> dict[str, str]:
    """Whether it can be made again, with the same bytes, and from when its inputs are."""
    origin = shown["origin"]
    if origin is None:
        return {}
    said = {
        "yes": "reproducible: its lock gives the same bytes again",
        "no": f"NOT reproducible: {origin['cause'] or 'the cause is not known'}",
        "unproven": f"not proven: `imagectl build {shown['image']} --twice` would tell",
    }
    return {
        "again": said[origin["reproducible"]],
        "inputs": f"of {moment(datetime.fromisoformat(origin['epoch']))}",
    }


def _near(path: str) -> str:
    """The path as it is shortest from here."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path
