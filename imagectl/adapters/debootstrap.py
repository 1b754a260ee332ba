"""A Debian base as a canonical tree, made by mmdebstrap without root.

Promises: the tree boots (BIOS, UEFI, or directly by its kernel), takes an address by DHCP, answers
SSH with keys of its own, grows into its disk, and can be provisioned by Ansible; root has no
password and nobody else an account. Nothing of this machine gets in: no resolver, host name or key.

The same packages and the same epoch give the same bytes. What is not a package's is in the folder
``base`` beside this module, as the files that they will be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from shlex import quote

from imagectl.adapters.disk import archive
from imagectl.adapters.disk.archive import TarSource
from imagectl.adapters.disk.canonical import write_tree
from imagectl.adapters.disk.rules import RULES, Action, Rule
from imagectl.adapters.disk.tree import CanonicalTree, Entry, Kind, MemorySource
from imagectl.adapters.mirrors import Mirror
from imagectl.adapters.mmdebstrap import Recipe, Route, make_root
from imagectl.errors import BuildFailed
from imagectl.model.image import DebianBase
from imagectl.model.lock import Index
from imagectl.model.names import Architecture, Sha256
from imagectl.services.ports.progress import Progress

REVISION = 1
"""Raised when a base is made in another way from the same packages."""

PACKAGES = (
    # to boot
    "e2fsprogs",
    "grub-efi-amd64-bin",
    "grub-efi-amd64-signed",
    "grub-pc-bin",
    "initramfs-tools",
    "linux-image-cloud-amd64",
    "shim-signed",
    "systemd-sysv",
    "udev",
    "zstd",
    # to be reached
    "dbus",
    "iproute2",
    "libpam-systemd",
    "openssh-server",
    "systemd-resolved",
    # to be provisioned
    "ca-certificates",
    "procps",
    "python3",
    "python3-apt",
    "python3-minimal",
)
"""What every base has beyond Debian's ``minbase``."""

REPART = "systemd-repart"
"""What makes the root partition grow. It is a package of its own since trixie."""

LINKS = {
    "etc/systemd/system/multi-user.target.wants/first-boot-keys.service": (
        "/usr/lib/systemd/system/first-boot-keys.service"
    ),
    "etc/systemd/system/ssh.service.requires/first-boot-keys.service": (
        "/usr/lib/systemd/system/first-boot-keys.service"
    ),
    "etc/systemd/system/multi-user.target.wants/systemd-networkd.service": (
        "/usr/lib/systemd/system/systemd-networkd.service"
    ),
    "etc/systemd/system/sockets.target.wants/systemd-networkd.socket": (
        "/usr/lib/systemd/system/systemd-networkd.socket"
    ),
    "etc/systemd/system/network-online.target.wants/systemd-networkd-wait-online.service": (
        "/usr/lib/systemd/system/systemd-networkd-wait-online.service"
    ),
}
"""The units that are enabled beyond what the packages enable themselves."""

FIRST_BOOT = (b"/first-boot-keys", b"/first-boot-keys.service")
"""How the names of our first-boot unit's files end."""

EMPTY = ("etc/machine-id", "etc/.updated", "var/.updated")

BASE_RULES = (
    *RULES,
    Rule("etc/apt/sources.list", Action.DROP, "`sources.list.d/debian.sources` takes its place"),
    Rule(
        "etc/systemd/system/multi-user.target.wants/e2scrub_reap.service",
        Action.DROP,
        "it looks for LVM snapshots, of which there are none, for 3 s of each emulated boot",
    ),
)


def make_base(
    base: DebianBase,
    architecture: Architecture,
    mirror: Mirror,
    epoch: int,
    work: Path,
    out: Path,
    progress: Progress | None = None,
    *,
    route: Route | None = None,
) -> CanonicalTree:
    """Write the canonical tree of a base to *out*. ``epoch``: seconds since 1970, not before the
    packages were made; no file in the tree is newer. ``route``: how the packages come. The image's
    own apt will use *mirror*, whatever they came from.

    ``work``: an existing empty folder on a disk with 2 GiB to spare. Errors are those of
    ``mmdebstrap.make_root``.
    """
    if architecture is not Architecture.AMD64:
        raise BuildFailed(
            f"a base for {architecture.value} cannot be made yet",
            stage="base",
            hint="set `architecture: amd64` in image.yaml",
        )
    files = work / "files.tar"
    sources = work / "debian.sources"
    packages = work / "packages.tar"
    try:
        files.write_bytes(base_files(epoch))
        sources.write_text(apt_sources(base, mirror))
        recipe = Recipe(
            suite=base.suite,
            packages=packages_of(base),
            components=base.components,
            architecture=architecture.value,
            hooks=(
                f"--essential-hook=tar-in {quote(str(files))} /",
                f"--customize-hook=copy-in {quote(str(sources))} /etc/apt/sources.list.d/",
                f"--customize-hook=tar-in {quote(str(files))} /",
            ),
        )
        make_root(
            recipe,
            mirror,
            work,
            packages,
            route=route,
            env={"SOURCE_DATE_EPOCH": str(epoch)},
            progress=progress,
        )
        if progress is not None:
            progress.step("writing the canonical tree")
        with TarSource(packages) as source:
            return write_tree(source, BASE_RULES, epoch, out)
    finally:
        for file in (files, sources, packages):
            file.unlink(missing_ok=True)


def packages_of(base: DebianBase) -> tuple[str, ...]:
    """All that is asked for beyond ``minbase``, sorted."""
    repart = () if base.suite == "bookworm" else (REPART,)
    return tuple(sorted({*PACKAGES, *repart, *base.packages}))


def base_files(epoch: int) -> bytes:
    """A tar of the files that are not a package's."""
    parts = []
    for entry, content in our_files(epoch):
        parts += [archive.encode_header(entry), content, archive.padding(len(content))]
    return b"".join([*parts, archive.END])


def first_boot_files(epoch: int) -> MemorySource:
    """What a tree that did not begin here needs so that its machines make the keys that the rules
    drop from it. ``read_back`` puts it over a disk that was made elsewhere."""
    files = [pair for pair in our_files(epoch) if pair[0].path.endswith(FIRST_BOOT)]
    folders = {parent for entry, _ in files for parent in _parents(entry.path)}
    return MemorySource(
        [(Entry(path, Kind.DIRECTORY, 0o755, mtime=epoch), b"") for path in sorted(folders)] + files
    )


def our_files(epoch: int) -> list[tuple[Entry, bytes]]:
    """The files and links that are not a package's, with their content, without folders."""

    def entry(path: str, content: bytes = b"", mode: int = 0o644) -> tuple[Entry, bytes]:
        made = Entry(path.encode(), Kind.FILE, mode, mtime=epoch, size=len(content))
        return made, content

    found = [
        entry(path, content, 0o755 if content.startswith(b"#!") else 0o644)
        for path, content in _files(resources.files(__package__) / "base")
    ]
    found += [entry(path, mode=0o444 if path == "etc/machine-id" else 0o644) for path in EMPTY]
    found += [
        (Entry(path.encode(), Kind.SYMLINK, 0o777, mtime=epoch, target=target.encode()), b"")
        for path, target in sorted(LINKS.items())
    ]
    return found


def _parents(path: bytes) -> Iterator[bytes]:
    while path := path.rpartition(b"/")[0]:
        yield path


def _files(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    for child in sorted(folder.iterdir(), key=lambda child: child.name):
        if child.is_dir():
            yield from _files(child, f"{prefix}{child.name}/")
        else:
            yield f"{prefix}{child.name}", child.read_bytes()


def apt_sources(base: DebianBase, mirror: Mirror) -> str:
    """``/etc/apt/sources.list.d/debian.sources`` of the image."""
    stanzas = [(mirror.archive, f"{base.suite} {base.suite}-updates")]
    if mirror.security is not None:
        stanzas.append((mirror.security, f"{base.suite}-security"))
    return "\n".join(
        f"Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: {' '.join(base.components)}\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
        for uri, suites in stanzas
    )


def inputs_digest(
    base: DebianBase,
    architecture: Architecture,
    mirror: Mirror,
    epoch: int,
    indexes: Sequence[Index],
) -> Sha256 | None:
    """Over all that decides the bytes of a base: equal digests, equal bases.

    Which packages are in it follows from the signed Release files of its suites; *indexes* may have
    others. None where those of its suites are not among them, so that it cannot be told.
    """
    suites = {base.suite, f"{base.suite}-updates", f"{base.suite}-security"}
    paths = {f"dists/{suite}/{name}" for suite in suites for name in ("InRelease", "Release")}
    releases = sorted(
        (each.archive.value, each.path, each.sha256) for each in indexes if each.path in paths
    )
    if not any(path.startswith(f"dists/{base.suite}/") for _, path, _ in releases):
        return None
    made_from = (
        REVISION,
        architecture.value,
        packages_of(base),
        base,
        mirror,
        epoch,
        releases,
        BASE_RULES,
        hashlib.sha256(base_files(epoch)).hexdigest(),
    )
    return Sha256(hashlib.sha256(repr(made_from).encode()).hexdigest())
