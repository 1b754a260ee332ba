"""Looks into trees that consist of lines ``PATH: CONTENT``, and compares them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from imagectl.formats.contents_v1 import write_contents, write_listed
from imagectl.model.contents import Contents, Listed
from imagectl.model.image import Image
from imagectl.model.lock import Lock
from imagectl.model.names import Sha256
from imagectl.model.version import Artifact
from imagectl.services.ports.building import CanonicalTree, Made
from imagectl.services.ports.looking_inside import Difference, Findings
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.workspaces import Workspace


def _files(tree: Path) -> Mapping[str, str]:
    lines = (line.partition(": ") for line in tree.read_text().splitlines())
    return {path: content for path, _, content in lines}


def memory_tree(files: Mapping[str, str], out: Path) -> CanonicalTree:
    """A tree of those files, written to *out*."""
    text = "".join(f"{path}: {content}\n" for path, content in sorted(files.items()))
    out.write_text(text)
    sha256 = Sha256(hashlib.sha256(text.encode()).hexdigest())
    return CanonicalTree(out, sha256, len(text), len(files))


def _listed(path: str, content: bytes) -> Listed:
    sha256 = Sha256(hashlib.sha256(content).hexdigest())
    return Listed(f"/{path}", "file", 0o644, 0, 0, len(content), sha256)


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
    """Implements ``services.ports.Inspector``. The tree's lines are its files."""

    def inspect(
        self, image: Image, tree: CanonicalTree, ports: Sequence[str], work: Workspace
    ) -> Findings:
        files = _files(tree.path)
        contents = Contents(
            image=image.name,
            architecture=image.architecture,
            tree=tree.sha256,
            size=tree.size,
            files=len(files),
            system={},
            debian=(),
            pip=(),
            npm=(),
            services=(),
            masked=(),
            users=(),
            groups=(),
            kernels=(),
            ports=tuple(sorted(ports)),
        )
        documents = {
            "contents": write_contents(contents),
            "manifest": "".join(
                write_listed(_listed(path, text.encode())) for path, text in sorted(files.items())
            ),
            "spdx": json.dumps({"spdxVersion": "SPDX-2.3", "name": image.name}),
            "cyclonedx": json.dumps({"bomFormat": "CycloneDX", "name": image.name}),
        }
        paths = {name: work.folder / f"{name}.json" for name in documents}
        for name, path in paths.items():
            path.write_text(documents[name])
        return Findings(**paths)

    def attest(
        self, image: Image, lock: Lock, artifacts: Sequence[Artifact], made: Made, work: Workspace
    ) -> Path:
        path = work.folder / "provenance.json"
        subjects = [each.sha256 for each in artifacts]
        path.write_text(json.dumps([image.name, lock.epoch, subjects, made.tool, made.source]))
        return path
