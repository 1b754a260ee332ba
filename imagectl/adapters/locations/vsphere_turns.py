"""Whose turn it is to import a template: what somebody is just importing looks like what somebody
who died has left half made.

Processes of one project folder on one machine wait for each other at a lock: who has it knows that
all who had it before are over. Others see from the notes of what is half made who began it and
when, and leave it alone until ``LEASE`` has passed.
"""

from __future__ import annotations

import socket
import uuid
from datetime import timedelta
from pathlib import Path

from filelock import FileLock

from imagectl.adapters.durable import make_folder, naming_failures, write
from imagectl.model.names import LocationName

LEASE = timedelta(hours=12)
"""No import takes that long. A vCenter gives one up minutes after it last heard of it, and cleans
up then: what is left longer is rare."""


class Turns:
    """Of one location. ``state`` is as ``Surroundings`` has it."""

    def __init__(self, location: LocationName, state: Path) -> None:
        self._location = location
        self._folder = state / "imports"

    def alone(self, name: str) -> FileLock:
        """To be held while *name* is imported."""
        with naming_failures(f"importing {name}", self._folder):
            make_folder(self._folder)
        return FileLock(self._folder / f"{self._location}-{name}.lock")

    def id(self) -> str:
        """That of all who share the lock. A copy of the folder has another one, wherever it is."""
        file = self._folder / "id"
        with naming_failures("reading who imports", self._folder):
            make_folder(self._folder)
            with FileLock(self._folder / "id.lock"):
                try:
                    found = uuid.UUID(file.read_text().strip())
                except (FileNotFoundError, ValueError):
                    found = uuid.uuid4()
                    write(self._folder, file, f"{found}\n".encode())
            return str(uuid.uuid5(found, f"{socket.gethostname()}:{self._folder.resolve()}"))
