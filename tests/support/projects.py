"""A real project in a folder, with versions in its real catalog, store and location."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

from imagectl.adapters.scaffold import write_scaffold
from imagectl.bootstrap.project import Project, open_project
from imagectl.model.change import Change, RecordVersion
from imagectl.model.names import Architecture, Format, LocationName, Sha256
from imagectl.model.version import (
    Artifact,
    Inside,
    Origin,
    Reproducible,
    TestSummary,
    Tree,
    Version,
    VersionRef,
)
from imagectl.services.backfill import enter_with_way_back
from imagectl.services.publish import place
from support.examples import digest, ref
from support.locks import keep_inputs, lock_of

OLD, NEW = "debian-base@20261118.1", "debian-base@20261120.1"
CI = "debian-ci@20261119.1"

BUILT = datetime(2026, 11, 20, 12, tzinfo=UTC)


def new_project(folder: Path) -> Project:
    """The scaffold, opened."""
    write_scaffold(folder)
    return open_project(folder)


def store_text(project: Project, text: str) -> Sha256:
    """A small file in the project's store."""
    source = project.root / "incoming"
    source.write_text(text)
    return project.store.add(source)


def store_origin(
    project: Project, text: str, reproducible: Reproducible, cause: str = ""
) -> Origin:
    """How a version was made, with its lock and its source in the store."""
    keep_inputs(project.inputs, text)
    return Origin(
        epoch=round(BUILT.timestamp()),
        lock=store_text(project, lock_of(text)),
        source=store_text(project, f"source of {text}"),
        raw=digest(f"raw disk of {text}"),
        reproducible=reproducible,
        cause=cause,
    )


def store_inside(project: Project, text: str) -> Inside:
    """What is in a version, with the documents about it in the store."""
    names = ("contents", "manifest", "spdx", "cyclonedx", "provenance")
    return Inside(*(store_text(project, f"{name} of {text}") for name in names))


def record_version(
    project: Project,
    text: str,
    *,
    formats: tuple[Format, ...] = (Format.QCOW2,),
    failed: int = 0,
    origin: Origin | None = None,
    inside: Inside | None = None,
    opaque: bool = False,
    disks: Mapping[Format, Path] | None = None,
    needs: tuple[str, ...] = ("local",),
) -> VersionRef:
    """``IMAGE@VERSION`` in the catalog, with its bytes in the store, but placed nowhere yet.

    *opaque*: its disk is kept as Packer left it, so it has no tree. *disks*: its bytes; else they
    are small texts, one for each of *formats*.
    """
    named = ref(text)
    stored = store_text(project, f"tree of {text}")
    if disks is None:
        contents = {each: f"{each.value} disk of {text}" for each in formats}
        artifacts = {each: store_text(project, content) for each, content in contents.items()}
    else:
        artifacts = {each: project.store.add(path) for each, path in disks.items()}
    version = Version(
        ref=named,
        created=BUILT,
        created_by="ana@build1",
        summary="Debian 12, ready to be built upon",
        fingerprint=Sha256(hashlib.sha256(f"inputs of {text}".encode()).hexdigest()),
        parent=None,
        tree=None if opaque else Tree(stored, 850_000_000, stored),
        artifacts=tuple(
            Artifact(each, Architecture.AMD64, sha256, project.store.path(sha256).stat().st_size)
            for each, sha256 in artifacts.items()
        ),
        tests=TestSummary(
            12,
            failed,
            4.25,
            store_text(project, f"report of {text}"),
            store_text(project, f"console of {text}"),
        ),
        required_locations=tuple(map(LocationName, needs)),
        tool="0.1.0",
        build_log=store_text(project, f"log of {text}"),
        seconds=148.5,
        origin=origin,
        inside=inside,
    )
    snapshot = project.catalog.snapshot(())
    project.catalog.commit(
        Change(
            f"build {text}",
            snapshot.generation,
            "ana@build1",
            "build",
            f"built {text}",
            BUILT,
            (RecordVersion(version),),
        )
    )
    return named


def release(
    project: Project,
    text: str,
    *,
    needs: tuple[str, ...] = ("local",),
    origin: Origin | None = None,
) -> VersionRef:
    """``IMAGE@VERSION`` as a build leaves it: recorded, placed, and in the entry channel."""
    named = record_version(project, text, needs=needs, origin=origin)
    place(project.releasing, project.store, named)
    enter_with_way_back(
        project.releasing,
        project.store,
        project.policy,
        named,
        lambda: nullcontext(project.fetched()),
        reason=f"built {text}",
    )
    return named


def three_in_beta(project: Project) -> Project:
    """That project, with two versions of debian-base and one of debian-ci in beta."""
    for each in (OLD, NEW, CI):
        release(project, each)
    return project
