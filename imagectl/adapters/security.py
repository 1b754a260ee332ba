"""Debian's security data: fetched from where the settings say, and kept with its date and digest.

Kept are, for each suite, the file as it was served, by its digest, and ``SUITE.json``, which says
what it is and of when. The note is replaced last, so it never speaks of a file that is not whole
(P7). A copy of both, on any medium, is a snapshot that can be used elsewhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import re
import urllib.error
import urllib.request
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from imagectl.adapters.durable import naming_failures, write
from imagectl.errors import CannotTell
from imagectl.formats.debsecan_v1 import parse_security
from imagectl.formats.security_v1 import Note, parse_note, write_note
from imagectl.model.names import Sha256
from imagectl.model.security import SecurityData

MOST_BYTES = 1 << 28
"""Of a file as served; in 2025 it had some 3 MB."""

TIMEOUT_SECONDS = 60.0
"""For each answer of the network."""

_SUITE = re.compile(r"[a-z][a-z0-9-]{1,30}\Z")


class FileAdvisories:
    """Implements ``services.ports.Advisories`` in ``folder``; ``url`` is what SUITE is added to."""

    def __init__(self, folder: Path, url: str | None) -> None:
        self._folder = folder
        self._url = url

    def kept(self, suite: str) -> SecurityData | None:
        note = self._note(suite)
        return _read(note) if note.exists() else None

    def read(self, snapshot: Path, suite: str) -> SecurityData:
        if snapshot.is_dir():
            return _read(snapshot / f"{_checked(suite)}.json")
        if snapshot.suffix == ".json":
            return _read(snapshot)
        for note in sorted(snapshot.parent.glob("*.json")):
            with contextlib.suppress(CannotTell):
                if _parsed(note).file == snapshot.name:
                    return _read(note)
        raise CannotTell(
            "the security data cannot be used",
            where=str(snapshot),
            why="there is no such file"
            if not snapshot.exists()
            else "no note beside it says which suite it is about, and of when",
            hint="a snapshot is what `imagectl scan --fetch` keeps in .imagectl/security: copy "
            "that folder",
        )

    def fetch(self, suite: str, now: datetime) -> SecurityData:
        if self._url is None:
            raise CannotTell(
                "it is not known where Debian's security data is",
                where="imagectl.yaml",
                why="it does not say `security_data`",
                hint="write `security_data: URL` there (`grep release/1 /usr/bin/debsecan` shows "
                "Debian's own), or use a snapshot: --snapshot DIR",
            )
        url = f"{self._url.rstrip('/')}/{_checked(suite)}"
        data, modified = _get(url, suite)
        taken = min(now, modified or now).replace(microsecond=0)
        sha256 = Sha256(hashlib.sha256(data).hexdigest())
        weaknesses = parse_security(data, url)
        note = Note(suite, taken, url, f"{suite}-{sha256}.debsecan", sha256)
        with naming_failures("keeping the security data", self._folder, len(data)):
            write(self._folder, self._folder / note.file, data)
            before = self._named_now(suite)
            write(self._folder, self._note(suite), write_note(note).encode())
            # What the note named until now stays: another scan may be reading it.
            for path in self._folder.glob(f"{suite}-{'?' * 64}.debsecan"):
                if path.name not in (note.file, before):
                    path.unlink(missing_ok=True)
        return SecurityData(suite, taken, url, sha256, weaknesses)

    def _named_now(self, suite: str) -> str:
        try:
            return _parsed(self._note(suite)).file
        except CannotTell:
            return ""

    def _note(self, suite: str) -> Path:
        return self._folder / f"{_checked(suite)}.json"


def _checked(suite: str) -> str:
    """The suite, which an image says itself, where it can be part of a path."""
    if not _SUITE.match(suite):
        raise CannotTell(f"{suite[:40]!r} is not the codename of a suite of Debian")
    return suite


def _parsed(note: Path) -> Note:
    try:
        return parse_note(note.read_text(encoding="utf-8", errors="replace"), str(note))
    except OSError as problem:
        raise CannotTell(
            "there is no security data",
            where=str(note),
            why=problem.strerror or str(problem),
            hint="`imagectl scan --fetch` gets it",
        ) from problem


def _read(note_file: Path) -> SecurityData:
    note = _parsed(note_file)
    path = note_file.parent / note.file
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise CannotTell(
            "the security data cannot be read",
            where=str(path),
            why=problem.strerror or str(problem),
            hint="`imagectl scan --fetch` gets it anew",
        ) from problem
    found = hashlib.sha256(data).hexdigest()
    if found != note.sha256:
        raise CannotTell(
            "the security data is not what was fetched",
            where=str(path),
            why=f"its sha256 is {found}, and {note.sha256} was noted",
            hint="`imagectl scan --fetch` gets it anew",
        )
    weaknesses = parse_security(data, str(path))
    return SecurityData(note.suite, note.taken, note.source, note.sha256, weaknesses)


def _get(url: str, suite: str) -> tuple[bytes, datetime | None]:
    """What is served at *url*, whole, and since when it has been so, where the server tells."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
            data: bytes = answer.read(MOST_BYTES)
            length = answer.headers.get("Content-Length")
            modified = _time(answer.headers.get("Last-Modified"))
    except urllib.error.HTTPError as problem:
        problem.close()
        unknown = problem.code in (404, 410)
        raise CannotTell(
            f"there is no security data about {suite}" if unknown else "it cannot be fetched",
            where=url,
            why=f"the server says {problem.code} {problem.reason}",
            hint="Debian has it for the suites that it supports; is `security_data` right?"
            if unknown
            else "try again later, or use a snapshot: --snapshot DIR",
        ) from None
    except (OSError, http.client.HTTPException) as problem:
        raise CannotTell(
            "Debian's security data cannot be fetched",
            where=url,
            why=str(getattr(problem, "reason", "") or problem),
            hint="where this machine cannot reach it, use a snapshot: --snapshot DIR",
        ) from problem
    if length is not None and length.isdecimal() and int(length) != len(data):
        raise CannotTell(
            "Debian's security data cannot be fetched",
            where=url,
            why=f"{len(data):,} of {int(length):,} bytes arrived",
            hint="try again",
        )
    return data, modified


def _time(header: str | None) -> datetime | None:
    """An HTTP date; None where it is none."""
    try:
        found = parsedate_to_datetime(header or "")
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo is not None else None
