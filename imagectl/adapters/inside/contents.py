"""What is in a tree: software, services, users, kernels; facts for comparing versions.

Reads what each part of the system itself keeps: dpkg's status file, the metadata of Python's and
Node's packages, systemd's links, ``/etc/passwd``. What is not there is left out: a tree without
dpkg has no Debian packages.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from imagectl.adapters.disk.tree import Kind
from imagectl.adapters.inside.dpkg import debian_packages
from imagectl.adapters.inside.languages import npm_packages, pip_packages
from imagectl.adapters.inside.tree import Tree, readable
from imagectl.model.contents import Contents, Group, User
from imagectl.model.image import Image
from imagectl.services.ports.building import CanonicalTree

_ENABLED = re.compile(
    rb"etc/systemd/system/[^/]+\.(?:wants|requires|upholds)/"
    rb"(?P<unit>[^/]+\.(?:service|socket|timer|path|mount|automount|swap|target))"
)
_UNIT = re.compile(rb"etc/systemd/system/(?P<unit>[^/]+\.[a-z]+)")


def look_inside(
    image: Image, tree: Tree, canonical: CanonicalTree, ports: Sequence[str]
) -> Contents:
    """The facts about *tree*; ``ports`` is what listened on the booted artifact."""
    return Contents(
        image=image.name,
        architecture=image.architecture,
        tree=canonical.sha256,
        size=canonical.size,
        files=len(tree.entries),
        system=system(tree.text(b"etc/os-release") or tree.text(b"usr/lib/os-release")),
        debian=debian_packages(tree),
        pip=pip_packages(tree),
        npm=npm_packages(tree),
        services=enabled_units(tree),
        masked=masked_units(tree),
        users=users(tree.text(b"etc/passwd")),
        groups=groups(tree.text(b"etc/group")),
        kernels=kernels(tree),
        ports=tuple(sorted(set(ports))),
    )


def system(text: str) -> Mapping[str, str]:
    """The assignments of an os-release file (os-release(5))."""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if not equals or name.strip().startswith("#"):
            continue
        try:
            words = shlex.split(value)
        except ValueError:  # a quotation that does not end
            continue
        found[name.strip()] = " ".join(words)
    return found


def enabled_units(tree: Tree) -> tuple[str, ...]:
    """The units that ``systemctl enable`` was done for: something of ``/etc`` wants them."""
    found = {
        readable(match["unit"]) for path in tree.entries if (match := _ENABLED.fullmatch(path))
    }
    return tuple(sorted(found))


def masked_units(tree: Tree) -> tuple[str, ...]:
    """The units that cannot be started: links to ``/dev/null``, or empty (systemd.unit(5))."""
    found = set()
    for path, entry in tree.entries.items():
        match = _UNIT.fullmatch(path)
        if match and (
            (entry.kind is Kind.SYMLINK and entry.target == b"/dev/null")
            or (entry.kind is Kind.FILE and entry.size == 0)
        ):
            found.add(readable(match["unit"]))
    return tuple(sorted(found))


def users(text: str) -> tuple[User, ...]:
    """The lines of passwd(5) that are whole."""
    found = []
    for line in text.splitlines():
        parts = line.split(":")
        if len(parts) == 7 and parts[2].isdecimal() and parts[3].isdecimal():
            found.append(User(parts[0], int(parts[2]), int(parts[3]), parts[5], parts[6]))
    return tuple(sorted(found))


def groups(text: str) -> tuple[Group, ...]:
    """The lines of group(5) that are whole."""
    found = []
    for line in text.splitlines():
        parts = line.split(":")
        if len(parts) == 4 and parts[2].isdecimal():
            members = tuple(sorted(filter(None, parts[3].split(","))))
            found.append(Group(parts[0], int(parts[2]), members))
    return tuple(sorted(found))


def kernels(tree: Tree) -> tuple[str, ...]:
    """The releases of the kernels that can be booted: ``/boot/vmlinuz-RELEASE``."""
    prefix = b"boot/vmlinuz-"
    return tuple(
        sorted(
            readable(path.removeprefix(prefix)) for path in tree.entries if path.startswith(prefix)
        )
    )
