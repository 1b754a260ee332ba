"""Deleting from a location where no catalog has to be asked first."""

from __future__ import annotations


def at_once() -> None:
    """What ``Location.delete`` calls before it takes something away."""
