"""The note that is kept beside a copy of Debian's security data: what it is, and of when (P8)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from imagectl.errors import CannotTell
from imagectl.model.names import Sha256, parse_sha256

FORMAT = "imagectl-security-1"


@dataclass(frozen=True, slots=True)
class Note:
    """``file`` is the data's name in the same folder; ``taken`` is aware, in UTC."""

    suite: str
    taken: datetime
    source: str
    file: str
    sha256: Sha256


def write_note(note: Note) -> str:
    """The note as JSON."""
    document = {
        "format": FORMAT,
        "suite": note.suite,
        "taken": note.taken.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "source": note.source,
        "file": note.file,
        "sha256": note.sha256,
    }
    return json.dumps(document, indent=1) + "\n"


def parse_note(text: str, where: str) -> Note:
    """A note. Raises CannotTell: without it, it is not known what the data is about."""
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise ValueError(f"its format is {document['format']!r}, not {FORMAT}")
        taken = datetime.fromisoformat(document["taken"])
        if taken.tzinfo is None:
            raise ValueError(f"{document['taken']!r} has no time zone")
        if not isinstance(document["file"], str) or "/" in document["file"]:
            raise ValueError(f"{document['file']!r} is not a file beside it")
        return Note(
            suite=str(document["suite"]),
            taken=taken.astimezone(UTC),
            source=str(document["source"]),
            file=document["file"],
            sha256=parse_sha256(document["sha256"]),
        )
    except (KeyError, TypeError, ValueError, RecursionError) as wrong:
        raise CannotTell(
            "it is not known of when the security data is",
            where=where,
            why=f"the note about it cannot be read: {wrong}",
            hint="`imagectl scan --fetch` gets the data anew",
        ) from None
