"""``imagectl site build`` of 100 and of 1,000 versions, with 400 packages in each.

Measured are the first build, one of which nothing has changed, and one after a promotion, of a real
project with everything that is kept of its versions. Time grows with the versions, not faster; what
has not changed is not written again.
"""

from __future__ import annotations

import resource
import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from support.examples import NOW, STABLE, locked, placement
from support.projects import new_project, store_text
from support.security import document, snapshot

from imagectl.adapters.site_folder import Written, replace_folder
from imagectl.bootstrap.project import Project
from imagectl.bootstrap.site import site_sources
from imagectl.formats.contents_v1 import write_contents, write_listed
from imagectl.model.change import (
    Change,
    MoveChannel,
    Operation,
    RecordPlacement,
    RecordVersion,
)
from imagectl.model.channel import MoveKind
from imagectl.model.contents import Contents, DebianPackage, Listed, SourcePackage
from imagectl.model.names import Architecture, ChannelName
from imagectl.model.version import Version
from imagectl.site.pages import files
from imagectl.site.sources import Page
from imagectl.testing.clock import FixedClock

SIZES = (100, 1_000)
IMAGES = 5
PACKAGES = 400
PATHS = 23_500
"""Of a Debian image with Docker and nginx."""

BETA = ChannelName("beta")
SECONDS = 60
"""Of a processor, for the first build of 1,000 versions."""

GROWTH = 1.5
"""By how much a version of the larger site may take longer than one of the smaller."""


def main() -> None:
    each: list[float] = []
    for size in SIZES:
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            project = filled(Path(folder), size)
            out = Path(folder, "site")
            first, made = build(project, out)
            again, same = build(project, out)
            promote(project)
            after, changed = build(project, out)
            project.close()
        each.append(first / size)
        print(
            f"{size:5} versions  first {first:5.1f} s, {made.files} files; nothing new "
            f"{again:5.1f} s, {same.changed} changed; one promotion {after:5.1f} s, "
            f"{changed.changed} changed"
        )
        assert same.changed == 0, "what has not changed is left alone"
        assert changed.changed < 40, "one promotion changes the pages that speak of it"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"a version of {SIZES[1]} takes {each[1] / each[0]:.2f} times one of {SIZES[0]}")
    print(f"memory         {peak:.0f} MB at most")
    assert each[1] * SIZES[1] < SECONDS
    assert each[1] / each[0] < GROWTH


def build(project: Project, out: Path) -> tuple[float, Written]:
    """One build, and how many seconds of a processor it took: the machine may have other work."""
    began = time.process_time()
    made = files(site_sources(project, "VM images", "https://images.example/"))
    written = replace_folder(
        out,
        (
            (
                each.path,
                each.content
                if isinstance(each, Page)
                else partial(project.store.verify, each.sha256),
            )
            for each in made
        ),
    )
    return time.process_time() - began, written


def promote(project: Project) -> None:
    """One image's stable goes to what its beta has."""
    known = project.catalog.snapshot()
    image = known.images[0]
    to = known.channels[image, BETA].head.version
    commit(project, [MoveChannel(image, STABLE, to, MoveKind.PROMOTE)], "as planned", 0)


def filled(folder: Path, size: int) -> Project:
    """A project with that many versions, built one after the other over two years; every fourth is
    promoted."""
    project = new_project(folder / "project")
    shared = {
        name: store_text(project, f"{name}\n") for name in ("spdx", "cyclonedx", "provenance")
    }
    manifest = store_text(
        project,
        "".join(
            write_listed(Listed(f"/usr/lib/{n:06}", "file", 0o644, 0, 0, 10, shared["spdx"]))
            for n in range(PATHS)
        ),
    )
    report = store_text(project, '{"v": 1, "results": []}')
    operations: list[Operation] = []
    for number in range(size):
        serial, image = divmod(number, IMAGES)
        days = 700 * (size - number) / size
        at = NOW - timedelta(days=days)
        text = f"image-{image}@{at:%Y%m%d}.{serial + 1}"
        made = locked(text)
        made = replace(made, created=at, tests=replace(made.tests, report=report))
        assert made.inside is not None
        inside = replace(
            made.inside,
            contents=store_text(project, contents(made, serial)),
            manifest=manifest,
            **shared,
        )
        operations += [
            RecordVersion(replace(made, inside=inside)),
            RecordPlacement(placement(text, at=at)),
            MoveChannel(made.image, BETA, made.id, MoveKind.ENTRY),
        ]
        if serial % 4 == 0:
            operations.append(MoveChannel(made.image, STABLE, made.id, MoveKind.PROMOTE))
        commit(project, operations, f"release {number}", days)
        operations = []
    weak = [f"package-{n:04},0,SHRF,9.0-1," for n in range(0, PACKAGES, 8)]
    data = document(["CVE-2026-0001,,something bad"], weak)
    snapshot(project.state / "security", "bookworm", data, NOW)
    project.clock = FixedClock(NOW)  # type: ignore[assignment]  # two builds at the same time
    return project


def commit(project: Project, operations: list[Operation], reason: str, days: float) -> None:
    based_on = project.catalog.snapshot(()).generation
    at = NOW - timedelta(days=days)
    change = Change(f"key {based_on}", based_on, "ana", "test", reason, at, tuple(operations))
    project.catalog.commit(change)


def contents(made: Version, serial: int) -> str:
    """What is in a version: ten packages are others than in the one before."""
    assert made.tree is not None
    debian = []
    for n in range(PACKAGES):
        version = f"1.{n}.{serial if n % 40 == serial % 40 else 0}-1+deb12u1"
        name = f"package-{n:04}"
        debian.append(DebianPackage(name, "amd64", version, SourcePackage(name, version)))
    return write_contents(
        Contents(
            image=made.image,
            architecture=Architecture.AMD64,
            tree=made.tree.sha256,
            size=made.tree.size,
            files=PATHS,
            system={"ID": "debian", "VERSION_CODENAME": "bookworm"},
            debian=tuple(debian),
            pip=(),
            npm=(),
            services=("ssh.service",),
            masked=(),
            users=(),
            groups=(),
            kernels=("6.1.0-31-amd64",),
            ports=("tcp 22",),
        )
    )
