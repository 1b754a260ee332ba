"""The picture of what channels pointed to over time."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
from support.examples import BETA, CI, NOW, ref

from imagectl.model.channel import Channel, Move, MoveKind
from imagectl.site.timeline import draw


def channel(*days: float) -> Channel:
    moves = [
        Move(ref(f"debian-ci@20260101.{n + 1}").version, MoveKind.ENTRY, at, "a", "", n)
        for n, at in enumerate(NOW + timedelta(days=day) for day in days)
    ]
    return Channel(CI, BETA, tuple(moves))


def test_bars_fill_the_time_since_the_first_move() -> None:
    drawn = draw([channel(-10, -4, -1)], (), NOW)
    assert drawn is not None
    bars = drawn.rows[0].bars
    assert bars[0].x == 0
    assert round(bars[-1].x + bars[-1].width) == 100
    for one, other in pairwise(bars):
        assert round(one.x + one.width, 1) == round(other.x, 1)


def test_long_ago_is_left_out() -> None:
    drawn = draw([channel(-900, -500, -20)], (), NOW)
    assert drawn is not None
    assert [str(each.version) for each in drawn.rows[0].bars] == ["20260101.2", "20260101.3"]
    assert drawn.begins > NOW - timedelta(days=121)


@pytest.mark.parametrize("minutes", [0, 5, 59])
def test_the_first_hour_of_a_project_is_not_a_sliver(minutes: int) -> None:
    """It is the first picture that anybody sees of it."""
    drawn = draw([channel(-minutes / 1440)], (), NOW + timedelta(seconds=1))
    assert drawn is not None
    (bar,) = drawn.rows[0].bars
    assert bar.width >= 45
    assert round(bar.x + bar.width) == 100


@pytest.mark.parametrize("days", [0.0, 0.01, 1, 3, 10, 40, 119, 4000])
def test_there_are_a_few_ticks(days: float) -> None:
    drawn = draw([channel(-days)], (), NOW)
    assert drawn is not None
    assert 1 <= len(drawn.ticks) <= 6
    assert len({each.label for each in drawn.ticks}) == len(drawn.ticks)


def test_nothing_released_has_no_picture() -> None:
    assert draw([], (), NOW) is None
