"""The catalog's history: one event for each change, each holding the hash of the one before."""

from __future__ import annotations

from dataclasses import dataclass

from imagectl.model.change import Change
from imagectl.model.names import Sha256

GENESIS = Sha256("0" * 64)
"""The hash that the first event names as the one before it."""


@dataclass(frozen=True, slots=True)
class Event:
    """A change as it was applied. ``hash`` covers every other field (``formats/events.py``)."""

    generation: int
    change: Change
    previous: Sha256
    hash: Sha256
