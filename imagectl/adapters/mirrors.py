"""Where Debian packages come from: the mirror that this machine itself is set up with.

No address is written down here. Only Debian's own entries count: other repositories that happen
to be configured are never handed on to an image.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from imagectl.errors import NotFound
from imagectl.model.lock import Archive

_CODENAME = re.compile(r"(?:[a-z]+)(?P<pocket>-updates|-security|/updates)?\Z")
_DEBIAN_KEYS = "debian-archive-"
_ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s*(.*)")


@dataclass(frozen=True, slots=True)
class Mirror:
    """Addresses of the archive and, where known, of the security archive; no slash at the end."""

    archive: str
    security: str | None

    @staticmethod
    def of(addresses: Mapping[Archive, str]) -> Mirror:
        """From what a lock says, which always has the archive itself."""
        return Mirror(addresses[Archive.DEBIAN], addresses.get(Archive.SECURITY))

    def addresses(self) -> dict[Archive, str]:
        """As a lock says it."""
        found = {Archive.DEBIAN: self.archive}
        if self.security is not None:
            found[Archive.SECURITY] = self.security
        return found


@dataclass(frozen=True, slots=True)
class _Entry:
    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str | None


def host_mirror(
    etc_apt: Path = Path("/etc/apt"), os_release: Path = Path("/etc/os-release")
) -> Mirror:
    """The mirror in apt's configuration. Raises NotFound where there is no Debian entry."""
    suites = {"stable", "oldstable", "testing", _codename(os_release)} - {""}
    archive: str | None = None
    security: str | None = None
    for entry in _entries(etc_apt):
        match = _CODENAME.match(entry.suite)
        if not match or "main" not in entry.components or not _is_debians(entry, suites):
            continue
        uri = entry.uri.rstrip("/")
        if match["pocket"] in ("-security", "/updates"):
            security = security or uri
        else:
            archive = archive or uri
    if archive is None:
        raise NotFound(
            "no Debian mirror was found in apt's configuration",
            where=str(etc_apt),
            why="no entry there is signed by Debian's archive keys and has `main` of this release",
            hint="name one in imagectl.yaml: `mirror: {debian: URL, security: URL}`",
        )
    return Mirror(archive, security)


def _is_debians(entry: _Entry, suites: set[str]) -> bool:
    if not re.match(r"https?://", entry.uri):
        return False
    if entry.signed_by is not None:
        return _DEBIAN_KEYS in entry.signed_by
    return re.split(r"[-/]", entry.suite)[0] in suites


def _codename(os_release: Path) -> str:
    if os_release.exists():
        for line in os_release.read_text().splitlines():
            key, _, value = line.partition("=")
            if key == "VERSION_CODENAME":
                return value.strip().strip('"')
    return ""


def _entries(etc_apt: Path) -> Iterator[_Entry]:
    """Every binary source, in the order that apt reads them."""
    parts = etc_apt / "sources.list.d"
    files = [etc_apt / "sources.list", *(sorted(parts.iterdir()) if parts.is_dir() else [])]
    for file in files:
        if not file.is_file():
            continue
        if file.suffix == ".list":
            yield from _one_line_style(file.read_text(errors="replace"))
        elif file.suffix == ".sources":
            yield from _deb822_style(file.read_text(errors="replace"))


def _one_line_style(text: str) -> Iterator[_Entry]:
    for line in text.splitlines():
        match = _ONE_LINE.match(line.partition("#")[0].strip())
        if match:
            options = dict(
                option.split("=", 1) for option in (match["options"] or "").split() if "=" in option
            )
            yield _Entry(
                match["uri"], match["suite"], tuple(match[4].split()), options.get("signed-by")
            )


def _deb822_style(text: str) -> Iterator[_Entry]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        fields: dict[str, str] = {}
        key = ""
        for line in stanza.splitlines():
            if line[:1].isspace():
                fields[key] = f"{fields.get(key, '')} {line.strip()}"
            else:
                key, _, value = line.partition(":")
                key = key.strip().lower()
                fields[key] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled") == "no":
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield _Entry(
                    uri, suite, tuple(fields.get("components", "").split()), fields.get("signed-by")
                )
