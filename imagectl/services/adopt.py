"""Take into the catalog what is in a location and nobody has recorded.

Promises: what somebody else made becomes a version of its own, held from the moment that the
catalog knows it, and dated as its provider does; it is written down before its marks are set (P7),
and is neither copied nor made again. What carries this catalog's marks is recorded as what they
say, after its bytes, or what stands for them, were compared. Everything is taken, or listed with
the reason; typed again, it goes on where it stopped. Nothing is decided on a view with gaps (P3).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from imagectl.errors import ImagectlError, NotFound
from imagectl.model.names import Format, LocationName
from imagectl.model.view import Found
from imagectl.policy.adoption import Left, images_of, sort_found
from imagectl.policy.wording import listed, nearest
from imagectl.services.adopt_copies import take_copies, would_take_copies
from imagectl.services.adopt_described import take_described, would_take_described
from imagectl.services.adopting import Adopting, AdoptRequest, Taken, complete
from imagectl.services.ports.locations import Location, Workshop
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.stores import ArtifactStore
from imagectl.services.releasing import Releasing


@dataclass(frozen=True, slots=True)
class Adoption:
    """What became of each thing that was asked for. ``known`` of them were recorded before;
    ``left`` are those that nothing was done to; ``failed`` could not be taken, and why."""

    scope: str
    taken: tuple[Taken, ...]
    known: int
    left: tuple[Left, ...]
    failed: tuple[tuple[Found, ImagectlError], ...]


def adopt(
    releasing: Releasing, store: ArtifactStore, request: AdoptRequest, progress: Progress
) -> Adoption:
    """Take what is *wanted* of a location, and say what became of each thing.

    Raises NotFound where there is no such location, or nothing there has such a name, CannotTell
    where not all of it could be seen, and what logging in raises; nothing is done then.
    """
    location = _find(releasing, request.location)
    progress.step(f"looking at {location.name}")
    location.probe()
    view = complete(location, releasing)
    found = [each for each in view.found if request.wanted.means(each)]
    if not found and request.wanted.patterns:
        raise NotFound(
            f"nothing in {location.name} is called {listed(request.wanted.patterns)}",
            where=view.scope,
            hint=f"`imagectl adopt {location.name} --dry-run` lists what is there",
        )
    snapshot = releasing.catalog.snapshot(images_of(found, request.wanted))
    builds = takes_from_others(location)
    sort = sort_found(found, snapshot, location.name, request.wanted, builds=builds)
    # An older catalog may learn what it has forgotten, although a published tree knows better: what
    # is shown stays as it is.
    writing = replace(releasing, publishers=())
    adopting = Adopting(writing, store, location, request, progress, snapshot, sort)
    if request.dry_run:
        would_take_copies(adopting)
        would_take_described(adopting)
    else:
        take_copies(adopting)
        take_described(adopting)
    taken, failed = tuple(adopting.taken), tuple(adopting.failed)
    return Adoption(view.scope, taken, sort.known, sort.left, failed)


def takes_from_others(location: Location) -> bool:
    """Whether others may make images there that imagectl can describe, and so adopt."""
    return isinstance(location, Workshop) and Format.NATIVE in location.takes


def _find(releasing: Releasing, name: LocationName) -> Location:
    location = releasing.locations.get(name)
    if location is None:
        raise NotFound(
            f"there is no location {name}",
            why=f"imagectl.yaml names {listed(releasing.locations)}",
            hint=nearest(name, releasing.locations),
        )
    return location
