"""What imagectl writes on the templates that it makes: lines in their annotation, which is what
vSphere calls the notes of a machine.

The annotation is what is believed, since it can be written in the very call that makes a machine.
A clone takes its template's annotation with it: hence the template's own id is among the marks, and
marks on any other machine say nothing. Notes that people add are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from imagectl.model.names import (
    Architecture,
    BadName,
    Format,
    parse_image_name,
    parse_sha256,
    parse_version_id,
)
from imagectl.model.version import VersionRef
from imagectl.model.view import Ownership
from imagectl.services.ports.locations import Mark

PREFIX = "imagectl-"

PARTIAL = ".partial"
"""What the name of a template ends in until it is whole (P7)."""


@dataclass(frozen=True, slots=True)
class Importer:
    """Who is importing a template: ``id`` as ``vsphere_turns.py`` has it, ``host`` for people, and
    since when, by the vCenter's clock."""

    id: str
    host: str
    since: datetime

    def __str__(self) -> str:
        return f"{self.id} {self.since.astimezone(UTC).isoformat(timespec='seconds')} {self.host}"


@dataclass(frozen=True, slots=True)
class Marks:
    """What a template says of itself. ``disk``: what its disks hold, in bytes.

    ``instance`` is the id of the template that they were written on; empty while its disk is still
    being imported, by ``importer``.
    """

    owner: Ownership
    disk: int
    instance: str = ""
    mark: Mark = Mark.ACTIVE
    importer: Importer | None = None

    def values(self) -> dict[str, str]:
        """By name, in the order in which they are shown. Custom attributes have the same names."""
        owner = self.owner
        said = {
            "catalog": owner.catalog,
            "image": str(owner.version.image),
            "version": str(owner.version.version),
            "format": owner.format.value,
            "architecture": owner.architecture.value,
            "sha256": owner.sha256,
            "disk": str(self.disk),
            "instance": self.instance,
            "mark": self.mark.value,
        }
        if self.importer is not None:
            said["importer"] = str(self.importer)
        return {f"{PREFIX}{key}": value for key, value in said.items()}


def unfinished(marks: Marks, name: str) -> bool:
    """Whether the disk of what has these marks and that name is not known to be whole."""
    return not marks.instance and name.endswith(PARTIAL)


def write_marks(marks: Marks, annotation: str = "") -> str:
    """The annotation with these marks in place of those that it has, and of a claim."""
    notes = [line for line in annotation.splitlines() if not line.startswith(PREFIX)]
    lines = [f"{key}: {value}" for key, value in marks.values().items()]
    return "\n".join([*notes, *lines])


def read_marks(annotation: str) -> Marks | None:
    """The marks; None where there are none, or not all, or not what imagectl writes."""
    said = {}
    for line in annotation.splitlines():
        key, colon, value = line.partition(":")
        if colon and key.startswith(PREFIX):
            said[key.removeprefix(PREFIX)] = value.strip()
    try:
        return Marks(
            Ownership(
                said["catalog"],
                VersionRef(parse_image_name(said["image"]), parse_version_id(said["version"])),
                Format(said["format"]),
                Architecture(said["architecture"]),
                parse_sha256(said["sha256"]),
            ),
            int(said["disk"]),
            said["instance"],
            Mark(said["mark"]),
            _importer(said["importer"]) if "importer" in said else None,
        )
    except (KeyError, BadName, ValueError):
        return None


def _importer(text: str) -> Importer:
    """Raises ValueError."""
    by, since, host = text.split(" ", 2)
    return Importer(by, host, datetime.fromisoformat(since).astimezone(UTC))
