"""The file that is to be put somewhere: looked at before anything is begun with it."""

from __future__ import annotations

import base64
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


def check_and_hash(source: Path, artifact: Artifact) -> str:
    """Hash the file. Returns its MD5 as Cloud Storage writes it; raises Corrupt where it is not the
    artifact."""
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with source.open("rb", buffering=0) as data:
        while piece := data.read(CHUNK):
            sha256.update(piece)
            md5.update(piece)
            size += len(piece)
    if (sha256.hexdigest(), size) != (artifact.sha256, artifact.size):
        raise Corrupt(
            f"{source.name} is not what was recorded",
            where=str(source),
            why=f"it has the sha256 {sha256.hexdigest()} and {size:,} bytes; recorded are "
            f"{artifact.sha256} and {artifact.size:,}",
            hint="`imagectl rebuild --verify` makes the same bytes again",
        )
    return base64.b64encode(md5.digest()).decode()
