"""Looks into a version's canonical tree, and says what is in it and how it was made.

Everything is read from the canonical tar, so that equal trees have equal documents. What is heavy
is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imagectl.model.image import Image
from imagectl.model.lock import Lock
from imagectl.model.version import Artifact
from imagectl.services.ports.building import CanonicalTree, Made
from imagectl.services.ports.looking_inside import Findings
from imagectl.services.ports.workspaces import Workspace


class LocalInspector:
    """Implements ``services.ports.Inspector``. ``keys`` is the folder of the project's keys."""

    def __init__(self, keys: Path) -> None:
        self._keys = keys

    def inspect(
        self, image: Image, tree: CanonicalTree, ports: Sequence[str], work: Workspace
    ) -> Findings:
        from imagectl.adapters.inside.contents import look_inside
        from imagectl.adapters.inside.manifest import write_manifest
        from imagectl.adapters.inside.sbom import write_bills
        from imagectl.adapters.inside.tree import Tree
        from imagectl.formats.contents_v1 import write_contents

        folder = work.sub("inside")
        with Tree(tree.path) as opened:
            contents = look_inside(image, opened, tree, ports)
            bills = write_bills(opened, contents, image.summary, work.epoch, folder)
            manifest = folder / "manifest.jsonl"
            write_manifest(opened, manifest)
        facts = folder / "contents.json"
        facts.write_text(write_contents(contents), encoding="ascii")
        return Findings(facts, manifest, bills.spdx, bills.cyclonedx)

    def attest(
        self, image: Image, lock: Lock, artifacts: Sequence[Artifact], made: Made, work: Workspace
    ) -> Path:
        from imagectl.adapters.inside.provenance import sign, statement
        from imagectl.adapters.inside.signing import project_key

        said = statement(image, lock, artifacts, made, invocation=work.id)
        out = work.sub("inside") / "provenance.json"
        out.write_bytes(sign(said, project_key(self._keys)))
        return out
