"""Who has put their name to a cleanup plan (P4)."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from imagectl.model.cleanup import CleanupPlan, Entry
from imagectl.model.names import Sha256


class Role(enum.Enum):
    """As what somebody signs."""

    AUTHOR = "author"
    APPROVAL = "approval"


@dataclass(frozen=True, slots=True)
class Signature:
    """Somebody's name under a plan. ``key`` is their Ed25519 public key (64 hexadecimal digits),
    ``value`` the signature (128). ``by`` is what they call themselves: only the key proves it."""

    role: Role
    by: str
    key: str
    at: datetime
    value: str


def plan_name(digest: str) -> str:
    """See ``SignedPlan.name``. Of a shorter text than a digest: the name that it is the end of."""
    return f"plan {digest[:12]}"


def named_plan(reason: str) -> str | None:
    """What ``plan_name`` has after the word, where *reason* is such a name: ``cleanup undo`` takes
    it."""
    name = reason.removeprefix("plan ")
    return name if name != reason and re.fullmatch("[0-9a-f]{12}", name) else None


def oldest_first(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Those of *entries* that go down by a stage, the oldest version first."""
    steps = (each for each in entries if each.to is not None)
    return tuple(sorted(steps, key=lambda each: (each.version.version, each.version.image)))


@dataclass(frozen=True, slots=True)
class SignedPlan:
    """A plan as its file has it. ``steps`` are those of its entries that go down, oldest first.
    ``digest`` is over all of the plan; whoever made this value has checked that each of
    ``signatures`` is its key's, and over this digest."""

    plan: CleanupPlan
    steps: tuple[Entry, ...]
    digest: Sha256
    signatures: tuple[Signature, ...]

    @property
    def name(self) -> str:
        """What events and tombstones call it: short, and enough to tell plans apart."""
        return plan_name(self.digest)

    @property
    def author(self) -> Signature | None:
        """The signature of whoever made it; None where there is not exactly one, in their name."""
        signed = [each for each in self.signatures if each.role is Role.AUTHOR]
        return signed[0] if len(signed) == 1 and signed[0].by == self.plan.author else None

    @property
    def approvals(self) -> tuple[Signature, ...]:
        return tuple(each for each in self.signatures if each.role is Role.APPROVAL)
