"""Patterns of paths inside an image, as rules for volatile paths are written.

A pattern has no leading slash. ``*`` and ``?`` stop at a slash, ``**`` does not, ``[a-z]`` is one
of these, and ``{a,b}`` is either. Paths are bytes: a file system knows no encoding.
"""

from __future__ import annotations

import re
import warnings

_TOKENS = {"**": ".*", "*": "[^/]*", "?": "[^/]", "{": "(?:", ",": "|", "}": ")"}


def to_regex(pattern: str) -> bytes:
    """The regular expression of a pattern, without groups. Raises ValueError.

    It is for ``fullmatch``, with ``re.DOTALL``: names may hold newlines.
    """
    parts: list[str] = []
    rest = pattern
    depth = 0
    while rest:
        token = next((token for token in _TOKENS if rest.startswith(token)), rest[0])
        rest = rest[len(token) :]
        if token == "[":
            end = rest.find("]")
            if end < 1:
                raise ValueError(f"{pattern!r}: `[` without `]`")
            parts.append(f"[{re.escape(rest[:end]).replace(chr(92) + '-', '-')}]")
            rest = rest[end + 1 :]
            continue
        depth += {"{": 1, "}": -1}.get(token, 0)
        if depth not in (0, 1):
            raise ValueError(f"{pattern!r}: braces do not match")
        if token == "," and not depth:
            parts.append(",")
        else:
            parts.append(_TOKENS.get(token) or re.escape(token))
    if depth:
        raise ValueError(f"{pattern!r}: braces do not match")
    return _checked(pattern, "".join(parts).encode())


def _checked(pattern: str, regex: bytes) -> bytes:
    try:
        re.compile(regex, re.DOTALL)
    except re.error as error:
        raise ValueError(f"{pattern!r}: {error.msg}") from None
    return regex


def is_condition(pattern: str) -> bool:
    """Whether systemd, on a running machine, can be asked if anything matches: it has globs without
    ``**`` (glob(7)), and knows whether one folder is empty, which is ``folder/**``."""
    folder = pattern.removesuffix("/**")
    return "**" not in folder and (folder == pattern or not any(each in folder for each in "*?[{"))


def to_edit(find: str, replace: str) -> tuple[re.Pattern[bytes], bytes]:
    """What an edit of a file's text looks for, line by line, and what takes its place.

    Both as in Python's ``re``: ``\\1`` in *replace* is what the first group matched. Raises
    ValueError.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a later Python may read differently
            pattern = re.compile(find.encode(), re.MULTILINE)
    except (re.error, RecursionError, OverflowError) as error:
        said = error.msg if isinstance(error, re.error) else str(error)
        raise ValueError(f"{find!r} is not a regular expression: {said}") from None
    try:
        pattern.sub(replace.encode(), b"")  # a template is read before anything is matched
    except (re.error, IndexError) as error:
        said = error.msg if isinstance(error, re.error) else str(error)
        raise ValueError(f"{replace!r} cannot take its place: {said}") from None
    return pattern, replace.encode()
