"""Things that are made to be thrown away, and who still needs them: machines, disks, uploads.

Each is written down before it is made, with a lease that whoever made it renews. When the lease is
over, nobody needs it any more, whatever state it is in: that alone decides (P2, P7).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime


class ResourceKind(enum.Enum):
    """What sort of thing it is."""

    MACHINE = "machine"
    """A VM, an instance, or a QEMU process with its folder and overlay."""
    DISK = "disk"
    ADDRESS = "address"
    """Nothing here reserves one: a release to come, or a template of a user's, may."""
    UPLOAD = "upload"


@dataclass(frozen=True, slots=True)
class Resource:
    """One thing in the ledger, from before it is made until it is seen to be gone.

    ``id`` is ours, and is what the thing carries in its place. ``place`` is a location's name, or
    ``host/NAME`` for a machine's own. ``name`` is what it is called there. ``until``: the end of
    its lease. ``tries`` counts how often collecting it has failed, ``trouble`` says why the last
    time. Times are aware, in UTC.
    """

    id: str
    kind: ResourceKind
    place: str
    name: str
    purpose: str
    by: str
    since: datetime
    until: datetime
    tries: int = 0
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a thing says of itself at its provider, in labels or annotations: of which catalog it
    is, which entry of the ledger, and until when it is needed. It says enough to do without the
    ledger, where that is lost. ``until`` is aware, in UTC."""

    catalog: str
    resource: str
    until: datetime


@dataclass(frozen=True, slots=True)
class FoundResource:
    """One thing in a place. ``claim`` is None where it is not imagectl's, or does not say so: then
    it is nobody's business here. ``copied`` is the claim of another thing, by name or id, that it
    carries in place of its own: it came along when that was cloned. Nothing is decided by it, but
    people are told.

    ``state`` is the provider's own word, for people: nothing is decided by it. ``created`` is
    aware, in UTC; None where the provider does not tell.
    """

    provider_id: str
    kind: ResourceKind
    name: str
    claim: Claim | None
    state: str = ""
    created: datetime | None = None
    copied: Claim | None = None


@dataclass(frozen=True, slots=True)
class ResourceView:
    """Everything of a place that could be a resource, foreign things too, as one listing showed it.

    ``gaps``, ``requests``, ``began`` and ``ended`` as in ``model.view.View``.
    """

    place: str
    scope: str
    found: tuple[FoundResource, ...]
    gaps: tuple[str, ...]
    requests: int
    began: datetime
    ended: datetime

    @property
    def complete(self) -> bool:
        return not self.gaps
