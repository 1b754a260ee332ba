"""How the things that run again and again have ended, in one small JSON file, for metrics.

Promises: the time of the last success changes with a success only (P8); several processes may note
at the same time, and none loses what another has noted; a file that cannot be read is an error and
not "never". Losing it loses nothing but those times and counts.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from imagectl.adapters import durable
from imagectl.errors import CannotTell
from imagectl.services.measure import OF_PLACES, Outcome


class FileOutcomes:
    """Implements ``services.measure.Outcomes`` with the file *path*."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, what: str, place: str, at: datetime, *, ok: bool) -> None:
        with self._alone():
            known = dict(self._read())
            before = known.get((what, place), Outcome())
            known[what, place] = before.after(at, ok=ok)
            self._write(known)

    def all(self) -> Mapping[tuple[str, str], Outcome]:
        return self._read()

    def forget(self, place: str) -> bool:
        with self._alone():
            known = self._read()
            left = {
                each: outcome
                for each, outcome in known.items()
                if each[1] != place or each[0] not in OF_PLACES
            }
            if len(left) == len(known):
                return False
            self._write(left)
            return True

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with durable.naming_failures("noting how it ended", self._path.parent):
            durable.make_folder(self._path.parent)
            handle = os.open(
                self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644
            )
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _write(self, known: Mapping[tuple[str, str], Outcome]) -> None:
        document = [
            {
                "what": what,
                "place": place,
                "last_success": _written(each.last_success),
                "last_failure": _written(each.last_failure),
                "successes": each.successes,
                "failures": each.failures,
            }
            for (what, place), each in sorted(known.items())
        ]
        data = f"{json.dumps(document, indent=1)}\n".encode()
        with durable.naming_failures("noting how it ended", self._path.parent):
            durable.write(self._path.parent, self._path, data)

    def _read(self) -> Mapping[tuple[str, str], Outcome]:
        try:
            return {
                (each["what"], each["place"]): Outcome(
                    _read_time(each["last_success"]),
                    _read_time(each["last_failure"]),
                    int(each["successes"]),
                    int(each["failures"]),
                )
                for each in json.loads(self._path.read_bytes())
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise CannotTell(
                "it cannot be told how earlier runs ended",
                where=str(self._path),
                why=str(problem),
                hint="remove the file: times of the last success begin anew then",
            ) from problem


def _written(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat()


def _read_time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
