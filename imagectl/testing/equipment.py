"""What a build works with, without a network, Packer or QEMU: its bytes follow from its inputs.

Downloads behave as behind the real proxy: recorded, locked, extended, or only from what is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from imagectl.errors import BuildFailed, Corrupt, NotFound
from imagectl.model.image import DebianBase, DiskBase, Image
from imagectl.model.lock import (
    Access,
    Archive,
    Download,
    Inputs,
    LockedDiskBase,
    LockedToolchain,
)
from imagectl.model.names import Format, Sha256, bootable_format
from imagectl.model.version import Version
from imagectl.services.ports.building import (
    Base,
    CanonicalTree,
    Conditions,
    Equipment,
    Finished,
    OpaqueDisk,
    Taken,
    Written,
)
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.stores import ArtifactStore
from imagectl.services.ports.workspaces import Workspace

MIRROR = "https://mirror.example"
OPAQUE = "its partitions are LVM"


def sha256_of(text: str) -> Sha256:
    """The digest of a text."""
    return Sha256(hashlib.sha256(text.encode()).hexdigest())


class MemoryUpstream:
    """What can be fetched, by URL: everything, in the edition that ``edition`` says, until it is
    ``gone``."""

    def __init__(self) -> None:
        self.edition = "one"
        self.gone = False

    def fetch(self, url: str) -> str:
        """What *url* gives now. Raises BuildFailed where it is gone."""
        if self.gone:
            raise BuildFailed(f"{url} cannot be fetched", stage="base", where=url)
        return f"{url} in edition {self.edition}"


@dataclass
class MemoryEquipper:
    """Implements ``services.ports.Equipper``.

    ``kept`` is the input store. Each provisioning takes one text off ``noise``: what is in the tree
    by chance. ``failure`` is raised by the next ones; ``runs`` counts them; ``used`` are the
    conditions of all builds so far.
    """

    store: ArtifactStore
    upstream: MemoryUpstream = field(default_factory=MemoryUpstream)
    kept: dict[Sha256, str] = field(default_factory=dict)
    noise: list[str] = field(default_factory=list)
    failure: Exception | None = None
    runs: int = 0
    used: list[Conditions] = field(default_factory=list)

    @contextlib.contextmanager
    def equip(
        self, conditions: Conditions, work: Workspace, progress: Progress
    ) -> Iterator[Equipment]:
        self.used.append(conditions)
        lock = conditions.lock
        if lock is not None and conditions.access is not Access.EXTEND:
            assert work.epoch == lock.epoch
        if lock is not None and conditions.access is Access.OFFLINE:
            missing = [each.url for each in lock.inputs.downloads if each.sha256 not in self.kept]
            if missing:
                raise NotFound(f"the input store lacks {', '.join(missing)}")
        yield _Equipment(self, conditions)


class _Equipment:
    """Implements ``services.ports.Equipment``."""

    def __init__(self, owner: MemoryEquipper, conditions: Conditions) -> None:
        self._owner = owner
        self._conditions = conditions
        self._taken: dict[str, Download] = {}
        self._disk: LockedDiskBase | None = None
        lock = conditions.lock
        self._locked = {each.url: each for each in lock.inputs.downloads} if lock else {}
        self.bases = _Bases(self)
        self.provisioner = _Provisioner(self)
        self.disks = MemoryDisks()

    def fetch(self, url: str) -> str:
        """The text that *url* gives under these conditions."""
        owner, access = self._owner, self._conditions.access
        locked = None if access is Access.RECORD else self._locked.get(url)
        if locked is None:
            if access in (Access.LOCKED, Access.OFFLINE):
                assert self._conditions.lock is not None
                raise BuildFailed(
                    f"{url} is not locked",
                    stage="provision",
                    where=url,
                    hint=f"imagectl lock {self._conditions.lock.image}",
                )
            text = owner.upstream.fetch(url)
            locked = Download(url, 200, sha256_of(text), len(text), "text/plain")
            owner.kept[locked.sha256] = text
        elif locked.sha256 not in owner.kept:
            text = owner.upstream.fetch(url)
            if sha256_of(text) != locked.sha256:
                raise BuildFailed(f"{url} is not what was locked", stage="provision", where=url)
            owner.kept[locked.sha256] = text
        self._taken[url] = locked
        return owner.kept[locked.sha256]

    def taken(self) -> Taken:
        tools = Download(f"{MIRROR}/tools", 200, sha256_of("tools"), 5)
        return Taken(
            LockedToolchain("trixie", sha256_of("tools"), Inputs(downloads=(tools,))),
            {Archive.DEBIAN: f"{MIRROR}/debian"},
            Inputs(downloads=tuple(self._taken[url] for url in sorted(self._taken))),
            self._disk,
        )

    def stored(self, parent: Version) -> str:
        """The text of a parent's tree."""
        assert parent.tree is not None
        return self._owner.store.verify(parent.tree.stored).read_text()

    def begin_with(self, disk: LockedDiskBase) -> None:
        """*disk* is the base."""
        self._disk = disk

    def chance(self) -> str:
        """What this build has by chance. Raises ``failure``."""
        self._owner.runs += 1
        if self._owner.failure is not None:
            raise self._owner.failure
        return self._owner.noise.pop(0) if self._owner.noise else ""


class _Bases:
    """Implements ``services.ports.Bases``."""

    def __init__(self, equipment: _Equipment) -> None:
        self._equipment = equipment

    def make(
        self, image: Image, parent: Version | None, work: Workspace, progress: Progress
    ) -> Base:
        match image.base:
            case DebianBase(suite, packages):
                named = (suite, *packages)
                lines = [f"usr/{n}: {self._equipment.fetch(f'{MIRROR}/{n}')}" for n in named]
                return write_tree(work, "base.tar", "\n".join(lines))
            case DiskBase(source, sha256):
                self._equipment.begin_with(LockedDiskBase(source, sha256, 7))
                disk = work.folder / "given.raw"
                disk.write_text(f"disk {sha256}")
                return OpaqueDisk(disk, OPAQUE)
            case _:
                assert parent is not None
                return write_tree(work, "base.tar", self._equipment.stored(parent))


class _Provisioner:
    """Implements ``services.ports.Provisioner``."""

    def __init__(self, equipment: _Equipment) -> None:
        self._equipment = equipment

    def provision(self, image: Image, base: Base, work: Workspace, progress: Progress) -> Finished:
        noise = self._equipment.chance()
        lines = [base.path.read_text(), f"etc/os: {image.name} at {work.epoch}"]
        for role in image.provision.roles:
            lines.append(f"opt/{role}: {self._equipment.fetch(f'{MIRROR}/{role}')}")
        lines.append(f"etc/vars: {sorted(image.provision.variables)}")
        if noise:
            lines.append(noise)
        text = "\n".join(lines)
        if isinstance(base, OpaqueDisk):
            path = work.folder / "worn.raw"
            path.write_text(text)
            return OpaqueDisk(path, base.cause)
        return write_tree(work, "tree.tar", text)


def write_tree(work: Workspace, name: str, text: str) -> CanonicalTree:
    """A tree that consists of *text*: a line ``PATH: CONTENT`` for each file."""
    path = work.folder / name
    path.write_text(text)
    return CanonicalTree(path, sha256_of(text), len(text.encode()), text.count("\n") + 1)


class MemoryDisks:
    """Implements ``services.ports.Disks``."""

    def write(
        self, image: Image, finished: Finished, work: Workspace, progress: Progress
    ) -> Written:
        content = finished.path.read_text()
        disks: dict[Format, Path] = {}
        for disk_format in image.formats:
            disks[disk_format] = work.folder / f"disk.{disk_format.value}"
            disks[disk_format].write_text(f"{disk_format.value} of {content}")
        raw = sha256_of(f"raw of {content}")
        bootable = bootable_format(disks)
        if bootable is not None:
            return Written(raw, disks, (disks[bootable], bootable))
        disk = work.folder / "finished.raw"
        disk.write_text(f"raw of {content}")
        return Written(raw, disks, (disk, Format.RAW))

    def compress(self, tree: CanonicalTree, work: Workspace, progress: Progress) -> Path:
        out = work.folder / "tree.compressed"
        out.write_bytes(tree.path.read_bytes())
        return out

    def expand(self, stored: Path, sha256: Sha256, out: Path, progress: Progress) -> CanonicalTree:
        text = stored.read_text()
        if sha256_of(text) != sha256:
            raise Corrupt("a stored tree is not what was recorded", where=str(stored))
        out.write_text(text)
        return CanonicalTree(out, sha256, len(text.encode()), text.count("\n") + 1)
