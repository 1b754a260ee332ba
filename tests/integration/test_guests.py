"""Real QEMU: a guest that never answers, and what it leaves."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.systems import image, workspace

from imagectl.adapters import guest, qemu, runs
from imagectl.adapters.prove import QemuProver
from imagectl.errors import Failed, GuestUnreachable
from imagectl.model.names import Format
from imagectl.testing.build import RecordingProgress

pytestmark = pytest.mark.integration


def boot(disk: Path, folder: Path, seconds: float) -> None:
    with (
        runs.open_run(folder / "runs, all") as run,
        qemu.booted(
            disk,
            Format.RAW,
            run=run,
            keys=guest.make_keys(run.folder),
            accelerator=qemu.Accelerator.TCG,
            memory=128 << 20,
            cpus=1,
            seconds=seconds,
        ),
    ):
        raise AssertionError("an empty disk cannot boot")


def test_a_guest_that_never_answers_is_told_with_its_console(tmp_path: Path) -> None:
    disk = tmp_path / "empty, with a comma.raw"
    disk.touch()
    with disk.open("r+b") as file:
        file.truncate(64 << 20)
    with pytest.raises(GuestUnreachable, match="cannot be reached") as caught:
        boot(disk, tmp_path, 4)
    assert caught.value.why == "no SSH server answered within 4 s"
    assert "boot_timeout" in caught.value.hint
    assert list((tmp_path / "runs, all").iterdir()) == []


def test_what_a_guest_said_that_never_answers_is_in_the_log_that_is_named(tmp_path: Path) -> None:
    """Its folder is removed."""
    disk = tmp_path / "talks.raw"
    # A boot sector that writes "hello" to the serial port, and stops.
    said = b"".join(bytes((0xB0, each, 0xEE)) for each in b"hello")
    sector = b"\xba\xf8\x03" + said + b"\xf4\xeb\xfd"
    disk.write_bytes(sector.ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
    work = workspace(tmp_path / "work")
    prover = QemuProver(tmp_path, 6, lambda _: qemu.Accelerator.TCG)
    with pytest.raises(GuestUnreachable, match="cannot be reached") as caught:
        prover.prove(image(), disk, Format.RAW, work, RecordingProgress())
    assert caught.value.where == str(work.log)
    assert "in the log" in caught.value.hint
    console = work.log.read_text().partition("--- console ---")[2]
    assert "hello" in console


def test_a_disk_that_qemu_refuses_is_told(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="QEMU did not start") as caught:
        boot(tmp_path / "no-such-disk", tmp_path, 60)
    assert "No such file" in caught.value.why
    assert list((tmp_path / "runs, all").iterdir()) == []
