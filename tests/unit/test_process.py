from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.processes import ends

from imagectl.adapters import process
from imagectl.errors import NoSpace, ToolFailed, ToolMissing, ToolTimedOut


def test_output_and_lines_arrive() -> None:
    lines: list[str] = []
    done = process.run(["sh", "-c", "echo one; echo two >&2"], on_line=lines.append)
    assert done.output == "one\n"
    assert sorted(lines) == ["one", "two"]
    assert "two" in done.tail


def test_a_failure_can_be_pasted(tmp_path: Path) -> None:
    with pytest.raises(ToolFailed) as caught:
        process.run(["sh", "-c", "echo 'no such thing' >&2; exit 3"], cwd=tmp_path, what="trying")
    assert caught.value.what == "trying"
    assert caught.value.status == 3
    assert "no such thing" in caught.value.tail
    assert caught.value.command.startswith(f"cd {tmp_path} && ")
    assert "'echo '\"'\"'no such thing'" in caught.value.command


def test_a_full_disk_is_told_as_such() -> None:
    with pytest.raises(NoSpace):
        process.run(["sh", "-c", "echo 'write: No space left on device' >&2; exit 1"])


def test_a_missing_program_is_told() -> None:
    with pytest.raises(ToolMissing, match="no-such-program is not installed"):
        process.run(["no-such-program"])


def test_input_reaches_the_program() -> None:
    assert process.run(["cat"], input=b"x" * 200_000).output == "x" * 200_000


def test_a_program_that_takes_too_long_ends_with_all_its_children(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with pytest.raises(ToolTimedOut):
        process.run(["sh", "-c", f"sleep 60 & echo $! > {pid_file}; wait"], timeout=0.5)
    assert ends(int(pid_file.read_text()))


def test_leaving_the_block_ends_the_whole_group(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with process.start(["sh", "-c", f"sleep 60 & echo $! > {pid_file}; wait"]) as child:
        while not pid_file.exists() or not pid_file.read_text():
            time.sleep(0.01)
        assert os.getpgid(child.pid) == child.pid
    assert ends(int(pid_file.read_text()))


def test_a_child_sees_a_fixed_language_and_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_MESSAGES", "de_DE.UTF-8")
    monkeypatch.setenv("TZ", "America/New_York")
    output = process.run(["env"]).output
    assert "LC_ALL=C.UTF-8" in output
    assert "TZ=UTC" in output
    assert "LC_MESSAGES" not in output


def test_input_may_come_piece_by_piece() -> None:
    pieces = (b"%d\n" % number for number in range(3))
    assert process.run(["cat"], input=pieces).output == "0\n1\n2\n"


def test_a_program_that_does_not_read_all_its_input_is_judged_by_its_status() -> None:
    endless = itertools.repeat(bytes(1 << 20))
    assert process.run(["head", "-c1"], input=endless).status == 0
    with pytest.raises(ToolFailed):
        process.run(["false"], input=endless)


def test_input_that_fails_ends_the_program() -> None:
    def broken() -> Iterator[bytes]:
        yield b"x"
        raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        process.run(["cat"], input=broken())


def test_an_interrupt_says_nothing_of_lines_that_were_still_to_come() -> None:
    """The threads that read a program's lines end quietly, whatever is left in the pipes."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            process.run(["yes"], on_line=lambda _: time.sleep(0.0001))
    finally:
        signal.signal(signal.SIGALRM, before)
    time.sleep(0.05)  # pytest fails for a thread that ended with an error


CLEANS_UP = """
trap 'for each in 1 2 3 4 5 6 7 8 9 10; do sleep 0.1; done; touch deleted; exit 1' TERM
sh -c 'trap "touch told" TERM; touch begun; while :; do sleep 0.05; done' & wait
"""


def interrupted(grace: process.Grace, folder: Path) -> None:
    """Run a program that needs a second to clean up, and stop as soon as it has begun."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)

    def stop_when_begun() -> None:
        while not (folder / "begun").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGUSR1)

    try:
        threading.Thread(target=stop_when_begun, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            process.run(["sh", "-c", CLEANS_UP], cwd=folder, grace=grace)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_program_with_grace_cleans_up_and_those_it_has_started_are_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.2)
    told: list[str] = []
    interrupted(process.Grace(60, told.append), tmp_path)
    assert (tmp_path / "deleted").exists()
    assert not (tmp_path / "told").exists()
    (note,) = told
    assert "waiting for sh to clean up, at most 1 min" in note


def test_a_program_that_does_not_end_within_its_grace_is_killed_and_that_is_said(
    tmp_path: Path,
) -> None:
    told: list[str] = []
    interrupted(process.Grace(0.1, told.append), tmp_path)
    assert not (tmp_path / "deleted").exists()
    assert told[-1].startswith("sh did not end and is killed")


def test_another_interrupt_ends_the_grace(tmp_path: Path) -> None:
    told: list[str] = []

    def tell(text: str) -> None:
        told.append(text)
        if len(told) == 1:
            signal.setitimer(signal.ITIMER_REAL, 0.1)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        interrupted(process.Grace(60, tell), tmp_path)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not (tmp_path / "deleted").exists()
    assert told[-1].startswith("sh is killed before its end")
