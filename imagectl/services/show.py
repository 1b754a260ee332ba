"""Show consumers what the catalog has: the published trees, and the locations' own pointers.

Promises: no tree is overwritten, and nothing is pointed, where a tree knows a later catalog (P2);
trees come first, since they decide whether a release went well; what a killed process did not show
any more, the next one shows, whoever it is, and for which image.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from imagectl.errors import CannotTell, Conflict, Corrupt, Failed, ImagectlError, summed_up
from imagectl.model.channel import Channel
from imagectl.model.names import ChannelName, ImageName, LocationName
from imagectl.model.published import PublishedCatalog
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Placement, VersionRef
from imagectl.policy.newest import BEGIN, NOT_MOUNTED
from imagectl.policy.readiness import required_now, required_placements
from imagectl.services.current import against, check_newest
from imagectl.services.live import PATIENCE, takes_of
from imagectl.services.ports.catalog import Catalog
from imagectl.services.ports.locations import Location
from imagectl.services.ports.published import Publisher
from imagectl.services.releasing import Releasing

POINT_ATTEMPTS = 3
"""How often pointers are changed anew because the catalog was changed meanwhile. Whoever changed it
last looks at all of them too."""


MANY = 1000
"""Of more changes than that, everything is published anew rather than what they name."""


PUBLISH = "put that right, then `imagectl catalog publish`"
"""What makes good that consumers are not shown what the catalog has."""


@dataclass(frozen=True, slots=True)
class Behind:
    """A location whose own pointers may still show what the image's channels have left, and why.

    ``required``: one of these channels requires that location.
    """

    location: LocationName
    image: ImageName
    error: ImagectlError
    required: bool


def catch_up(catalog: Catalog, publishers: Sequence[Publisher]) -> int:
    """Show consumers what the catalog has and a killed process did not publish any more.

    How many trees were behind: one that is not there yet is not, where nothing was ever recorded.
    One that is not there any more is not begun anew: see ``why_not_begun``.
    Cheap where none is. Every tree is tried before an error is raised:
    CannotTell where one shows a later generation than the catalog has, or another catalog; it is
    left as it is. Where there are several trees it is one error for all (see ``errors.summed_up``)
    that says how many of them were shown it.
    """
    behind = 0
    failed: dict[str, ImagectlError] = {}
    for publisher in publishers:
        try:
            # In this order: a tree read first cannot be ahead of a catalog read later.
            shown = publisher.shown()
            if shown is not None and (trouble := against(catalog, publisher, shown)) is not None:
                raise trouble
            head = catalog.snapshot(()).generation
            if shown is None and not head:
                continue  # nothing was ever recorded: whoever looks makes no keys for that
            if shown is None or shown.generation != head:
                _publish(catalog, publisher, shown)
                behind += 1
        except ImagectlError as error:
            failed[publisher.where] = error
    if failed and len(publishers) == 1:
        raise failed.popitem()[1]
    if failed:
        raise summed_up(
            f"consumers of {len(failed)} of {len(publishers)} published trees do not see what the "
            f"catalog has{'; those of the others do' if len(failed) < len(publishers) else ''}",
            failed,
            counting=list(failed),
        )
    return behind


def _publish(catalog: Catalog, publisher: Publisher, shown: PublishedCatalog | None) -> None:
    """Publish what changed since then; everything, where that is not known or is not enough."""
    changed = None if shown is None else catalog.changed(shown.generation, MANY)
    if changed is not None:
        try:
            publisher.publish(changed)
        except (Conflict, Corrupt):  # it was removed meanwhile, or needs repair
            pass
        else:
            return
    snapshot = catalog.snapshot()
    if shown is None and (trouble := why_not_begun(publisher, snapshot)) is not None:
        raise trouble
    publisher.publish(snapshot)


def why_not_begun(publisher: Publisher, snapshot: Snapshot) -> CannotTell | None:
    """Why a tree that shows nothing is not written by whoever changes the catalog, if so: channels
    had moved before the last change, so what was published may only not be mounted. Written anew,
    it would pass an older copy of the catalog for the newest (P2): that is for people to decide, by
    ``catalog publish``. None where the tree is only signed by nobody who counts. Raises as
    ``Publisher.signatures`` does."""
    moves = (move for channel in snapshot.channels.values() for move in channel.moves)
    if publisher.signatures() or all(move.generation == snapshot.generation for move in moves):
        return None
    return CannotTell(
        f"nothing is published in {publisher.where}, although channels have moved before",
        where=publisher.where,
        why=NOT_MOUNTED,
        hint=BEGIN,
    )


def show(releasing: Releasing, first: Collection[ImageName] = ()) -> tuple[Behind, ...]:
    """Show consumers what the catalog has: published trees, and the locations' own pointers.

    All of it, *first* what concerns these images: what a killed process did not do is made good.
    Pointers are tried also where a tree cannot be written. Raises as ``catch_up`` does.
    """
    try:
        catch_up(releasing.catalog, releasing.publishers)
    except ImagectlError:
        with contextlib.suppress(CannotTell):  # nothing is pointed where a tree knows better
            point(releasing, first)
        raise
    return point(releasing, first)


def point(releasing: Releasing, first: Collection[ImageName] = ()) -> tuple[Behind, ...]:
    """Make the locations' own pointers (families) show the channels' heads, those of *first* first.

    Where a head is not in a location that has had other versions, it is told so: its pointers must
    not go on showing what the channel has left. Cheap where locations have none. Where that did not
    work is in the answer; a location that does not answer is asked no further. Nothing remembers
    which pointers a killed process left behind, maybe on another machine: all are looked at.

    Raises CannotTell, and points nothing, where a published tree knows a later catalog.
    """
    check_newest(releasing.catalog, releasing.publishers)
    behind: tuple[Behind, ...] = ()
    for _ in range(POINT_ATTEMPTS):
        snapshot = releasing.catalog.snapshot()
        images = sorted(snapshot.images, key=lambda image: image not in first)
        behind = tuple(
            each
            for location in releasing.locations.values()
            for each in _point_in(location, images, snapshot)
        )
        # Another process may have shown a later move meanwhile, and this one an earlier one after.
        if releasing.catalog.snapshot(()).generation == snapshot.generation:
            break
    return behind


def _point_in(
    location: Location, images: Sequence[ImageName], snapshot: Snapshot
) -> Iterator[Behind]:
    name, unanswered = location.name, 0
    last: ImagectlError | None = None
    for image in images:
        if not _ever_in(name, image, snapshot):
            continue
        channels = [known for (owner, _), known in snapshot.channels.items() if owner == image]
        required = any(name in required_now(snapshot, channel) for channel in channels)
        if last is not None and unanswered == PATIENCE:
            yield Behind(name, image, last, required)
            continue
        try:
            location.point(image, _heads_in(location, channels, snapshot))
            unanswered = 0
        except ImagectlError as error:
            last, unanswered = error, unanswered + isinstance(error, CannotTell)
            yield Behind(name, image, error, required)


def _heads_in(
    location: Location, channels: Sequence[Channel], snapshot: Snapshot
) -> Mapping[ChannelName, Placement]:
    """What channels point to, where it is in that location. What was revoked is shown to nobody."""
    heads = {}
    for channel in channels:
        ref = VersionRef(channel.image, channel.head.version)
        if ref in snapshot.revoked:
            continue
        there = required_placements(
            snapshot, ref, (location.name,), takes_of({location.name: location})
        )
        if there:
            heads[channel.name] = there[0]
    return heads


def _ever_in(location: LocationName, image: ImageName, snapshot: Snapshot) -> bool:
    return any(
        each.location == location
        for ref, placed in snapshot.placements.items()
        if ref.image == image
        for each in placed
    )


def show_consumers(releasing: Releasing, done: str) -> None:
    """Write what consumers read. Raises Failed, after *done*, where that does not work. The
    locations' own pointers are left alone: channels have not moved."""
    try:
        catch_up(releasing.catalog, releasing.publishers)
    except ImagectlError as error:
        raise not_seen(done, error) from error


def not_seen(done: str, error: ImagectlError) -> Failed:
    """That something is *done*, and which consumers do not see it: what ``catch_up`` raised."""
    what, why = "consumers do not see it yet", error.said
    if error.causes:  # one for each tree that failed
        what, why = error.what, error.why
    failed = Failed(f"{done}, but {what}", where=error.where, why=why, hint=PUBLISH)
    failed.causes = error.causes
    return failed
