from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path

from imagectl.adapters import provision, qemu
from imagectl.adapters.disk.boot import BootFiles
from imagectl.errors import BuildFailed, GuestUnreachable
from imagectl.model.image import DebianBase, Image, Provision
from imagectl.model.names import Architecture, ImageName
from imagectl.testing.build import RecordingProgress

IMAGE = Image(
    ImageName("debian"), "x", DebianBase("bookworm"), Architecture.AMD64, 1, Provision(), (), (), ()
)
FILES = BootFiles(Path("/w/vmlinuz"), Path("/w/in,it{{rd"), "root=PARTUUID=1", "ro quiet")


def prepared(folder: Path) -> provision.Prepared:
    return provision.Prepared(
        folder / "t", folder, {}, folder / "w", folder / "console", folder / "failure.json"
    )


def test_everything_of_the_build_vm_listens_on_the_loopback_only() -> None:
    pairs = provision.qemu_arguments(qemu.Accelerator.TCG, FILES, Path("/w/console"), [], 8, 0)
    netdev = dict(pairs)["-netdev"]
    assert "hostfwd=tcp:127.0.0.1:{{ .SSHHostPort }}-:22" in netdev
    assert netdev.count("hostfwd") == 1
    assert dict(pairs)["-vnc"] == "none"


def test_the_build_vm_reaches_the_proxy_and_nothing_else() -> None:
    pairs = provision.qemu_arguments(qemu.Accelerator.TCG, FILES, Path("/w/console"), [], 4711, 0)
    options = dict(pairs)["-netdev"].split(",")
    assert {"restrict=on", "ipv6=off"} <= set(options)
    (forward,) = (each for each in options if each.startswith("guestfwd="))
    assert forward.startswith("guestfwd=tcp:10.0.2.100:3128-cmd:")
    assert forward.endswith("relay.py 4711")


def test_the_build_vm_s_clock_begins_just_after_the_epoch() -> None:
    epoch = int(datetime(2026, 11, 20, 23, 58, tzinfo=UTC).timestamp())
    pairs = provision.qemu_arguments(qemu.Accelerator.TCG, FILES, Path("/w/c"), [], 8, epoch)
    assert dict(pairs)["-rtc"] == "base=2026-11-21T00:03:00,clock=vm"


def test_what_was_refused_explains_a_failed_task(tmp_path: Path) -> None:
    refused = BuildFailed(
        "a download was refused", stage="inputs", where="http://x.example/", why="not listed"
    )
    failed = BuildFailed("task 2 failed", stage="provision", why="HTTP 403", tail="its end")
    found = provision.with_both(refused, failed, tmp_path / "log")
    assert found.what == "a download was refused"
    assert found.why == "not listed\ntask 2 failed: HTTP 403"
    assert isinstance(found, BuildFailed)
    assert (found.tail, found.log) == ("its end", str(tmp_path / "log"))


def test_the_tree_s_own_kernel_is_booted() -> None:
    pairs = provision.qemu_arguments(
        qemu.Accelerator.TCG, FILES, Path("/w/console"), ["-smbios", "type=11,path=/w/c"], 8, 0
    )
    assert dict(pairs)["-kernel"] == "/w/vmlinuz"
    assert dict(pairs)["-append"] == "root=PARTUUID=1 ro quiet"
    assert dict(pairs)["-initrd"] == '/w/in,it{{ "{{" }}rd', "Packer's marks are escaped"
    assert ("-smbios", "type=11,path=/w/c") in pairs


def test_the_current_task_is_told() -> None:
    progress, log = RecordingProgress(), io.StringIO()
    told: list[str] = []
    narrator = provision.Narrator(progress, log, told.append)
    for line in (
        "Waiting for SSH to become available...",
        "TASK [baseline : Say it] ***********",
        "changed: [default]",
        "RUNNING HANDLER [restart] ****",
        "Gracefully halting virtual machine...",
    ):
        narrator.tell(line)
    assert progress.steps == [
        "waiting for the build VM to answer",
        "task: baseline : Say it",
        "task: restart",
        "shutting the build VM down",
    ]
    assert told == ["task 'baseline : Say it'", "task 'restart'"]
    assert log.getvalue().count("\n") == 5


def test_a_failed_task_is_named_with_its_place(tmp_path: Path) -> None:
    failure = {
        "task": "Install it",
        "number": 7,
        "where": "/p/playbooks/roles/r/tasks/main.yml:31",
        "message": "No package matching 'nginks' is available",
    }
    (tmp_path / "failure.json").write_text(json.dumps(failure))
    problem = BuildFailed("Packer's build failed", stage="provision", why="exit status 2")
    found = provision.explain(problem, IMAGE, prepared(tmp_path), tmp_path / "log")
    assert isinstance(found, BuildFailed)
    assert found.what == "task 7 of debian, 'Install it', failed"
    assert found.where.endswith("main.yml:31")
    assert "nginks" in found.why


def test_a_guest_that_panics_is_shown_by_its_console(tmp_path: Path) -> None:
    (tmp_path / "console").write_text("[1.0] Kernel panic - not syncing: no root\n")
    problem = BuildFailed("Packer's build failed", stage="provision", why="?")
    found = provision.explain(problem, IMAGE, prepared(tmp_path), tmp_path / "log")
    assert isinstance(found, GuestUnreachable)
    assert "no root" in found.tail


def test_anything_else_is_told_in_packers_words(tmp_path: Path) -> None:
    problem = BuildFailed(
        "Packer's build failed", stage="provision", why="qemu: exit status 1", tail="a\nb"
    )
    found = provision.explain(problem, IMAGE, prepared(tmp_path), tmp_path / "log")
    assert isinstance(found, BuildFailed)
    assert (found.why, found.tail) == ("qemu: exit status 1", "a\nb")
