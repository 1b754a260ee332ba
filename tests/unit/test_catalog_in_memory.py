"""The catalog in memory, on which most is proven: that it says so where it is not sound."""

from __future__ import annotations

from dataclasses import replace

from support.examples import change, hold, record

from imagectl.testing.catalog import MemoryCatalog


def test_another_event_in_the_place_of_one_that_was_verified_is_seen() -> None:
    """Each event is hashed once, so long as it is the same one."""
    catalog = MemoryCatalog()
    catalog.commit(change("one", 0, record("debian-ci@20261120.1")))
    catalog.commit(change("two", 1, hold("debian-ci@20261120.1")))
    assert catalog.verify() == catalog.verify() == ()
    sound = catalog._events[0]
    catalog._events[0] = replace(sound, change=replace(sound.change, reason="another"))
    assert catalog.verify() == ("event 1: its content is not what its hash says",)
    catalog._events[0] = sound
    assert catalog.verify() == ()
    catalog._events.pop()
    assert catalog.verify() == ("catalog: it is not what its events make",)
