"""Python's and Node's packages in a tree that Debian's package manager did not install."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from imagectl.adapters.disk.tree import Entry, Kind
from imagectl.adapters.inside.dpkg import owned
from imagectl.adapters.inside.tree import Tree, readable
from imagectl.model.contents import LanguagePackage

_PYTHON = re.compile(
    rb"(?P<folder>.*(?:site|dist)-packages)/(?P<name>[^/]+)\.(?:dist-info/METADATA|egg-info|"
    rb"egg-info/PKG-INFO)"
)
_NODE = re.compile(rb"(?P<folder>.*node_modules)/(?P<name>(?:@[^/]+/)?[^/]+)/package\.json")


def pip_packages(tree: Tree) -> tuple[LanguagePackage, ...]:
    """What pip, or a tool like it, has installed, sorted.

    By the metadata beside the modules: see "Recording installed projects" in Python's packaging
    specifications.
    """
    found = set()
    for entry, match in _matching(tree, _PYTHON, b"-packages/"):
        fields = _header(tree.text_of(entry))
        name = fields.get("name") or readable(match["name"]).partition("-")[0]
        version = fields.get("version", "")
        found.add(LanguagePackage(name, "/" + readable(match["folder"]), version))
    return tuple(sorted(found))


def npm_packages(tree: Tree) -> tuple[LanguagePackage, ...]:
    """What npm, or a tool like it, has installed, sorted."""
    found = set()
    for entry, match in _matching(tree, _NODE, b"node_modules/"):
        version = _node_version(tree.text_of(entry))
        name, folder = readable(match["name"]), "/" + readable(match["folder"])
        found.add(LanguagePackage(name, folder, version))
    return tuple(sorted(found))


def _matching(
    tree: Tree, pattern: re.Pattern[bytes], part: bytes
) -> Iterator[tuple[Entry, re.Match[bytes]]]:
    debians = owned(tree, part)
    for path, entry in tree.entries.items():
        if entry.kind is not Kind.FILE or part not in path:
            continue
        match = pattern.fullmatch(path)
        if match and path not in debians:
            yield entry, match


def _header(text: str) -> dict[str, str]:
    """The fields of Python's core metadata, which is written as an e-mail's header is."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if not line.strip():
            break
        name, colon, value = line.partition(":")
        if colon and not line[0].isspace():
            found.setdefault(name.strip().lower(), value.strip())
    return found


def _node_version(text: str) -> str:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    version = document.get("version") if isinstance(document, dict) else None
    return version if isinstance(version, str) else ""
