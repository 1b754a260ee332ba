"""Tar files: the canonical encoding that we write, and a reader for any tar.

The encoding is our own, byte for byte, so that no library's next version changes the identity of
an image: POSIX pax headers, only where the old header cannot say it, records sorted by keyword; no
user or group names; hard links name their first path. Values are POSIX.1-2001; extended attributes
are ``SCHILY.xattr.*`` as GNU tar, star and libarchive write them.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from imagectl.adapters.disk.tree import CHUNK, Entry, Kind, zeros
from imagectl.errors import Corrupt

BLOCK = 512
END = bytes(2 * BLOCK)
"""What a tar ends with."""

_TYPES = {
    Kind.FILE: b"0",
    Kind.SYMLINK: b"2",
    Kind.CHARACTER: b"3",
    Kind.BLOCK: b"4",
    Kind.DIRECTORY: b"5",
    Kind.FIFO: b"6",
}
_KINDS = {
    tarfile.REGTYPE: Kind.FILE,
    tarfile.AREGTYPE: Kind.FILE,
    tarfile.GNUTYPE_SPARSE: Kind.FILE,
    tarfile.CONTTYPE: Kind.FILE,
    tarfile.SYMTYPE: Kind.SYMLINK,
    tarfile.CHRTYPE: Kind.CHARACTER,
    tarfile.BLKTYPE: Kind.BLOCK,
    tarfile.DIRTYPE: Kind.DIRECTORY,
    tarfile.FIFOTYPE: Kind.FIFO,
}
_XATTR = "SCHILY.xattr."


def encode_header(entry: Entry, link_to: bytes | None = None) -> bytes:
    """The header of one entry; as a hard link to the path *link_to* where that is given."""
    name = b"./" + entry.path + (b"/" if entry.kind is Kind.DIRECTORY and entry.path else b"")
    link = b"./" + link_to if link_to is not None else entry.target
    size = entry.size if link_to is None else 0
    records: dict[bytes, bytes] = {}
    for keyword, value in ((b"path", name), (b"linkpath", link)):
        if len(value) > 100:
            records[keyword] = value
            if not _is_utf8(value):
                records[b"hdrcharset"] = b"BINARY"
    numbers = {b"uid": (entry.uid, 8), b"gid": (entry.gid, 8), b"size": (size, 12)}
    for keyword, (number, width) in numbers.items():
        if number >= 8 ** (width - 1):
            records[keyword] = b"%d" % number
    if link_to is None:
        for attribute, value in entry.xattrs:
            records[_XATTR.encode() + _escape(attribute)] = value
    header = _ustar(
        name[:100],
        entry.mode,
        0 if b"uid" in records else entry.uid,
        0 if b"gid" in records else entry.gid,
        0 if b"size" in records else size,
        entry.mtime,
        b"1" if link_to is not None else _TYPES[entry.kind],
        link[:100],
        entry.device,
    )
    if not records:
        return header
    body = b"".join(_record(keyword, records[keyword]) for keyword in sorted(records))
    extended = _ustar(b"./PaxHeaders", 0o644, 0, 0, len(body), entry.mtime, b"x", b"", (0, 0))
    return extended + body + padding(len(body)) + header


def padding(size: int) -> bytes:
    """The zeros that follow *size* bytes of content."""
    return bytes(-size % BLOCK)


def _escape(attribute: bytes) -> bytes:
    """A name that may stand before a ``=``, as GNU tar writes it."""
    return attribute.replace(b"%", b"%25").replace(b"=", b"%3D")


def _unescape(attribute: bytes) -> bytes:
    return attribute.replace(b"%3D", b"=").replace(b"%25", b"%")


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _record(keyword: bytes, value: bytes) -> bytes:
    rest = b" " + keyword + b"=" + value + b"\n"
    length = len(rest)
    while length != len(rest) + len(b"%d" % length):
        length = len(rest) + len(b"%d" % length)
    return b"%d" % length + rest


def _ustar(
    name: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    typeflag: bytes,
    link: bytes,
    device: tuple[int, int],
) -> bytes:
    before = b"%s%07o\0%07o\0%07o\0%011o\0%011o\0" % (
        name.ljust(100, b"\0"),
        mode,
        uid,
        gid,
        size,
        mtime,
    )
    after = b"%s%sustar\x0000%s%07o\0%07o\0%s" % (
        typeflag,
        link.ljust(100, b"\0"),
        bytes(64),
        device[0],
        device[1],
        bytes(167),
    )
    checksum = sum(before) + 8 * 0x20 + sum(after)
    return before + b"%06o\0 " % checksum + after


class TarSource:
    """An uncompressed tar file. Later entries replace earlier ones of the same path, as in any tar.

    A context manager: it holds the file open.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb")
        self._members: dict[int, tarfile.TarInfo] = {}

    def __enter__(self) -> TarSource:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def entries(self) -> Iterator[Entry]:
        found: dict[bytes, Entry] = {}
        self._file.seek(0)
        try:
            with tarfile.open(
                fileobj=self._file, mode="r:", encoding="utf-8", errors="surrogateescape"
            ) as archive:
                for number, member in enumerate(archive):
                    path = _path(member.name)
                    if member.islnk():
                        found[path] = self._linked(path, member, found)
                        continue
                    self._members[number] = member
                    found[path] = _entry(path, member, number)
                end = os.pread(self._file.fileno(), BLOCK, archive.offset)
        except tarfile.TarError as error:
            raise Corrupt("the tar cannot be read", where=str(self._path), why=str(error)) from None
        if end != bytes(BLOCK):  # tarfile takes a broken header for the end
            raise Corrupt(
                "the tar is damaged", where=str(self._path), why=f"after {len(found)} entries"
            )
        yield from found.values()

    def content(self, entry: Entry) -> Iterator[bytes]:
        member = self._members[entry.inode]
        sparse = cast("list[tuple[int, int]] | None", member.sparse)  # typeshed has it as bytes
        runs = sparse if sparse is not None else [(0, member.size)]
        position, stored = 0, member.offset_data
        for offset, length in runs:
            if not length:
                continue  # GNU's table is filled up with empty runs
            yield from zeros(offset - position)
            for start in range(stored, stored + length, CHUNK):
                chunk = os.pread(self._file.fileno(), min(CHUNK, stored + length - start), start)
                if not chunk:
                    raise Corrupt("the tar ends early", where=str(self._path))
                yield chunk
            position, stored = offset + length, stored + length
        yield from zeros(entry.size - position)

    def _linked(self, path: bytes, member: tarfile.TarInfo, found: dict[bytes, Entry]) -> Entry:
        first = found.get(_path(member.linkname))
        if first is None:
            raise Corrupt(
                f"{member.name} is a hard link to {member.linkname}, which is not there",
                where=str(self._path),
            )
        return Entry(
            path=path,
            kind=first.kind,
            mode=first.mode,
            uid=first.uid,
            gid=first.gid,
            mtime=first.mtime,
            size=first.size,
            target=first.target,
            device=first.device,
            xattrs=first.xattrs,
            inode=first.inode,
        )


def _path(name: str) -> bytes:
    raw = name.encode("utf-8", "surrogateescape")
    return b"/".join(part for part in raw.split(b"/") if part not in (b"", b"."))


def _entry(path: bytes, member: tarfile.TarInfo, number: int) -> Entry:
    kind = _KINDS.get(member.type)
    if kind is None:
        raise Corrupt(f"{member.name} is of the unknown kind {member.type!r}")
    xattrs = sorted(
        (
            _unescape(keyword.removeprefix(_XATTR).encode("utf-8", "surrogateescape")),
            value.encode("utf-8", "surrogateescape"),
        )
        for keyword, value in member.pax_headers.items()
        if keyword.startswith(_XATTR)
    )
    is_device = kind in (Kind.CHARACTER, Kind.BLOCK)
    return Entry(
        path=path,
        kind=kind,
        mode=member.mode & 0o7777,
        uid=member.uid,
        gid=member.gid,
        mtime=int(member.mtime // 1),
        size=member.size if kind is Kind.FILE else 0,
        target=member.linkname.encode("utf-8", "surrogateescape") if kind is Kind.SYMLINK else b"",
        device=(member.devmajor, member.devminor) if is_device else (0, 0),
        xattrs=tuple(xattrs),
        inode=number,
    )
