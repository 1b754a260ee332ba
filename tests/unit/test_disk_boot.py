from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from support.trees import ROOT, ListSource, file, folder, made

from imagectl.adapters.disk import boot
from imagectl.adapters.disk.canonical import write_tree
from imagectl.adapters.disk.members import find_members, read_content
from imagectl.adapters.disk.tree import CanonicalTree, Entry, Kind
from imagectl.errors import BuildFailed
from imagectl.model.names import Sha256

LINKS = [
    made(b"vmlinuz", Kind.SYMLINK, target=b"boot/vmlinuz-2"),
    made(b"initrd.img", Kind.SYMLINK, target=b"/boot/initrd.img-2"),
]
BOOT = [
    folder(b"boot"),
    file(b"boot/vmlinuz-1", b"old kernel"),
    file(b"boot/vmlinuz-2", b"kernel"),
    file(b"boot/initrd.img-2", b"initrd"),
]


def tree(folder: Path, files: Sequence[tuple[Entry, bytes]]) -> CanonicalTree:
    return write_tree(ListSource([ROOT, *files]), (), 10**9, folder / "tree.tar")


def test_the_linked_kernel_and_initrd_are_copied(tmp_path: Path) -> None:
    made_tree = tree(tmp_path, [*LINKS, *BOOT])
    files = boot.boot_files(made_tree, tmp_path)
    assert files.kernel.read_bytes() == b"kernel"
    assert files.initrd.read_bytes() == b"initrd"
    assert files.root_argument == f"root=PARTUUID={boot.identity(made_tree.sha256).root}"
    assert files.kernel_arguments == f"ro {boot.DEFAULT_CMDLINE}"


def test_the_tree_says_its_kernels_arguments(tmp_path: Path) -> None:
    settings = [
        folder(b"etc"),
        folder(b"etc/kernel"),
        file(b"etc/kernel/cmdline", b"# why\nquiet  a=b\nnosmt\n"),
    ]
    files = boot.boot_files(tree(tmp_path, [*LINKS, *BOOT, *settings]), tmp_path)
    assert files.kernel_arguments == "ro quiet a=b nosmt"


@pytest.mark.parametrize(
    "links",
    [
        [],
        [LINKS[0], made(b"initrd.img", Kind.SYMLINK, target=b"boot/gone")],
        [LINKS[0], made(b"initrd.img", Kind.SYMLINK, target=b"initrd.img")],
        [LINKS[0], folder(b"initrd.img")],
    ],
)
def test_a_tree_that_cannot_boot_is_refused(
    tmp_path: Path, links: list[tuple[Entry, bytes]]
) -> None:
    with pytest.raises(BuildFailed, match="the image has no /") as caught:
        boot.boot_files(tree(tmp_path, [*links, *BOOT]), tmp_path)
    assert "linux-image" in caught.value.hint


def test_ids_follow_from_the_tree() -> None:
    first, same, other = (boot.identity(Sha256(digit * 64)) for digit in "112")
    assert first == same
    ids = {first.disk, first.root, first.bios, first.esp, first.filesystem, first.hash_seed}
    assert len(ids) == 6
    assert not ids & {other.disk, other.root, other.bios, other.esp, other.filesystem}
    assert all(each.version == 4 for each in ids)
    assert len(first.esp_volume) == 8


def test_grub_boots_the_disk_that_the_tree_is_on() -> None:
    ids = boot.identity(Sha256("3" * 64))
    menu = boot.grub_config(ids, "ro quiet")
    assert f"search --no-floppy --fs-uuid --set=root {ids.filesystem}\n" in menu
    assert f"linux /vmlinuz root=PARTUUID={ids.root} ro quiet\n" in menu
    volume = ids.esp_volume.upper()
    assert f"search.fs_uuid {volume[:4]}-{volume[4:]} esp\n" in boot.core_config(ids)


def test_hard_links_are_found_with_their_content(tmp_path: Path) -> None:
    """Also where their first path is none of those that are looked for."""
    files = [
        ROOT,
        folder(b"a"),
        folder(b"boot"),
        file(b"a/first", b"kernel", inode=7),
        file(b"boot/vmlinuz", b"kernel", inode=7),
        file(b"boot/other", b"kernel", inode=7),
    ]
    whole = write_tree(ListSource(files), (), 10**9, tmp_path / "tree.tar")
    with whole.path.open("rb") as tar:
        found = find_members(tar, whole.path, lambda member: member.entry.path.startswith(b"boot/"))
        assert set(found) == {b"boot/vmlinuz", b"boot/other"}
        for path, member in found.items():
            assert (member.entry.path, member.entry.size) == (path, 6)
            assert b"".join(read_content(tar, member)) == b"kernel"
