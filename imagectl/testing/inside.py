"""Looks into trees that consist of lines ``PATH: CONTENT``, and compares them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from imagectl.model.image import Image
from imagectl.model.lock import Lock
from imagectl.model.version import Artifact
from imagectl.services.ports import (
    CanonicalTree,
    Difference,
    Findings,
    Made,
    Progress,
    Workspace,
)


def _files(tree: Path) -> Mapping[str, str]:
    lines = (line.partition(": ") for line in tree.read_text().splitlines())
    return {path: content for path, _, content in lines}


class MemoryComparer:
    """Implements ``services.ports.Comparer``."""

    def compare(
        self, one: Path, other: Path, work: Workspace, progress: Progress
    ) -> tuple[Difference, ...]:
        before, after = _files(one), _files(other)
        return tuple(
            Difference(path, "content differs", f"add {path} to `volatile` in image.yaml")
            for path in sorted({*before, *after})
            if before.get(path) != after.get(path)
        )


class MemoryInspector:
    """Implements ``services.ports.Inspector``."""

    def inspect(
        self, image: Image, tree: CanonicalTree, ports: Sequence[str], work: Workspace
    ) -> Findings:
        files = _files(tree.path)
        said = {
            "contents": {"files": sorted(files), "ports": list(ports)},
            "manifest": dict(files),
            "spdx": {"spdxVersion": "SPDX-2.3", "name": image.name},
            "cyclonedx": {"bomFormat": "CycloneDX", "name": image.name},
        }
        paths = {name: work.folder / f"{name}.json" for name in said}
        for name, path in paths.items():
            path.write_text(json.dumps(said[name], sort_keys=True))
        return Findings(**paths)

    def attest(
        self, image: Image, lock: Lock, artifacts: Sequence[Artifact], made: Made, work: Workspace
    ) -> Path:
        path = work.folder / "provenance.json"
        subjects = [each.sha256 for each in artifacts]
        path.write_text(json.dumps([image.name, lock.epoch, subjects, made.tool, made.source]))
        return path
