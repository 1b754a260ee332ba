"""Any source of entries -> the canonical tar, the identity of an image's contents (P9).

The same files give the same bytes, whatever made them and in whatever order they came:

- paths in byte order, a folder always before what is in it;
- modification times in whole seconds, none before 1970 or after the epoch;
- owners by number; extended attributes kept, sorted;
- a hard-linked file has its content at its first path, the others link there;
- volatile paths dropped, emptied or rewritten (``rules``).

Memory holds the entries (about 150 bytes each), never their content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from imagectl.adapters.disk import archive
from imagectl.adapters.disk.files import HashedWriter, whole_file
from imagectl.adapters.disk.members import read_members
from imagectl.adapters.disk.packed import SortedEntries
from imagectl.adapters.disk.rules import Action, Rule, compile_rules, rewrite
from imagectl.adapters.disk.tree import CanonicalTree, Entry, Kind, Source, display
from imagectl.errors import Corrupt
from imagectl.model.names import Sha256


@dataclass(frozen=True, slots=True)
class Settled:
    """An entry as it will be in the tree.

    ``source``: the entry that has the content, None where there is none. ``replaced``: content
    that stands in for the source's. ``link_to``: the first path of this hard-linked file.
    """

    entry: Entry
    source: Entry | None = None
    replaced: bytes | None = None
    link_to: bytes | None = None


def write_tree(source: Source, rules: Sequence[Rule], epoch: int, out: Path) -> CanonicalTree:
    """Write the canonical tar of *source* to *out*. ``epoch`` in seconds since 1970.

    Raises Corrupt where the source does not hold together: a path twice, a file whose folder is
    missing, content that is not as long as it says.
    """
    entries = SortedEntries(source)
    count = 0
    with (
        whole_file(out, need=entries.content + 2 * archive.BLOCK * len(entries)) as unfinished,
        unfinished.open("wb", buffering=0) as file,
        HashedWriter(file) as writer,
    ):
        for settled in settle(entries, source, rules, epoch):
            count += 1
            for chunk in _encode(source, settled):
                writer.write(chunk)
        writer.write(archive.END)
    return CanonicalTree(out, writer.sha256, writer.size, count)


def describe_tree(path: Path) -> CanonicalTree:
    """A canonical tar that is already there. Raises Corrupt where it is not a tar."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        count = sum(1 for _ in read_members(file, path))
    return CanonicalTree(path, Sha256(digest), path.stat().st_size, count)


def _encode(source: Source, settled: Settled) -> Iterator[bytes]:
    yield archive.encode_header(settled.entry, settled.link_to)
    if settled.link_to is None:
        yield from content_of(source, settled)
        yield archive.padding(settled.entry.size)


def content_of(source: Source, settled: Settled) -> Iterator[bytes]:
    """The content of a settled entry: exactly as many bytes as it says, or Corrupt."""
    if settled.replaced is not None:
        yield settled.replaced
    elif settled.source is not None:
        left = settled.entry.size
        for chunk in source.content(settled.source):
            left -= len(chunk)
            yield chunk
        if left:
            raise Corrupt(
                f"{display(settled.entry.path)} is not as long as its {settled.entry.size} bytes"
            )


def settle(
    entries: SortedEntries, source: Source, rules: Sequence[Rule], epoch: int
) -> Iterator[Settled]:
    """The entries of *source* in canonical order, as they will be. See ``write_tree``."""
    rule_of = compile_rules(rules)
    first_paths: dict[int, bytes] = {}
    folders: set[bytes] = set()
    dropped: set[bytes] = set()
    before: bytes | None = None
    for entry in entries:
        path = entry.path
        if path == before:
            raise Corrupt(f"{display(path)} is there twice")
        before = path
        parent = path.rpartition(b"/")[0]
        if path and parent in dropped:
            if entry.kind is Kind.DIRECTORY:
                dropped.add(path)
            continue
        _check_place(entry, parent, folders)
        rule = rule_of(path) if path else None
        if rule is not None and rule.action in (Action.DROP, Action.FIRST_BOOT):
            if entry.kind is Kind.DIRECTORY:
                dropped.add(path)
            continue
        if entry.kind is Kind.DIRECTORY:
            folders.add(path)
        kept = entry
        if not 0 <= entry.mtime <= epoch or len(entry.xattrs) > 1:
            kept = replace(
                entry, mtime=max(0, min(entry.mtime, epoch)), xattrs=tuple(sorted(entry.xattrs))
            )
        if entry.kind is Kind.FILE and rule is not None:
            if rule.action is Action.EMPTY:
                yield Settled(replace(kept, size=0, mtime=epoch))
            else:
                text = rewrite(rule, b"".join(source.content(entry)))
                yield Settled(replace(kept, size=len(text)), replaced=text)
            continue
        if entry.kind is Kind.DIRECTORY:
            yield Settled(kept)
            continue
        first = path
        if entry.inode in entries.shared:
            first = first_paths.setdefault(entry.inode, path)
        yield Settled(
            kept,
            source=entry if entry.kind is Kind.FILE else None,
            link_to=first if first != path else None,
        )


def _check_place(entry: Entry, parent: bytes, folders: set[bytes]) -> None:
    """Raise Corrupt unless the entry is in a folder, which was itself checked, by a good name."""
    if not entry.path:
        if entry.kind is not Kind.DIRECTORY:
            raise Corrupt("the root of the tree is not a folder")
    elif entry.path.rpartition(b"/")[2] in (b"", b".", b".."):
        raise Corrupt(f"{display(entry.path)} is not a path that a file system can have")
    elif parent not in folders:
        raise Corrupt(f"{display(entry.path)} is not in a folder")
