"""The clock that tests use."""

from __future__ import annotations

from datetime import timedelta, timezone

import pytest
from support.examples import NOW

from imagectl.testing.clock import FixedClock


def test_it_stands_still_until_it_is_told_otherwise() -> None:
    clock = FixedClock(NOW)
    assert (clock.now(), clock.monotonic()) == (NOW, 0.0)
    clock.advance(timedelta(days=3, seconds=1))
    assert clock.now() == NOW + timedelta(days=3, seconds=1)
    assert clock.monotonic() == 3 * 86400 + 1


def test_it_does_not_go_back_and_is_in_utc() -> None:
    with pytest.raises(ValueError, match="go back"):
        FixedClock(NOW).advance(timedelta(seconds=-1))
    with pytest.raises(ValueError, match="UTC"):
        FixedClock(NOW.replace(tzinfo=None))
    with pytest.raises(ValueError, match="UTC"):
        FixedClock(NOW.astimezone(timezone(timedelta(hours=1))))
