"""Debian's security data in the format that it is served in, made by hand."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from imagectl.formats.security_v1 import Note, write_note
from imagectl.model.names import Sha256

CVES = (
    "CVE-2026-0001,,a heap overflow, with a comma",
    "CVE-2026-0002,,nobody has judged it",
    "CVE-2026-0003,,of the kernel",
    "CVE-2026-0004,,long since fixed",
    "CVE-2026-0005,,of a mail server",
)


def document(vulnerabilities: Sequence[str], packages: Sequence[str]) -> str:
    """The text, put together as Debian's tracker does it."""
    sources = ["glibc,libc6 libc-bin", "gone,"]
    return "\n".join(["VERSION 1", *vulnerabilities, "", *packages, "", *sources, ""])


DATA = document(
    CVES,
    [
        "exim4,4,SM  ,,",
        "glibc,0,SHRF,2.41-1,2.31-13+deb11u12 2.36-9+deb12u11",
        "glibc,3,SHRF,2.30-1,",
        "linux,2,SL F,6.12-1,6.1.133-1",
        "linux-signed-amd64,3,SH F,6.0,",
        "nginx,1,S ? ,,1.18.0-6.1+deb11u4",
        "vim,0,SH F,,",
    ],
)
"""What ``support.systems.DPKG`` has: four vulnerabilities."""


def packed(text: str) -> bytes:
    """As it is served."""
    return zlib.compress(text.encode())


def snapshot(folder: Path, suite: str, data: str | bytes, taken: datetime) -> Path:
    """A folder as ``imagectl scan --fetch`` keeps it; the data's file."""
    raw = packed(data) if isinstance(data, str) else data
    folder.mkdir(parents=True, exist_ok=True)
    sha256 = Sha256(hashlib.sha256(raw).hexdigest())
    path = folder / f"{suite}-{sha256}.debsecan"
    path.write_bytes(raw)
    note = Note(suite, taken.replace(microsecond=0), f"mirror.example/{suite}", path.name, sha256)
    (folder / f"{suite}.json").write_text(write_note(note))
    return path
