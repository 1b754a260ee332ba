"""What has happened as feeds: Atom (RFC 4287) and JSON Feed 1.1.

Identifiers name the catalog and what happened in it, and so stay the same wherever the site is put.
Addresses are whole where the site's own is known; where it is not, Atom has relative ones, and JSON
Feed none, which may not be relative.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from xml.sax.saxutils import escape, quoteattr

from imagectl.policy.wording import clean, stamp
from imagectl.site import paths
from imagectl.site.entries import Entry

MOST = 50
"""Entries of a feed. What is older is on the pages."""


@dataclass(frozen=True, slots=True)
class Feed:
    """A feed: of what, and what has happened, newest first. ``path`` has no suffix: it is written
    as ``PATH.atom`` and ``PATH.json``. ``page`` is what it is about. ``made`` is when its catalog's
    part began, for a feed in which nothing has happened yet."""

    path: str
    title: str
    page: str
    entries: Sequence[Entry]
    made: datetime

    @property
    def updated(self) -> datetime:
        return max((each.at for each in self.entries), default=self.made)


def atom(feed: Feed, catalog: str, base_url: str) -> bytes:
    """The feed as Atom."""
    root = base_url or paths.up(feed.path)
    here = f"{root}{feed.path}.atom"
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        '<feed xmlns="http://www.w3.org/2005/Atom">',
        f"<title>{_text(feed.title)}</title>",
        f"<id>{_text(_name(catalog, feed.path))}</id>",
        f"<updated>{stamp(feed.updated)}</updated>",
        f'<link rel="self" type="application/atom+xml" href={quoteattr(here)}/>',
        f'<link rel="alternate" type="text/html" href={quoteattr(root + feed.page)}/>',
        "<author><name>imagectl</name></author>",
        "<generator>imagectl</generator>",
    ]
    for each in feed.entries[:MOST]:
        lines += [
            "<entry>",
            f"<title>{_text(each.title)}</title>",
            f"<id>{_text(_name(catalog, each.key))}</id>",
            f"<published>{stamp(each.published)}</published>",
            f"<updated>{stamp(each.at)}</updated>",
            f'<link rel="alternate" type="text/html" href={quoteattr(root + _page(each))}/>',
            f"<author><name>{_text(each.by or 'unknown')}</name></author>",
            f"<category term={quoteattr(each.kind)}/>",
            f'<content type="text">{_text(_told(each))}</content>',
            "</entry>",
        ]
    return "\n".join([*lines, "</feed>", ""]).encode()


def json_feed(feed: Feed, catalog: str, base_url: str) -> bytes:
    """The feed as JSON Feed 1.1."""
    document: dict[str, object] = {
        "version": "https://jsonfeed.org/version/1.1",
        "title": clean(feed.title),
    }
    if base_url:
        document["home_page_url"] = base_url + feed.page
        document["feed_url"] = f"{base_url}{feed.path}.json"
    items = []
    for each in feed.entries[:MOST]:
        item: dict[str, object] = {
            "id": _name(catalog, each.key),
            "title": each.title,
            "content_text": clean(_told(each)),
            "date_published": stamp(each.published),
            "date_modified": stamp(each.at),
            "authors": [{"name": clean(each.by) or "unknown"}],
            "tags": [each.kind],
        }
        if base_url:
            item["url"] = base_url + _page(each)
        items.append(item)
    document["items"] = items
    return (json.dumps(document, indent=1) + "\n").encode()


def _name(catalog: str, rest: str) -> str:
    return f"urn:imagectl:{catalog}:{rest}"


def _page(entry: Entry) -> str:
    if (pair := entry.pair) is not None:
        return paths.changes(*pair)
    if entry.told or entry.ref is None:
        return paths.about(entry.of)
    return paths.version(entry.ref)


def _told(entry: Entry) -> str:
    where = f"{entry.image}:{entry.channel}" if entry.channel else f"{entry.image}"
    why = f" Reason: {entry.reason}" if entry.reason else ""
    if entry.told:
        return f"{entry.title}.{why}"
    if entry.channel is not None:
        moved = f"went from {entry.before} to" if entry.before else "points to"
        return f"{where} {moved} {entry.version}.{why}"
    return f"{entry.ref} is {entry.done}.{why}"


def _text(text: str) -> str:
    """In XML, without the characters that XML does not know."""
    return escape(clean(text))
