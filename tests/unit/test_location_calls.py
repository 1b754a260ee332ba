"""Calls to a location: the shared line, the retries, the deadline."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from imagectl.adapters.locations import calls
from imagectl.adapters.locations.calls import (
    LONGEST_LINE,
    Again,
    Calls,
    Line,
    boot_id,
    pause_before,
)
from imagectl.errors import CannotTell, Throttled
from imagectl.model.names import LocationName

HERE = LocationName("here")


class Fails:
    """Raises so many times, then returns."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __call__(self) -> str:
        self.left -= 1
        if self.left >= 0:
            raise OSError("not now")
        return "done"


def passing(error: Exception) -> Again | None:
    return Again(0.0, False, str(error))


def test_what_passes_is_tried_again_and_counted(tmp_path: Path) -> None:
    here = Calls(HERE, tmp_path, per_second=1000, deadline=10)
    assert here.run("reading", Fails(2), passing) == "done"
    assert here.requests == 3


def test_what_takes_long_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    here = Calls(HERE, tmp_path, per_second=1000, deadline=10, remark=said.append)
    here.run("reading", Fails(2), passing)
    assert not said, "nobody has waited yet"
    monkeypatch.setattr(calls, "SILENCE", 0.1)
    here.run("reading", Fails(2), passing)
    assert said
    assert all(
        each.startswith("location here: reading did not work yet, and is tried again in ")
        and each.endswith(" s: not now")
        for each in said
    )


def test_what_does_not_pass_goes_through(tmp_path: Path) -> None:
    here = Calls(HERE, tmp_path, per_second=1000)
    with pytest.raises(OSError, match="not now"):
        here.run("reading", Fails(1), lambda _: None)
    assert here.requests == 1


@pytest.mark.parametrize(("throttled", "kind"), [(True, Throttled), (False, CannotTell)])
def test_patience_ends_at_the_deadline_and_says_what_and_how_often(
    tmp_path: Path, throttled: bool, kind: type[CannotTell]
) -> None:
    here = Calls(HERE, tmp_path, per_second=1000, deadline=0.5)
    began = time.monotonic()
    with pytest.raises(CannotTell) as raised:
        here.run("listing images", Fails(99), lambda e: Again(None, throttled, str(e)))
    assert type(raised.value) is kind
    assert time.monotonic() - began < 20
    assert raised.value.what == "listing images did not work"
    assert "the last answer was: not now" in raised.value.why


def test_a_wait_that_would_be_longer_than_the_deadline_is_not_begun(tmp_path: Path) -> None:
    here = Calls(HERE, tmp_path, per_second=1000, deadline=50)
    began = time.monotonic()
    with pytest.raises(Throttled, match="reading did not work"):
        here.run("reading", Fails(1), lambda _: Again(60.0, True, "Retry-After: 60"))
    assert time.monotonic() - began < 40


def test_retry_after_is_never_cut_short() -> None:
    for attempt in range(2, 40):
        assert 7.0 <= pause_before(attempt, 7.0) <= 8.0
        assert 0 < pause_before(attempt, None) <= 30.0


def test_pauses_grow_and_differ() -> None:
    assert min(pause_before(9, None) for _ in range(50)) > 0.3  # the longest second one
    assert len({pause_before(3, None) for _ in range(20)}) > 1


def test_all_who_call_share_one_limit(tmp_path: Path) -> None:
    """Two of them, as two processes have it: 60 calls at 50 a second, of which a second's worth
    may go at once."""
    began = time.monotonic()
    lines = [Line(tmp_path / "limits" / "here.json", 50) for _ in range(2)]
    threads = [
        threading.Thread(target=lambda line=line: [line.wait(began + 60) for _ in range(40)])
        for line in lines
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began > 0.5
    assert json.loads((tmp_path / "limits" / "here.json").read_text())["calls"] == 80


def test_patience_asked_of_one_is_had_by_all(tmp_path: Path) -> None:
    one, other = (Line(tmp_path / "limits" / "here.json", 1000) for _ in range(2))
    one.wait(time.monotonic() + 9)
    one.hold(0.4)
    began = time.monotonic()
    other.wait(began + 9)
    assert time.monotonic() - began > 0.3


@pytest.mark.parametrize("text", [b"", b"?", b"[]", b'{"free_at": "x"}', b'{"free_at": 1e300}'])
def test_a_file_that_cannot_be_read_costs_nothing_but_time(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "limits" / "here.json"
    path.parent.mkdir()
    path.write_bytes(text)
    began = time.monotonic()
    Line(path, 1000).wait(began + 60)
    assert time.monotonic() - began < LONGEST_LINE - 1
    assert json.loads(path.read_text())["calls"] == 1


@pytest.mark.parametrize("boot", [{}, {"boot": "another"}])
def test_a_line_of_before_the_machine_was_started_is_forgotten(
    tmp_path: Path, boot: dict[str, str]
) -> None:
    """Or of another host that shares the folder: its clock began at another time."""
    path = tmp_path / "limits" / "here.json"
    path.parent.mkdir()
    ahead = time.monotonic() + 2400
    path.write_text(json.dumps({"free_at": ahead, "held_until": ahead, "calls": 7, **boot}))
    began = time.monotonic()
    Line(path, 1000).wait(began + 60)
    assert time.monotonic() - began < LONGEST_LINE - 1
    assert json.loads(path.read_text())["boot"] == boot_id()


def test_a_line_is_never_longer_than_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagectl.adapters.locations.calls.LONGEST_LINE", 1.2)
    path = tmp_path / "limits" / "here.json"
    path.parent.mkdir()
    ahead = time.monotonic() + 2400
    noted = {"free_at": ahead, "held_until": 0, "calls": 7, "boot": boot_id()}
    path.write_text(json.dumps(noted))
    began = time.monotonic()
    Line(path, 1000).wait(began + 60)
    assert time.monotonic() - began < 30


def test_what_a_provider_has_asked_of_all_is_not_cut_short_by_a_deadline(tmp_path: Path) -> None:
    """Another process was asked for more patience than this one has."""
    Line(tmp_path / "limits" / "here.json", 1000).hold(60)
    here = Calls(HERE, tmp_path, per_second=1000, deadline=40)
    began = time.monotonic()
    with pytest.raises(Throttled, match="reading did not work") as raised:
        here.run("reading", Fails(0), passing)
    assert time.monotonic() - began < 30
    assert here.requests == 0
    assert raised.value.why.startswith("the provider asked for patience, for ")


def test_a_guess_at_which_one_gives_up_holds_nobody_else(tmp_path: Path) -> None:
    here = Calls(HERE, tmp_path, per_second=1000, deadline=0.5)
    for _ in range(3):
        with pytest.raises(Throttled):
            here.run("reading", Fails(99), lambda e: Again(None, True, str(e)))
        assert here.run("reading", Fails(0), passing) == "done"
