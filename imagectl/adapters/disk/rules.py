"""Volatile paths: what a running system writes that must not be in an image, as data.

Two builds of one definition differ in these paths and in no others (measured with Debian 12,
docker.io, nginx and twenty awkward packages: 26 of 23,549 paths), or they hold what must be
different on every machine: keys, identities, leases. An image definition may add rules of its own,
which are the same kind of fact: ``model.image.VolatileRule``. What FIRST_BOOT needs besides being
left out is in ``first_boot``.

``docs/reference/volatile-paths.md`` is generated from this table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from imagectl.model.image import Edit, Image, VolatileAction, VolatileRule
from imagectl.model.patterns import to_edit, to_regex

Action = VolatileAction
Rule = VolatileRule

UPDATE_INITRAMFS_CONF = """\
#
# Configuration file for update-initramfs(8)
#

#
# update_initramfs [ yes | all | no ]
#
# Default is yes
# If set to all update-initramfs will update all initramfs
# If set to no disables any update to initramfs beside kernel upgrade
update_initramfs=no

#
# backup_initramfs [ yes | no ]
#
# Default is no
# If set to no leaves no .bak backup files.

backup_initramfs=no
"""
"""Debian's own file (the same since 2014) with a *no*, for build VMs. With the rule for it below,
an image has Debian's file again, to the byte, so no upgrade of the package asks about it."""


def _each(action: Action, reason: str, *patterns: str) -> tuple[Rule, ...]:
    return tuple(Rule(pattern, action, reason) for pattern in patterns)


RULES: tuple[Rule, ...] = (
    # What each machine must make for itself.
    Rule(
        "etc/machine-id",
        Action.EMPTY,
        "each machine makes its own at first boot; the word `uninitialized` would also apply "
        "systemd's presets again",
    ),
    *_each(
        Action.DROP,
        "a copy of the machine id",
        "var/lib/dbus/machine-id",
    ),
    *_each(
        Action.DROP,
        "a secret shared by all machines is none; a first-boot unit makes it",
        "etc/ssh/ssh_host_*",
        "etc/ssl/certs/ssl-cert-snakeoil.pem",
        "etc/ssl/private/ssl-cert-snakeoil.key",
    ),
    *_each(
        Action.DROP,
        "a secret or a seed that is made again where it is missing",
        "etc/docker/key.json",
        "var/lib/systemd/random-seed",
        "var/lib/systemd/credential.secret",
    ),
    *_each(
        Action.DROP,
        "the network that the image was built in",
        "etc/resolv.conf",
        "etc/.resolv.conf.systemd-resolved.bak",
        "var/lib/dhcp/*",
        "var/lib/dhcpcd/*",
        "var/lib/NetworkManager/*",
        "var/lib/systemd/network/**",
    ),
    # What running daemons leave behind.
    *_each(
        Action.DROP,
        "logs of the build",
        "var/log/journal/*",
        "var/log/**.{gz,xz,zst,old}",
        "var/log/**.[0-9]",
    ),
    Rule("var/log/**", Action.EMPTY, "logs of the build; files stay for their owner and mode"),
    *_each(
        Action.EMPTY,
        "tells systemd that `/usr` is not newer than `/etc` and `/var`; as new as the build, so "
        "that the first boot does not rebuild the hardware database",
        "etc/.updated",
        "var/.updated",
    ),
    *_each(
        Action.DROP,
        "state of a daemon of the build VM",
        "var/lib/docker/**",
        "var/lib/containerd/**",
        "var/lib/cloud/**",
        "var/lib/logrotate/status",
        "var/lib/systemd/timers/*",
        "var/lib/systemd/timesync/clock",
        "var/lib/systemd/{coredump,pstore,rfkill,backlight}/*",
    ),
    *_each(
        Action.DROP,
        "a cache that differs from build to build and is made again",
        "var/cache/apt/*.bin",
        "var/cache/ldconfig/aux-cache",
        "var/lib/plocate/plocate.db",
        "var/lib/mlocate/mlocate.db",
    ),
    # What package managers and people leave behind.
    *_each(
        Action.DROP,
        "package indexes and downloads are out of date when the image is used; "
        "`apt-get update` gets them",
        "var/lib/apt/lists/*_*",
        "var/lib/apt/lists/{lock,auxfiles}",
        "var/lib/apt/lists/partial",
        "var/lib/apt/{periodic/*,daily_lock}",
        "var/cache/apt/archives/{*.deb,lock}",
        "var/cache/apt/archives/partial",
    ),
    *_each(
        Action.DROP,
        "a backup copy or a lock of a package tool",
        "etc/{passwd,shadow,group,gshadow,subuid,subgid}-",
        "var/cache/debconf/*-old",
        "var/lib/dpkg/*-old",
        "var/lib/dpkg/{lock,lock-frontend}",
        "var/lib/dpkg/triggers/Lock",
        "var/backups/*",
    ),
    *_each(
        Action.DROP,
        "apt's settings of the build only",
        "etc/apt/apt.conf.d/99mmdebstrap",
        "etc/apt/apt.conf.d/*-imagectl-build",
        "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    ),
    *_each(
        Action.DROP,
        "left by those who built the image",
        "root/{.ssh,.ansible}",
        "root/{.bash_history,.python_history,.lesshst,.wget-hsts,.viminfo}",
        "root/.cache/**",
        "home/*/.ansible",
        "home/*/{.bash_history,.python_history}",
    ),
    # What is there only while a system runs.
    *_each(
        Action.DROP,
        "temporary by definition",
        "{tmp,run,var/tmp}/**",
    ),
    *_each(
        Action.DROP,
        "made by the kernel at boot",
        "{dev,proc,sys}/**",
    ),
    Rule("lost+found", Action.DROP, "made with the file system"),
    Rule(
        "etc/initramfs-tools/update-initramfs.conf",
        Action.REWRITE,
        "the initrds are not rebuilt in the build VM, where it is slow, but once at its end; "
        "machines made from the image rebuild theirs as ever",
        edits=(Edit(r"^\s*update_initramfs=.*$", "update_initramfs=yes"),),
    ),
    Rule(
        "etc/fstab",
        Action.REWRITE,
        "partitions are named by what they are for: disks are written anew, with ids of their own",
        edits=(
            Edit(r"^(?:PART)?UUID=\S+(\s+/\s)", r"PARTLABEL=root\1"),
            Edit(r"^(?:PART)?UUID=\S+(\s+/boot/efi\s)", r"PARTLABEL=esp\1"),
            Edit(r"^(?:PART)?UUID=\S+\s+(?:none|swap)\s+swap\s.*\n?", ""),
        ),
    ),
)
"""The rules of every image, the first that matches counts."""


def rules_of(image: Image) -> tuple[Rule, ...]:
    """All that hold for an image: its own first, so that they may say otherwise."""
    return (*image.volatile, *RULES)


def compile_rules(rules: Sequence[Rule]) -> Callable[[bytes], Rule | None]:
    """A function that says which rule holds for a path, None where it stays as it is."""
    if not rules:
        return lambda path: None
    together = re.compile(b"|".join(b"(%s)" % to_regex(rule.path) for rule in rules), re.DOTALL)

    def rule_of(path: bytes) -> Rule | None:
        match = together.fullmatch(path)
        return rules[match.lastindex - 1] if match and match.lastindex else None

    return rule_of


def rewrite(rule: Rule, content: bytes) -> bytes:
    """The text of a file after a REWRITE rule. Nothing else of it changes."""
    for find, put in rule.edits:
        pattern, place = to_edit(find, put)
        content = pattern.sub(place, content)
    return content
