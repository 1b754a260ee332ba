"""What a client is told: an answer that can be the same again, and the headers that it has.

An answer is its status, body, type and the place that it redirects to; no other header gets
through. Bodies of answers other than 200 are not kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urljoin

from imagectl.adapters.inputs.debian import Place
from imagectl.adapters.inputs.upstream import Head
from imagectl.model.names import Sha256


@dataclass(frozen=True, slots=True)
class Answer:
    """``sha256`` and ``size`` are its body's."""

    status: int
    sha256: Sha256
    size: int
    content_type: str = ""
    location: str = ""


def headers_of(answer: Answer, url: str = "", first: bytes = b"") -> dict[str, str]:
    """What a client is told of an answer. The same for the same bytes, always.

    A server that compresses although nobody asked for it is common for text that is stored
    compressed: a client must be told. The bytes show it, so it need not be written down.
    """
    text = answer.content_type.partition(";")[0].strip().lower()
    compressed = (
        first.startswith(b"\x1f\x8b")
        and (text.startswith("text/") or text.endswith(("json", "xml", "javascript")))
        and not url.partition("?")[0].endswith(("gz", ".Z"))
    )
    return {
        "Content-Type": answer.content_type,
        "Content-Encoding": "gzip" if compressed else "",
        "Location": answer.location,
        "Accept-Ranges": "none",
    }


def type_of(place: Place) -> str:
    """The type of an archive's file, whatever its mirror says; empty for anything else."""
    if isinstance(place, str):
        return ""
    return "text/plain" if place.path.endswith("Release") else "application/octet-stream"


def location_of(url: str, head: Head) -> str:
    """Where the answer that came from *url* redirects to; empty where it does not."""
    return urljoin(url, head.location) if head.location else ""
