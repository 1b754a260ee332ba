"""Versions in a real project's catalog about which it is known what is in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from imagectl.adapters.inside.contents import look_inside
from imagectl.adapters.inside.manifest import write_manifest
from imagectl.adapters.inside.tree import Tree as OpenTree
from imagectl.bootstrap.project import Project
from imagectl.formats.contents_v1 import write_contents
from imagectl.model.change import Change, RecordVersion
from imagectl.model.names import Architecture, Format
from imagectl.model.version import Artifact, Inside, TestSummary, Tree, Version
from support.examples import NOW, digest, ref, version
from support.systems import Files, canonical, image

PORTS = ("tcp 22",)


def described(
    project: Project,
    text: str,
    files: Files,
    *,
    ports: tuple[str, ...] = PORTS,
    tests: Mapping[str, str] | None = None,
    size: int = 300 << 20,
) -> Version:
    """``IMAGE@VERSION``, recorded with the facts about *files*; of the bills only digests."""
    folder = project.root / "work" / text
    folder.mkdir(parents=True)
    named = ref(text)
    tree = canonical(files, folder / "tree.tar")
    contents, manifest = folder / "contents.json", folder / "manifest.jsonl"
    with OpenTree(tree.path) as opened:
        contents.write_text(write_contents(look_inside(image(named.image), opened, tree, ports)))
        write_manifest(opened, manifest)
    store = project.store
    outcomes = tests or {"test_base.py::test_ssh": "passed"}
    report = folder / "report.json"
    report.write_text(report_of(outcomes))
    made = replace(
        version(text),
        tree=Tree(tree.sha256, tree.size, digest(f"{text} stored")),
        artifacts=(Artifact(Format.QCOW2, Architecture.AMD64, digest(text), size),),
        tests=TestSummary(
            passed=list(outcomes.values()).count("passed"),
            failed=list(outcomes.values()).count("failed"),
            seconds=1.5,
            report=store.add(report),
            console=digest("console"),
        ),
        inside=Inside(
            contents=store.add(contents),
            manifest=store.add(manifest),
            spdx=digest("spdx"),
            cyclonedx=digest("cyclonedx"),
            provenance=digest("provenance"),
        ),
    )
    record(project, made)
    return made


def record(project: Project, made: Version) -> None:
    """Put a version into the catalog."""
    generation = project.catalog.snapshot(()).generation
    project.catalog.commit(
        Change(f"build {made.ref}", generation, "a", "build", "built", NOW, (RecordVersion(made),))
    )


def report_of(outcomes: Mapping[str, str]) -> str:
    """A test report as it is kept as evidence."""
    results = []
    for name, outcome in outcomes.items():
        suite, _, test = name.partition("::")
        results.append({"suite": suite, "test": test, "outcome": outcome})
    return json.dumps({"v": 1, "results": results})


def lose(project: Project, digest_: str) -> None:
    """Take a document out of the project's store."""
    path = Path(project.root / ".imagectl/store/sha256" / digest_[:2] / digest_)
    path.unlink()
