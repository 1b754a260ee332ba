"""Version 3 of events: what is about to be made in a location is recorded before it is made.

Two operations more than version 2 has, ``record-intent`` and ``end-intent``, both with the whole
intent. Versions are written as version 2 writes them.
"""

from __future__ import annotations

from imagectl.formats import event_parts as parts
from imagectl.formats.event_parts import Fields
from imagectl.model.names import Architecture, Format, parse_location_name
from imagectl.model.version import Intent


def write_intent(intent: Intent) -> dict[str, object]:
    return {
        "version": parts.write_ref(intent.version),
        "format": intent.format.value,
        "architecture": intent.architecture.value,
        "location": intent.location,
        "named": intent.named,
        "since": parts.write_time(intent.since),
        "by": intent.by,
    }


def read_intent(fields: Fields) -> Intent:
    intent = Intent(
        version=parts.read_ref(fields.inner("version")),
        format=fields.word("format", Format),
        architecture=fields.word("architecture", Architecture),
        location=fields.named("location", parse_location_name),
        named=fields.text("named"),
        since=fields.time("since"),
        by=fields.text("by"),
    )
    fields.done()
    return intent
