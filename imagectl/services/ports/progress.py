"""Where long work tells how it is getting on, and how long it took before."""

from __future__ import annotations

from typing import Protocol

from imagectl.model.names import (
    ImageName,
)


class Progress(Protocol):
    """Where long work tells how it is getting on. Never raises, never blocks."""

    def stage(self, name: str, expected_seconds: float | None = None) -> None:
        """A new stage has begun, and ends the one before."""
        ...

    def step(self, text: str) -> None:
        """What the current stage is doing now, such as the Ansible task."""
        ...

    def note(self, text: str) -> None:
        """A line that the user should see and that stays."""
        ...

    def moved(self, what: str, done: int, total: int) -> None:
        """*done* of the *total* bytes of *what* have been moved so far in the current stage; from
        any thread, as often as one likes."""
        ...


class Timings(Protocol):
    """How long stages took before, in seconds. Only for display: losing it loses nothing."""

    def expected(self, image: ImageName, stage: str) -> float | None:
        """The latest duration; None where it never ran here."""
        ...

    def record(self, image: ImageName, stage: str, seconds: float) -> None:
        """Keep a stage's duration."""
        ...
