"""What a tree needs so that each machine makes, when it first boots, what images must not share.

For each FIRST_BOOT rule of an image there is a systemd unit. It runs before every ordinary service
(it is wanted by, and comes before, ``sysinit.target``), so nothing that may need the file can come
first; the network is not there yet. It runs where the file is missing, and again where a machine
was switched off in the middle of it, until it has succeeded once.

A build VM must not run it: what it made there would get into the child of an image. It is told so
by a credential, see systemd.exec(5) and "CREDENTIALS" in systemd(1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from imagectl.adapters.disk.rules import Action, Rule
from imagectl.adapters.disk.tree import Entry, Kind, MemorySource

BUILD_CREDENTIAL = "imagectl.build"
"""The name of the credential that a build VM has, and no other machine."""

UNFINISHED = "/var/lib/imagectl/unfinished"
"""Where it is written down, on a machine, what it has begun to make."""

_UNITS = "usr/lib/systemd/system"
_PROGRAMS = "usr/lib/imagectl"


def first_boot_files(rules: Sequence[Rule], epoch: int) -> MemorySource:
    """The files and folders that the FIRST_BOOT rules among *rules* need. ``epoch``: how old they
    are, in seconds since 1970. Their paths are
    ``model.patterns.is_condition``, which the definition's reader has seen to."""
    files: dict[str, tuple[Entry, bytes]] = {}

    def add(path: str, content: str, mode: int) -> None:
        files[path] = (
            Entry(path.encode(), Kind.FILE, mode, mtime=epoch, size=len(content.encode())),
            content.encode(),
        )

    for rule, name in _named([rule for rule in rules if rule.action is Action.FIRST_BOOT]):
        unit = f"{name}.service"
        add(f"{_PROGRAMS}/{name}", program(rule, name), 0o755)
        add(f"{_UNITS}/{unit}", unit_text(rule, name), 0o644)
        link = f"{_UNITS}/sysinit.target.wants/{unit}"
        target = f"../{unit}".encode()
        files[link] = (Entry(link.encode(), Kind.SYMLINK, 0o777, mtime=epoch, target=target), b"")
    folders = {parent for path in files for parent in _parents(path)}
    made = [
        (Entry(path.encode(), Kind.DIRECTORY, 0o755, mtime=epoch), b"") for path in sorted(folders)
    ]
    return MemorySource([*made, *files.values()])


def _parents(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _named(rules: Sequence[Rule]) -> Iterator[tuple[Rule, str]]:
    """Each rule with a name that is its own."""
    taken: set[str] = set()
    for rule in rules:
        words = re.sub(r"[^A-Za-z0-9_.]+", "-", rule.path).strip("-.")[:80] or "path"
        name, number = f"first-boot-{words}", 1
        while name in taken:
            number += 1
            name = f"first-boot-{words}-{number}"
        taken.add(name)
        yield rule, name


def condition(path: str) -> str:
    """The unit's condition that nothing matches the pattern *path* (systemd.unit(5))."""
    folder = path.removesuffix("/**")
    quoted = "/" + folder.replace("%", "%%")
    if folder != path:
        return f"ConditionDirectoryNotEmpty=|!{quoted}"
    if re.search(r"[*?\[{]", path):
        return f"ConditionPathExistsGlob=|!{quoted}"
    return f"ConditionPathExists=|!{quoted}"


def unit_text(rule: Rule, name: str) -> str:
    """The unit that runs the program *name*."""
    return f"""\
# {_one_line(rule.reason)}
[Unit]
Description=Make /{_one_line(rule.path).replace("%", "%%")} of this machine
DefaultDependencies=no
RequiresMountsFor=/var /usr
After=local-fs.target systemd-remount-fs.service systemd-tmpfiles-setup.service
After=systemd-sysusers.service systemd-random-seed.service
Before=sysinit.target shutdown.target
Conflicts=shutdown.target
# Not while an image is built.
ConditionCredential=!{BUILD_CREDENTIAL}
# Any of these is enough.
{condition(rule.path)}
ConditionPathExists=|{UNFINISHED}/{name}

[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutStartSec=15min
ExecStart=/{_PROGRAMS}/{name}

[Install]
WantedBy=sysinit.target
"""


def program(rule: Rule, name: str) -> str:
    """What the unit runs."""
    return f"""\
#!/bin/sh
# Makes /{_one_line(rule.path)} of this machine. Written from `volatile:` in the image's definition:
# {_one_line(rule.reason)}
set -e
mkdir -p {UNFINISHED}
: >{UNFINISHED}/{name}
sync {UNFINISHED}/{name}
(
{rule.command}
)
sync
rm {UNFINISHED}/{name}
"""


def _one_line(text: str) -> str:
    return " ".join(text.split())
