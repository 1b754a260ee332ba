"""``announcements.json``: what consumers are told of before it happens.

One document for all images, the next thing first; absent where nothing is announced. Who announced
it is not in it: a published tree may be public.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from imagectl.formats.published_v1.json_text import (
    encoded,
    parsed,
    parsed_time,
    text,
    written_time,
)
from imagectl.formats.published_v1.layout import FORMAT
from imagectl.formats.tuf_roles import ANNOUNCEMENTS_TARGET
from imagectl.model.announcement import (
    AnnouncedDeprecation,
    AnnouncedKind,
    AnnouncedMove,
    Announcement,
    Brownout,
)
from imagectl.model.names import (
    ImageName,
    parse_channel_name,
    parse_image_name,
    parse_image_ref,
    parse_version_id,
)

if TYPE_CHECKING:  # consumers read this on each of their builds, and have no catalog
    from imagectl.formats.published_v1.writing import Documents
    from imagectl.model.snapshot import Snapshot


def with_announcements(
    documents: Documents,
    snapshot: Snapshot,
    before: tuple[bytes, str] | None = None,
    images: Collection[ImageName] = (),
) -> Documents:
    """*documents*, and what *snapshot* announces.

    Where the snapshot has some *images* only, ``before`` is the document that the tree has, and
    where: what it says of others stays.
    """
    kept = () if before is None else parse_announcements(*before)
    found = [each for each in kept if each.image not in images]
    found += [each for known in snapshot.announced.values() for each in known]
    if not found:
        return replace(documents, absent=documents.absent | {ANNOUNCEMENTS_TARGET})
    targets = {**documents.targets, ANNOUNCEMENTS_TARGET: render_announcements(found)}
    return replace(documents, targets=targets)


def render_announcements(announcements: Iterable[Announcement]) -> bytes:
    """The document: the same bytes for the same announcements, in whatever order they come."""
    ordered = sorted(announcements, key=lambda each: (each.due, each.kind.value, str(each.of)))
    return encoded({"format": FORMAT, "announcements": [_written(each) for each in ordered]})


def parse_announcements(data: bytes, where: str) -> tuple[Announcement, ...]:
    """What is announced, the next first, by nobody that is named. *where*: the file, for messages.

    A kind that this release does not know is left out. Raises Corrupt, and CannotTell for another
    format.
    """

    def build(content: Any) -> tuple[Announcement, ...]:
        kinds = {kind.value for kind in AnnouncedKind}
        return tuple(_read(each) for each in content["announcements"] if each["kind"] in kinds)

    return parsed(data, where, build)


def _written(announcement: Announcement) -> dict[str, Any]:
    said = {
        "kind": announcement.kind.value,
        "due": written_time(announcement.due),
        "at": written_time(announcement.at),
        "reason": announcement.reason,
    }
    if isinstance(announcement, AnnouncedMove):
        return {
            **said,
            "image": announcement.image,
            "channel": announcement.channel,
            "to": str(announcement.to),
        }
    successor = announcement.successor
    return {
        **said,
        "of": str(announcement.of),
        "successor": None if successor is None else str(successor),
        "brownouts": [
            {"begins": written_time(each.begins), "ends": written_time(each.ends)}
            for each in announcement.brownouts
        ],
    }


def _read(content: Any) -> Announcement:
    due, at = parsed_time(content["due"]), parsed_time(content["at"])
    reason = text(content["reason"])
    if AnnouncedKind(content["kind"]) is AnnouncedKind.MOVE:
        return AnnouncedMove(
            parse_image_name(content["image"]),
            parse_channel_name(content["channel"]),
            parse_version_id(content["to"]),
            *(due, at, "", reason),
        )
    successor = content["successor"]
    return AnnouncedDeprecation(
        parse_image_ref(text(content["of"])),
        due,
        None if successor is None else parse_image_ref(text(successor)),
        tuple(
            Brownout(parsed_time(each["begins"]), parsed_time(each["ends"]))
            for each in content["brownouts"]
        ),
        *(at, "", reason),
    )
