"""The members of a canonical tar one at a time, in memory that does not grow with the tree.

Only what ``archive.encode_header`` writes is understood; for any other tar there is
``archive.TarSource``, which must remember every path it has seen.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from imagectl.adapters.disk.archive import BLOCK
from imagectl.adapters.disk.tree import CHUNK, Entry, Kind
from imagectl.errors import Corrupt

_KINDS = {
    b"0": Kind.FILE,
    b"1": Kind.FILE,
    b"2": Kind.SYMLINK,
    b"3": Kind.CHARACTER,
    b"4": Kind.BLOCK,
    b"5": Kind.DIRECTORY,
    b"6": Kind.FIFO,
}
_LINK, _EXTENDED = b"1", b"x"
_XATTR = b"SCHILY.xattr."
_RECORD = re.compile(rb"(\d{1,9}) ([^=]+)=")


@dataclass(frozen=True, slots=True)
class Member:
    """An entry with the place of its content in the tar, in bytes. ``link_to``: the first path of
    this hard-linked file, where it is another."""

    entry: Entry
    link_to: bytes | None
    offset: int


def read_members(file: BinaryIO, path: Path) -> Iterator[Member]:
    """Every member, in the order of their paths. *path* is what an error names.

    Raises Corrupt where the tar is not canonical, damaged, or ends early.
    """
    offset = 0
    before: bytes | None = None
    length = os.fstat(file.fileno()).st_size

    def broken(why: str) -> Corrupt:
        return Corrupt("the canonical tar is damaged", where=str(path), why=f"{why}, byte {offset}")

    while True:
        header = os.pread(file.fileno(), BLOCK, offset)
        if header == bytes(BLOCK):
            return
        records: dict[bytes, bytes] = {}
        try:
            if _typeflag(header) == _EXTENDED:
                size = _octal(header[124:136])
                records = _records(os.pread(file.fileno(), size, offset + BLOCK))
                offset += BLOCK + _padded(size)
                header = os.pread(file.fileno(), BLOCK, offset)
            entry, link_to = _entry(header, records)
        except (ValueError, IndexError, KeyError):
            raise broken("a header cannot be read") from None
        if before is not None and entry.path <= before:
            raise broken("paths are not in their order")
        before = entry.path
        yield Member(entry, link_to, offset + BLOCK)
        offset += BLOCK + _padded(entry.size)
        if offset > length:
            raise broken("it ends within a file")


def read_content(file: BinaryIO, member: Member, start: int = 0) -> Iterator[bytes]:
    """The content of a member from byte *start* on, in chunks, shorter where the tar ends early."""
    while start < member.entry.size:
        wanted = min(CHUNK, member.entry.size - start)
        chunk = os.pread(file.fileno(), wanted, member.offset + start)
        if not chunk:
            return
        yield chunk
        start += len(chunk)


def find_members(
    file: BinaryIO, path: Path, wanted: Callable[[Member], bool]
) -> dict[bytes, Member]:
    """The members that are *wanted*, by their paths; hard links with the content of their first.

    Errors are those of ``read_members``.
    """
    found = {member.entry.path: member for member in read_members(file, path) if wanted(member)}
    firsts = {each.link_to for each in found.values() if each.link_to is not None}
    if firsts:
        there = {
            each.entry.path: each for each in read_members(file, path) if each.entry.path in firsts
        }
        for name, member in found.items():
            if member.link_to is not None:
                first = there[member.link_to]
                entry = replace(first.entry, path=name)
                found[name] = Member(entry, member.link_to, first.offset)
    return found


def _padded(size: int) -> int:
    return size + -size % BLOCK


def _typeflag(header: bytes) -> bytes:
    """What a header is of. Raises ValueError where its checksum is wrong."""
    if len(header) != BLOCK:
        raise ValueError("no whole header")
    if sum(header[:148]) + 8 * 0x20 + sum(header[156:]) != _octal(header[148:156]):
        raise ValueError("a wrong checksum")
    return header[156:157]


def _octal(field: bytes) -> int:
    return int(field.rstrip(b"\0 "), 8)


def _records(body: bytes) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(body):
        match = _RECORD.match(body, at)
        if match is None:
            raise ValueError("no record")
        end = at + int(match[1])
        if not match.end() < end <= len(body) or body[end - 1 : end] != b"\n":
            raise ValueError("a record of the wrong length")
        found[match[2]] = body[match.end() : end - 1]
        at = end
    return found


def _entry(header: bytes, records: dict[bytes, bytes]) -> tuple[Entry, bytes | None]:
    flag = _typeflag(header)
    kind = _KINDS[flag]
    name = records.get(b"path", header[:100].rstrip(b"\0"))
    link = records.get(b"linkpath", header[157:257].rstrip(b"\0"))
    if not name.startswith(b"./"):
        raise ValueError("a path that is not canonical")

    def number(keyword: bytes, field: bytes) -> int:
        return int(records[keyword]) if keyword in records else _octal(field)

    device = (0, 0)
    if kind in (Kind.CHARACTER, Kind.BLOCK):
        device = (_octal(header[329:337]), _octal(header[337:345]))
    entry = Entry(
        path=name[2:].rstrip(b"/") if kind is Kind.DIRECTORY else name[2:],
        kind=kind,
        mode=_octal(header[100:108]),
        uid=number(b"uid", header[108:116]),
        gid=number(b"gid", header[116:124]),
        mtime=_octal(header[136:148]),
        size=number(b"size", header[124:136]) if flag == b"0" else 0,
        target=link if kind is Kind.SYMLINK else b"",
        device=device,
        xattrs=tuple(
            sorted(
                (
                    keyword.removeprefix(_XATTR).replace(b"%3D", b"=").replace(b"%25", b"%"),
                    value,
                )
                for keyword, value in records.items()
                if keyword.startswith(_XATTR)
            )
        ),
    )
    return entry, link.removeprefix(b"./") if flag == _LINK else None
