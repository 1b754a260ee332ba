from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from imagectl.adapters import process, runs
from imagectl.adapters.namespaces import remove_tree
from imagectl.errors import Conflict

BUILD = """
import subprocess, sys, time
from pathlib import Path
from imagectl.adapters import process, runs
with runs.open_run(Path(sys.argv[1])) as run:
    (run.sub("vm") / "disk").write_text("half a disk")
    with process.start(["sh", "-c", "sleep 300 & echo up; sleep 300; :"]) as child:
        child.stdout.readline()  # now its own child is there too
        print(run.id, child.pid, flush=True)
        time.sleep(300)
"""


def start_build(root: Path) -> tuple[subprocess.Popen[str], str, int]:
    child = subprocess.Popen([sys.executable, "-c", BUILD, root], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    run_id, pid = child.stdout.readline().split()
    return child, run_id, int(pid)


def test_nothing_stays_of_a_run(tmp_path: Path) -> None:
    with runs.open_run(tmp_path / "runs") as run:
        run.sub("a")
        (run.sockets / "s").touch()
        assert run.folder.stat().st_mode & 0o077 == 0
        assert run.sockets.stat().st_mode & 0o077 == 0
    assert list((tmp_path / "runs").iterdir()) == []
    assert not run.sockets.exists()
    assert runs.VARIABLE not in os.environ


def test_a_killed_build_is_swept_with_its_processes(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    build, run_id, tool = start_build(root)
    build.kill()
    build.wait()
    assert Path(f"/proc/{tool}").exists(), "a kill -9 does leave the tool running"
    (swept,) = runs.sweep(root)
    assert swept.id == run_id
    assert tool in swept.processes
    assert len(swept.processes) >= 2, "the tool's own child as well"
    assert list(root.iterdir()) == []
    assert runs.sweep(root) == ()
    assert build.stdout is not None
    build.stdout.close()


def test_a_living_build_is_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    build, run_id, tool = start_build(root)
    try:
        assert runs.sweep(root) == ()
        assert Path(f"/proc/{tool}").exists()
        assert (root / run_id / "vm" / "disk").exists()
    finally:
        build.send_signal(signal.SIGINT)
        build.wait()
        assert build.stdout is not None
        build.stdout.close()
    assert list(root.iterdir()) == []


def test_a_living_build_cannot_be_collected(tmp_path: Path) -> None:
    with runs.open_run(tmp_path) as run:
        with pytest.raises(Conflict):
            runs.collect(tmp_path, run.id, lambda _: None)
        assert run.folder.is_dir()


def test_a_dead_run_is_collected_after_one_more_look(tmp_path: Path) -> None:
    folder = tmp_path / "abc"
    folder.mkdir()
    (folder / "overlay").touch()

    def no(seen: runs.Seen) -> None:
        assert seen.id == "abc"
        raise Conflict("it is needed")

    with pytest.raises(Conflict):
        runs.collect(tmp_path, "abc", no)
    assert (folder / "overlay").exists()
    runs.collect(tmp_path, "abc", lambda _: None)
    runs.collect(tmp_path, "abc", lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_a_process_of_somebody_else_is_never_ended(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    stranger = subprocess.Popen(["sleep", "60"], env={"IMAGECTL_RUN": "another"})
    try:
        build, _, _ = start_build(root)
        build.kill()
        build.wait()
        runs.sweep(root)
        assert stranger.poll() is None
        assert build.stdout is not None
        build.stdout.close()
    finally:
        stranger.kill()
        stranger.wait()


RESTLESS = 'exec sh -c "$0" "$0"'
"""A shell that does nothing but become another one. While it does, it has no environment."""


def test_a_process_that_is_starting_a_program_is_ended_too(tmp_path: Path) -> None:
    for _ in range(60):
        with runs.open_run(tmp_path) as run:
            restless = subprocess.Popen(["sh", "-c", RESTLESS, RESTLESS])
            time.sleep(0.005)
        try:
            # Killed it is by now; to be gone may take the kernel a moment.
            assert restless.wait(60) == -signal.SIGKILL
        finally:
            restless.kill()
            restless.wait()
        assert not run.folder.exists()


def test_a_process_without_environment_is_nobody_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "DEATH_SECONDS", 60.0)  # more than a busy machine can take
    stranger = subprocess.Popen(["sleep", "60"], env={})
    try:
        began = time.monotonic()
        with runs.open_run(tmp_path):
            pass
        assert time.monotonic() - began < runs.DEATH_SECONDS
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_nobody_sweeps_while_a_run_that_ends_removes_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would find half of it, and its lock made anew would keep the folder from going."""
    with ThreadPoolExecutor() as pool:
        sweeps: list[Future[tuple[runs.Swept, ...]]] = []

        def removed_while_others_begin(folder: Path) -> None:
            sweeps.append(pool.submit(runs.sweep, tmp_path))
            with pytest.raises(TimeoutError):
                sweeps[-1].result(0.2)
            remove_tree(folder)

        monkeypatch.setattr(runs, "remove_tree", removed_while_others_begin)
        with runs.open_run(tmp_path):
            pass
        assert [each.result(60) for each in sweeps] == [()]
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_sweep_where_nothing_ran(tmp_path: Path) -> None:
    assert runs.sweep(tmp_path / "none") == ()


def test_an_interrupted_run_ends_its_tools(tmp_path: Path) -> None:
    started = time.monotonic()
    with (
        pytest.raises(KeyboardInterrupt),
        runs.open_run(tmp_path) as run,
        process.start(["sleep", "300"]) as child,
    ):
        raise KeyboardInterrupt
    assert child.poll() is not None
    assert not run.folder.exists()
    assert time.monotonic() - started < 30


def test_an_environment_that_is_being_counted_is_not_none() -> None:
    """A stat line as the kernel gives it between execve's beginning and its end (proc(5))."""
    name, rest = Path("/proc/self/stat").read_bytes().rsplit(b")", 1)
    fields = [name + b")", *rest.split()]

    def stat(end_code: bytes) -> bytes:
        at = {27: end_code, 50: b"140000000000000", 51: b"140000000000000"}
        return b" ".join(at.get(place, field) for place, field in enumerate(fields, 2))

    assert runs._has_none(stat(b"4198400"))
    assert not runs._has_none(stat(b"0"))
