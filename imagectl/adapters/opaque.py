"""Disks that are kept as they are: made ready to be provisioned, and left without traces of it.

A disk whose layout is not understood (LVM, btrfs, a system on several partitions) is booted by its
own boot loader and kept as its machine leaves it. No rule for volatile paths can be applied to it
from outside, so what a build puts into a machine, and what every machine must have for itself, is
taken out from within, just before the machine is shut down. The same bytes twice are not promised.

The machine must understand systemd's credentials (systemd 252 or newer), by which it gets the
build's SSH key, and start by BIOS.
"""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from imagectl.adapters.guest_network import APT_CONF
from imagectl.errors import BuildFailed
from imagectl.formats.sizes import format_size
from imagectl.model.image import Image

BOOT_CODE = 440
"""Bytes at the start of a disk that a BIOS runs."""


def make_ready(raw: Path, image: Image, disk: Path) -> None:
    """Move the raw disk to *disk*, and make it as large as the image says.

    Raises BuildFailed where it is larger already, or nothing on it starts by BIOS.
    """
    size = raw.stat().st_size
    if size > image.disk_size:
        raise BuildFailed(
            f"the base disk of {image.name} is larger than the image",
            stage="provision",
            why=f"it has {format_size(size)}, `disk_size` is {format_size(image.disk_size)}, and "
            "its files cannot be moved to another disk",
            hint=f"set `disk_size: {-(-size // (1 << 30))}G`, or more, in image.yaml",
        )
    check_boot_code(raw, f"the base disk of {image.name}")
    shutil.move(raw, disk)
    with disk.open("r+b") as file:
        file.truncate(image.disk_size)


def check_boot_code(raw: Path, what: str) -> None:
    """Raise BuildFailed where nothing on *raw*, which *what* names, starts by BIOS."""
    with raw.open("rb") as file:
        if not any(file.read(BOOT_CODE)):
            raise BuildFailed(
                f"{what} has no boot loader for a BIOS",
                stage="provision",
                why="a disk that is kept as it is must start by itself, and only BIOS is tried",
                hint="take the vendor's image for BIOS, or for both BIOS and UEFI",
            )


def shutdown_command(public_key: str, host_key: str) -> str:
    """What ends the machine, in place of ``systemctl poweroff``. *public_key*: the build's;
    *host_key*: the file of the host key that the build gave to the machine."""
    return shlex.join(["sh", "-c", finish_program(public_key, host_key)])


def finish_program(public_key: str, host_key: str) -> str:
    """Shell text, for any system with systemd and OpenSSH. Its paths are relative to ``/``."""
    key, host = shlex.quote(public_key), shlex.quote(host_key.lstrip("/"))
    return f"""\
#!/bin/sh
# Leaves the machine as one that never ran, as far as that can be, and shuts it down.
cd / || exit
rm -f {APT_CONF.lstrip("/")}
rm -rf root/.ansible

# The build's login key.
keys=root/.ssh/authorized_keys
if [ -f $keys ]; then
	left=$(grep -vxF {key} $keys)
	if [ -n "$left" ]; then printf '%s\\n' "$left" >$keys; else rm -f $keys; fi
fi

# Host keys: all of them, where the system makes its own again; else ours, for a new one.
if command -v cloud-init >/dev/null ||
	[ -e usr/lib/systemd/system/sshd-keygen@.service ] ||
	[ -e usr/lib/systemd/system/first-boot-keys.service ]; then
	rm -f etc/ssh/ssh_host_*
else
	rm -f {host} {host}.pub
	ssh-keygen -A
	echo "nothing here makes SSH host keys at boot: all machines will have the same"
fi

# The certificate, where one of our units makes it again.
if [ -e usr/lib/systemd/system/first-boot-keys.service ] ||
	[ -e etc/systemd/system/first-boot-snakeoil.service ]; then
	rm -f etc/ssl/certs/ssl-cert-snakeoil.pem etc/ssl/private/ssl-cert-snakeoil.key
fi

# Who it is.
if command -v cloud-init >/dev/null; then cloud-init clean --logs; fi
: >etc/machine-id
rm -f var/lib/dbus/machine-id var/lib/systemd/random-seed var/lib/systemd/credential.secret
rm -rf var/log/journal/*

sync
systemctl poweroff
"""
