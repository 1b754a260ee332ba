"""Builds that go wrong, with real tools: what is told, and that nothing is left behind.

The tests share one project and one image. The first build of it makes the base and the lock; those
that follow go wrong later than that, and start from these.

Its VMs have one processor, as those of all tests that run beside others: emulated processors that
share real ones wait for each other, and the same work takes a quarter more.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.installed import IMAGECTL
from support.projects import new_project
from support.toolchains import share_toolchain

from imagectl.adapters.namespaces import enter

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]

IMAGE = """
summary: {name}
base: {{debian: {{suite: bookworm}}}}
disk_size: 2G
build: {{cpus: 1}}
provision: {{playbook: playbooks/{name}.yml}}
suites: [tests/images/test_{name}.py]
"""
SEVEN = (
    "- hosts: all\n  gather_facts: false\n  tasks:\n"
    + "".join(f"    - {{name: Task {n}, ansible.builtin.meta: noop}}\n" for n in range(1, 7))
    + "    - name: Install what is not there\n"
    "      ansible.builtin.command: /usr/bin/no-such-program\n"
)
NOTHING = "- hosts: all\n  gather_facts: false\n  tasks: []\n"
FAILS = "def test_colour(host):\n    assert host.check_output('echo green') == 'blue', 'paint it'\n"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    new_project(folder).close()
    share_toolchain(tmp_path_factory, folder)
    define(folder, "small", NOTHING, FAILS)
    define(folder, "idle", NOTHING, "def check_up(host): pass\n")
    return folder


@pytest.fixture
def broken(root: Path) -> Path:
    """The project; the last task of its small image fails from now on."""
    (root / "playbooks" / "small.yml").write_text(SEVEN)
    return root


def define(root: Path, name: str, playbook: str, suite: str) -> None:
    (root / "images" / name).mkdir()
    (root / "images" / name / "image.yaml").write_text(IMAGE.format(name=name))
    (root / "playbooks" / f"{name}.yml").write_text(playbook)
    (root / "tests" / "images" / f"test_{name}.py").write_text(suite)


def imagectl(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [IMAGECTL, *arguments],
        cwd=root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


@contextmanager
def started(root: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """An imagectl that runs until the block is left."""
    with subprocess.Popen(
        [IMAGECTL, *arguments],
        cwd=root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def wait_for(process: subprocess.Popen[str], text: str) -> str:
    """What the process says until a line that contains *text*."""
    said = ""
    assert process.stderr is not None
    for line in process.stderr:
        said += line
        if text in line:
            return said
    raise AssertionError(f"it ended without saying {text!r}:\n{said}")


def of_this_project(root: Path) -> dict[int, str]:
    """The processes that name a file of the project on their command line."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if f"{root}/.imagectl/runs" in command:
                found[int(folder.name)] = command
    return found


def listening(pid: int) -> set[str]:
    """The addresses that a process listens on (proc(5): /proc/net/tcp)."""
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            sockets.add(os.readlink(descriptor))
        except OSError:
            continue
    addresses = set()
    for family, table in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in sockets:
                digits = bytes.fromhex(words[1].partition(":")[0])
                packed = b"".join(
                    struct.pack(">I", *struct.unpack("<I", digits[i : i + 4]))
                    for i in range(0, len(digits), 4)
                )
                addresses.add(socket.inet_ntop(family, packed))
    return addresses


def wait_for_guest(root: Path) -> int:
    """The process of the one VM that runs for the project, once it listens."""
    for _ in range(100):
        guests = [pid for pid, line in of_this_project(root).items() if "qemu-system" in line]
        if guests and listening(guests[0]):
            assert len(guests) == 1
            return guests[0]
        time.sleep(0.1)
    raise AssertionError("no VM was started")


def assert_nothing_left(root: Path) -> None:
    assert [path.name for path in (root / ".imagectl" / "runs").iterdir()] == []
    for _ in range(50):
        if not of_this_project(root):
            return
        time.sleep(0.1)
    raise AssertionError(f"still running: {of_this_project(root)}")


def test_a_suite_without_a_test_is_refused_before_anything_long(root: Path) -> None:
    done = imagectl(root, "build", "idle")
    assert done.returncode == 2
    assert "tests/images/test_idle.py: has no tests" in done.stderr
    assert "== idle: base" not in done.stderr


def test_a_failing_suite_releases_nothing_and_shows_the_way_in(root: Path) -> None:
    done = imagectl(root, "build", "small")
    assert done.returncode == 1, done.stderr
    assert "test_small::test_colour" in done.stderr
    assert "paint it" in done.stderr
    assert "login:" in done.stderr, "the console's tail"
    assert "imagectl test small --failed --keep" in done.stderr
    assert imagectl(root, "resolve", "small:beta").returncode == 6
    assert_nothing_left(root)

    with started(root, "test", "small", "--failed", "--keep") as kept:
        said = wait_for(kept, "ssh -F")
        (command,) = re.findall(r"ssh -F \S+ guest", said)
        inside = subprocess.run(
            [*command.split(), "cat /etc/debian_version"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert inside.stdout.startswith("12")
        kept.send_signal(signal.SIGINT)
        assert kept.stderr is not None
        kept.stderr.read()
        assert kept.wait() == 1
    assert_nothing_left(root)


def test_the_failing_task_is_named(broken: Path) -> None:
    logs = broken / ".imagectl" / "logs"
    before = set(logs.glob("*"))
    done = imagectl(broken, "build", "small")
    assert done.returncode == 1, done.stderr
    assert "task 7 of small, 'Install what is not there', failed" in done.stderr
    assert re.search(r"playbooks/small\.yml:10", done.stderr)
    assert "no-such-program" in done.stderr
    (log,) = set(logs.glob("small-*.log")) - before
    assert "TASK [Install what is not there]" in log.read_text()
    assert imagectl(broken, "show", "small@20260101.1").returncode == 6
    assert_nothing_left(broken)


def test_a_killed_build_is_cleaned_up_by_the_next(broken: Path) -> None:
    with started(broken, "build", "small") as build:
        wait_for(build, "waiting for the build VM to answer")
        guest = wait_for_guest(broken)
        assert listening(guest) == {"127.0.0.1"}

        second = imagectl(broken, "build", "small")
        assert second.returncode == 4
        assert "another build of small is running" in second.stderr
        assert "--wait" in second.stderr

        build.kill()
        build.wait()
    assert guest in of_this_project(broken), "kill -9 leaves the VM running"
    # Any build cleans up, also one that is refused for something else.
    done = imagectl(broken, "build", "idle")
    assert "removed what an interrupted build had left" in done.stderr
    assert_nothing_left(broken)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_an_interrupted_build_cleans_up_itself(broken: Path, number: signal.Signals) -> None:
    with started(broken, "build", "small") as build:
        wait_for(build, "waiting for the build VM to answer")
        build.send_signal(number)
        assert build.stderr is not None
        said = build.stderr.read()
        assert build.wait() == 130
    assert "interrupted; cleaned up" in said
    assert "Traceback" not in said
    assert_nothing_left(broken)


def test_a_full_disk_is_told_and_nothing_is_left(broken: Path) -> None:
    """In a mount namespace of its own, where builds work on a file system of 600 MB."""
    runs = broken / ".imagectl" / "runs"
    script = (
        f"mount -t tmpfs -o size=600m none {runs} && cd {broken} && exec {IMAGECTL} build small"
    )
    done = subprocess.run(
        enter(["sh", "-c", script], all_ids=True, proc=True),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    # By the program that found the disk full, or by us, who then say what was being written.
    said = done.stderr.lower()
    assert "no space left" in said or "there is no room for" in said
    assert "Traceback" not in done.stderr
    assert_nothing_left(broken)
    assert imagectl(broken, "catalog", "verify").returncode == 0
