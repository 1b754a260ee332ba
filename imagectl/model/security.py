"""Known vulnerabilities of Debian packages, and which of them a version has."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from imagectl.model.names import Sha256


class Urgency(enum.Enum):
    """How urgent Debian's security team has it, the most urgent first."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    UNASSIGNED = "unassigned"
    """Not judged yet; most of the newest are."""


@dataclass(frozen=True, slots=True)
class Weakness:
    """A vulnerability of one package: a source package, or where ``binary``, a binary one.

    Vulnerable is each version below ``unstable`` (every version where that is empty), but for
    ``others``: versions of other suites, or of this one, in which it is fixed. ``fixed``: in the
    suite that the data is about. ``remote`` is None where that is not known.
    """

    name: str
    package: str
    binary: bool
    urgency: Urgency
    remote: bool | None
    fixed: bool
    unstable: str
    others: tuple[str, ...]
    description: str


@dataclass(frozen=True, slots=True)
class SecurityData:
    """What was known of one suite (its codename) at one time.

    ``taken`` is when it was fetched, or since when the server itself has had it, whichever is
    earlier; aware, in UTC. ``source`` is where it was fetched from; ``sha256`` is that of the file
    as served.
    """

    suite: str
    taken: datetime
    source: str
    sha256: Sha256
    weaknesses: Mapping[str, tuple[Weakness, ...]]


@dataclass(frozen=True, slots=True)
class Vulnerability:
    """A vulnerability that a version has.

    ``installed`` is the version of the binary package ``package``. ``fixed_in`` is the version that
    fixes it: in the suite, of the source package (of the binary one where the weakness is its);
    None where there is none yet, or where it is not known which. ``unstable`` is the version that
    fixes it in unstable, or None.
    """

    name: str
    package: str
    architecture: str
    installed: str
    source: str
    fixed: bool
    fixed_in: str | None
    unstable: str | None
    urgency: Urgency
    remote: bool | None
    description: str
