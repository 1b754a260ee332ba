"""What is asked over HTTP and what is answered: conditions, parts and compression (RFC 9110).

Promises: a body and the headers that speak of it belong together; whoever has it already is not
sent it again. Pure.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

METHODS = "GET, HEAD, OPTIONS"
"""What can be asked for anything here."""

WORTHWHILE = 860
"""In bytes: less fits into one packet, compressed or not."""

OPEN: tuple[tuple[str, str], ...] = (
    ("access-control-allow-origin", "*"),
    ("access-control-expose-headers", "ETag, Content-Range, Retry-After"),
    ("x-content-type-options", "nosniff"),
    ("server", "imagectl"),
)
"""Headers of every answer. All that is served is public: pages of any site may read it."""

_RANGE = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))\Z")


class Headers(Protocol):
    """The headers of a request, by their names in small letters."""

    def get(self, key: str, /) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked. ``path`` is decoded, ``query`` is not."""

    method: str
    path: str
    query: str
    headers: Headers


@dataclass(frozen=True, slots=True)
class Part:
    """Some bytes of a file: from ``start`` to before ``end``."""

    path: Path
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered. Where ``body`` is a part of a file, the server sends it from there."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes | Part = b""


@dataclass(frozen=True, slots=True)
class Body:
    """A representation that can be asked for again and again, and its forms.

    ``etag`` is without quotes. *weak*: bytes may differ that mean the same. Forms are made once,
    each with the headers that go with it.
    """

    plain: bytes
    etag: str
    content_type: str
    cache_control: str
    weak: bool = False
    forms: Mapping[str, tuple[bytes, list[tuple[str, str]]]] = field(init=False)

    def __post_init__(self) -> None:
        made = {"": self.plain}
        if len(self.plain) >= WORTHWHILE:
            for encoding, data in (("gzip", _gzip(self.plain)), ("zstd", _zstd(self.plain))):
                if len(data) < len(self.plain) * 0.9:
                    made[encoding] = data
        varies = len(made) > 1
        forms = {
            encoding: (data, self._headers(encoding, data, varies))
            for encoding, data in made.items()
        }
        object.__setattr__(self, "forms", forms)

    @property
    def weight(self) -> int:
        """In bytes, with all its forms."""
        return sum(len(data) for data, _ in self.forms.values())

    def _headers(self, encoding: str, data: bytes, varies: bool) -> list[tuple[str, str]]:
        headers = [
            ("content-type", self.content_type),
            ("content-length", str(len(data))),
            ("etag", self.tag(encoding)),
            ("cache-control", self.cache_control),
            ("accept-ranges", "none" if self.weak else "bytes"),
            *OPEN,
        ]
        if encoding:
            headers.append(("content-encoding", encoding))
        if varies:
            headers.append(("vary", "accept-encoding"))
        return headers

    def tag(self, encoding: str) -> str:
        """The ETag of one form: those of two forms differ, since their bytes do."""
        tag = f'"{self.etag}-{encoding}"' if encoding else f'"{self.etag}"'
        return f"W/{tag}" if self.weak else tag

    def reply(self, request: Request) -> Reply:
        """The answer to a GET or HEAD: all of it, a part, or that it has not changed."""
        get = request.headers.get
        wanted = get("range") if request.method == "GET" and not self.weak else None
        encoding = ""
        if wanted is None and len(self.forms) > 1:
            encoding = choose_encoding(get("accept-encoding") or "", self.forms)
        data, headers = self.forms[encoding]
        known = get("if-none-match")
        if known is not None and matches(known, self.tag(encoding)):
            return Reply(304, without(headers, "content-length", "content-type"))
        span = part_wanted(request, wanted, self.tag(""), len(data))
        if span is not None:
            status, headers = in_part(headers, len(data), span)
            return Reply(status, headers, data[span[0] : span[1]])
        return Reply(200, headers, b"" if request.method == "HEAD" else data)


def in_part(
    headers: list[tuple[str, str]], size: int, span: tuple[int, int]
) -> tuple[int, list[tuple[str, str]]]:
    """Status and headers for the part *span* of a body of *size* bytes, or for that there is none;
    *headers* are those of all of it."""
    start, end = span
    rest = without(headers, "content-length")
    if start >= end:
        said = [("content-length", "0"), ("content-range", f"bytes */{size}")]
        return 416, [*without(rest, "content-type"), *said]
    said = [
        ("content-length", str(end - start)),
        ("content-range", f"bytes {start}-{end - 1}/{size}"),
    ]
    return 206, [*rest, *said]


def without(headers: list[tuple[str, str]], *names: str) -> list[tuple[str, str]]:
    """The headers but for those named."""
    return [each for each in headers if each[0] not in names]


def matches(known: str, tag: str) -> bool:
    """Whether *tag* is one of those in an If-None-Match (which compares weakly)."""
    if known.strip() == "*":
        return True
    bare = tag.removeprefix("W/")
    return any(each.strip().removeprefix("W/") == bare for each in known.split(","))


def part_wanted(
    request: Request, wanted: str | None, tag: str, size: int
) -> tuple[int, int] | None:
    """The part that the Range *wanted* asks for; None where all is to be sent. An If-Range says of
    which bytes it is a part."""
    of = request.headers.get("if-range")
    if wanted is None or (of is not None and of.strip() != tag):
        return None
    return read_range(wanted, size)


def read_range(text: str, size: int) -> tuple[int, int] | None:
    """Where the part begins, and before which byte it ends; (size, size) where there is none.

    None where the header is none that is known here, such as several parts: all is sent then.
    """
    found = _RANGE.match(text.strip())
    if found is None:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        return max(0, size - int(suffix)), size
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        return size, size
    return start, min(int(last) + 1, size) if last else size


def choose_encoding(accepted: str, there: Mapping[str, object]) -> str:
    """Which encoding to send: the smallest of those that are accepted; ``""`` for none."""
    refused: set[str] = set()
    named: set[str] = set()
    for each in accepted.lower().split(","):
        name, _, quality = each.partition(";")
        zero = re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", quality)
        (refused if zero else named).add(name.strip())
    for encoding in ("zstd", "gzip"):
        if encoding in there and encoding not in refused and (encoding in named or "*" in named):
            return encoding
    return ""


def _gzip(data: bytes) -> bytes:
    packing = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packing.compress(data) + packing.flush()


def _zstd(data: bytes) -> bytes:
    # 17 % smaller than gzip for an index, which is mostly digests.
    import zstandard

    return zstandard.ZstdCompressor(12).compress(data)
