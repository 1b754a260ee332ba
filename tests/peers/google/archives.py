"""What images are made of: an archive in a bucket, read as Compute Engine's import reads it.

Source: "Manually import boot disks" in Compute Engine's documentation.
"""

from __future__ import annotations

import gzip
import re
import tarfile
from pathlib import Path
from urllib.parse import unquote

from peers.google.calls import (
    invalid,
)

GIB = 2**30


class Unusable(Exception):
    """It is no archive that can be imported."""


def bucket_and_object(source: str) -> tuple[str, str]:
    for pattern in (
        r"https?://storage\.googleapis\.com/([^/]+)/(.+)",
        r"https?://(?:www|storage)\.googleapis\.com/storage/v1/b/([^/]+)/o/(.+)",
        r"gs://([^/]+)/(.+)",
    ):
        if found := re.fullmatch(pattern, source):
            return found[1], unquote(found[2])
    raise invalid(
        f"Invalid value for field 'resource.rawDisk.source': '{source}'. "
        "The URL is malformed. It must be of the form https://storage.googleapis.com/BUCKET/OBJECT."
    )


_sizes: dict[tuple[str, int], int] = {}
"""Archives that have been read: unpacking a gigabyte takes seconds."""


def disk_size(archive: Path, checksum: str) -> int:
    """The size, in bytes, of the disk in an archive that Compute Engine imports: a gzipped tar (of
    old GNU format; sparse or not) with ``disk.raw``, a whole number of GiB. Raises Unusable."""
    known = (checksum, archive.stat().st_size)
    if known in _sizes:
        return _sizes[known]
    try:
        with gzip.open(archive) as unzipped:
            with tarfile.open(fileobj=unzipped, mode="r|") as tar:
                members = [(each.name, each.size, each.isreg()) for each in tar]
            while unzipped.read(1 << 20):  # to the end: there is the checksum
                pass
    except (OSError, EOFError, tarfile.TarError, ValueError) as error:
        raise Unusable(f"The tar archive is not a valid image: {error}") from None
    if len(members) != 1 or members[0][0] != "disk.raw" or not members[0][2]:
        raise Unusable(
            "The tar archive is not a valid image: it must contain disk.raw, and nothing else.",
        )
    size = members[0][1]
    if size == 0 or size % GIB:
        raise Unusable(f"The disk's size, {size}, is not a whole number of GB.")
    _sizes[known] = size
    return size
