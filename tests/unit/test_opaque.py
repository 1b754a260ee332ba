"""Disks that are kept as they are: what is asked of them, and what a build leaves on them."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from support.systems import image
from support.trees import ROOT, ListSource, file, folder, made

from imagectl.adapters import process
from imagectl.adapters.disk.boot import why_not_bootable
from imagectl.adapters.disk.canonical import write_tree
from imagectl.adapters.disk.tree import Kind
from imagectl.adapters.opaque import finish_program, make_ready
from imagectl.errors import BuildFailed

KEY = "ssh-ed25519 AAAA+/b.c imagectl"
HOST = "/etc/ssh/ssh_host_ed25519_key"


def disk(folder_: Path, code: bytes = b"\xeb\x63") -> Path:
    raw = folder_ / "given.raw"
    raw.write_bytes(code.ljust(1 << 20, b"\0"))
    return raw


def test_the_disk_grows_to_the_size_of_the_image(tmp_path: Path) -> None:
    make_ready(disk(tmp_path), replace(image(), disk_size=3 << 20), tmp_path / "build.disk")
    assert [path.name for path in tmp_path.iterdir()] == ["build.disk"]
    content = (tmp_path / "build.disk").read_bytes()
    assert (content[:2], len(content)) == (b"\xeb\x63", 3 << 20)


def test_a_disk_that_is_too_large_is_told(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="larger than the image") as caught:
        make_ready(disk(tmp_path), replace(image(), disk_size=1 << 19), tmp_path / "build.disk")
    assert caught.value.hint == "set `disk_size: 1G`, or more, in image.yaml"


def test_a_disk_that_no_bios_starts_is_told(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="no boot loader for a BIOS"):
        make_ready(disk(tmp_path, b""), image(), tmp_path / "build.disk")


def finished(root: Path, *programs: str) -> str:
    """Run the program in *root* as if that were ``/``, with no programs but those it may have."""
    for name in ("etc/ssh", "etc/apt/apt.conf.d", "root/.ansible", "var/log/journal/1", "bin"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "etc/machine-id").write_text("1234\n")
    for name in ("grep", "rm", "sync"):
        (root / "bin" / name).unlink(missing_ok=True)
        (root / "bin" / name).symlink_to(process.find(name))
    for name in ("systemctl", "ssh-keygen", *programs):
        (root / "bin" / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
        (root / "bin" / name).chmod(0o755)
    text = finish_program(KEY, HOST)
    assert "\ncd / || exit\n" in text
    done = subprocess.run(
        ["/bin/sh", "-c", text.replace("cd / ||", f"cd {shlex.quote(str(root))} ||")],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": str(root / "bin")},
    )
    assert done.stderr == ""
    assert done.stdout.endswith("systemctl poweroff\n")
    return done.stdout


def test_what_the_build_put_there_is_taken_out(tmp_path: Path) -> None:
    (tmp_path / "root/.ssh").mkdir(parents=True)
    keys = tmp_path / "root/.ssh/authorized_keys"
    keys.write_text(f"ssh-rsa mine\n{KEY}\n")
    (tmp_path / "etc/apt/apt.conf.d").mkdir(parents=True)
    (tmp_path / "etc/apt/apt.conf.d/zz-imagectl-build").write_text("proxy")
    finished(tmp_path)
    assert keys.read_text() == "ssh-rsa mine\n"
    assert not list((tmp_path / "etc/apt/apt.conf.d").iterdir())
    assert not (tmp_path / "root/.ansible").exists()
    assert (tmp_path / "etc/machine-id").read_text() == ""
    keys.write_text(f"{KEY}\n")
    finished(tmp_path)
    assert not keys.exists()


@pytest.mark.parametrize("unit", ["first-boot-keys.service", "sshd-keygen@.service", ""])
def test_host_keys_go_where_the_system_makes_its_own(tmp_path: Path, unit: str) -> None:
    (tmp_path / "etc/ssh").mkdir(parents=True)
    for name in ("ssh_host_rsa_key", "ssh_host_ed25519_key"):
        (tmp_path / "etc/ssh" / name).write_text("secret")
    snakeoil = tmp_path / "etc/ssl/private/ssl-cert-snakeoil.key"
    snakeoil.parent.mkdir(parents=True)
    snakeoil.write_text("secret")
    if unit:
        (tmp_path / "usr/lib/systemd/system").mkdir(parents=True)
        (tmp_path / "usr/lib/systemd/system" / unit).touch()
    said = finished(tmp_path)
    assert ("ssh-keygen -A" in said) is not bool(unit)
    left = {path.name for path in (tmp_path / "etc/ssh").iterdir()}
    assert left == (set() if unit else {"ssh_host_rsa_key"})
    assert snakeoil.exists() is (unit != "first-boot-keys.service")


def test_cloud_init_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "etc/ssh").mkdir(parents=True)
    (tmp_path / "etc/ssh/ssh_host_rsa_key").write_text("secret")
    assert "cloud-init clean --logs\n" in finished(tmp_path, "cloud-init")
    assert not list((tmp_path / "etc/ssh").iterdir())


def test_a_system_that_boots_in_another_way_is_told(tmp_path: Path) -> None:
    kernel = [
        folder(b"boot"),
        file(b"boot/vmlinuz-1", b"kernel"),
        made(b"vmlinuz", Kind.SYMLINK, target=b"boot/vmlinuz-1"),
    ]
    tree = write_tree(ListSource([ROOT, *kernel]), (), 2_000_000_000, tmp_path / "a")
    assert why_not_bootable(tree) == (
        "it boots in another way than Debian: the image has no /initrd.img"
    )
    initrd = [
        file(b"boot/initrd.img-1", b"initrd"),
        made(b"initrd.img", Kind.SYMLINK, target=b"boot/initrd.img-1"),
    ]
    tree = write_tree(ListSource([ROOT, *kernel, *initrd]), (), 2_000_000_000, tmp_path / "b")
    assert why_not_bootable(tree) == ""
