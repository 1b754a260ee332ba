"""What the catalog knows at one generation.

What leads from one to the next is ``model.change``; what that makes of a snapshot, ``model.fold``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from imagectl.model.announcement import AnnouncedMove, Announcement
from imagectl.model.channel import Channel
from imagectl.model.names import ChannelName, ImageName, Sha256, VersionId
from imagectl.model.retention import Hold, Lease, Revocation, Stage, Staged, Tombstone
from imagectl.model.version import Intent, Placement, Version, VersionRef


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The catalog at one generation. Versions are ordered oldest first."""

    catalog_id: str
    generation: int
    versions: Mapping[VersionRef, Version] = field(default_factory=dict)
    channels: Mapping[tuple[ImageName, ChannelName], Channel] = field(default_factory=dict)
    placements: Mapping[VersionRef, tuple[Placement, ...]] = field(default_factory=dict)
    intents: Mapping[VersionRef, tuple[Intent, ...]] = field(default_factory=dict)
    stages: Mapping[VersionRef, Staged] = field(default_factory=dict)
    """Versions that have ever been taken down a stage; all others are active."""
    holds: Mapping[VersionRef, tuple[Hold, ...]] = field(default_factory=dict)
    leases: Mapping[VersionRef, tuple[Lease, ...]] = field(default_factory=dict)
    """Of consumers, those that are over too until somebody ends them: only time tells."""
    revoked: Mapping[VersionRef, Revocation] = field(default_factory=dict)
    tombstones: Mapping[VersionRef, tuple[Tombstone, ...]] = field(default_factory=dict)
    announced: Mapping[ImageName, tuple[Announcement, ...]] = field(default_factory=dict)
    """What consumers are told of before it happens, in the order of ``announced_key``."""
    event: Sha256 | None = field(default=None, compare=False)
    """The hash of the event that made this generation; None where no catalog has committed it."""

    @property
    def images(self) -> tuple[ImageName, ...]:
        """The images with at least one version, sorted."""
        return tuple(sorted({ref.image for ref in self.versions}))

    def of(self, image: ImageName) -> tuple[Version, ...]:
        """The image's versions, oldest first."""
        return tuple(self.versions[ref] for ref in sorted(self.versions) if ref.image == image)

    def channel(self, image: ImageName, channel: ChannelName) -> Channel | None:
        """The image's channel, or None where nothing has been released there yet."""
        return self.channels.get((image, channel))

    def head(self, image: ImageName, channel: ChannelName) -> VersionId | None:
        """What the channel points to, or None where nothing has been released there yet."""
        found = self.channels.get((image, channel))
        return found.head.version if found else None

    def placed(self, ref: VersionRef) -> tuple[Placement, ...]:
        """The version's placements, in the order they were first recorded."""
        return self.placements.get(ref, ())

    def intended(self, ref: VersionRef) -> tuple[Intent, ...]:
        """What was begun for the version and neither recorded nor given up yet, oldest first."""
        return self.intents.get(ref, ())

    def stage(self, ref: VersionRef) -> Stage:
        """How far the version is on its way down."""
        staged = self.stages.get(ref)
        return staged.stage if staged else Stage.ACTIVE

    def buried(self, ref: VersionRef) -> tuple[Tombstone, ...]:
        """The version's tombstones, oldest first, those of things that are gone too."""
        return self.tombstones.get(ref, ())

    def coming(self, image: ImageName, channel: ChannelName) -> AnnouncedMove | None:
        """The move that was announced for the image's channel."""
        for each in self.announced.get(image, ()):
            if isinstance(each, AnnouncedMove) and each.channel == channel:
                return each
        return None

    def only(self, images: Collection[ImageName]) -> Snapshot:
        """The same generation with nothing but what concerns *images*."""
        wanted = frozenset(images)
        return replace(
            self,
            versions={ref: each for ref, each in self.versions.items() if ref.image in wanted},
            channels={at: each for at, each in self.channels.items() if at[0] in wanted},
            placements={ref: each for ref, each in self.placements.items() if ref.image in wanted},
            intents={ref: each for ref, each in self.intents.items() if ref.image in wanted},
            stages={ref: each for ref, each in self.stages.items() if ref.image in wanted},
            holds={ref: each for ref, each in self.holds.items() if ref.image in wanted},
            leases={ref: each for ref, each in self.leases.items() if ref.image in wanted},
            revoked={ref: each for ref, each in self.revoked.items() if ref.image in wanted},
            tombstones={ref: each for ref, each in self.tombstones.items() if ref.image in wanted},
            announced={image: each for image, each in self.announced.items() if image in wanted},
        )
