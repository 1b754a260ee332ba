"""Cleanup plans in files, signed (P4): ``formats/plan_v1.py`` on a disk, and people's keys.

Promises: a plan appears whole under its name, or not at all; what is read has exactly what its
author has signed, and each signature in it is genuine.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from itertools import chain, takewhile
from pathlib import Path
from typing import TextIO

from imagectl.adapters.durable import PARTIAL, naming_failures, partial, write_all
from imagectl.adapters.person_key import PersonKey, is_signed
from imagectl.errors import BadInput, Corrupt, Failed, NotFound, Problem
from imagectl.formats.plan_v1 import (
    parse_entries,
    parse_plan,
    plan_lines,
    signature_lines,
    signed_text,
)
from imagectl.model.cleanup import CleanupPlan, Entry
from imagectl.model.names import Sha256
from imagectl.model.signature import Role, Signature, SignedPlan, oldest_first

_BATCH = 1 << 20
"""Bytes that are written at once."""


def write_plan(path: Path, plan: CleanupPlan, key: PersonKey) -> SignedPlan:
    """Write the plan, signed by its author, in place of what is there."""
    digest = hashlib.sha256()
    steps: list[Entry] = []
    signed: list[SignedPlan] = []

    def entries() -> Iterator[Entry]:
        for entry in plan.entries:
            if entry.to is not None:
                steps.append(entry)
            yield entry

    def lines() -> Iterator[str]:
        for line in plan_lines(replace(plan, entries=entries())):
            digest.update(line.encode())
            yield line
        whole = Sha256(digest.hexdigest())
        signature = _sign(whole, Role.AUTHOR, plan.author, plan.made, key)
        signed.append(SignedPlan(plan, oldest_first(steps), whole, (signature,)))
        yield from signature_lines((signature,))

    _write(path, lines())
    return signed[0]


def read_plan(path: Path) -> SignedPlan:
    """The plan, with its signatures checked. Raises NotFound, BadInput, and Corrupt where it is not
    what somebody whose name is under it has signed."""
    try:
        with _opened(path) as file:
            signed = parse_plan(file, str(path), _Entries(path))
    except FileNotFoundError:
        raise NotFound(
            f"there is no plan {path}", hint=f"imagectl cleanup plan --out {path}"
        ) from None
    except UnicodeDecodeError:
        raise BadInput([Problem(str(path), 0, 0, "this is no text in UTF-8")]) from None
    except OSError as error:
        raise Failed(
            f"{path} cannot be read", where=str(path), why=error.strerror or str(error)
        ) from error
    for each in signed.signatures:
        text = signed_text(signed.digest, each.role, each.by, each.key, each.at)
        if not is_signed(each.key, text, each.value):
            raise Corrupt(
                f"the plan is not what {each.by} has signed",
                where=str(path),
                why="the file was changed after it was signed, or the signature is of another plan",
                hint="apply nothing of it; `imagectl cleanup plan --out FILE` makes a new one",
            )
    return signed


def approve_plan(path: Path, by: str, at: datetime, key: PersonKey) -> SignedPlan:
    """Add an approval to the plan's file. Again by the same key: its earlier one is replaced.

    Raises as ``read_plan``; nothing is changed then.
    """
    before = read_plan(path)
    approval = _sign(before.digest, Role.APPROVAL, by, at, key)
    others = [
        each for each in before.signatures if (each.role, each.key) != (approval.role, approval.key)
    ]
    signed = SignedPlan(before.plan, before.steps, before.digest, (*others, approval))
    _write(path, chain(_body(path), signature_lines(signed.signatures)))
    return signed


class _Entries:
    """The versions of the plan in a file, read anew each time: there may be a million."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[Entry]:
        with _opened(self._path) as file:
            yield from parse_entries(file, str(self._path))


def _body(path: Path) -> Iterator[str]:
    """The lines that are signed, as they are."""
    first_after = next(signature_lines(()))
    with _opened(path) as file:
        yield from takewhile(lambda line: line != first_after, file)


def _opened(path: Path) -> TextIO:
    return path.open(encoding="utf-8", newline="\n")


def _sign(digest: Sha256, role: Role, by: str, at: datetime, key: PersonKey) -> Signature:
    value = key.sign(signed_text(digest, role, by, key.public, at))
    return Signature(role, by, key.public, at, value)


def _write(path: Path, lines: Iterable[str]) -> None:
    folder = path.absolute().parent
    with naming_failures(f"writing {path}", folder), partial(folder) as new:
        batch: list[bytes] = []
        held = 0
        for line in lines:
            data = line.encode()
            batch.append(data)
            held += len(data)
            if held >= _BATCH:
                _flush(new.fd, batch)
                held = 0
        _flush(new.fd, batch)
        new.keep(path.absolute(), 0o644)
    with contextlib.suppress(OSError):  # it is somebody's folder, not ours
        (folder / PARTIAL).rmdir()


def _flush(fd: int, batch: list[bytes]) -> None:
    write_all(fd, b"".join(batch))
    batch.clear()
