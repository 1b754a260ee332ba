"""In what two canonical trees differ, path by path, and what to type about it (P9).

Both tars are walked side by side in the order of their paths, so memory does not grow with them;
content is read only where sizes are equal or the difference is to be shown. The same two trees give
the same answer.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from imagectl.adapters import process
from imagectl.adapters.disk.causes import AROUND, HEAD, Cause, Sample, cause_of
from imagectl.adapters.disk.members import Member, read_content, read_members
from imagectl.adapters.disk.tree import Kind, display
from imagectl.errors import ToolMissing, ToolTimedOut
from imagectl.services.ports.looking_inside import REST, Difference
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.workspaces import Workspace

SHOWN = 100
"""How many differences are told one by one."""

SMALL = 1 << 20
"""Files up to this many bytes are looked at whole, for lines in another order."""

DIFFOSCOPE_SECONDS = 300.0
DIFFOSCOPE_SIZE = 256 << 20
"""Larger files are not given to diffoscope: it takes many times their size in memory."""

EXCERPT = 8
"""How many bytes of each side are shown."""

ROLES = (
    (re.compile(rb"etc/ssl/(?:certs|private)/ssl-cert-snakeoil\."), "first_boot_snakeoil"),
    (re.compile(rb"(?:var/lib|etc)/postgresql(?:-common)?/"), "first_boot_postgresql"),
    (re.compile(rb"var/lib/mysql(?:/|\Z)"), "first_boot_mariadb"),
    (re.compile(rb"etc/aliases\.db\Z|var/lib/postfix/"), "first_boot_postfix"),
    (re.compile(rb"etc/ssl/certs/java/cacerts\Z"), "first_boot_java_cacerts"),
)
"""Paths for which a role that imagectl brings moves what is random to the first boot."""

Pair = tuple[Member | None, Member | None]
Told = tuple[str, str]
"""How something differs, and what to do about it."""


class TreeComparer:
    """Implements ``services.ports.Comparer``. ``host``: the name of this machine."""

    def __init__(self, host: str = "") -> None:
        self._host = host or platform.node()

    def compare(
        self, one: Path, other: Path, work: Workspace, progress: Progress
    ) -> tuple[Difference, ...]:
        """See the port. Where more than ``SHOWN`` paths differ, the last difference counts the
        rest. Where diffoscope is installed, its report on the first file with other content is in
        the build log. Raises Corrupt where one is no canonical tar."""
        progress.step("comparing the file trees")
        found = _Found()
        with one.open("rb") as left, other.open("rb") as right:
            for pair in _pairs(read_members(left, one), read_members(right, other)):
                self._look(pair, (left, right), found)
            if found.first is not None:
                _ask_diffoscope(found.first, (left, right), work, progress)
        return found.differences()

    def _look(self, pair: Pair, files: tuple[BinaryIO, BinaryIO], found: _Found) -> None:
        one, other = pair
        if one is None or other is None:
            found.only(one, other)
            return
        told = _metadata(one, other)
        if _has_content(one) and _has_content(other):
            if not found.room and one.entry.size != other.entry.size:
                found.more += 1
                return
            offset = _first_difference(one, other, files)
            if offset is not None:
                found.first = found.first or (one, other)
                told.insert(0, self._content(one, other, offset, files))
        if told:
            found.differs(one.entry.path, told)

    def _content(
        self, one: Member, other: Member, offset: int, files: tuple[BinaryIO, BinaryIO]
    ) -> Told:
        """How the content of a file differs, and what to do."""
        start = max(0, offset - AROUND)
        windows = [_part(files[0], one, start), _part(files[1], other, start)]
        sample = Sample(
            path=one.entry.path,
            offset=offset,
            start=start,
            head=_part(files[0], one, 0, HEAD),
            one=windows[0],
            other=windows[1],
        )
        cause = cause_of(sample, self._host)
        if _same_lines(one, other, files):
            cause = Cause("the same lines in another order", "LC_ALL=C sort")
        sizes = {one.entry.size, other.entry.size}
        size = " and ".join(f"{each.entry.size}" for each in (one, other)[: len(sizes)])
        at = offset - start
        shown = " / ".join(_excerpt(window[at : at + EXCERPT]) for window in windows)
        what = f" ({cause.what})" if cause is not None else ""
        return f"content from byte {offset} of {size}{what}: {shown}", _advice(sample.path, cause)


@dataclass(slots=True)
class _Only:
    """A path that only one tree has, with all that is below it there."""

    path: bytes
    kind: Kind
    first: bool
    below: int = 0

    def difference(self) -> Difference:
        which = "first" if self.first else "second"
        more = f" with {self.below} more below it" if self.below else ""
        return Difference(
            display(self.path),
            f"a {self.kind.value} that only the {which} tree has{more}",
            _advice(self.path, None),
        )


@dataclass(slots=True)
class _Found:
    """What was found so far: at most ``SHOWN`` in detail, the rest counted."""

    shown: list[_Only | Difference] = field(default_factory=list)
    more: int = 0
    first: tuple[Member, Member] | None = None
    _folders: dict[bytes, _Only] = field(default_factory=dict)

    @property
    def room(self) -> bool:
        return len(self.shown) < SHOWN

    def only(self, one: Member | None, other: Member | None) -> None:
        member = one or other
        assert member is not None
        path, kind = member.entry.path, member.entry.kind
        top = self._folders.get(path.rpartition(b"/")[0]) if path else None
        if top is not None:
            top.below += 1
        elif self.room:
            top = _Only(path, kind, one is not None)
            self.shown.append(top)
        else:
            self.more += 1
        if top is not None and kind is Kind.DIRECTORY:
            self._folders[path] = top

    def differs(self, path: bytes, told: Sequence[Told]) -> None:
        """The advice is that on the first of them, which explains the others best."""
        if self.room:
            detail = "; ".join(detail for detail, _ in told)
            self.shown.append(Difference(display(path), detail, told[0][1]))
        else:
            self.more += 1

    def differences(self) -> tuple[Difference, ...]:
        told = tuple(each.difference() if isinstance(each, _Only) else each for each in self.shown)
        if not self.more:
            return told
        rest = Difference(REST, f"and {self.more} more paths differ", "")
        return (*told, rest)


def _pairs(one: Iterator[Member], other: Iterator[Member]) -> Iterator[Pair]:
    """The members of both, by their paths."""
    left, right = next(one, None), next(other, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left.entry.path < right.entry.path):
            yield left, None
            left = next(one, None)
        elif left is None or right.entry.path < left.entry.path:
            yield None, right
            right = next(other, None)
        else:
            yield left, right
            left, right = next(one, None), next(other, None)


def _has_content(member: Member) -> bool:
    return member.entry.kind is Kind.FILE and member.link_to is None


def _metadata(one: Member, other: Member) -> list[Told]:
    """How two members of one path differ, but for content."""
    left, right = one.entry, other.entry
    path, quoted = left.path, _shell(left.path)
    rule = _advice(path, None)
    if left.kind is not right.kind:
        return [(f"a {left.kind.value} / a {right.kind.value}", rule)]
    told: list[Told] = []
    if one.link_to != other.link_to:
        links = [
            f"hard link to {display(each.link_to)}" if each.link_to is not None else "no hard link"
            for each in (one, other)
        ]
        told.append((" / ".join(links), rule))
    elif one.link_to is not None:
        return []  # all else of it is told at its first path
    if left.target != right.target:
        told.append((f"target {display(left.target)} / {display(right.target)}", rule))
    if left.device != right.device:
        told.append((f"device {left.device} / {right.device}", rule))
    if left.mode != right.mode:
        told.append(
            (
                f"mode {left.mode:04o} / {right.mode:04o}",
                f'fix the task that makes it, such as: mode: "{left.mode:04o}"',
            )
        )
    if (left.uid, left.gid) != (right.uid, right.gid):
        told.append(
            (
                f"owner {left.uid}:{left.gid} / {right.uid}:{right.gid}",
                "give its user and group fixed numbers, in a task before what makes them: "
                f"user: {{name: ..., uid: {left.uid}, system: true}}",
            )
        )
    if left.xattrs != right.xattrs:
        names = sorted({name for name, _ in set(left.xattrs) ^ set(right.xattrs)})
        shown = ", ".join(name.decode("utf-8", "backslashreplace") for name in names)
        told.append(
            (
                f"extended attributes {shown}",
                f"fix the task that sets them; to see them: getfattr -d -m - {quoted}",
            )
        )
    if left.mtime != right.mtime:
        told.append(
            (
                f"modified at {left.mtime} / {right.mtime}",
                f"fix the task that makes it: touch -h -d @$SOURCE_DATE_EPOCH {quoted}",
            )
        )
    return told


def _first_difference(one: Member, other: Member, files: tuple[BinaryIO, BinaryIO]) -> int | None:
    """The first byte that differs; None where both are the same."""
    offset = 0
    chunks = zip(read_content(files[0], one), read_content(files[1], other), strict=False)
    for left, right in chunks:
        if left != right:
            return offset + _common(left, right)
        offset += len(left)
    return None if one.entry.size == other.entry.size else offset


def _common(left: bytes, right: bytes) -> int:
    """How many bytes both begin with."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _part(file: BinaryIO, member: Member, start: int, length: int = 2 * AROUND) -> bytes:
    wanted = max(0, min(length, member.entry.size - start))
    return os.pread(file.fileno(), wanted, member.offset + start)


def _same_lines(one: Member, other: Member, files: tuple[BinaryIO, BinaryIO]) -> bool:
    if one.entry.size != other.entry.size or one.entry.size > SMALL:
        return False
    left, right = (
        b"".join(read_content(file, member)).split(b"\n")
        for file, member in ((files[0], one), (files[1], other))
    )
    return len(left) > 2 and sorted(left) == sorted(right)


def _excerpt(part: bytes) -> str:
    """A few bytes as hexadecimal and, where they can be seen, as text."""
    if not part:
        return "nothing"
    text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in part)
    return f"{part.hex(' ')} |{text}|"


def _advice(path: bytes, cause: Cause | None) -> str:
    """What to do about a file that differs: a task's mending, a role, a rule; to be typed."""
    for pattern, role in ROLES:
        if pattern.match(path):
            return f"have it made at first boot, in image.yaml: provision: {{roles: [..., {role}]}}"
    reason = cause.what if cause is not None else "differs from build to build"
    action = "empty" if path.startswith(b"var/log/") else "drop"
    rule = (
        f"volatile: [{{path: {json.dumps(pattern_of(path), ensure_ascii=False)}, "
        f"action: {action}, reason: {json.dumps(reason)}}}]"
    )
    if cause is not None and cause.fix:
        return f"fix the task that makes it: {cause.fix}; or, in image.yaml: {rule}"
    return f"fix the task that makes it, or, in image.yaml: {rule}"


def pattern_of(path: bytes) -> str:
    """A rule's path that matches *path*, and no others where a pattern can say it."""
    special = {"*": "[*]", "?": "[?]", "[": "[[]", "{": "[{]", "}": "[}]"}
    parts = []
    for each in path.decode("utf-8", "surrogateescape"):
        if each.isprintable() and each != "\\":
            parts.append(special.get(each, each))
        else:  # what no definition may hold, or is not UTF-8: any bytes take its place
            parts.append("?" * len(each.encode("utf-8", "surrogateescape")))
    return "".join(parts)


def _shell(path: bytes) -> str:
    return shlex.quote("/" + path.decode("utf-8", "backslashreplace"))


def _ask_diffoscope(
    pair: tuple[Member, Member],
    files: tuple[BinaryIO, BinaryIO],
    work: Workspace,
    progress: Progress,
) -> None:
    """Put diffoscope's report on one file into the build log, where diffoscope is installed."""
    path = pair[0].entry.path
    if max(each.entry.size for each in pair) > DIFFOSCOPE_SIZE:
        return
    try:
        program = process.find("diffoscope")
    except ToolMissing:
        return
    progress.step(f"asking diffoscope about {display(path)}")
    folder = work.sub("diffoscope")
    try:
        given = []
        for side, member, file in zip(("first", "second"), pair, files, strict=True):
            (folder / side).mkdir()
            # Under its own name: diffoscope tells some formats by it.
            given.append(folder / side / os.fsdecode(path.rpartition(b"/")[2]))
            with given[-1].open("wb") as out:
                out.writelines(read_content(file, member))
        report = folder / "report.txt"
        limit = f"--max-text-report-size={SMALL}"
        done = process.run(
            [program, "--no-progress", "--text", report, limit, *given],
            timeout=DIFFOSCOPE_SECONDS,
            check=False,
        )
        text = report.read_text("utf-8", "replace") if report.exists() else done.tail
    except ToolTimedOut as problem:
        text = str(problem)
    finally:
        shutil.rmtree(folder)
    with work.log.open("a", encoding="utf-8") as log:
        log.write(f"\n--- diffoscope on {display(path)} ---\n{text}\n")
    progress.note(f"diffoscope's report on {display(path)} is in {work.log}.")
