"""A run of the tests that hangs is ended, and tells where it hung."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.programs import running

CONFTEST = Path(__file__).parents[1] / "conftest.py"

FOR_EVER = """
import threading
import pytest

def wait_for_what_never_comes():
    threading.Event().wait()
"""
IN_A_TEST = """
def test_it():
    wait_for_what_never_comes()
"""
AFTER_A_TEST_THAT_FAILED = """
@pytest.fixture
def server():
    yield
    wait_for_what_never_comes()

def test_it(server):
    assert False
"""
OUTSIDE_PYTHON = """
import signal

def test_it():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    wait_for_what_never_comes()
"""
WHEN_ALL_IS_DONE = """
def test_it():
    threading.Thread(target=wait_for_what_never_comes).start()
"""
TAKES_SIGNALS = """
import signal

def test_it():
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: None)
"""
INTERRUPTED = """
import os
import signal
import subprocess

def test_it():
    with subprocess.Popen(["sleep", "60"]) as child:
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == -signal.SIGINT
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(5)
"""
ENDS = "def test_it(): pass\n"


def run(folder: Path, grace: int, *options: str) -> subprocess.CompletedProcess[str]:
    """Of two files; each test may take a second, and all else the seconds of *grace*."""
    (folder / "conftest.py").write_text(CONFTEST.read_text())
    (folder / "pytest.ini").write_text(f"[pytest]\ntimeout = 1\nhang_grace = {grace}\n")
    (folder / "test_two.py").write_text(ENDS)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_run_that_ignores_interrupts_still_sends_them(tmp_path: Path) -> None:
    """As what a shell begins with ``&`` does, and most of what begins a run by itself."""
    (tmp_path / "test_one.py").write_text(FOR_EVER + INTERRUPTED)
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        done = run(tmp_path, 60, "-o", "timeout=60")
    finally:
        signal.signal(signal.SIGINT, usual)
    assert done.returncode == 0, done.stdout


def test_a_test_that_takes_signals_for_itself_gives_them_back(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text(TAKES_SIGNALS)
    (tmp_path / "test_then.py").write_text(FOR_EVER + INTERRUPTED)
    done = run(tmp_path, 60, "-o", "timeout=60")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "where",
    [
        pytest.param(IN_A_TEST, id="in a test"),
        pytest.param(AFTER_A_TEST_THAT_FAILED, id="after a test that failed"),
        pytest.param(OUTSIDE_PYTHON, id="outside Python"),
        pytest.param(WHEN_ALL_IS_DONE, id="when all is done"),
    ],
)
def test_a_run_that_hangs_ends_and_says_where(where: str, tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text(FOR_EVER + where)
    done = run(tmp_path, 1)
    assert done.returncode == 1
    assert "wait_for_what_never_comes" in done.stdout + done.stderr


@pytest.mark.long
def test_the_rest_still_runs(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text(FOR_EVER + AFTER_A_TEST_THAT_FAILED)
    done = run(tmp_path, 40, "--numprocesses=1")
    assert "wait_for_what_never_comes" in done.stderr
    assert "crashed while running 'test_one.py::test_it'" in done.stdout
    assert "1 passed" in done.stdout


def test_a_program_ends_with_the_test_that_fails_while_it_runs() -> None:
    with pytest.raises(AssertionError), running(["sleep", "60"]) as sleeping:
        raise AssertionError
    assert sleeping.returncode == -signal.SIGKILL
