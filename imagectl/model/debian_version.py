"""The order of Debian's package versions, as dpkg has it (deb-version(7))."""

from __future__ import annotations

import re

Key = tuple[int, tuple[tuple[tuple[int, ...], int], ...], tuple[tuple[tuple[int, ...], int], ...]]

_PART = re.compile(r"([^0-9]*)([0-9]*)")


def version_order(version: str) -> Key:
    """A value that sorts as *version* does. Versions that are equal to dpkg have equal values.

    Any text has one; of what is not a version, nothing is promised about its place.
    """
    epoch, colon, rest = version.partition(":")
    if not colon or not (epoch.isascii() and epoch.isdecimal()):
        epoch, rest = "0", version
    upstream, hyphen, revision = rest.rpartition("-")
    if not hyphen:
        upstream, revision = rest, ""
    return int(epoch), _parts(upstream), _parts(revision)


def _parts(text: str) -> tuple[tuple[tuple[int, ...], int], ...]:
    """The text cut into pieces of other characters and numbers, in turn."""
    found = [
        ((*map(_weight, letters), 0), int(digits or 0))
        for letters, digits in _PART.findall(text)
        if letters or digits
    ]
    end = ((0,), 0)
    return (*(found or [end]), end)  # nothing and `0` are equal


def _weight(character: str) -> int:
    """``~`` sorts before the end of the text, which is 0; letters before everything else."""
    if character == "~":
        return -1
    return ord(character) if character.isascii() and character.isalpha() else ord(character) + 256
