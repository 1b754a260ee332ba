"""What apt's indexes say, and which URLs are files of a Debian archive.

An archive's file is the same on every mirror, so it is known by its path in the archive. What is
elsewhere is known by its URL.

A Packages index is kept uncompressed in a temporary file that has no name, and only where its
stanzas are is in memory: bookworm's ``main`` has 47 MB of text and 63,000 stanzas, of which a build
needs a few hundred.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import lzma
import mmap
import re
import shutil
import tempfile
import threading
import urllib.parse
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from imagectl.model.lock import Archive, Package
from imagectl.model.names import Sha256, parse_sha256

CHUNK = 1 << 20

_DEFAULT_PORTS = {"http": 80, "https": 443}
_UNSAFE = re.compile(r"[^\x21-\x7e]")
_LONGEST = 8000
"""Characters of a URL that a lock can hold: servers refuse longer ones."""

# What Debian allows (policy 5.6), and what a lock can hold.
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]*\Z")
_VERSION = re.compile(r"[A-Za-z0-9.+~:-]+\Z")
_ARCHITECTURE = re.compile(r"[a-z0-9][a-z0-9-]*\Z")


@dataclass(frozen=True, slots=True)
class Archived:
    """A file of a Debian archive. ``path`` is relative to the archive, not percent-encoded."""

    archive: Archive
    path: str

    @property
    def is_index(self) -> bool:
        """Whether apt reads it to learn what there is."""
        return self.path.startswith("dists/")


Place = Archived | str
"""What an answer is known by: a file of an archive, or a URL in its one normal spelling."""

Root = Archive | str
"""What the paths in an index are relative to: an archive, or a URL without a slash at its end."""


@dataclass(frozen=True, slots=True)
class Vouched:
    """What an index says of a file. ``size`` in bytes; ``by`` is the index, for messages."""

    sha256: Sha256
    size: int
    by: str


class Mirrors:
    """Tells which URLs are files of an archive. ``addresses``: those that will be asked for."""

    def __init__(self, addresses: Mapping[Archive, str]) -> None:
        self._addresses = {archive: normal(url).rstrip("/") for archive, url in addresses.items()}
        longest_first = sorted(self._addresses.items(), key=lambda pair: -len(pair[1]))
        self._prefixes = [
            (_without_scheme(address) + "/", archive) for archive, address in longest_first
        ]

    def place(self, url: str) -> Place:
        """What the answer to *url* is known by. Raises ValueError where it is no URL."""
        url = normal(url)
        rest = _without_scheme(url)
        for prefix, archive in self._prefixes:
            if rest.startswith(prefix):
                path = urllib.parse.unquote(rest.removeprefix(prefix))
                path = re.sub("/+", "/", path.lstrip("/"))
                if _is_plain(path) and "?" not in rest:
                    return Archived(archive, path)
        return url

    def url(self, place: Place) -> str:
        """The URL that stands for it in locks and messages."""
        if isinstance(place, str):
            return place
        return below(self._addresses[place.archive], place.path)


def below(address: str, path: str) -> str:
    """The URL of an archive's file on the mirror at *address*."""
    return f"{address.rstrip('/')}/{urllib.parse.quote(path, safe='/+~:=@!,()')}"


def normal(url: str) -> str:
    """One spelling for equal URLs: scheme and host in lower case, no default port, no fragment.

    Raises ValueError where it is not an http or https URL with a host.
    """
    parts = urllib.parse.urlsplit(_UNSAFE.sub(lambda match: urllib.parse.quote(match[0]), url))
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"{url[:200]!r} is not an http or https URL")
    if len(url) > _LONGEST:
        raise ValueError(f"a URL of {len(url):,} characters; {_LONGEST:,} are let through")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if parts.port not in (None, _DEFAULT_PORTS[parts.scheme]):
        host += f":{parts.port}"
    return urllib.parse.urlunsplit((parts.scheme, host, parts.path or "/", parts.query, ""))


def _without_scheme(url: str) -> str:
    return url.partition("://")[2]


def _is_plain(path: str) -> bool:
    """Whether a lock can name it by its path, and no other path is the same file."""
    odd = not path.isprintable() or "\\" in path or path.startswith("~") or len(path) > 1000
    return not odd and not any(part in ("", ".", "..") for part in path.split("/"))


class Indexes:
    """What the indexes that a build was given say of other files.

    Packages indexes are read in the background; whoever asks for a package waits for those that
    were given before. An index that cannot be read says nothing: whether it is sound is apt's to
    tell. ``folder`` has room for the uncompressed indexes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="indexes")
        self._lock = threading.Lock()
        self._listed: dict[tuple[Root, str], Vouched] = {}
        self._original_names: dict[tuple[Root, str], str] = {}
        self._packages: list[tuple[Root, Future[_PackagesIndex | None]]] = []

    def learn(self, place: Place, file: Path) -> None:
        """Read the file, if it is an index of a kind that names other files."""
        split = _split_index(place)
        if split is None:
            return
        root, path = split
        folder, _, name = path.rpartition("/")
        if name in ("InRelease", "Release"):
            self._learn_release(root, folder, file, path)
            return
        with self._lock:
            name = self._original_names.get(split, name)
            if name in _OPENERS:
                reading = self._pool.submit(_read_packages, file, name, self._folder, path)
                self._packages.append((root, reading))

    def says(self, place: Place) -> Vouched | None:
        """What is known of a file: of an index by its Release file, of a package by its index."""
        split = _split_index(place)
        if split is not None:
            with self._lock:
                return self._listed.get(split)
        stanza = self._stanza(place)
        return stanza.vouched if stanza is not None else None

    def package(self, place: Archived) -> Package | None:
        """The package that the file is, where an index names it."""
        stanza = self._stanza(place)
        if stanza is None:
            return None
        return Package(
            name=stanza.name,
            version=stanza.version,
            architecture=stanza.architecture,
            archive=place.archive,
            path=place.path,
            sha256=stanza.vouched.sha256,
            size=stanza.vouched.size,
        )

    def close(self) -> None:
        """Give back the temporary files."""
        self._pool.shutdown(cancel_futures=True)
        for _, reading in self._packages:
            if not reading.cancelled() and (index := reading.result()) is not None:
                index.close()

    def _learn_release(self, root: Root, folder: str, file: Path, by: str) -> None:
        listed = list(_listed_in_release(file, by))
        with self._lock:
            for path, vouched in listed:
                full = f"{folder}/{path}"
                parent, _, name = full.rpartition("/")
                by_hash = f"{parent}/by-hash/SHA256/{vouched.sha256}"
                self._listed[root, full] = self._listed[root, by_hash] = vouched
                self._original_names[root, by_hash] = name

    def _stanza(self, place: Place) -> _Stanza | None:
        if not _text(place).endswith((".deb", ".udeb")):
            return None
        with self._lock:
            indexes = list(self._packages)
        for root, reading in indexes:
            path = _below(place, root)
            if path is not None and (index := reading.result()) is not None:
                found = index.find(path)
                if found is not None:
                    return found
        return None


def _text(place: Place) -> str:
    return place if isinstance(place, str) else place.path


def _split_index(place: Place) -> tuple[Root, str] | None:
    """The root and the path below it of what apt reads to learn what there is."""
    if isinstance(place, Archived):
        return (place.archive, place.path) if place.is_index else None
    root, found, path = place.rpartition("/dists/")
    return (root, f"dists/{urllib.parse.unquote(path)}") if found else None


def _below(place: Place, root: Root) -> str | None:
    """The file's path below *root*; None where it is not below it."""
    if isinstance(place, Archived):
        return place.path if place.archive is root else None
    if isinstance(root, Archive) or not place.startswith(root + "/"):
        return None
    return urllib.parse.unquote(place.removeprefix(root + "/"))


_RELEASE_LINE = re.compile(r"\s+([0-9a-f]{64})\s+([0-9]{1,15})\s+(\S+)\s*\Z")


def _listed_in_release(file: Path, by: str) -> Iterator[tuple[str, Vouched]]:
    """The files listed under ``SHA256:`` in a Release or InRelease file."""
    inside = False
    with file.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if not line[:1].isspace():
                inside = line.rstrip() == "SHA256:"
            elif inside and (match := _RELEASE_LINE.match(line)):
                yield match[3], Vouched(Sha256(match[1]), int(match[2]), by)


@dataclass(frozen=True, slots=True)
class _Stanza:
    name: str
    version: str
    architecture: str
    vouched: Vouched


class _PackagesIndex:
    """A Packages index, uncompressed, and where in it each file's stanza is."""

    _FILE = b"\nFilename: "

    def __init__(self, file: IO[bytes], by: str) -> None:
        self._by = by
        self._file = file
        self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._lock = threading.Lock()
        self._places = dict(self._find_files())

    def find(self, path: str) -> _Stanza | None:
        """The stanza of the file at *path*, below the index's root."""
        at = self._places.get(path.encode())
        if at is None:
            return None
        start = self._data.rfind(b"\n\n", 0, at) + 1
        end = self._data.find(b"\n\n", at)
        text = self._data[start : end if end >= 0 else len(self._data)].decode(errors="replace")
        fields = dict(re.findall(r"^([A-Za-z0-9-]+):[ \t]*(.*?)[ \t]*$", text, re.MULTILINE))
        name, version = fields.get("Package", ""), fields.get("Version", "")
        architecture = fields.get("Architecture", "")
        sound = (
            _PACKAGE.match(name) and _VERSION.match(version) and _ARCHITECTURE.match(architecture)
        )
        if not sound:
            return None
        try:
            vouched = Vouched(parse_sha256(fields["SHA256"]), int(fields["Size"]), self._by)
        except (KeyError, ValueError):
            return None  # an index without what we need names nothing
        return _Stanza(name, version, architecture, vouched)

    def close(self) -> None:
        self._data.close()
        self._file.close()

    def _find_files(self) -> Iterator[tuple[bytes, int]]:
        at = 0
        while (at := self._data.find(self._FILE, at)) >= 0:
            start = at + len(self._FILE)
            end = self._data.find(b"\n", start)
            end = end if end >= 0 else len(self._data)
            yield self._data[start:end].strip().removeprefix(b"./"), at
            at = end


def _open_gzip(path: Path) -> IO[bytes]:
    return io.BufferedReader(gzip.open(path))  # whoever asked closes it


_OPENERS: Mapping[str, Callable[[Path], IO[bytes]]] = {
    "Packages": lambda path: path.open("rb"),
    "Packages.gz": _open_gzip,
    "Packages.xz": lzma.open,
}
"""How the kinds of Packages indexes are read. apt asks for the smallest that there is."""


def _read_packages(file: Path, name: str, folder: Path, by: str) -> _PackagesIndex | None:
    with contextlib.ExitStack() as undo:
        plain = undo.enter_context(tempfile.TemporaryFile(dir=folder))
        try:
            with _OPENERS[name](file) as compressed:
                shutil.copyfileobj(compressed, plain, CHUNK)
            plain.flush()
            index = _PackagesIndex(plain, by)
        except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error):
            return None
        undo.pop_all()
        return index
