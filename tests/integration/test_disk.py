"""A real base, its disk, and the way back: made once, then looked at from all sides.

The toolchain, the base and the disk are made in a folder that other users may read, so that an
ordinary user can be seen to get the same bytes as root.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath

import pytest
from peers.serving import serving
from support import disks
from support.children import Child, become_nobody
from support.real_inside import check_inside
from support.supplies import newest_toolchain, session
from support.trees import ListSource, contents, file, folder, made

from imagectl.adapters import guest, process, qemu, runs
from imagectl.adapters.base_cache import BaseCache
from imagectl.adapters.bases import LocalBases
from imagectl.adapters.debootstrap import make_base
from imagectl.adapters.disk.archive import TarSource
from imagectl.adapters.disk.blocks import RawDisk, describe_raw
from imagectl.adapters.disk.boot import boot_files
from imagectl.adapters.disk.canonical import write_tree
from imagectl.adapters.disk.capture import read_back
from imagectl.adapters.disk.convert import compress_tree, expand_tree
from imagectl.adapters.disk.qcow2 import write_qcow2
from imagectl.adapters.disk.rules import RULES
from imagectl.adapters.disk.tree import CanonicalTree, Entry, Kind, LayeredSource, Source, zeros
from imagectl.adapters.disk.vmdk import write_vmdk
from imagectl.adapters.disk.writer import write_raw
from imagectl.adapters.inputs.store import InputStore
from imagectl.adapters.mirrors import Mirror, host_mirror
from imagectl.adapters.mmdebstrap import Recipe, make_root
from imagectl.adapters.packer_template import PackerTemplates
from imagectl.adapters.store import FileStore
from imagectl.adapters.toolchain import Toolchain
from imagectl.errors import BuildFailed, CannotTell, Corrupt, ImagectlError
from imagectl.model.image import DebianBase, DiskBase, Image, Provision
from imagectl.model.names import Architecture, Format, ImageName, LocationName, Sha256
from imagectl.services.ports.workspaces import Workspace
from imagectl.testing.build import RecordingProgress

pytestmark = pytest.mark.integration

EPOCH = 1_795_000_000
SIZE = 1 << 30
BOOT_SECONDS = 600.0


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder on a real disk, which other users may read."""
    made = Path(tempfile.mkdtemp(prefix="it's a köln test-", dir="/var/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def toolchain(place: Path) -> Toolchain:
    """Made by two processes at once, after a third was killed while making it (P7)."""
    cache = place / "toolchain"

    store = InputStore(place / "inputs")

    def make(say: object) -> None:
        newest_toolchain(cache, store)

    killed = Child(make)
    while not list(cache.glob("unfinished-*/mmdebstrap/*")):
        time.sleep(0.01)
    killed.kill()
    assert {path.name.partition("-")[0] for path in cache.iterdir()} == {"lock", "unfinished"}
    other = Child(make)
    ours = newest_toolchain(cache, store)
    other.end()
    digest = ours.locked.tree
    assert {path.name for path in cache.iterdir()} == {"lock", ".partial", digest, f"{digest}.json"}
    assert ours.root == cache / digest
    return ours


@pytest.fixture(scope="module")
def base(place: Path) -> CanonicalTree:
    work = place / "base-work"
    work.mkdir()
    tree = make_base(
        DebianBase("bookworm"), Architecture.AMD64, host_mirror(), EPOCH, work, place / "base.tar"
    )
    assert list(work.iterdir()) == []
    return tree


@pytest.fixture(scope="module")
def disk(place: Path, base: CanonicalTree, toolchain: Toolchain) -> RawDisk:
    work = place / "disk-work"
    work.mkdir()
    write_raw(base, SIZE, EPOCH, toolchain, work, place / "disk.raw")
    assert list(work.iterdir()) == []
    return describe_raw(place / "disk.raw")


@pytest.fixture(scope="module")
def files(base: CanonicalTree) -> dict[bytes, tuple[Entry, bytes]]:
    with TarSource(base.path) as source:
        return contents(source)


def sha256(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def test_the_base_has_nothing_of_this_machine(files: dict[bytes, tuple[Entry, bytes]]) -> None:
    for gone in (b"etc/resolv.conf", b"etc/apt/sources.list", b"etc/apt/apt.conf.d/99mmdebstrap"):
        assert gone not in files
    assert files[b"etc/hostname"][1] == b"localhost\n"
    assert files[b"etc/machine-id"][1] == b""
    assert not [
        path for path in files if path.startswith((b"etc/ssh/ssh_host_", b"var/lib/apt/lists/"))
    ]
    assert not [path for path in files if path.startswith((b"dev/", b"run/", b"tmp/"))]
    hosts = os.uname().nodename.encode()
    named = [
        path
        for path, (_, content) in files.items()
        if path.startswith(b"etc/") and hosts in content.split()
    ]
    assert named == []


def test_nobody_can_log_in_by_password(files: dict[bytes, tuple[Entry, bytes]]) -> None:
    shadow = files[b"etc/shadow"][1].decode().splitlines()
    assert {line.split(":")[1] for line in shadow} <= {"*", "!", "!*"}
    people = [
        line
        for line in files[b"etc/passwd"][1].decode().splitlines()
        if int(line.split(":")[2]) >= 1000
    ]
    assert [line.split(":")[0] for line in people] == ["nobody"]


def test_nothing_in_the_base_is_newer_than_its_epoch(
    files: dict[bytes, tuple[Entry, bytes]],
) -> None:
    assert max(entry.mtime for entry, _ in files.values()) == EPOCH


def test_what_is_said_to_be_in_the_base_is_what_dpkg_says(
    base: CanonicalTree, tmp_path: Path
) -> None:
    check_inside(base, tmp_path)


def test_the_disk_holds_the_tree_and_nothing_else(
    place: Path, base: CanonicalTree, disk: RawDisk, tmp_path: Path
) -> None:
    """Read back without its initrds being made again, it is the tree that it was written from."""
    tree = read_back(disk.path, EPOCH, tmp_path, tmp_path / "tree.tar", initrds=False)
    assert replace(tree, path=base.path) == base


def test_initrds_made_on_this_machine_are_those_that_debian_makes(
    base: CanonicalTree, disk: RawDisk, tmp_path: Path
) -> None:
    """The base's own was made by its kernel package. Making it again changes not one byte."""
    tree = read_back(disk.path, EPOCH, tmp_path, tmp_path / "tree.tar", initrds=True)
    assert tree.sha256 == base.sha256
    assert [path.name for path in tmp_path.iterdir()] == ["tree.tar"]


def test_the_same_disk_again(
    base: CanonicalTree, disk: RawDisk, toolchain: Toolchain, tmp_path: Path
) -> None:
    """P9. A second later, so that a time that crept in would show."""
    write_raw(base, SIZE, EPOCH, toolchain, tmp_path, tmp_path / "again.raw")
    again = describe_raw(tmp_path / "again.raw")
    assert again.sha256 == disk.sha256 == sha256(disk.path)
    assert again.size == disk.path.stat().st_size == SIZE


def test_an_ordinary_user_gets_the_same_disk(
    place: Path, base: CanonicalTree, disk: RawDisk, toolchain: Toolchain
) -> None:
    theirs = place / "nobodys"
    theirs.mkdir(mode=0o777)
    theirs.chmod(0o777)

    def write(say: object) -> None:
        become_nobody()
        write_raw(base, SIZE, EPOCH, toolchain, theirs, theirs / "disk.raw")
        read_back(theirs / "disk.raw", EPOCH, theirs, theirs / "tree.tar")

    Child(write).end()
    assert sha256(theirs / "disk.raw") == disk.sha256
    assert sha256(theirs / "tree.tar") == base.sha256
    assert {path.name for path in theirs.iterdir()} == {"disk.raw", "tree.tar"}


def test_a_disk_that_is_too_small_is_told(
    base: CanonicalTree, toolchain: Toolchain, tmp_path: Path
) -> None:
    with pytest.raises(BuildFailed, match="too small") as caught:
        write_raw(base, 400 << 20, EPOCH, toolchain, tmp_path, tmp_path / "disk.raw")
    assert "disk_size: 1GiB" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_tree_with_everything_a_file_system_can_have(
    base: CanonicalTree, toolchain: Toolchain, tmp_path: Path
) -> None:
    acl = bytes.fromhex(
        "0200000001000700ffffffff04000500ffffffff080005000800000010000500ffffffff20000500ffffffff"
    )
    capability = bytes.fromhex("0100000200200000" + "00" * 12)
    odd = [
        folder(b"odd", mode=0o1777, xattrs=((b"system.posix_acl_default", acl),)),
        folder(b"odd/empty", mode=0o700, uid=1000, gid=4_000_000),
        file(b"odd/caf\xe9", b"latin", xattrs=((b'user.quote"d name', b"\0\xff\n"),)),
        file(b"odd/new\nline", b"x", mtime=0),
        file(b"odd/" + b"\xff" * 255, b"long name"),
        file(
            b"odd/suid", b"#!/bin/sh\n", mode=0o6755, xattrs=((b"security.capability", capability),)
        ),
        file(b"odd/acl", b"x", xattrs=((b"system.posix_acl_access", acl),)),
        file(b"odd/link-a", b"linked", inode=7, xattrs=((b"user.linked", b"1"),)),
        file(b"odd/link-b", b"linked", inode=7, xattrs=((b"user.linked", b"1"),)),
        file(b"odd/zeros", bytes(5_000_000)),
        file(b"odd/mixed", bytes(1 << 20) + b"data" + bytes(1 << 20)),
        made(b"odd/fifo", Kind.FIFO, mode=0o600),
        made(b"odd/null", Kind.CHARACTER, mode=0o666, device=(1, 3)),
        made(b"odd/big", Kind.BLOCK, device=(259, 70_000)),
        made(b"odd/short", Kind.SYMLINK, mode=0o777, target=b"caf\xe9"),
        made(b"odd/long", Kind.SYMLINK, mode=0o777, target=b"t" * 4095),
        folder(b"odd/links"),
        *(file(b"odd/links/%d" % number, b"many", inode=8) for number in range(10_000)),
        *deep(b"odd/deep", 3900),
    ]
    with TarSource(base.path) as below:
        source = LayeredSource(below, ListSource(odd))
        tree = write_tree(source, RULES, EPOCH, tmp_path / "tree.tar")
    raw = tmp_path / "disk.raw"
    write_raw(tree, SIZE, EPOCH, toolchain, tmp_path, raw)
    back = read_back(raw, EPOCH, tmp_path, tmp_path / "back.tar", initrds=False)
    with TarSource(tree.path) as wanted, TarSource(back.path) as got:
        wanted_odd, got_odd = (
            {path: found for path, found in contents(each).items() if path.startswith(b"odd")}
            for each in (wanted, got)
        )
    assert len(wanted_odd) == len(odd)
    assert got_odd == wanted_odd
    assert back.sha256 == tree.sha256
    process.run(["e2fsck", "-fn", f"{raw}?offset={128 << 20}"])


def test_a_system_on_xfs_is_the_same_tree(base: CanonicalTree, tmp_path: Path) -> None:
    """As the kernel writes it, where the tests may mount."""
    disk, mounted = tmp_path / "xfs.raw", tmp_path / "mounted"
    mounted.mkdir()
    with disk.open("wb") as file:
        file.truncate(2 << 30)
    process.run(["mkfs.xfs", "-q", str(disk)])
    disks.mount_xfs(disk, mounted)
    try:
        unpack = [
            "tar",
            "-x",
            "--delay-directory-restore",
            "--numeric-owner",
            "--xattrs",
            "--xattrs-include=*",
            "-p",
        ]
        process.run([*unpack, "-f", str(base.path), "-C", str(mounted)])
    finally:
        process.run(["umount", str(mounted)])
    tree = read_back(disk, EPOCH, tmp_path, tmp_path / "tree.tar", initrds=False)
    assert replace(tree, path=base.path) == base


def deep(path: bytes, length: int) -> list[tuple[Entry, bytes]]:
    """A folder in a folder in a folder, and a file, whose path is as long as a program can name."""
    files = [folder(path)]
    while len(path) + 101 < length:
        path += b"/" + b"f" * 100
        files.append(folder(path))
    return [*files, file(path + b"/file", b"deep down")]


class Zeros:
    """One sparse file of *size* bytes, with something at its very end, over another source."""

    def __init__(self, below: Source, size: int) -> None:
        self._below = below
        self._file = Entry(b"sparse", Kind.FILE, 0o600, mtime=1000, size=size, inode=1 << 60)

    def entries(self) -> Iterator[Entry]:
        yield from self._below.entries()
        yield self._file

    def content(self, entry: Entry) -> Iterator[bytes]:
        if entry.inode != self._file.inode:
            yield from self._below.content(entry)
            return
        yield from zeros(entry.size - 3)
        yield b"end"


@pytest.mark.long
def test_a_sparse_file_of_more_than_4_gib(
    base: CanonicalTree, toolchain: Toolchain, tmp_path: Path
) -> None:
    """It is whole in the tree, and takes no room on the disk that is written from it."""
    size = (4 << 30) + 4097
    with TarSource(base.path) as below:
        tree = write_tree(Zeros(below, size), RULES, EPOCH, tmp_path / "tree.tar")
    assert tree.size > size
    raw = tmp_path / "disk.raw"
    write_raw(tree, 6 << 30, EPOCH, toolchain, tmp_path, raw)
    assert raw.stat().st_blocks * 512 < 1 << 30
    tree.path.unlink()
    back = read_back(raw, EPOCH, tmp_path, tmp_path / "back.tar", initrds=False)
    assert back.sha256 == tree.sha256


def test_an_attribute_that_cannot_be_written_is_an_error(
    base: CanonicalTree, toolchain: Toolchain, tmp_path: Path
) -> None:
    """debugfs ends with status 0 all the same, so what it wrote is read again."""
    large = file(b"odd", b"x", xattrs=((b"user.large", bytes(5000)),))
    with TarSource(base.path) as below:
        source = LayeredSource(below, ListSource([large]))
        tree = write_tree(source, RULES, EPOCH, tmp_path / "tree.tar")
    with pytest.raises(BuildFailed, match="attributes of /odd") as caught:
        write_raw(tree, SIZE, EPOCH, toolchain, tmp_path, tmp_path / "disk.raw")
    assert caught.value.why == "user.large"
    assert [path.name for path in tmp_path.iterdir()] == ["tree.tar"]


def test_a_tree_is_compressed_and_expanded(
    base: CanonicalTree, toolchain: Toolchain, tmp_path: Path
) -> None:
    compress_tree(base, toolchain, tmp_path / "all")
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(everywhere)})
    try:
        compress_tree(base, toolchain, tmp_path / "one")
    finally:
        os.sched_setaffinity(0, everywhere)
    assert sha256(tmp_path / "all") == sha256(tmp_path / "one")
    expanded = expand_tree(tmp_path / "all", base.sha256, toolchain, tmp_path / "tree.tar")
    assert replace(expanded, path=base.path) == base
    (tmp_path / "tree.tar").unlink()
    with pytest.raises(Corrupt, match="not what was recorded"):
        expand_tree(tmp_path / "all", Sha256("0" * 64), toolchain, tmp_path / "tree.tar")
    with (tmp_path / "all").open("r+b") as compressed:
        compressed.truncate(1 << 20)
    with pytest.raises(Corrupt, match="cannot be expanded"):
        expand_tree(tmp_path / "all", base.sha256, toolchain, tmp_path / "tree.tar")
    assert {path.name for path in tmp_path.iterdir()} == {"all", "one"}


@dataclass(frozen=True, slots=True)
class Found:
    """What a booted machine said of itself."""

    state: str
    failed: str
    keys: set[str]
    resolver: str
    machine_id: str
    root_mebibytes: int
    kernel_arguments: str


def look(disk: Path, place: Path, firmware: qemu.Firmware, form: Format = Format.RAW) -> Found:
    with (
        runs.open_run(place / "runs") as run,
        qemu.booted(
            disk,
            form,
            run=run,
            keys=guest.make_keys(run.folder),
            accelerator=qemu.Accelerator.TCG,
            memory=1 << 30,
            cpus=1,
            seconds=BOOT_SECONDS,
            firmware=firmware,
        ) as machine,
    ):

        def ask(command: str) -> str:
            return process.run(
                ["ssh", "-F", str(machine.ssh_config), "guest", command], check=False
            ).output.strip()

        return Found(
            state=ask("systemctl is-system-running --wait"),
            failed=ask("systemctl --failed --no-legend"),
            keys=set(ask("cd /etc/ssh; ls ssh_host_*").split()),
            resolver=ask("readlink /etc/resolv.conf"),
            machine_id=ask("cat /etc/machine-id"),
            root_mebibytes=int(ask("df --output=size -m / | tail -1")),
            kernel_arguments=ask("cat /proc/cmdline"),
        )


KEYS = {f"ssh_host_{kind}_key{suffix}" for kind in ("ecdsa", "ed25519") for suffix in ("", ".pub")}


def test_it_boots_by_bios_and_grows_into_a_bigger_disk(
    disk: RawDisk, base: CanonicalTree, place: Path
) -> None:
    bigger = place / "bigger.raw"
    process.run(["cp", "--sparse=always", str(disk.path), str(bigger)])
    with bigger.open("r+b") as opened:
        opened.truncate(3 << 30)
    found = look(bigger, place, qemu.Firmware.BIOS)
    assert (found.state, found.failed) == ("running", "")
    assert found.keys == KEYS
    assert found.resolver == "../run/systemd/resolve/stub-resolv.conf"
    assert len(found.machine_id) == 32
    assert found.root_mebibytes > 2500
    assert "console=ttyS0" in found.kernel_arguments


def test_it_boots_by_uefi(disk: RawDisk, place: Path) -> None:
    found = look(disk.path, place, qemu.Firmware.UEFI)
    assert (found.state, found.failed) == ("running", "")
    assert found.keys == KEYS
    assert found.root_mebibytes < 1000


@pytest.mark.long
def test_it_boots_from_a_vmdk(disk: RawDisk, toolchain: Toolchain, place: Path) -> None:
    """An overlay of a ``streamOptimized`` disk: what a version that is only for vSphere is tested
    by."""
    out = place / "finished.vmdk"
    write_vmdk(disk.path, disk.sha256, toolchain, out)
    found = look(out, place, qemu.Firmware.UEFI, Format.VMDK)
    assert (found.state, found.failed) == ("running", "")


def test_it_boots_directly_by_its_kernel(
    disk: RawDisk, base: CanonicalTree, tmp_path: Path
) -> None:
    files = boot_files(base, tmp_path)
    console = tmp_path / "console"
    command = [
        qemu.system_binary(Architecture.AMD64),
        *("-accel", "tcg,thread=multi", "-cpu", "max", "-m", "512M", "-smp", "2", "-nodefaults"),
        *("-display", "none", "-serial", f"file:{console}", "-no-reboot"),
        *("-drive", f"file={disk.path},format=raw,if=virtio,snapshot=on"),
        *("-kernel", str(files.kernel), "-initrd", str(files.initrd)),
        *("-append", f"{files.root_argument} {files.kernel_arguments}"),
    ]
    with process.start(command) as child:
        until = time.monotonic() + BOOT_SECONDS
        while "login:" not in guest.console_text(console):
            assert child.poll() is None, guest.console_tail(console)
            assert time.monotonic() < until, guest.console_tail(console)
            time.sleep(0.5)


def fail_to_make(recipe: Recipe, mirror: Mirror, work: Path) -> ImagectlError:
    with pytest.raises((BuildFailed, CannotTell)) as caught:
        make_root(recipe, mirror, work, work / "root.tar")
    assert list(work.iterdir()) == []
    assert caught.value.hint
    return caught.value


def test_a_package_that_does_not_exist_is_named(tmp_path: Path) -> None:
    error = fail_to_make(Recipe("bookworm", ("no-such-thing",)), host_mirror(), tmp_path)
    assert error.what == "Debian bookworm has no package no-such-thing"


def test_a_suite_that_does_not_exist_is_named(tmp_path: Path) -> None:
    error = fail_to_make(Recipe("bookwurm", ()), host_mirror(), tmp_path)
    assert error.what == "the mirror has no Debian suite 'bookwurm'"


def test_a_mirror_that_does_not_answer_is_named(tmp_path: Path) -> None:
    error = fail_to_make(Recipe("bookworm", ()), Mirror("http://127.0.0.1:9/d", None), tmp_path)
    assert isinstance(error, CannotTell)
    assert error.where == "http://127.0.0.1:9/d"


@pytest.fixture
def forged() -> Iterator[Mirror]:
    """This machine's mirror, but for one word in its signed indexes."""
    real = host_mirror().archive

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                with urllib.request.urlopen(real + self.path) as answer:
                    content = answer.read().replace(b"Debian", b"Debiam", 1)
            except urllib.error.HTTPError as error:
                self.send_error(error.code)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serving(server):
        yield Mirror(f"http://127.0.0.1:{server.server_port}", None)


def test_a_mirror_that_forges_is_not_believed(forged: Mirror, tmp_path: Path) -> None:
    error = fail_to_make(Recipe("bookworm", ()), forged, tmp_path)
    assert error.what == "the mirror's signature on Debian bookworm is not good"
    assert "BADSIG" in error.why


@pytest.mark.long
def test_trixie_boots_too(place: Path, toolchain: Toolchain) -> None:
    work = place / "trixie"
    work.mkdir()
    tree = make_base(
        DebianBase("trixie"), Architecture.AMD64, host_mirror(), EPOCH, work, place / "trixie.tar"
    )
    raw = place / "trixie.raw"
    write_raw(tree, SIZE, EPOCH, toolchain, work, raw)
    assert read_back(raw, EPOCH, work, work / "back.tar").sha256 == tree.sha256
    for firmware in qemu.Firmware:
        found = look(raw, place, firmware)
        assert (found.state, found.failed) == ("running", "")
        assert found.keys == KEYS


def test_a_disk_made_elsewhere_becomes_a_base(
    place: Path, disk: RawDisk, base: CanonicalTree, toolchain: Toolchain
) -> None:
    """From a qcow2 with a checksum back to the tree that it was made of."""
    given = place / "given.qcow2"
    write_qcow2(disk.path, toolchain, given)
    image = Image(
        ImageName("given"),
        "x",
        DiskBase("given.qcow2", Sha256(sha256(given))),
        Architecture.AMD64,
        SIZE,
        Provision(),
        (PurePosixPath("t.py"),),
        (Format.QCOW2,),
        (LocationName("local"),),
    )
    work = place / "given-work"
    work.mkdir()
    with session(place, place, toolchain) as ours:
        templates = PackerTemplates(place, place / "packer-cache")
        bases = LocalBases(ours, FileStore(place / "store"), BaseCache(place / "b"), templates)
        made = bases.make(
            image, None, Workspace("1", work, work, work / "log", EPOCH), RecordingProgress()
        )
    assert isinstance(made, CanonicalTree)
    assert made.sha256 == base.sha256
    assert [path.name for path in work.iterdir()] == ["base.tar"]
