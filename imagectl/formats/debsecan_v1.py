"""Debian's security data as debsecan reads it: the documents ``release/1/SUITE``.

A zlib stream of UTF-8 text: ``VERSION 1``; a line ``NAME,,DESCRIPTION`` for each vulnerability; an
empty line; a line ``PACKAGE,INDEX,FLAGS,UNSTABLE,OTHERS`` for each package that has one, where
INDEX counts the lines above from 0; an empty line; and lines about which binary packages there
still are, which are not needed here. The four flags: ``S`` or blank, a source package, ``B`` a
binary one; urgency ``H``, ``M``, ``L`` or blank; ``R`` remote, blank not, ``?`` not known; ``F``
fixed in the suite. This is what debsecan 0.4 reads, and what Debian's security tracker writes
(``calculateDebsecan1`` in its ``security_db.py``).

Half of a document is never taken for a whole one: that would look like a version without flaws
(P8). The text itself does not say which suite it is about, nor of when it is.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from imagectl.errors import CannotTell
from imagectl.model.security import Urgency, Weakness

MOST_BYTES = 1 << 29
"""Of text; in 2025 it had some 30 MB."""

_URGENCIES = {"H": Urgency.HIGH, "M": Urgency.MEDIUM, "L": Urgency.LOW, " ": Urgency.UNASSIGNED}
_REMOTE = {"R": True, " ": False, "?": None}
_FIXED = {"F": True, " ": False}


def parse_security(data: bytes, where: str) -> Mapping[str, tuple[Weakness, ...]]:
    """The weaknesses of each package. Raises CannotTell, naming *where* it was read, for anything
    that is not a whole document with something in it."""
    try:
        return _weaknesses(_text(data))
    except (ValueError, KeyError, IndexError, zlib.error) as wrong:
        raise CannotTell(
            "the security data cannot be used",
            where=where,
            why=str(wrong) if isinstance(wrong, ValueError) else f"it is damaged: {wrong}",
            hint="`imagectl scan --fetch` gets it anew",
        ) from None


def _text(data: bytes) -> str:
    stream = zlib.decompressobj()
    text = stream.decompress(data, MOST_BYTES)
    if stream.unconsumed_tail:
        raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
    if not stream.eof:
        raise ValueError("it is truncated")
    if stream.unused_data:
        raise ValueError("something follows after its end")
    return text.decode("utf-8")


def _weaknesses(text: str) -> Mapping[str, tuple[Weakness, ...]]:
    heading, _, rest = text.partition("\n")
    if heading != "VERSION 1":
        raise ValueError(f"its format is not known: it begins with {heading[:40]!r}")
    names_text, blank, rest = rest.partition("\n\n")
    packages_text, second_blank, _ = rest.partition("\n\n")
    if not (blank and second_blank and names_text and packages_text and text.endswith("\n")):
        raise ValueError("a part of it is missing or empty")
    names = [line.split(",", 2) for line in names_text.split("\n")]
    found: dict[str, list[Weakness]] = {}
    for number, line in enumerate(packages_text.split("\n"), start=1):
        try:
            package, index, flags, unstable, others = line.split(",", 4)
            if not index.isdecimal():
                raise ValueError(index)
            name, _, description = names[int(index)]
            kind, urgency, remote, fixed = tuple(flags)
            weakness = Weakness(
                name=name,
                package=package,
                binary={"S": False, " ": False, "B": True}[kind],
                urgency=_URGENCIES[urgency],
                remote=_REMOTE[remote],
                fixed=_FIXED[fixed],
                unstable=unstable,
                others=tuple(others.split()),
                description=description,
            )
        except (ValueError, KeyError, IndexError):
            raise ValueError(f"line {number} of its packages is {line[:80]!r}") from None
        found.setdefault(package, []).append(weakness)
    return {package: tuple(each) for package, each in found.items()}
