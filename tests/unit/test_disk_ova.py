"""OVAs: what vSphere reads in them, and that they are the same bytes always."""

from __future__ import annotations

import hashlib
import tarfile
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
from support.disks import content, sparse_file

from imagectl.adapters.disk import ova
from imagectl.errors import BuildFailed, Corrupt
from imagectl.model.names import ImageName

MACHINE = ova.Machine(ImageName("debian-ci"), "CI & <more>", 2 << 30, 4, 8 << 30)
EPOCH = 1_795_000_000
RASD = "{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData}"
OVF = "{http://schemas.dmtf.org/ovf/envelope/1}"


@pytest.fixture
def vmdk(tmp_path: Path) -> Path:
    path = tmp_path / "a.vmdk"
    path.write_bytes(content(3_000_000))
    return path


def test_its_files_are_in_order_and_as_old_as_the_build(tmp_path: Path, vmdk: Path) -> None:
    ova.write_ova(MACHINE, vmdk, EPOCH, tmp_path / "a.ova")
    with tarfile.open(tmp_path / "a.ova", "r:") as tar:
        members = tar.getmembers()
        files = {member.name: tar.extractfile(member).read() for member in members}  # type: ignore[union-attr]
    assert list(files) == ["debian-ci.ovf", "debian-ci.mf", "debian-ci-disk1.vmdk"]
    assert {(each.mtime, each.uid, each.mode, each.type) for each in members} == {
        (EPOCH, 0, 0o644, b"0")
    }
    assert (tmp_path / "a.ova").read_bytes()[257:265] == b"ustar\x0000"
    assert files["debian-ci-disk1.vmdk"] == vmdk.read_bytes()
    for line in files["debian-ci.mf"].decode().splitlines():
        name, _, digest = line.removeprefix("SHA256(").partition(")= ")
        assert hashlib.sha256(files[name]).hexdigest() == digest
    assert files["debian-ci.mf"].count(b"SHA256(") == 2


def test_it_is_the_same_bytes_again(tmp_path: Path, vmdk: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    other = tmp_path / "elsewhere" / "other"
    other.write_bytes(vmdk.read_bytes())
    ova.write_ova(MACHINE, vmdk, EPOCH, tmp_path / "a.ova")
    ova.write_ova(MACHINE, other, EPOCH, tmp_path / "b.ova")
    assert (tmp_path / "a.ova").read_bytes() == (tmp_path / "b.ova").read_bytes()


def test_the_machine_is_the_image_s() -> None:
    root = ElementTree.fromstring(ova.describe(MACHINE, 1234))
    items = {item.findtext(f"{RASD}ResourceType"): item for item in root.iter(f"{OVF}Item")}
    assert items["3"].findtext(f"{RASD}VirtualQuantity") == "4"
    assert items["4"].findtext(f"{RASD}VirtualQuantity") == "2048"
    assert items["6"].findtext(f"{RASD}ResourceSubType") == "VirtualSCSI"
    assert items["10"].findtext(f"{RASD}ResourceSubType") == "VmxNet3"
    assert items["17"].findtext(f"{RASD}HostResource") == "ovf:/disk/vmdisk1"
    for item in items.values():  # the schema wants them so
        names = [each.tag for each in item]
        assert names == sorted(names)
    disk = root.find(f".//{OVF}Disk")
    assert disk is not None
    assert disk.get(f"{OVF}capacity") == str(8 << 30)
    file = root.find(f".//{OVF}File")
    assert file is not None
    assert (file.get(f"{OVF}href"), file.get(f"{OVF}size")) == ("debian-ci-disk1.vmdk", "1234")
    assert root.findtext(f"{OVF}VirtualSystem/{OVF}Info") == "CI & <more>"


def test_the_disk_is_taken_out_again(tmp_path: Path, vmdk: Path) -> None:
    ova.write_ova(MACHINE, vmdk, EPOCH, tmp_path / "a.ova")
    ova.take_vmdk(tmp_path / "a.ova", tmp_path / "again.vmdk")
    assert (tmp_path / "again.vmdk").read_bytes() == vmdk.read_bytes()


def test_what_is_no_ova_has_no_disk(tmp_path: Path, vmdk: Path) -> None:
    with tarfile.open(tmp_path / "empty.ova", "w"):
        pass
    for path, said in ((vmdk, "cannot be read"), (tmp_path / "empty.ova", "no disk")):
        with pytest.raises(Corrupt, match=said):
            ova.take_vmdk(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", [b"SHA256(debian-ci.ovf)= ", b"vmx-1"])
def test_what_the_manifest_does_not_say_is_told(tmp_path: Path, vmdk: Path, place: bytes) -> None:
    ova.write_ova(MACHINE, vmdk, EPOCH, tmp_path / "a.ova")
    stored = bytearray((tmp_path / "a.ova").read_bytes())
    stored[stored.index(place) + len(place)] ^= 1
    (tmp_path / "a.ova").write_bytes(stored)
    with pytest.raises(Corrupt, match="manifest"):
        ova.check_ova(tmp_path / "a.ova", tmp_path)


def test_a_disk_too_large_for_an_ova_is_refused(tmp_path: Path) -> None:
    large = sparse_file(tmp_path / "large", 8 << 30, [])
    with pytest.raises(BuildFailed, match="too large for an OVA"):
        ova.write_ova(replace(MACHINE), large, EPOCH, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [large]
