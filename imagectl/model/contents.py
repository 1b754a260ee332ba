"""What is in a version, as far as people compare it: software, services, users, ports, sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from imagectl.model.names import Architecture, ImageName, Sha256


@dataclass(frozen=True, slots=True, order=True)
class SourcePackage:
    """A Debian source package."""

    name: str
    version: str


@dataclass(frozen=True, slots=True, order=True)
class DebianPackage:
    """An installed Debian package and the source package that it was built from.

    ``built_using`` are other source packages of which parts are in it (Built-Using), such as
    ``linux`` of a signed kernel.
    """

    name: str
    architecture: str
    version: str
    source: SourcePackage
    built_using: tuple[SourcePackage, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class LanguagePackage:
    """A package of a language's own package manager, which Debian's did not install.

    ``folder`` is where it is, such as ``/opt/venv/lib/python3.11/site-packages``: the same package
    may be there more than once. ``version`` is empty where the package does not tell it.
    """

    name: str
    folder: str
    version: str


@dataclass(frozen=True, slots=True, order=True)
class User:
    """A line of ``/etc/passwd``, without its password and its comment."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str


@dataclass(frozen=True, slots=True, order=True)
class Group:
    """A line of ``/etc/group``, without its password."""

    name: str
    gid: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a version. Each list is sorted.

    ``tree`` is the digest of the canonical tar, ``size`` that tar's bytes, ``files`` the number of
    its paths. ``system`` is ``/etc/os-release``. ``services`` are systemd's units (sockets, timers
    and the like included) that are enabled, ``masked`` those that cannot be started. ``kernels``
    are their releases, as ``uname -r`` says. ``ports`` is what listened when the version was
    booted, such as ``tcp 22``.
    """

    image: ImageName
    architecture: Architecture
    tree: Sha256
    size: int
    files: int
    system: Mapping[str, str]
    debian: tuple[DebianPackage, ...]
    pip: tuple[LanguagePackage, ...]
    npm: tuple[LanguagePackage, ...]
    services: tuple[str, ...]
    masked: tuple[str, ...]
    users: tuple[User, ...]
    groups: tuple[Group, ...]
    kernels: tuple[str, ...]
    ports: tuple[str, ...]

    @property
    def codename(self) -> str:
        """Debian's name of the suite, such as ``bookworm``; empty where the system names none."""
        return self.system.get("VERSION_CODENAME", "")


@dataclass(frozen=True, slots=True)
class Listed:
    """One path of a version's manifest.

    ``path`` begins with a slash; bytes of a name that are not UTF-8 are in it as Python's
    ``surrogateescape`` has them. ``kind`` is a word: file, directory, symlink, fifo, character
    device, block device. ``sha256`` and ``size`` (bytes) are those of a file. ``xattrs``: by name,
    values in hexadecimal; a capability is one of them.
    """

    path: str
    kind: str
    mode: int
    uid: int
    gid: int
    size: int = 0
    sha256: Sha256 | None = None
    target: str = ""
    device: tuple[int, int] | None = None
    xattrs: Mapping[str, str] | None = None
