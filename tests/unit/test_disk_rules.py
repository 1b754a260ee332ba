from __future__ import annotations

from dataclasses import replace

import pytest
from support.systems import image

from imagectl.adapters.disk.rules import (
    RULES,
    UPDATE_INITRAMFS_CONF,
    Action,
    Rule,
    compile_rules,
    rewrite,
    rules_of,
)


def test_odd_names_match_too() -> None:
    rule_of = compile_rules([Rule("log/*", Action.DROP, "test")])
    assert rule_of(b"log/new\nline") is not None
    assert rule_of(b"log/caf\xe9") is not None


def test_the_first_rule_that_matches_counts() -> None:
    first, second = Rule("a/b", Action.EMPTY, "test"), Rule("a/*", Action.DROP, "test")
    rule_of = compile_rules([first, second])
    assert rule_of(b"a/b") is first
    assert rule_of(b"a/c") is second
    assert rule_of(b"c") is None
    assert compile_rules([])(b"a/b") is None


def action(path: str) -> Action | None:
    rule = compile_rules(RULES)(path.encode())
    return rule.action if rule else None


@pytest.mark.parametrize(
    "path",
    [
        "dev/null",
        "etc/.resolv.conf.systemd-resolved.bak",
        "etc/apt/apt.conf.d/99mmdebstrap",
        "etc/docker/key.json",
        "etc/resolv.conf",
        "etc/shadow-",
        "etc/ssh/ssh_host_ed25519_key",
        "etc/ssh/ssh_host_rsa_key.pub",
        "etc/ssl/private/ssl-cert-snakeoil.key",
        "home/ci/.ansible",
        "lost+found",
        "proc/1",
        "root/.ansible",
        "root/.bash_history",
        "root/.ssh",
        "run/lock",
        "tmp/ansible.abc/x",
        "var/backups/dpkg.status.0",
        "var/cache/apt/archives/partial",
        "var/cache/apt/pkgcache.bin",
        "var/cache/debconf/config.dat-old",
        "var/cache/ldconfig/aux-cache",
        "var/lib/apt/lists/lock",
        "var/lib/apt/lists/mirror.example_debian_dists_bookworm_InRelease",
        "var/lib/containerd/x/y",
        "var/lib/dbus/machine-id",
        "var/lib/dhcp/dhclient.leases",
        "var/lib/docker/overlay2/l",
        "var/lib/dpkg/lock-frontend",
        "var/lib/dpkg/status-old",
        "var/lib/plocate/plocate.db",
        "var/lib/systemd/credential.secret",
        "var/lib/systemd/random-seed",
        "var/lib/systemd/timers/stamp-apt-daily.timer",
        "var/lib/systemd/timesync/clock",
        "var/log/journal/0123456789abcdef",
        "var/log/apt/history.log.1.gz",
        "var/log/dpkg.log.1",
        "var/tmp/x",
    ],
)
def test_what_is_dropped(path: str) -> None:
    assert action(path) is Action.DROP


@pytest.mark.parametrize("path", ["etc/machine-id", "var/log/wtmp", "var/log/nginx/access.log"])
def test_what_is_emptied(path: str) -> None:
    assert action(path) is Action.EMPTY


@pytest.mark.parametrize(
    "path",
    [
        "dev",
        "etc/apt/apt.conf.d/70debconf",
        "etc/machine-info",
        "etc/passwd",
        "etc/ssh/sshd_config",
        "home/ci/.ssh/authorized_keys",
        "proc",
        "root",
        "run",
        "tmp",
        "usr/share/doc/a/changelog.gz",
        "var/cache/apt/archives",
        "var/lib/apt/extended_states",
        "var/lib/apt/lists",
        "var/lib/dpkg/status",
        "var/lib/docker",
        "var/lib/systemd/deb-systemd-helper-enabled/ssh.service.dsh-also",
        "var/log/journal",
        "var/tmp",
    ],
)
def test_what_stays(path: str) -> None:
    found = action(path)
    assert found is None or (found is Action.EMPTY and path == "var/log/journal")


def test_every_rule_has_a_pattern_of_its_own_and_a_reason() -> None:
    patterns = [rule.path for rule in RULES]
    assert len(set(patterns)) == len(patterns)
    for rule in RULES:
        assert rule.reason
        assert not rule.path.startswith("/")
        assert bool(rule.edits) == (rule.action is Action.REWRITE)


def test_an_images_own_rules_come_first() -> None:
    """So that one may keep what every other image drops, or treat it in another way."""
    own = Rule("var/lib/docker/**", Action.EMPTY, "test")
    rules = rules_of(replace(image(), volatile=(own,)))
    assert rules == (own, *RULES)
    assert compile_rules(rules)(b"var/lib/docker/a") is own


def rewritten(path: str, text: str) -> str:
    rule = compile_rules(RULES)(path.encode())
    assert rule is not None
    return rewrite(rule, text.encode()).decode()


def test_a_build_vms_setting_becomes_debians_own_again() -> None:
    debians = UPDATE_INITRAMFS_CONF.replace("update_initramfs=no\n", "update_initramfs=yes\n")
    path = "etc/initramfs-tools/update-initramfs.conf"
    assert rewritten(path, UPDATE_INITRAMFS_CONF) == debians
    assert rewritten(path, debians) == debians


def test_fstab_names_no_id_that_a_new_disk_does_not_have() -> None:
    before = """\
# <file system> <mount point>
PARTUUID=1234-5678 / ext4 rw,discard,errors=remount-ro,x-systemd.growfs 0 1
UUID=ABCD-EF01\t/boot/efi vfat defaults 0 0
UUID=99-88 none swap sw 0 0
UUID=77-66 /data ext4 defaults 0 2
server:/home /home nfs defaults 0 0
"""
    assert (
        rewritten("etc/fstab", before)
        == """\
# <file system> <mount point>
PARTLABEL=root / ext4 rw,discard,errors=remount-ro,x-systemd.growfs 0 1
PARTLABEL=esp\t/boot/efi vfat defaults 0 0
UUID=77-66 /data ext4 defaults 0 2
server:/home /home nfs defaults 0 0
"""
    )
