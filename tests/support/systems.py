"""A small Debian system as a file tree: what there is to be found in an image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from imagectl.adapters.disk.canonical import write_tree
from imagectl.adapters.disk.tree import CanonicalTree, Entry, Kind
from imagectl.model.image import DebianBase, Image, Provision
from imagectl.model.names import Architecture, Format, ImageName
from imagectl.services.ports.workspaces import Workspace
from support.trees import ROOT, ListSource, file, folder, made

EPOCH = 1_790_000_000

Files = list[tuple[Entry, bytes]]

OS_RELEASE = b"""PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME='Debian GNU/Linux'
# a comment
VERSION_CODENAME=bookworm
ID=debian
BROKEN="never ends
"""

PASSWD = b"""root:x:0:0:root:/root:/bin/bash
ci:x:1000:1000:,,,:/home/ci:/bin/sh
broken:line
"""

GROUP = b"""root:x:0:
docker:x:104:zoe,ci
"""


def stanza(
    name: str,
    version: str,
    *,
    status: str = "install ok installed",
    source: str = "",
    architecture: str = "amd64",
    more: str = "",
) -> str:
    """A package in dpkg's status file."""
    lines = [f"Package: {name}", f"Status: {status}", "Priority: optional", "Section: misc"]
    lines += ["Maintainer: Debian Developers <dev@mirror.example>", f"Architecture: {architecture}"]
    lines += [f"Source: {source}"] if source else []
    lines += [
        f"Version: {version}",
        f"Description: {name} does it",
        " and more",
        " .",
        " than that",
    ]
    return "\n".join(lines) + f"\n{more}\n"


DPKG = "\n".join(
    [
        stanza("dpkg", "1.21.22", more="Essential: yes\n"),
        stanza("libc6", "2.36-9+deb12u10", source="glibc"),
        stanza("nginx", "1.22.1-9+b2", source="nginx (1.22.1-9)", more="Depends: libc6, mailer\n"),
        # Two packages provide what nginx depends on: which one counts must not be chance.
        stanza("exim4", "4.96-15", more="Provides: mailer\n"),
        stanza("postfix", "3.7.11-0", more="Provides: mailer\n"),
        stanza(
            "linux-image-6.1.0-31-amd64",
            "6.1.129-1",
            source="linux-signed-amd64 (6.1.129+1)",
            more="Built-Using: linux (= 6.1.129-1)\n",
        ),
        stanza("python3-yaml", "6.0-3+b2", source="pyyaml (6.0-3)"),
        stanza("vim", "2:9.0.1378-2", status="deinstall ok config-files"),
    ]
)


def links(unit: str, *targets: str) -> Files:
    """A unit that is enabled in each of the *targets*."""
    found: Files = []
    for target in targets:
        path = f"etc/systemd/system/{target}.wants/{unit}".encode()
        found.append(made(path, Kind.SYMLINK, target=f"/lib/systemd/system/{unit}".encode()))
    return found


def system(*, dpkg: str = DPKG, more: Sequence[tuple[Entry, bytes]] = ()) -> Files:
    """All of it, with what is in *more* besides or instead."""
    python = b"usr/lib/python3/dist-packages"
    venv = b"opt/app/lib/python3.11/site-packages"
    files = [
        file(b"usr/lib/os-release", OS_RELEASE),
        made(b"etc/os-release", Kind.SYMLINK, target=b"../usr/lib/os-release"),
        file(b"etc/passwd", PASSWD),
        file(b"etc/group", GROUP),
        file(b"boot/vmlinuz-6.1.0-31-amd64", b"kernel"),
        file(b"var/lib/dpkg/status", dpkg.encode()),
        file(
            b"var/lib/dpkg/info/python3-yaml.list",
            b"/.\n/" + python + b"/PyYAML-6.0.egg-info\n/usr/share/doc/python3-yaml\n",
        ),
        file(python + b"/PyYAML-6.0.egg-info", b"Name: PyYAML\nVersion: 6.0\n"),
        file(python + b"/requests-2.32.3.dist-info/METADATA", b"Name: requests\nVersion: 2.32.3\n"),
        file(
            venv + b"/Flask-3.1.0.dist-info/METADATA",
            b"Metadata-Version: 2.1\nName: Flask\nVersion: 3.1.0\nLicense: BSD\n of course\n\n"
            b"Name: not a header\n",
        ),
        file(venv + b"/flask/__init__.py", b"pass\n"),
        file(
            b"srv/app/node_modules/@scope/tool/package.json",
            json.dumps({"name": "@scope/tool", "version": "1.2.3"}).encode(),
        ),
        file(b"srv/app/node_modules/left-pad/package.json", b'{"version": "1.3.0"}'),
        file(b"srv/app/node_modules/broken/package.json", b"[" * 100_000),
        file(b"srv/app/node_modules/tool/lib/package.json", b'{"version": "no package"}'),
        *links("ssh.service", "multi-user.target"),
        *links("docker.socket", "sockets.target"),
        *links("apt-daily.timer", "timers.target"),
        made(b"etc/systemd/system/bluetooth.service", Kind.SYMLINK, target=b"/dev/null"),
        file(b"usr/bin/ping", b"ping", mode=0o755, xattrs=((b"security.capability", b"\x01\0"),)),
        made(b"usr/bin/ping6", Kind.FILE, b"ping", inode=file(b"usr/bin/ping")[0].inode),
        made(b"dev/null", Kind.CHARACTER, device=(1, 3), mode=0o666),
        file(b"srv/caf\xe9", b"latin 1"),
    ]
    found = {entry.path: (entry, content) for entry, content in [ROOT, *files, *more]}
    for path in list(found):
        for parent in PurePosixPath(path.decode("utf-8", "surrogateescape")).parents:
            name = str(parent).encode("utf-8", "surrogateescape")
            if name != b".":
                found.setdefault(name, folder(name))
    return [found[path] for path in sorted(found)]


def canonical(files: Files, out: Path) -> CanonicalTree:
    """The tree as a build writes it."""
    return write_tree(ListSource(files), (), EPOCH, out)


def image(name: str = "debian-base") -> Image:
    return Image(
        name=ImageName(name),
        summary="Debian 12, ready to be built upon",
        base=DebianBase("bookworm"),
        architecture=Architecture.AMD64,
        disk_size=4 << 30,
        provision=Provision(),
        suites=(),
        formats=(Format.QCOW2,),
        required_locations=(),
    )


def workspace(folder: Path) -> Workspace:
    folder.mkdir(parents=True, exist_ok=True)
    return Workspace("20261120-abc", folder, folder, folder / "log", EPOCH)
