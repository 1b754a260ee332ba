"""Receipts in memory."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from imagectl.errors import CannotTell
from imagectl.model.retention import Receipt
from imagectl.model.version import VersionRef


class MemoryReceipts:
    """Implements ``services.ports.Receipts``. ``readable`` is for tests to take away."""

    def __init__(self) -> None:
        self.readable = True
        self._latest: dict[tuple[VersionRef, str], datetime] = {}

    def add(self, receipt: Receipt) -> None:
        self._latest[receipt.version, receipt.consumer] = receipt.at

    def latest(self) -> Mapping[VersionRef, datetime]:
        if not self.readable:
            raise CannotTell("it cannot be told who has resolved what")
        latest: dict[VersionRef, datetime] = {}
        for (ref, _), at in self._latest.items():
            latest[ref] = max(at, latest.get(ref, at))
        return latest
