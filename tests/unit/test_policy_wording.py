"""How times and lists are said."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.examples import NOW

from imagectl.policy.wording import ahead, counted, listed, moment, nearest, span


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (timedelta(0), "0 s"),
        (timedelta(seconds=59.9), "59 s"),
        (timedelta(seconds=61), "1 min 1 s"),
        (timedelta(minutes=12), "12 min"),
        (timedelta(hours=3, seconds=5), "3 h"),
        (timedelta(days=2, hours=4, minutes=59), "2 d 4 h"),
        (timedelta(days=30), "30 d"),
        (timedelta(days=-1), "0 s"),
    ],
)
def test_spans(length: timedelta, said: str) -> None:
    assert span(length) == said


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (timedelta(days=7), "in 7 d"),
        (timedelta(days=7, seconds=-1), "in 7 d"),
        (timedelta(days=5, hours=11, minutes=40), "in 5 d 12 h"),
        (timedelta(days=1, minutes=-20), "in 1 d"),
        (timedelta(hours=2, seconds=-1), "in 2 h"),
        (timedelta(minutes=12, seconds=30), "in 12 min 30 s"),
        (timedelta(minutes=1), "in 1 min"),
        (timedelta(seconds=20), "in less than a minute"),
    ],
)
def test_how_long_until(length: timedelta, said: str) -> None:
    assert ahead(length) == said


def test_moments() -> None:
    assert moment(NOW) == "2026-11-20 12:00 UTC"


@pytest.mark.parametrize(
    ("words", "said"),
    [([], "nothing"), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")],
)
def test_lists(words: list[str], said: str) -> None:
    assert listed(words) == said


def test_the_nearest_known_word() -> None:
    assert nearest("stabel", ["beta", "stable"]) == "did you mean stable?"
    assert nearest("prod", ["beta", "stable"]) == ""


def test_counts() -> None:
    assert (counted(1, "test"), counted(2, "test")) == ("1 test", "2 tests")
