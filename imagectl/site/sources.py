"""What a site is made from, and what it is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from imagectl.errors import ImagectlError
from imagectl.model.channel import ReleasePolicy
from imagectl.model.event import Event
from imagectl.model.names import Sha256
from imagectl.model.place import Takes
from imagectl.model.security import SecurityData
from imagectl.model.snapshot import Snapshot
from imagectl.services.measure import Outcome
from imagectl.services.ports.looking_inside import Documents


@dataclass(frozen=True, slots=True)
class Tree:
    """A published tree, and the generation that it shows; None where it shows nothing yet.
    ``trouble`` is why that is not known, where it is not. ``signatures``: until when those of each
    role hold, or why that is not known; empty where nobody has looked."""

    name: str
    generation: int | None
    trouble: ImagectlError | None = None
    signatures: Mapping[str, datetime] | ImagectlError = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything that a site says comes from here.

    ``kept`` says whether the artifact store has a document. ``security`` gives Debian's data about
    a suite, or raises CannotTell. ``outcomes`` is None where it is not known how earlier runs have
    ended. ``base_url`` is where the site will be, ending in a slash, or empty where nobody has said
    it. ``events`` are those up to the snapshot's generation. ``unsigned`` are the roles whose new
    content consumers see only once people have signed it.
    """

    title: str
    snapshot: Snapshot
    events: Sequence[Event]
    policy: ReleasePolicy
    takes: Takes
    documents: Documents
    kept: Callable[[Sha256], bool]
    security: Callable[[str], SecurityData]
    trees: Sequence[Tree]
    outcomes: Mapping[tuple[str, str], Outcome] | None
    now: datetime
    base_url: str = ""
    unsigned: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """A file of the site, with its path below the site's folder."""

    path: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """A file of the site that the artifact store keeps. Its digest is part of ``path``, so what was
    there before under that path is the same."""

    path: str
    sha256: Sha256


File = Page | Kept
