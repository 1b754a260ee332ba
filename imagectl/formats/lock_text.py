"""``images/<name>/image.lock``: every input of a build, written by imagectl and read back (P9).

Promises: equal locks give equal text, one line for each input, sorted, so that a diff shows what
changed and nothing else; :func:`parse_lock` gives back the lock that :func:`write_lock` was given;
and a lock that says something else than imagectl wrote is refused, because a build never changes
its inputs silently. For that the text carries a checksum. It is over what the lock says, in the one
way it can be written: line ends that git converted, or a comment, do not matter.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath

from imagectl.errors import BadInput, Failed, Problem
from imagectl.formats.lock_schema import LOCK, VERSION
from imagectl.formats.reading import Source, read_document
from imagectl.formats.yaml_strict import MAX_PROBLEMS, MappingNode, Scalar, load
from imagectl.model.lock import (
    Download,
    Index,
    Inputs,
    Lock,
    LockedBase,
    LockedDiskBase,
    LockedPackagesBase,
    LockedParentBase,
    LockedTemplateBase,
    Package,
    sorted_inputs,
)
from imagectl.model.names import Sha256

MAX_BYTES = 16 << 20
"""Largest lock that is read: some 50,000 inputs."""

_HEADER = """\
# Every input of the image {image}, by digest: with this file its builds give the same bytes.
# Written by imagectl. Commit it, and do not edit it: to take newer packages and downloads, run
# `imagectl lock {image} --update`.
"""

_CONFLICT = re.compile(r"^(?:<{7}|>{7})(?: |$)", re.MULTILINE)


def parse_lock(text: str | bytes, file: str) -> Lock:
    """The lock that *text* holds. Raises BadInput with every problem of the file.

    An edited lock is a problem too, even where the edit makes sense.
    """
    hint = f"{_RESTORE} {PurePosixPath(file).parent.name or 'NAME'} --update`"
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    _refuse_conflicts(data.decode("utf-8", "replace"), file)
    try:
        document = load(data, file, most=MAX_BYTES)
        _refuse_newer(document.root, file)
        found = read_document(LOCK, document)
    except BadInput as error:
        raise BadInput(error.problems, hint=error.hint or hint) from None
    if _checksum(_content(found.lock)) != found.checksum:
        what = "this lock was edited by hand: it is not what imagectl wrote"
        problem = Source(file, document.root).problem(("checksum",), what)
        raise BadInput([problem], hint=hint)
    return found.lock


_RESTORE = "restore it from git, or make it anew: `imagectl lock"


def _refuse_conflicts(text: str, file: str) -> None:
    problems = [
        Problem(file, text.count("\n", 0, found.start()) + 1, 1, "a merge conflict")
        for found in _CONFLICT.finditer(text)
    ]
    if problems:
        hint = "take one side whole (git checkout --ours FILE, or --theirs), then build again"
        raise BadInput(problems[:MAX_PROBLEMS], hint=hint)


def _refuse_newer(root: MappingNode, file: str) -> None:
    """Before all else: a newer imagectl may write anything."""
    version = root.get("version")
    if isinstance(version, Scalar) and re.fullmatch("[1-9][0-9]{0,8}", version.text):
        number = int(version.text)
        if number > VERSION:
            what = f"this lock is of version {number}, written by a newer imagectl"
            problem = Problem(file, version.line, version.column, what)
            raise BadInput([problem], hint=f"use that one; this one reads version {VERSION}")


# --- writing -----------------------------------------------------------------------------------


def write_lock(lock: Lock) -> str:
    """The text of *lock*. Raises Failed where it holds what could not be read back."""
    header = _HEADER.format(image=lock.image)
    try:
        content = _content(lock)
        text = f"{header}version: {VERSION}\nchecksum: {_word(_checksum(content))}\n{content}"
        parse_lock(text, f"images/{lock.image}/image.lock")
    except BadInput as error:
        why = "; ".join(str(problem) for problem in error.problems[:5])
    except (ValueError, OverflowError) as error:
        why = str(error)
    else:
        return text
    raise Failed(
        f"the lock of {lock.image} cannot be written: it could not be read back",
        why=why,
        hint="one of the inputs has a name that is none",
    )


def _checksum(content: str) -> Sha256:
    return Sha256(hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest())


def _content(lock: Lock) -> str:
    """The text below the checksum, which is over it."""
    return "".join(f"{line}\n" for line in _lines(lock))


def _lines(lock: Lock) -> Iterator[str]:
    yield f"image: {_word(lock.image)}"
    yield f"architecture: {lock.architecture.value}"
    yield f"mode: {lock.mode.value}"
    yield f"epoch: {_word(_time(lock.epoch))}"
    yield "project:"
    yield f"  definition: {_word(lock.definition.definition)}"
    yield f"  playbooks: {_word(lock.definition.playbooks)}"
    yield f"  suites: {_word(lock.definition.suites)}"
    yield f"  rules: {_word(lock.definition.rules)}"
    yield "expected:"
    if lock.expected.tree is not None:
        yield f"  tree: {_word(lock.expected.tree)}"
    yield f"  raw: {_word(lock.expected.raw)}"
    yield from _mapping("formats", {f.value: s for f, s in lock.expected.formats.items()}, "  ")
    yield from _mapping("mirrors", {a.value: url for a, url in lock.mirrors.items()}, "")
    yield "base:"
    yield f"  {_base(lock.base)}"
    yield "toolchain:"
    yield f"  suite: {_word(lock.toolchain.suite)}"
    yield f"  tree: {_word(lock.toolchain.tree)}"
    yield from _input_lines(lock.toolchain.inputs)
    if lock.inputs.all:
        yield "inputs:"
        yield from _input_lines(lock.inputs)
    else:
        yield "inputs: {}"


def _mapping(key: str, entries: Mapping[str, str], indent: str) -> Iterator[str]:
    yield f"{indent}{key}:" if entries else f"{indent}{key}: {{}}"
    for name in sorted(entries):
        yield f"{indent}  {name}: {_word(entries[name])}"


def _base(base: LockedBase) -> str:
    match base:
        case LockedPackagesBase(suite):
            return f"packages: {_flow(suite=suite)}"
        case LockedDiskBase(source, sha256, size):
            return f"disk: {_flow(source=source, sha256=sha256, size=size)}"
        case LockedParentBase(ref, tree):
            return f"parent: {_flow(version=str(ref), tree=tree)}"
        case LockedTemplateBase(template):
            return f"template: {_flow(path=template)}"


def _input_lines(inputs: Inputs) -> Iterator[str]:
    inputs = sorted_inputs(inputs.all)
    if inputs.indexes:
        yield "  indexes:"
    for index in inputs.indexes:
        yield f"    - {_flow(archive=index.archive.value, path=index.path, **_bytes(index))}"
    if inputs.packages:
        yield "  packages:"
    for package in inputs.packages:
        line = _flow(
            name=package.name,
            version=package.version,
            architecture=package.architecture,
            archive=package.archive.value,
            path=package.path,
            **_bytes(package),
        )
        yield f"    - {line}"
    if inputs.downloads:
        yield "  downloads:"
    for download in inputs.downloads:
        line = _flow(
            url=download.url,
            status=download.status,
            content_type=download.content_type,
            location=download.location,
            **_bytes(download),
        )
        yield f"    - {line}"


def _bytes(of: Index | Package | Download) -> dict[str, str | int]:
    return {"sha256": of.sha256, "size": of.size}


def _flow(**entries: str | int) -> str:
    """``{key: value, ...}`` on one line, without what is empty."""
    written = (
        f"{key}: {value if isinstance(value, int) else _word(value)}"
        for key, value in entries.items()
        if value != ""
    )
    return f"{{{', '.join(written)}}}"


def _time(epoch: int) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9._/+~@-]*\Z")
_PLAIN_DIGEST = re.compile(r"(?=.*[acdf])[0-9a-f]{64}\Z")
_WORDS = frozenset(["null", "true", "false", "yes", "no", "on", "off", "y", "n"])
_ESCAPED = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]")


def _word(text: str) -> str:
    """A text in YAML: without quotes only where every reader of YAML takes it for a text.

    JSON's way to quote is YAML's too, but for what must not be in our files as it is.
    """
    if _PLAIN_DIGEST.match(text) or (_PLAIN.match(text) and text.lower() not in _WORDS):
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)
