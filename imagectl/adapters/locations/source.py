"""The file that is to be put somewhere: looked at before anything is begun with it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

from imagectl.adapters.content import CHUNK
from imagectl.errors import Corrupt
from imagectl.model.version import Artifact


def check_source(source: Path, artifact: Artifact) -> None:
    """Nothing is begun with what is not the artifact. Raises Corrupt."""
    _check(source, artifact, lambda _: None)


def check_and_hash(source: Path, artifact: Artifact) -> str:
    """The same; its MD5 as Cloud Storage writes it, computed in the same pass."""
    md5 = hashlib.md5(usedforsecurity=False)
    _check(source, artifact, md5.update)
    return base64.b64encode(md5.digest()).decode()


def _check(source: Path, artifact: Artifact, also: Callable[[bytes], None]) -> None:
    digest, size = hashlib.sha256(), 0
    with source.open("rb", buffering=0) as file:
        while data := file.read(CHUNK):
            digest.update(data)
            also(data)
            size += len(data)
    if (digest.hexdigest(), size) != (artifact.sha256, artifact.size):
        raise Corrupt(
            f"{source} is not what was recorded, and was not put anywhere",
            where=str(source),
            why=f"its {size:,} bytes have the sha256 {digest.hexdigest()}; recorded are "
            f"{artifact.size:,} with {artifact.sha256}",
            hint="`imagectl rebuild VERSION` makes it again, to the byte",
        )
