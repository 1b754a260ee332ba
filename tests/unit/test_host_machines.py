"""Runs on this host as things to be thrown away."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from imagectl.adapters import runs
from imagectl.adapters.clock import SystemClock
from imagectl.adapters.host_machines import CLAIM, RUNS, HostMachines, place_of
from imagectl.adapters.leasing import LEASE
from imagectl.errors import Conflict
from imagectl.model.resource import FoundResource
from imagectl.policy.leases import SLACK, is_over

CATALOG = "our-catalog"
HOUR = timedelta(hours=1)

BUILD = """
import sys, time
from pathlib import Path
from imagectl.adapters import process
from imagectl.adapters.clock import SystemClock
from imagectl.adapters.leasing import LedgerLeasing
from imagectl.adapters.workspaces import LocalWorkspaces
from imagectl.testing.build import RecordingProgress
from imagectl.testing.resources import MemoryResources
now = SystemClock().now
leasing = LedgerLeasing(MemoryResources(), lambda: "our-catalog", "ann", now)
workspaces = LocalWorkspaces(Path(sys.argv[1]), RecordingProgress(), now, lambda: leasing)
with workspaces.open("ci", wait=False) as work:
    (work.sub("vm") / "disk").write_text("half a disk")
    with process.start(["sh", "-c", "sleep 300 & echo up; sleep 300; :"]) as child:
        child.stdout.readline()
        print(work.id, child.pid, flush=True)
        time.sleep(300)
"""


class Build:
    """One that runs, in a process of its own, as far as its VM."""

    def __init__(self, state: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", BUILD, state], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.id, pid = self.process.stdout.readline().split()
        self.tool = int(pid)

    def end(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:  # somebody took its folder away while it lived
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    @property
    def tool_runs(self) -> bool:
        """What nobody has waited for yet is dead all the same."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            return ") Z " not in Path(f"/proc/{self.tool}/stat").read_text()
        return False


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    build = Build(tmp_path)
    yield build
    if build.process.poll() is None:
        build.end(signal.SIGINT)
    runs.sweep(tmp_path / RUNS)


@pytest.fixture
def host(tmp_path: Path) -> HostMachines:
    return HostMachines(tmp_path, lambda: CATALOG)


now = SystemClock().now


def the_one(host: HostMachines) -> FoundResource:
    (found,) = host.resources(now).found
    return found


def test_a_host_on_which_nothing_was_ever_built_has_nothing(host: HostMachines) -> None:
    view = host.resources(now)
    assert view.found == ()
    assert view.complete


def test_a_live_build_is_never_touched_whatever_the_clock_says(
    host: HostMachines, build: Build
) -> None:
    found = the_one(host)
    assert found.provider_id == build.id
    assert found.state == "running"
    later = now() + 1000 * HOUR
    (seen,) = host.resources(lambda: later).found
    assert seen.claim is not None
    assert not is_over(seen.claim, None, later)
    with pytest.raises(Conflict):
        host.collect(found, later)
    assert build.tool_runs


def test_a_killed_build_is_collected_with_its_processes_once_its_lease_is_over(
    host: HostMachines, build: Build, tmp_path: Path
) -> None:
    build.end(signal.SIGKILL)
    assert build.tool_runs, "a kill -9 leaves the VM running"
    found = the_one(host)
    assert found.state == "its process has ended"
    assert found.claim is not None
    with pytest.raises(Conflict):
        host.collect(found, now())
    assert build.tool_runs
    host.collect(found, now() + LEASE + SLACK + timedelta(minutes=1))
    assert not build.tool_runs
    assert list((tmp_path / RUNS).iterdir()) == []


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"catalog": "x", "resource": "y"}'])
def test_what_was_killed_before_it_could_say_anything_is_ours_by_its_folder(
    host: HostMachines, tmp_path: Path, text: str | None
) -> None:
    folder = tmp_path / RUNS / "abc"
    folder.mkdir(parents=True)
    if text is not None:
        (folder / CLAIM).write_text(text)
    found = the_one(host)
    assert found.claim is not None
    assert (found.claim.catalog, found.claim.resource) == (CATALOG, "abc")
    with pytest.raises(Conflict):
        host.collect(found, now())
    assert folder.exists()
    host.collect(found, now() + LEASE + SLACK + timedelta(minutes=1))
    assert not folder.exists()


def test_runs_that_come_and_go_while_one_looks_are_never_over(
    host: HostMachines, tmp_path: Path
) -> None:
    stop = time.monotonic() + 1
    maker = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys\nfrom pathlib import Path\nfrom imagectl.adapters import runs\n"
            "while True:\n with runs.open_run(Path(sys.argv[1])): pass",
            tmp_path / RUNS,
        ]
    )
    seen = 0
    try:
        while time.monotonic() < stop or not seen:
            for found in host.resources(now).found:
                seen += 1
                assert found.claim is not None
                assert not is_over(found.claim, None, now())
    finally:
        maker.kill()
        maker.wait()


def test_places_of_two_checkouts_on_one_host_differ(tmp_path: Path) -> None:
    assert place_of(tmp_path / "a") != place_of(tmp_path / "b")
    assert place_of(tmp_path / "a").startswith("host/")
