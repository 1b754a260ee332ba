"""The catalog as cleanups look at it: slim, since there may be a million versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from imagectl.model.channel import Channel
from imagectl.model.names import ChannelName, ImageName, LocationName, Sha256, VersionId
from imagectl.model.retention import Stage, Tombstone
from imagectl.model.version import VersionRef


@dataclass(frozen=True, slots=True)
class Kept:
    """A placement as much as a cleanup looks at it: where it is, and as what."""

    location: LocationName
    provider_id: str
    sha256: Sha256


@dataclass(frozen=True, slots=True)
class Shelved:
    """One version as much as a cleanup looks at it: there may be a million of them.

    ``staged`` is when it came to its stage; ``created`` where it never went down. ``held``: by
    whom. ``leased``: the latest end of its consumers' leases, and ``leased_by`` whose lease that
    is. ``begun``: something is being placed.
    """

    id: VersionId
    created: datetime
    parent: VersionRef | None
    stage: Stage
    staged: datetime
    placed: tuple[Kept, ...]
    held: tuple[str, ...] = ()
    leased: datetime | None = None
    leased_by: str = ""
    begun: bool = False
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class Shelf:
    """One image as much as a cleanup looks at it: its versions, oldest first, and its channels.

    ``buried`` are its open tombstones: begun deletions that have not been seen to end.
    ``announced`` are the versions that channels are announced to point to, by the channel.
    """

    image: ImageName
    versions: tuple[Shelved, ...]
    channels: Mapping[ChannelName, Channel]
    buried: tuple[Tombstone, ...] = ()
    announced: Mapping[ChannelName, VersionId] = field(default_factory=dict)

    @property
    def unfinished(self) -> tuple[Tombstone, ...]:
        """Begun deletions that have not been seen to end, and that nobody has begun to take
        back."""
        if not self.buried:
            return ()
        back = {each.id for each in self.versions if each.stage is not Stage.DELETED}
        return tuple(each for each in self.buried if each.placement.version.version not in back)


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where one version is, and at which stage."""

    version: VersionRef
    stage: Stage
    placed: tuple[Kept, ...]


@dataclass(frozen=True, slots=True)
class Counted:
    """How many there are of each in the catalog, counted by itself in another way than reading
    them: a reading that shows fewer is not everything (P3)."""

    versions: int
    placements: int
    moves: int
    events: int


@dataclass(frozen=True, slots=True)
class Stock:
    """The catalog as cleanups read it. ``shelves`` gives them anew each time, sorted by image;
    ``whereabouts`` less of the same versions in less time, sorted by version; ``event`` the hash of
    the event that made a generation, None where there is no such event."""

    catalog_id: str
    generation: int
    counted: Counted
    shelves: Callable[[], Iterator[Shelf]]
    whereabouts: Callable[[], Iterator[Whereabouts]]
    event: Callable[[int], Sha256 | None]
