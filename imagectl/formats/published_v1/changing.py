"""Writes the documents that an excerpt of the catalog changes, on top of those that are there.

Promises: with those that stay they are what ``writing.render`` makes of the whole catalog, byte for
byte, but that warnings may name deleted versions longer than they have to; no version's document is
made but those of versions that changed; and an index, which has megabytes where an image has
100,000 versions, is not touched where it says already what it has to, as when a channel moves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from imagectl.formats.published_v1.reading import parse_index, parse_warnings
from imagectl.formats.published_v1.writing import (
    Documents,
    Shown,
    render_catalog,
    render_channels,
    render_index,
    render_versions,
    render_warnings,
    show,
)
from imagectl.formats.tuf_roles import (
    CATALOG_TARGET,
    HISTORY_TARGET,
    index_target,
    warnings_target,
)
from imagectl.model.excerpt import Excerpt
from imagectl.model.names import ImageName, LocationName, Sha256
from imagectl.model.published import Warned
from imagectl.model.retention import Stage
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import VersionRef

Find = Callable[[str], tuple[bytes, str] | None]
"""Gives what is said of a target until now, verified, and where, for messages; None: nothing."""


def render_excerpt(
    excerpt: Excerpt, at: datetime, public_urls: Mapping[LocationName, str], find: Find
) -> Documents:
    """What is to be said anew, and on top of what *find* gives: of announcements and the history,
    which others write, nothing.

    Raises Refused as ``writing.render`` does, and what *find* raises.
    """
    snapshot = excerpt.snapshot
    given, versions = render_versions(snapshot, public_urls)
    targets = {CATALOG_TARGET: render_catalog(snapshot, at), **render_channels(snapshot, given)}
    unindexed: dict[ImageName, bytes] = {}
    absent = {HISTORY_TARGET}
    by_image: dict[ImageName, list[VersionRef]] = {}
    for ref in sorted(excerpt.versions):
        by_image.setdefault(ref.image, []).append(ref)
    for image, refs in by_image.items():
        shown = Shown({}, {}, {})
        warned = find(warnings_target(image))
        if warned is not None:
            shown.warnings.update(parse_warnings(*warned))
        index = find(index_target(image))
        for ref in refs:
            show(ref, snapshot, given, shown)
        stays = all(_is_said(ref, snapshot, given, index) for ref in refs)
        # An image of which there are warnings alone has an index, too.
        stays = stays and (bool(shown.warnings) or warned is None)
        stays = stays and (index is not None or not shown.warnings)
        if not stays:
            if index is not None:
                known = parse_index(*index)
                shown.versions.update(known.versions)
                shown.deleted.update(known.deleted)
            for ref in refs:
                show(ref, snapshot, given, shown)
            # What was deleted is told by warnings only as long as the index does not say so.
            for version, said in list(shown.warnings.items()):
                if said.warned is Warned.DELETED:
                    del shown.warnings[version]
            if shown.deleted:
                unindexed[image] = render_warnings(image, {**shown.deleted, **shown.warnings})
            if shown.versions or shown.deleted or shown.warnings:
                targets[index_target(image)] = render_index(image, shown)
            else:
                absent.add(index_target(image))
        if shown.warnings:
            targets[warnings_target(image)] = render_warnings(image, shown.warnings)
        else:
            absent.add(warnings_target(image))
    return Documents(targets, versions, unindexed, frozenset(absent))


def _is_said(
    ref: VersionRef,
    snapshot: Snapshot,
    given: Mapping[VersionRef, Sha256],
    index: tuple[bytes, str] | None,
) -> bool:
    """Whether the index says that already. It is looked for as text, which takes a hundredth of the
    time of reading it: in what we write, quotes end nothing but a name or a digest.
    """
    if snapshot.stage(ref) is Stage.DELETED:
        return False
    data = b"" if index is None else index[0]
    if ref not in given:
        return f'"{ref.version}":'.encode() not in data
    return f'"{ref.version}":"{given[ref]}"'.encode() in data
