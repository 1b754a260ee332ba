"""The file that is to be put somewhere: looked at before anything is begun with it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from imagectl.adapters.content import CHUNK
from imagectl.errors import Corrupt
from imagectl.model.version import Artifact


def check_source(source: Path, artifact: Artifact) -> None:
    """Nothing is begun with what is not the artifact."""
    digest, size = hashlib.sha256(), 0
    with source.open("rb") as file:
        while data := file.read(CHUNK):
            digest.update(data)
            size += len(data)
    if (digest.hexdigest(), size) != (artifact.sha256, artifact.size):
        raise Corrupt(
            f"{source} is not what was recorded, and was not put anywhere",
            where=str(source),
            why=f"its {size:,} bytes have the sha256 {digest.hexdigest()}; recorded are "
            f"{artifact.size:,} with {artifact.sha256}",
            hint="`imagectl build` makes it again",
        )
