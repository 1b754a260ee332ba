"""How the differences between two versions read: as text, and as release notes in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from imagectl.cli.text import clean, size
from imagectl.model.comparison import (
    ChangeKind,
    Comparison,
    FileChange,
    NameChange,
    PackageChange,
    SizeChange,
)
from imagectl.policy.wording import counted

MOST_FOLDERS = 12
"""How many folders with changed files are named; the rest is only counted."""

ASPECTS: Mapping[str, str] = {
    "kernels": "kernels",
    "services": "enabled services",
    "masked": "masked services",
    "ports": "listening ports",
    "users": "users",
    "groups": "groups",
    "system": "system",
}
"""The aspects of a comparison, in the order that they are shown, and what they are called."""

_SIGNS = {
    ChangeKind.ADDED: "+",
    ChangeKind.REMOVED: "-",
    ChangeKind.UPGRADED: "~",
    ChangeKind.DOWNGRADED: "!",
    ChangeKind.CHANGED: "~",
}


def comparison_lines(comparison: Comparison, *, all_files: bool) -> Iterator[str]:
    """For people: what differs, a section each, then what does not."""
    yield f"{comparison.before.ref} -> {comparison.after.ref}"
    same = []
    if comparison.packages:
        yield ""
        yield f"packages: {tally(each.kind for each in comparison.packages)}"
        yield from (f"  {package_line(each)}" for each in comparison.packages)
    else:
        same.append("packages")
    for aspect, title in ASPECTS.items():
        if comparison.aspects[aspect]:
            yield ""
            yield f"{title}: {tally(each.kind for each in comparison.aspects[aspect])}"
            yield from (f"  {name_line(each)}" for each in comparison.aspects[aspect])
        else:
            same.append(title)
    if comparison.files:
        yield ""
        yield f"files: {tally(each.kind for each in comparison.files)}"
        if all_files:
            yield from (f"  {file_line(each)}" for each in comparison.files)
        else:
            yield from (f"  {line}" for line in folders(comparison.files))
            yield "  (--files names them all)"
    else:
        same.append("files")
    yield ""
    yield "sizes"
    yield from (f"  {size_line(each)}" for each in comparison.sizes)
    yield ""
    yield from _tests(comparison)
    if same:
        yield ""
        yield f"the same: {', '.join(same)}"


def release_notes(comparison: Comparison, *, all_files: bool) -> Iterator[str]:
    """In Markdown, for whoever uses the image."""
    before, after = comparison.before, comparison.after
    yield f"## {after.ref}"
    yield ""
    yield f"Built {after.created:%Y-%m-%d}. Changes since {before.ref}, built " + (
        f"{before.created:%Y-%m-%d}."
    )
    if comparison.packages:
        yield from ("", f"### Packages: {tally(each.kind for each in comparison.packages)}", "")
        yield "| package | before | after | |"
        yield "|---|---|---|---|"
        for each in comparison.packages:
            name = _cell(f"{each.name} ({each.ecosystem.value}, {each.where})")
            versions = f"{_cell(each.before or '')} | {_cell(each.after or '')}"
            yield f"| {name} | {versions} | {each.kind.value} |"
    for aspect, title in ASPECTS.items():
        if comparison.aspects[aspect]:
            yield from ("", f"### {title.capitalize()}", "")
            yield from (f"- {_marked(each)}" for each in comparison.aspects[aspect])
    if comparison.files:
        yield from ("", f"### Files: {tally(each.kind for each in comparison.files)}", "")
        if all_files:
            yield from (f"- {_marked(each)}" for each in comparison.files)
        else:
            yield from (f"- {line}" for line in folders(comparison.files))
    yield from ("", "### Sizes and tests", "")
    yield from (f"- {size_line(each)}" for each in comparison.sizes)
    yield from (f"- {line.strip()}" for line in _tests(comparison))


def tally(kinds: Iterable[ChangeKind]) -> str:
    """``2 added, 1 upgraded``."""
    counts = Counter(kinds)
    return ", ".join(f"{counts[kind]} {kind.value}" for kind in ChangeKind if counts[kind])


def package_line(change: PackageChange) -> str:
    """``~ openssl 3.0.15-1 -> 3.0.16-1``; what is unusual is said in words."""
    versions = " -> ".join(each or "unknown" for each in _versions(change))
    where = f" ({change.where})" if change.kind in (ChangeKind.ADDED, ChangeKind.REMOVED) else ""
    whose = "" if change.ecosystem.value == "debian" else f" [{change.ecosystem.value}]"
    down = "  DOWNGRADED" if change.kind is ChangeKind.DOWNGRADED else ""
    return f"{_SIGNS[change.kind]} {change.name}{whose} {versions}{where}{down}"


def _versions(change: PackageChange) -> Sequence[str]:
    return [each for each in (change.before, change.after) if each is not None]


def name_line(change: NameChange) -> str:
    """``~ ci: shell /bin/sh -> /bin/bash``."""
    details = f": {', '.join(change.details)}" if change.details else ""
    return f"{_SIGNS[change.kind]} {change.name}{details}"


def file_line(change: FileChange) -> str:
    """``~ /etc/shadow: mode 0640 -> 0600``."""
    details = f": {', '.join(change.details)}" if change.details else ""
    return f"{_SIGNS[change.kind]} {_printable(change.path)}{details}"


def folders(changes: Sequence[FileChange]) -> Iterator[str]:
    """The folders, two levels deep, with the most changes: ``/usr/lib: 3 added, 12 changed``."""
    kinds: dict[str, list[ChangeKind]] = {}
    for change in changes:
        parts = change.path.split("/")
        folder = "/".join(parts[: min(3, len(parts) - 1)]) or "/"
        kinds.setdefault(folder, []).append(change.kind)
    ranked = sorted(kinds.items(), key=lambda item: (-len(item[1]), item[0]))
    for folder, its in sorted(ranked[:MOST_FOLDERS]):
        yield f"{_printable(folder)}: {tally(its)}"
    rest = [kind for _, its in ranked[MOST_FOLDERS:] for kind in its]
    if rest:
        yield f"{counted(len(ranked) - MOST_FOLDERS, 'other folder')}: {tally(rest)}"


def size_line(change: SizeChange) -> str:
    """``qcow2: 312 MiB -> 320 MiB (+8.00 MiB)``."""
    as_text = (lambda count: f"{count:,}") if change.name == "paths" else size
    if change.before is None or change.after is None:
        one, other = (
            "none" if each is None else as_text(each) for each in (change.before, change.after)
        )
        return f"{change.name}: {one} -> {other}"
    grown = change.after - change.before
    if not grown:
        return f"{change.name}: {as_text(change.after)}, as before"
    sign = "+" if grown > 0 else "-"
    return (
        f"{change.name}: {as_text(change.before)} -> {as_text(change.after)} "
        f"({sign}{as_text(abs(grown))})"
    )


def _tests(comparison: Comparison) -> Iterator[str]:
    one, other = comparison.before.tests, comparison.after.tests

    def told(passed: int, failed: int) -> str:
        return f"{passed} passed" + (f", {failed} FAILED" if failed else "")

    now, then = told(other.passed, other.failed), told(one.passed, one.failed)
    yield f"tests: {now} (before: {then})"
    if comparison.tests is None:
        yield "  which of them differ is not known: a report is not in the store any more"
        return
    for each in comparison.tests:
        if each.before is None:
            yield f"  + {each.name}: {each.after}"
        elif each.after is None:
            yield f"  - {each.name}: was {each.before}"
        else:
            yield f"  ~ {each.name}: {each.before} -> {each.after}"


def _marked(change: NameChange | FileChange) -> str:
    name = change.name if isinstance(change, NameChange) else change.path
    details = f" ({', '.join(change.details)})" if change.details else ""
    return f"{change.kind.value}: `{_printable(name)}`{_cell(details)}"


def _cell(text: str) -> str:
    return clean(text).replace("|", "\\|").replace("\n", " ")


def _printable(path: str) -> str:
    """A path in which bytes that are not UTF-8, and line ends, can be seen."""
    return path.encode("utf-8", "backslashreplace").decode().replace("\n", "\\n")
