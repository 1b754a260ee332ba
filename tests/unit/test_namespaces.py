from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.children import Child

from imagectl.adapters import namespaces, process
from imagectl.adapters.namespaces import (
    Bind,
    enter,
    has_subids,
    kernel_remedy,
    remove_tree,
    run_inside,
)
from imagectl.errors import ToolFailed


def test_the_program_runs_as_root_of_its_own_world() -> None:
    done = process.run(enter(["sh", "-c", "id -u; echo $PPID; hostname"]))
    assert done.output.split() == ["0", "1", "localhost"]


def test_its_status_and_words_come_back() -> None:
    with pytest.raises(ToolFailed) as caught:
        process.run(enter(["sh", "-c", "echo why >&2; exit 7"]), what="trying")
    assert caught.value.status == 7
    assert "why" in caught.value.tail


def test_input_reaches_it() -> None:
    assert process.run(enter(["cat"]), input=b"text").output == "text"


def sleep(seconds: int) -> list[str]:
    """A command that starts another one, in a session of its own, and waits."""
    return enter(["sh", "-c", f"setsid sleep {seconds} & wait"])


def wait_until(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.01)


def sleeps(seconds: int) -> bool:
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return f"sleep {seconds}\n" in found.stdout


def test_nothing_survives_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first process there ends on SIGTERM at once, and the kernel ends all others with it."""
    monkeypatch.setattr(process, "GRACE_SECONDS", 60.0)  # more than a busy machine can take
    with process.start(sleep(1234567)):
        wait_until(lambda: sleeps(1234567))
        begun = time.monotonic()
    assert time.monotonic() - begun < process.GRACE_SECONDS
    assert not sleeps(1234567)


def test_nothing_survives_a_killed_imagectl() -> None:
    """P7. What went on working would write into what the next run makes."""

    def run(say: object) -> None:
        process.run(sleep(7654321))

    child = Child(run)
    wait_until(lambda: sleeps(7654321))
    child.kill()
    wait_until(lambda: not sleeps(7654321))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root file system with a shell, this machine's own."""
    root = tmp_path / "root"
    for name in ("dev", "mnt", "proc"):
        (root / name).mkdir(parents=True)
    for program in ("/bin/sh", "/bin/cat"):
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
        libraries = [word for word in listed.stdout.split() if word.startswith("/")]
        for file in (program, *libraries):
            copy = root / file.lstrip("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(Path(file).read_bytes())
            copy.chmod(0o755)
    return root


def test_another_root_has_what_was_bound_and_nothing_else(tmp_path: Path, root: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text("in a folder")
    (tmp_path / "b").write_text("a file")
    script = "echo /* /mnt/* /dev/*; cat /mnt/f/a /mnt/b; echo written > /mnt/f/out"
    binds = [Bind(folder, "f"), Bind(tmp_path / "b", "b")]
    done = run_inside(root, ["sh", "-c", script], binds=binds)
    places, text = done.output.split("\n")
    assert {"/mnt/f", "/mnt/b", "/dev/null", "/dev/urandom"} <= set(places.split())
    assert "/home" not in places
    assert text == "in a foldera file"
    assert (folder / "out").read_text() == "written\n"
    assert list((root / "mnt").iterdir()) == []
    assert list((root / "dev").iterdir()) == []


def test_another_root_has_no_network(root: Path) -> None:
    done = run_inside(root, ["cat", "/proc/net/dev"], proc=True)
    names = [line.split(":")[0].strip() for line in done.output.splitlines() if ":" in line]
    assert names == ["lo"]


def test_input_reaches_a_program_in_another_root(root: Path) -> None:
    assert run_inside(root, ["cat"], input=b"text").output == "text"


def test_a_tree_is_removed_whatever_is_in_it(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a/b").mkdir(parents=True)
    (tree / "a/file").touch()
    (tree / "link").symlink_to(tmp_path)
    remove_tree(tree)
    assert list(tmp_path.iterdir()) == []
    remove_tree(tree)


def test_this_machine_can_do_it() -> None:
    namespaces.check_namespaces()


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
    ],
)
def test_the_remedy_names_the_kernels_setting(
    tmp_path: Path, name: str, value: str, remedy: str
) -> None:
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text(f"{value}\n")
    assert kernel_remedy(tmp_path) == f"sudo sysctl -w {remedy}"
    (tmp_path / name).write_text("77\n")
    assert "container" in kernel_remedy(tmp_path)


@pytest.mark.parametrize(
    ("text", "enough"),
    [
        ("", False),
        ("other:100000:65536\n", False),
        ("builder:100000:65536\n", True),
        ("1001:100000:65536\n", True),
        ("builder:100000:1000\n", False),
        ("builder:100000\nbuilder:x:y\n", False),
        ("other:100000:65536\nbuilder:165536:65536\n", True),
    ],
)
def test_who_has_subordinate_ids(tmp_path: Path, text: str, enough: bool) -> None:
    file = tmp_path / "subuid"
    file.write_text(text)
    assert has_subids(file, "builder", 1001) == enough
    assert not has_subids(tmp_path / "gone", "builder", 1001)


def test_what_belongs_to_other_ids_is_removed_too(tmp_path: Path) -> None:
    """An ordinary user cannot remove what its own namespace made for another user."""
    tree = tmp_path / "tree"
    script = 'mkdir -p "$0/d"; touch "$0/d/f"; chown -R 5:5 "$0/d"; chmod 700 "$0/d"'
    process.run(enter(["sh", "-c", script, str(tree)], all_ids=True))
    assert (tree / "d").stat().st_uid not in (0, 1000)
    remove_tree(tree)
    assert not tree.exists()
