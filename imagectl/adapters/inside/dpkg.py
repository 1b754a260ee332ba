"""dpkg's database in a tree: which Debian packages are installed, and which paths are theirs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from imagectl.adapters.inside.tree import Tree
from imagectl.model.contents import DebianPackage, SourcePackage

STATUS = b"var/lib/dpkg/status"
STATUS_FOLDER = b"var/lib/dpkg/status.d/"
"""Where images that were made without dpkg have one file for each package."""

_BUILT_USING = re.compile(r"(\S+)\s+\(=\s*(\S+?)\s*\)")
_SOURCE = re.compile(r"(\S+)(?:\s+\((\S+)\))?\s*\Z")


def status_text(tree: Tree) -> str:
    """The stanzas of all installed packages, as one status file of dpkg's."""
    return "".join(f"{stanza}\n\n" for stanza in _installed(tree))


def debian_packages(tree: Tree) -> tuple[DebianPackage, ...]:
    """The installed packages, sorted."""
    return tuple(sorted(_package(fields(stanza)) for stanza in _installed(tree)))


def owned(tree: Tree, part: bytes) -> frozenset[bytes]:
    """The paths with *part* in them that dpkg has installed."""
    found = set()
    for entry in tree.matching("var/lib/dpkg/info/*.list"):
        for line in b"".join(tree.content(entry)).splitlines():
            if part in line:
                found.add(line.strip(b"/"))
    return frozenset(found)


def fields(stanza: str) -> Mapping[str, str]:
    """The fields of a stanza by their names in lower case; lines that continue one are added."""
    found: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line[:1] in (" ", "\t"):
            found[name] = f"{found.get(name, '')}\n{line[1:]}"
        else:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            found[name] = value.strip()
    return found


def _installed(tree: Tree) -> Iterator[str]:
    """A stanza for each installed package, sorted by nothing."""
    for stanza in _stanzas(tree.text(STATUS)):
        status = fields(stanza).get("status", "").split()
        if status[-1:] == ["installed"]:
            yield stanza
    for path, entry in tree.entries.items():
        if path.startswith(STATUS_FOLDER) and not path.endswith(b".md5sums"):
            for stanza in _stanzas(tree.text(entry.path)):
                found = fields(stanza)
                if "package" in found:
                    yield stanza if "status" in found else f"Status: install ok installed\n{stanza}"


def _stanzas(text: str) -> Iterator[str]:
    for stanza in re.split(r"\n(?:[ \t]*\n)+", text.strip("\n")):
        if stanza.strip():
            yield stanza.strip("\n")


def _package(found: Mapping[str, str]) -> DebianPackage:
    name, version = found.get("package", ""), found.get("version", "")
    match = _SOURCE.match(found.get("source", ""))
    source, source_version = match.groups() if match else (None, None)
    used = _BUILT_USING.findall(found.get("built-using", ""))
    return DebianPackage(
        name,
        found.get("architecture", ""),
        version,
        SourcePackage(source or name, source_version or version),
        tuple(sorted(SourcePackage(*each) for each in used)),
    )
