"""Every file of the site, one after the other.

Promises: deterministic, and as little as possible on a page that changes by itself: a page of a
version or of a difference is the same bytes on every day, so that it is copied and cached once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources

from imagectl.formats.tuf_roles import channel_role
from imagectl.model.channel import Channel
from imagectl.model.comparison import ChangeKind, Comparison
from imagectl.model.contents import Contents
from imagectl.model.names import ImageName, ImageRef, Sha256
from imagectl.model.security import Urgency, Vulnerability
from imagectl.model.version import VersionRef
from imagectl.policy.announcing import standing_announcements
from imagectl.policy.resolution import DEFAULT_CHANNEL
from imagectl.services.scan import Scanned
from imagectl.site import entries as happenings
from imagectl.site import paths, search, status
from imagectl.site.badges import badge
from imagectl.site.entries import Entry
from imagectl.site.feeds import Feed, atom, json_feed
from imagectl.site.looking import Looking, Unknown
from imagectl.site.sources import File, Kept, Page, Sources
from imagectl.site.templating import Templates
from imagectl.site.timeline import draw
from imagectl.site.views import ChannelView, ImageView, VersionView, images

STATIC = ("site.css", "site.js", "icon.svg")

NEWEST = 15
"""Versions on an image's own page; all of them have a page of their own."""

LATEST = 6
"""Entries on a page that is about something else."""

RELEASES = 200
"""Entries on the page of releases. Older ones are on the channels' pages."""

ASPECTS: Mapping[str, str] = {
    "kernels": "Kernels",
    "services": "Enabled services",
    "masked": "Masked services",
    "ports": "Listening ports",
    "users": "Users",
    "groups": "Groups",
    "system": "System",
}
"""The aspects of a comparison, in the order that they are shown, and what they are called."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A comparison as a page shows it. ``vulnerabilities`` are those that are gone and those that
    are new, None where that is not known or was not asked."""

    comparison: Comparison
    packages: Mapping[ChangeKind, int]
    aspects: Sequence[tuple[str, Sequence[object]]]
    same: Sequence[str]
    folders: Sequence[tuple[str, Mapping[ChangeKind, int]]] | None
    files: Mapping[ChangeKind, int]


def files(sources: Sources) -> Iterator[File]:
    """The whole site, in an order that is always the same."""
    yield from _Site(sources).files()


class _Site:
    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._catalog = sources.snapshot.catalog_id
        self._looking = Looking(sources)
        self._images = images(sources)
        self._entries = happenings.happened(sources.snapshot, tuple(sources.events))
        self._of: dict[ImageName, list[Entry]] = {each.name: [] for each in self._images}
        self._about: dict[VersionRef, list[Entry]] = {}
        self._moves: dict[tuple[VersionRef, VersionRef], list[Entry]] = {}
        for entry in self._entries:
            self._of.setdefault(entry.image, []).append(entry)
            if entry.ref is not None:
                self._about.setdefault(entry.ref, []).append(entry)
            if entry.pair is not None:
                self._moves.setdefault(entry.pair, []).append(entry)
        self._templates = Templates({"title": sources.title, "now": sources.now})
        self._copied: set[Sha256] = set()
        self._found = {
            each.ref: self._looking.vulnerabilities(each.version)
            for image in self._images
            for each in image.versions
            if each.live
        }

    def files(self) -> Iterator[File]:
        for name in STATIC:
            static = resources.files("imagectl.site") / "static" / name
            yield Page(name, static.read_bytes())
        for image in self._images:
            yield from self._image(image)
        judged = status.judge(self._sources, self._looking)
        yield self._page(
            "home.html",
            "index.html",
            images=self._images,
            entries=_lately(self._entries),
            waiting=self._waiting(),
            announced=standing_announcements(self._sources.snapshot),
            found=self._found,
            judged=judged,
        )
        yield self._page(
            "releases.html",
            "releases.html",
            entries=self._entries[:RELEASES],
            more=max(0, len(self._entries) - RELEASES),
            images=self._images,
        )
        yield self._page(
            "status.html",
            "status.html",
            judged=judged,
            states=tuple(status.State),
            now=self._sources.now,
            generation=self._sources.snapshot.generation,
            limits=status.limits,
            stale=status.PAGE,
        )
        yield Page("search.js", search.index(self._images, self._looking))
        title = self._sources.title
        yield from self._feeds("feed", title, "releases.html", self._entries, self._first())

    def _first(self) -> datetime:
        """When the oldest version was built."""
        built = (each.versions[-1].version.created for each in self._images)
        return min(built, default=self._sources.now)

    def _waiting(self) -> Sequence[ChannelView]:
        """Those of which nothing was announced, but for what their source has."""
        return [
            each
            for image in self._images
            for each in image.channels
            if each.waiting is not None and each.waiting.announced is None
        ]

    def _image(self, image: ImageView) -> Iterator[File]:
        snapshot = self._sources.snapshot
        moved = [each.channel for each in image.channels if each.channel is not None]
        revoked = {ref.version for ref in snapshot.revoked if ref.image == image.name}
        happened = self._of[image.name]
        yield self._page(
            "image.html",
            paths.image(image.name),
            image=image,
            timeline=draw(moved, revoked, self._sources.now),
            entries=_lately(happened),
            versions=image.versions[:NEWEST],
            found=self._found,
            example=_example(image.name, image.channels),
        )
        yield self._page("versions.html", paths.versions(image.name), image=image)
        yield self._page("compare.html", paths.compare(image.name), image=image)
        for each in reversed(image.versions):  # neighbours are read once, for three pages
            yield from self._version(image, each)
            yield from self._differences(image, each)
        for channel in image.channels:
            yield from self._channel(image, channel)
        path = f"images/{image.name}/feed"
        yield from self._feeds(
            path, str(image.name), paths.image(image.name), happened, _built(image)
        )

    def _channel(self, image: ImageView, view: ChannelView) -> Iterator[File]:
        moves = [
            each for each in self._of[image.name] if each.channel == view.name and not each.told
        ]
        # What is said of the whole image is said of each of its channels.
        followed = [
            each
            for each in self._of[image.name]
            if each.of in (ImageRef(image.name), ImageRef(image.name, view.name))
        ]
        yield self._page(
            "channel.html",
            paths.channel(image.name, view.name),
            image=image,
            view=view,
            moves=moves,
            timeline=self._timeline(view.channel),
            found=self._found.get(view.head.ref) if view.head else None,
            example=_example(image.name, [view]),
            unsigned=channel_role(view.name) in self._sources.unsigned,
        )
        page = paths.channel(image.name, view.name)
        yield from self._feeds(
            page.removesuffix(".html"), f"{image.name} {view.name}", page, followed, _built(image)
        )
        svg = badge(f"{image.name} {view.name}", view.said, view.state)
        yield Page(paths.channel(image.name, view.name, "svg"), svg)
        if view.rule.source is not None:
            yield self._next(image, view)

    def _timeline(self, channel: Channel | None) -> object:
        if channel is None:
            return None
        revoked = {
            ref.version for ref in self._sources.snapshot.revoked if ref.image == channel.image
        }
        return draw([channel], revoked, self._sources.now)

    def _next(self, image: ImageView, view: ChannelView) -> Page:
        """What changes when the channel gets what its source has."""
        waiting, changed, gone, new = view.waiting, None, None, None
        if waiting is not None and view.head is not None:
            after = self._sources.snapshot.versions[VersionRef(image.name, waiting.version)]
            changed = self._changed(self._looking.compare(view.head, after, files=True), files=True)
            one, other = self._found.get(view.head.ref), self._looking.vulnerabilities(after)
            if isinstance(one, Scanned) and isinstance(other, Scanned):
                gone, new = _fixed(one, other), _fixed(other, one)
        return self._page(
            "next.html",
            paths.coming(image.name, view.name),
            image=image,
            view=view,
            source=self._sources.snapshot.head(image.name, view.rule.source)
            if view.rule.source
            else None,
            changed=changed,
            unknown=isinstance(changed, Unknown),
            gone=gone,
            new=new,
        )

    def _version(self, image: ImageView, view: VersionView) -> Iterator[File]:
        contents = self._looking.contents(view.version)
        inside, origin = view.version.inside, view.version.origin
        documents = []
        if inside is not None:
            documents = [
                ("Software bill of materials, SPDX", "spdx", inside.spdx),
                ("Software bill of materials, CycloneDX", "cyclonedx", inside.cyclonedx),
                ("Signed statement of provenance", "provenance", inside.provenance),
            ]
        linked = {sha256 for _, _, sha256 in documents if view.live and self._sources.kept(sha256)}
        for _, kind, sha256 in documents:
            # Equal trees have equal documents: each is there once.
            if sha256 in linked and sha256 not in self._copied:
                self._copied.add(sha256)
                yield Kept(paths.document(sha256, kind), sha256)
        yield self._page(
            "version.html",
            paths.version(view.ref),
            image=image,
            view=view,
            version=view.version,
            origin=origin,
            documents=documents,
            linked=linked,
            contents=contents if isinstance(contents, Contents) else None,
            unknown=contents.why if isinstance(contents, Unknown) else "",
            outcomes=_or_unknown(self._looking.outcomes(view.version)),
            found=self._found.get(view.ref),
            urgencies=tuple(Urgency),
            entries=self._about.get(view.ref, ()),
        )

    def _differences(self, image: ImageView, view: VersionView) -> Iterator[Page]:
        """From the version before, and from those that a channel has left for this one."""
        left = {each.pair[0] for each in self._about.get(view.ref, ()) if each.pair is not None}
        known = self._sources.snapshot.versions
        for before in sorted(left | ({view.before} if view.before is not None else set())):
            changed = self._changed(self._looking.compare(known[before], view.version), files=False)
            yield self._page(
                "changes.html",
                paths.changes(before, view.ref),
                image=image,
                before=known[before],
                after=view.version,
                changed=changed,
                unknown=isinstance(changed, Unknown),
                moves=self._moves.get((before, view.ref), ()),
            )

    def _changed(self, compared: Comparison | Unknown, *, files: bool) -> Changed | Unknown:
        if isinstance(compared, Unknown):
            return compared
        aspects = [(title, compared.aspects[key]) for key, title in ASPECTS.items()]
        return Changed(
            comparison=compared,
            packages=_tally([each.kind for each in compared.packages]),
            aspects=[(title, its) for title, its in aspects if its],
            same=[title.lower() for title, its in aspects if not its],
            folders=_folders(compared) if files else None,
            files=_tally([each.kind for each in compared.files]),
        )

    def _feeds(
        self, path: str, title: str, page: str, entries: Sequence[Entry], made: datetime
    ) -> Iterator[Page]:
        feed = Feed(path, title, page, entries, made)
        yield Page(f"{path}.atom", atom(feed, self._catalog, self._sources.base_url))
        yield Page(f"{path}.json", json_feed(feed, self._catalog, self._sources.base_url))

    def _page(self, template: str, path: str, **facts: object) -> Page:
        return Page(path, self._templates.page(template, path, **facts))


def _example(image: ImageName, channels: Sequence[ChannelView]) -> str:
    """How to get a version by one of them, rather by the usual one; empty where none gives any."""
    names = [each.name for each in channels if each.head is not None and not each.revoked]
    if not names:
        return ""
    name = DEFAULT_CHANNEL if DEFAULT_CHANNEL in names else names[-1]
    return f"imagectl resolve {image}:{name}"


def _lately(entries: Sequence[Entry]) -> Sequence[Entry]:
    """Without announcements: while they stand, the same page has them under what is coming."""
    return [each for each in entries if not each.kind.startswith("announce-")][:LATEST]


def _built(image: ImageView) -> datetime:
    """When its first version was."""
    return image.versions[-1].version.created


def _or_unknown(found: object) -> object:
    return None if isinstance(found, Unknown) else found


def _fixed(before: Scanned, after: Scanned) -> tuple[Vulnerability, ...]:
    """What *before* has and *after* has not, by name and source package."""
    still = {(each.name, each.source) for each in after.vulnerabilities}
    found = {
        (each.name, each.source): each
        for each in before.vulnerabilities
        if (each.name, each.source) not in still
    }
    return tuple(found.values())


def _tally(kinds: Sequence[ChangeKind]) -> Mapping[ChangeKind, int]:
    return {kind: kinds.count(kind) for kind in ChangeKind if kind in kinds}


def _folders(compared: Comparison) -> Sequence[tuple[str, Mapping[ChangeKind, int]]]:
    """The folders, two levels deep, with the most changes first."""
    kinds: dict[str, list[ChangeKind]] = {}
    for change in compared.files:
        parts = change.path.split("/")
        folder = "/".join(parts[: min(3, len(parts) - 1)]) or "/"
        kinds.setdefault(folder, []).append(change.kind)
    ranked = sorted(kinds.items(), key=lambda item: (-len(item[1]), item[0]))
    return [(folder, _tally(its)) for folder, its in ranked]
