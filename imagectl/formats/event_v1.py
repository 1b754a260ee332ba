"""Version 1 of events, as imagectl wrote them before there were locks.

A version has always a tree, and no origin. Such events are read, and can be written again as they
were, which is how reading proves that a text is the one that writing gives. New ones are of
version 2.
"""

from __future__ import annotations

from imagectl.formats import event_parts as parts
from imagectl.formats.event_parts import Fields
from imagectl.model.version import Version


def write_version(version: Version) -> dict[str, object]:
    """Raises ValueError for what version 1 has no words for."""
    if version.tree is None or version.origin is not None or version.inside is not None:
        raise ValueError("an event of version 1 cannot say how a version was made")
    return {**parts.write_version(version), "tree": parts.write_tree(version.tree)}


def read_version(fields: Fields) -> Version:
    return parts.read_version(fields, tree=parts.read_tree(fields.inner("tree")))
