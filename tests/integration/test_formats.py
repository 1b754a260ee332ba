"""Every format by the real tools: the same bytes whatever the host, and never another disk."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest
from support.children import Child, Say, mount_tmpfs
from support.disks import sparse_file
from support.toolchains import shared_toolchain

from imagectl.adapters import process
from imagectl.adapters.disk import qcow2
from imagectl.adapters.disk.canonical import write_tree
from imagectl.adapters.disk.tree import Entry, Kind, MemorySource
from imagectl.adapters.disk.writer import write_raw
from imagectl.adapters.disks import LocalDisks
from imagectl.adapters.namespaces import Bind
from imagectl.adapters.prove import take_out
from imagectl.adapters.toolchain import Toolchain
from imagectl.errors import Corrupt, NoSpace
from imagectl.model.image import DiskBase, Image, Provision
from imagectl.model.names import DISKS, Architecture, Format, ImageName, LocationName, Sha256
from imagectl.services.ports.building import OpaqueDisk, Written
from imagectl.services.ports.workspaces import Workspace
from imagectl.testing.build import RecordingProgress

pytestmark = pytest.mark.integration

GIB, MIB = 1 << 30, 1 << 20
EPOCH = 1_795_000_000
EVERY = DISKS


@pytest.fixture(scope="module")
def toolchain(tmp_path_factory: pytest.TempPathFactory) -> Toolchain:
    return shared_toolchain(tmp_path_factory)


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    """1 GiB: text, noise, zeros that are written and holes."""
    noise = random.Random(1).randbytes(3 * MIB)
    text = b"".join(b"line %d of a file\n" % number for number in range(200_000))
    place = Path(tempfile.mkdtemp(prefix="disk-", dir="/var/tmp"))
    pieces = [(0, text), (64 * MIB, bytes(MIB)), (500 * MIB + 4096, noise), (GIB - 512, b"end")]
    yield sparse_file(place / "disk.raw", GIB, pieces)
    shutil.rmtree(place)


def image(*formats: Format) -> Image:
    return Image(
        ImageName("an-image"),
        "what it is for",
        DiskBase("given.raw", Sha256("0" * 64)),
        Architecture.AMD64,
        GIB,
        Provision(),
        (PurePosixPath("t.py"),),
        formats,
        (LocationName("local"),),
    )


def write(toolchain: Toolchain, folder: Path, raw: Path, *formats: Format) -> Written:
    folder.mkdir(exist_ok=True)
    work = Workspace("1", folder, folder, folder / "log", EPOCH)
    disks = LocalDisks(lambda progress: toolchain)
    return disks.write(image(*formats), OpaqueDisk(raw, "a test"), work, RecordingProgress())


def digests(files: Mapping[Format, Path]) -> dict[Format, str]:
    return {each: sha256(path) for each, path in files.items()}


def sha256(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def test_holes_folders_and_processors_change_nothing(
    toolchain: Toolchain, disk: Path, tmp_path: Path
) -> None:
    """P9. The digests are those of two writes that have nothing in common but the disk."""
    full = tmp_path / "full.raw"
    process.run(["cp", "--sparse=never", str(disk), str(full)])
    first = write(toolchain, tmp_path / "a", disk, *EVERY)
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(everywhere)})
    try:
        second = write(toolchain, tmp_path / "another köln", full, *reversed(EVERY))
    finally:
        os.sched_setaffinity(0, everywhere)
    assert digests(first.files) == digests(second.files)
    assert first.raw == second.raw == sha256(disk)
    assert first.files[Format.RAW] == disk
    sizes = {each: path.stat().st_size for each, path in first.files.items()}
    assert all(sizes[each] < 10 * MIB for each in EVERY if each is not Format.RAW)


def test_other_programs_find_the_same_disk(
    toolchain: Toolchain, disk: Path, tmp_path: Path
) -> None:
    files = write(toolchain, tmp_path / "a", disk, *EVERY).files
    for each in (Format.QCOW2, Format.VMDK):
        check(["qemu-img", "check", "-f", each.value, str(files[each])])
        compared = ["qemu-img", "compare", "-f", "raw", "-F", each.value]
        check([*compared, str(disk), str(files[each])])
    check(["tar", "-C", str(tmp_path), "-xSzf", str(files[Format.GCE])])
    check(["cmp", str(disk), str(tmp_path / "disk.raw")])
    with tarfile.open(files[Format.OVA]) as ova:
        names = ova.getnames()
    assert names == ["an-image.ovf", "an-image.mf", "an-image-disk1.vmdk"]
    for each in (Format.OVA, Format.GCE):
        found, form = take_out(files[each], each, tmp_path)
        check(["qemu-img", "compare", "-f", "raw", "-F", form.value, str(disk), str(found)])


def check(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("formats", "boots", "left"),
    [
        ((Format.VMDK, Format.QCOW2), Format.QCOW2, {"finished.vmdk", "finished.qcow2"}),
        ((Format.OVA, Format.VMDK), Format.VMDK, {"finished.ova", "finished.vmdk"}),
        ((Format.OVA, Format.GCE), Format.RAW, {"finished.ova", "finished.gce", "disk.raw"}),
        ((Format.RAW, Format.VMDK), Format.RAW, {"finished.vmdk", "disk.raw"}),
    ],
)
def test_what_is_booted_is_what_qemu_reads_quickest(
    toolchain: Toolchain,
    tmp_path: Path,
    formats: tuple[Format, ...],
    boots: Format,
    left: set[str],
) -> None:
    """And nothing is left that nobody asked for."""
    raw = sparse_file(tmp_path / "disk.raw", GIB, [(MIB, b"small")])
    written = write(toolchain, tmp_path, raw, *formats)
    assert tuple(written.files) == formats
    assert written.bootable[1] is boots
    assert written.bootable[0].exists()
    assert {path.name for path in tmp_path.iterdir()} == left


@dataclass(frozen=True, slots=True)
class Faulty(Toolchain):
    """Storage that flips a bit of what a program has written, or of what one is about to read."""

    before: str = ""
    after: str = ""

    def run(
        self,
        args: Sequence[str],
        *,
        binds: Sequence[Bind] = (),
        env: Mapping[str, str] | None = None,
        input: bytes | Iterable[bytes] | None = None,
        what: str = "",
        check: bool = True,
    ) -> process.Completed:
        command = " ".join(args)
        if self.before and self.before in command:
            flip(next(bind.source for bind in binds if bind.name == "written"))
        done = Toolchain.run(self, args, binds=binds, env=env, input=input, what=what, check=check)
        if self.after and self.after in command:
            (folder,) = (bind.source for bind in binds if bind.name == "out")
            flip(next(folder.glob("*.unfinished")))
        return done


def flip(path: Path) -> None:
    """One bit in the midst of the file's data."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 4]))


@pytest.mark.parametrize(
    ("form", "before", "after"),
    [
        (Format.GCE, "", "pigz"),
        (Format.QCOW2, "", "convert"),
        (Format.VMDK, "compare", ""),
        (Format.OVA, "compare", ""),
    ],
)
def test_a_disk_that_does_not_come_back_as_it_was_is_no_artifact(
    toolchain: Toolchain, disk: Path, tmp_path: Path, form: Format, before: str, after: str
) -> None:
    faulty = Faulty(toolchain.root, toolchain.locked, before, after)
    with pytest.raises(Corrupt):
        write(faulty, tmp_path, disk, form)
    assert list(tmp_path.iterdir()) == []


def test_a_longer_disk_is_another_disk(toolchain: Toolchain, tmp_path: Path) -> None:
    """Only zeros more: qemu-img itself calls them identical, with a warning."""
    short = sparse_file(tmp_path / "short", 64 * MIB, [(0, b"x")])
    long = sparse_file(tmp_path / "long", 65 * MIB, [(0, b"x")])
    qcow2.compare(short, short, "raw", toolchain)
    with pytest.raises(Corrupt, match="does not hold the disk"):
        qcow2.compare(short, long, "raw", toolchain)


@pytest.mark.parametrize("form", [Format.QCOW2, Format.GCE, Format.VMDK, Format.OVA])
def test_a_full_disk_is_named_with_what_is_needed(
    toolchain: Toolchain, disk: Path, tmp_path: Path, form: Format
) -> None:
    """P7: nothing half done is left."""

    def fill(say: Say) -> None:
        mount_tmpfs(tmp_path, MIB)
        with pytest.raises(NoSpace) as caught:
            write(toolchain, tmp_path, disk, form)
        assert caught.value.where.startswith(f"{tmp_path}/finished.")
        assert "needs up to" in caught.value.why
        assert list(tmp_path.iterdir()) == []

    Child(fill).end()


def test_a_full_disk_while_the_file_system_is_written(toolchain: Toolchain, tmp_path: Path) -> None:
    """This machine's disk is full, not the image's: nobody is told to make ``disk_size`` larger."""
    files = [
        (Entry(b"", Kind.DIRECTORY, 0o755), b""),
        (Entry(b"noise", Kind.FILE, 0o644), random.Random(2).randbytes(60 * MIB)),
    ]
    tree = write_tree(MemorySource(files), (), EPOCH, tmp_path / "tree.tar")
    small = tmp_path / "small"
    small.mkdir()

    def fill(say: Say) -> None:
        mount_tmpfs(small, 48 * MIB)
        with pytest.raises(NoSpace) as caught:
            write_raw(tree, GIB, EPOCH, toolchain, small, small / "disk.raw")
        assert caught.value.where == str(small / "disk.raw")
        assert "needs up to" in caught.value.why
        assert list(small.iterdir()) == []

    Child(fill).end()
