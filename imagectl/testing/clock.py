"""A clock that stands still until it is told otherwise."""

from __future__ import annotations

from datetime import datetime, timedelta


class FixedClock:
    """Implements ``services.ports.Clock``. *now* is aware, in UTC."""

    def __init__(self, now: datetime) -> None:
        if now.utcoffset() != timedelta(0):
            raise ValueError(f"{now} is not in UTC")
        self._start = now
        self._now = now

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return (self._now - self._start).total_seconds()

    def advance(self, by: timedelta) -> None:
        """Let *by* go past. Time does not go back."""
        if by < timedelta(0):
            raise ValueError(f"time does not go back by {-by}")
        self._now += by
