"""Why the content of a file differs between two builds, as far as a look at it can tell.

Each cause is a place in a known format, or a kind of word in a line of text, that tools fill with
the time, with chance, or with what they happened to see first. What is not recognised is said to be
unknown, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

AROUND = 512
"""How many bytes on either side of the first difference are looked at."""

HEAD = 512
"""How many bytes of a file's beginning are looked at."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What is known of one file's difference: bytes around ``offset``, the first that differs,
    of both sides, from ``start`` on; and the beginning of the first."""

    path: bytes
    offset: int
    start: int
    head: bytes
    one: bytes
    other: bytes

    @property
    def before(self) -> bytes:
        """What both have just before the difference."""
        return self.one[: self.offset - self.start]


@dataclass(frozen=True, slots=True)
class Cause:
    """What differs, in words, and what to type into the task that makes the file; empty where
    nothing can be typed there."""

    what: str
    fix: str = ""


def cause_of(sample: Sample, host: str = "") -> Cause | None:
    """Why the file differs; None where that is not recognised. *host*: a name to look for."""
    for recognise in _FORMATS:
        cause = recognise(sample)
        if cause is not None:
            return cause
    return _in_text(sample, host)


def _gzip(sample: Sample) -> Cause | None:
    if not sample.head.startswith(b"\x1f\x8b"):
        return None
    if 4 <= sample.offset < 8:
        return Cause("gzip's time stamp", "gzip -n")
    if sample.offset == 8 or sample.offset == 9:
        return Cause("gzip's note of its level and system", "gzip -n -9")
    return Cause("what is inside of the gzip file", "diffoscope shows it")


def _pyc(sample: Sample) -> Cause | None:
    if not sample.path.endswith(b".pyc") or len(sample.head) < 16:
        return None
    by_time = not int.from_bytes(sample.head[4:8], "little") & 1
    if by_time and 8 <= sample.offset < 12:
        return Cause(
            "the time of its source, in the header of compiled Python",
            "python3 -m compileall --invalidation-mode checked-hash FOLDER",
        )
    if 4 <= sample.offset < 16:
        return Cause(
            "the header of compiled Python",
            "python3 -m compileall --invalidation-mode checked-hash FOLDER",
        )
    if re.search(rb"/tmp/|/pip-", sample.one):
        return Cause(
            "the name of a temporary folder, in compiled Python",
            "pip install --no-compile ..., then: python3 -m compileall -s FOLDER FOLDER",
        )
    return Cause("the code in compiled Python", "find FOLDER -name __pycache__ -exec rm -r {} +")


_BUILD_ID = re.compile(rb"\x04\0\0\0[\x08-\x20]\0\0\0\x03\0\0\0GNU\0[^\0]?.{0,31}\Z", re.DOTALL)


def _elf(sample: Sample) -> Cause | None:
    if not sample.head.startswith(b"\x7fELF"):
        return None
    if _BUILD_ID.search(sample.before):
        return Cause(
            "the build id of a program", "gcc -Wl,--build-id=none -ffile-prefix-map=$PWD=."
        )
    return Cause("the code of a program", "gcc -ffile-prefix-map=$PWD=. -frandom-seed=0")


def _sqlite(sample: Sample) -> Cause | None:
    if not sample.head.startswith(b"SQLite format 3\0"):
        return None
    if 24 <= sample.offset < 28 or 92 <= sample.offset < 96:
        return Cause("the change counter of an SQLite database")
    return Cause("what is in an SQLite database")


def _zip(sample: Sample) -> Cause | None:
    if not sample.head.startswith(b"PK\x03\x04"):
        return None
    entry = max(sample.before.rfind(b"PK\x03\x04"), sample.before.rfind(b"PK\x01\x02"))
    if entry >= 0:
        # The time and date of an entry: PKWARE's APPNOTE, 4.3.7 and 4.3.12.
        at = len(sample.before) - entry - (2 if sample.before[entry + 2] == 1 else 0)
        if 10 <= at < 14:
            return Cause("the time of a file in a zip or jar", "strip-nondeterminism FILE")
    return Cause("what is in a zip or jar", "strip-nondeterminism FILE")


def _ar(sample: Sample) -> Cause | None:
    if not sample.head.startswith(b"!<arch>\n"):
        return None
    return Cause("a time or an owner in a static library", "ar crD LIBRARY.a ...")


def _tar(sample: Sample) -> Cause | None:
    if sample.head[257:262] != b"ustar":
        return None
    if sample.offset < 512 and 136 <= sample.offset < 156:
        what = "the time of a file in a tar"
    else:
        what = "what is in a tar"
    return Cause(
        what, "tar --sort=name --mtime=@$SOURCE_DATE_EPOCH --owner=0 --group=0 --numeric-owner"
    )


def _berkeley(sample: Sample) -> Cause | None:
    # Berkeley DB's magic numbers, of hash and btree, are at byte 12 (magic(5)).
    if sample.head[12:16] in (b"\x61\x15\x06\0", b"\x62\x31\x05\0"):
        return Cause("the id of a Berkeley DB file, which is random")
    return None


def _keys(sample: Sample) -> Cause | None:
    if b"-----BEGIN " in sample.head and (
        b"KEY-----" in sample.head or b"CERTIFICATE-----" in sample.head
    ):
        return Cause("a key or a certificate, which is made of random numbers")
    if sample.head.startswith((b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")):
        return Cause("a Java key store, which has the times of its entries and a salt")
    return None


_FORMATS: tuple[Callable[[Sample], Cause | None], ...] = (
    _gzip,
    _pyc,
    _elf,
    _sqlite,
    _zip,
    _ar,
    _tar,
    _berkeley,
    _keys,
)

_DAY = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTH = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_CLOCK = rb"\d\d:\d\d:\d\d(?:\.\d+)?"
_ZONE = rb"(?: ?(?:Z|UTC|GMT|[+-]\d\d:?\d\d))?"

_WORDS: tuple[tuple[str, re.Pattern[bytes], str], ...] = (
    (
        "a time",
        re.compile(
            rb"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?" + _ZONE + rb")?"
            rb"|" + _DAY + rb",? \d{1,2} " + _MONTH + rb" \d{4}(?: " + _CLOCK + _ZONE + rb")?"
            rb"|" + _DAY + rb" " + _MONTH + rb" +\d{1,2} " + _CLOCK + rb"(?: [A-Z]{3,4})? \d{4}"
            rb"|\b" + _CLOCK + rb"\b"
            rb"|\b1[5-9]\d{8}(?:\d{3}|\d{6}|\d{9}|\.\d+)?\b"
        ),
        "date -u -d @$SOURCE_DATE_EPOCH",
    ),
    (
        "a random id",
        re.compile(rb"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"),
        "",
    ),
    ("a random number or a digest", re.compile(rb"\b[0-9a-fA-F]{16,}\b"), ""),
    ("the name of a temporary folder or file", re.compile(rb"/(?:var/)?tmp/[^\s\"':]+"), ""),
    ("random text, such as a password or a salt", re.compile(rb"[A-Za-z0-9+/_$.=-]{24,}"), ""),
    ("the number of a process, or a count", re.compile(rb"\b\d+\b"), ""),
)


def _in_text(sample: Sample, host: str) -> Cause | None:
    at = sample.offset - sample.start
    one, other = _line(sample.one, at), _line(sample.other, at)
    if not (_is_text(one) and _is_text(other)):
        return None
    if host and (host.encode() in one) != (host.encode() in other):
        return Cause("the name of the machine that it was built on")
    for what, pattern, fix in _WORDS:
        # Where the lines are the same but for words of this kind, that is the difference.
        if pattern.sub(b"\0", one) == pattern.sub(b"\0", other):
            return Cause(what, fix)
    return None


def _line(window: bytes, at: int) -> bytes:
    start = window.rfind(b"\n", 0, at) + 1
    end = window.find(b"\n", at)
    return window[start : end if end >= 0 else len(window)]


def _is_text(line: bytes) -> bool:
    return bool(line) and not any(byte < 0x20 and byte not in (0x09, 0x0D) for byte in line)
