"""An OVA, a machine in a tar: its description (OVF), manifest and disk. Always the same bytes.

The machine is one that the image was made for and tested as, in the terms of vSphere 7.0 and later
(DSP0243 "Open Virtualization Format Specification" 1.1): the kernel that our bases have (Debian's
for clouds) has drivers for the paravirtual SCSI adapter and VMXNET3, and none for LSI's or for an
E1000. Our disks boot by UEFI and by BIOS; UEFI is what vSphere itself chooses for Debian.
"""

from __future__ import annotations

import hashlib
import tarfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from xml.sax.saxutils import escape

from imagectl.adapters.disk.files import whole_file
from imagectl.adapters.disk.tree import CHUNK
from imagectl.errors import BuildFailed, Corrupt
from imagectl.model.names import ImageName

MAX_VMDK = 8**11 - 1
"""Bytes: what the header of a ustar has room for, and no other kind of tar is allowed."""

_OVF = """\
<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" \
xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" \
xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" \
xmlns:vmw="http://www.vmware.com/schema/ovf" \
xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">
  <References>
    <File ovf:href="{name}-disk1.vmdk" ovf:id="file1" ovf:size="{stored}"/>
  </References>
  <DiskSection>
    <Info>The disks</Info>
    <Disk ovf:capacity="{capacity}" ovf:capacityAllocationUnits="byte" ovf:diskId="vmdisk1" \
ovf:fileRef="file1" \
ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <NetworkSection>
    <Info>The networks</Info>
    <Network ovf:name="VM Network">
      <Description>The network of the machine; it takes its address by DHCP</Description>
    </Network>
  </NetworkSection>
  <VirtualSystem ovf:id="{name}">
    <Info>{summary}</Info>
    <Name>{name}</Name>
    <OperatingSystemSection ovf:id="96" vmw:osType="debian11_64Guest">
      <Info>The kind of operating system</Info>
      <Description>Debian GNU/Linux (64-bit)</Description>
    </OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>What the machine needs</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>{name}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>vmx-17</vssd:VirtualSystemType>
      </System>
      <Item>
        <rasd:AllocationUnits>hertz * 10^6</rasd:AllocationUnits>
        <rasd:Description>Number of Virtual CPUs</rasd:Description>
        <rasd:ElementName>{cpus} virtual CPU(s)</rasd:ElementName>
        <rasd:InstanceID>1</rasd:InstanceID>
        <rasd:ResourceType>3</rasd:ResourceType>
        <rasd:VirtualQuantity>{cpus}</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits>
        <rasd:Description>Memory Size</rasd:Description>
        <rasd:ElementName>{mebibytes}MB of memory</rasd:ElementName>
        <rasd:InstanceID>2</rasd:InstanceID>
        <rasd:ResourceType>4</rasd:ResourceType>
        <rasd:VirtualQuantity>{mebibytes}</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:Address>0</rasd:Address>
        <rasd:Description>SCSI Controller</rasd:Description>
        <rasd:ElementName>SCSI controller 0</rasd:ElementName>
        <rasd:InstanceID>3</rasd:InstanceID>
        <rasd:ResourceSubType>VirtualSCSI</rasd:ResourceSubType>
        <rasd:ResourceType>6</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>0</rasd:AddressOnParent>
        <rasd:ElementName>Hard disk 1</rasd:ElementName>
        <rasd:HostResource>ovf:/disk/vmdisk1</rasd:HostResource>
        <rasd:InstanceID>4</rasd:InstanceID>
        <rasd:Parent>3</rasd:Parent>
        <rasd:ResourceType>17</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>7</rasd:AddressOnParent>
        <rasd:AutomaticAllocation>true</rasd:AutomaticAllocation>
        <rasd:Connection>VM Network</rasd:Connection>
        <rasd:ElementName>Network adapter 1</rasd:ElementName>
        <rasd:InstanceID>5</rasd:InstanceID>
        <rasd:ResourceSubType>VmxNet3</rasd:ResourceSubType>
        <rasd:ResourceType>10</rasd:ResourceType>
      </Item>
      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """What an OVA describes. ``memory`` and ``disk_size`` in bytes."""

    name: ImageName
    summary: str
    memory: int
    cpus: int
    disk_size: int


def write_ova(machine: Machine, vmdk: Path, epoch: int, out: Path) -> None:
    """Write an OVA with *vmdk*, a streamOptimized VMDK, to *out*, and read it back.

    ``epoch``, in seconds since 1970, is how old its files are. Raises BuildFailed for a disk that
    is too large, NoSpace, Corrupt.
    """
    stored = vmdk.stat().st_size
    if stored > MAX_VMDK:
        raise BuildFailed(
            f"the disk of {machine.name} is too large for an OVA",
            stage="disk",
            why=f"compressed it has {stored} bytes; an OVA has room for {MAX_VMDK}",
            hint="take ova out of `formats` in image.yaml; vmdk has no such limit",
        )
    ovf = describe(machine, stored).encode()
    with vmdk.open("rb") as disk:
        digest = hashlib.file_digest(disk, "sha256").hexdigest()
    name = machine.name
    manifest = (
        f"SHA256({name}.ovf)= {hashlib.sha256(ovf).hexdigest()}\n"
        f"SHA256({name}-disk1.vmdk)= {digest}\n"
    )
    with whole_file(out, need=stored) as unfinished:
        with (
            vmdk.open("rb") as disk,
            tarfile.open(unfinished, "w", format=tarfile.USTAR_FORMAT) as tar,
        ):
            for suffix, content, size in (
                (".ovf", BytesIO(ovf), len(ovf)),
                (".mf", BytesIO(manifest.encode()), len(manifest)),
                ("-disk1.vmdk", disk, stored),
            ):
                member = tarfile.TarInfo(f"{name}{suffix}")
                member.size, member.mtime = size, epoch
                tar.addfile(member, content)
        check_ova(unfinished, out)


def describe(machine: Machine, stored: int) -> str:
    """The OVF. ``stored``: the bytes that the VMDK has."""
    return _OVF.format(
        name=machine.name,
        summary=escape(machine.summary),
        cpus=machine.cpus,
        mebibytes=machine.memory >> 20,
        capacity=machine.disk_size,
        stored=stored,
    )


def check_ova(ova: Path, where: Path) -> None:
    """Raise Corrupt unless the files in *ova* are those of its manifest."""
    with tarfile.open(ova, "r:") as tar:
        digests, listed = {}, ""
        for member in tar:
            content = tar.extractfile(member)
            assert content is not None
            if member.name.endswith(".mf"):
                listed = content.read().decode()
                continue
            digest = hashlib.sha256()
            while piece := content.read(CHUNK):
                digest.update(piece)
            digests[member.name] = digest.hexdigest()
    expected = "".join(f"SHA256({name})= {digest}\n" for name, digest in digests.items())
    if listed != expected:
        raise Corrupt("an OVA does not hold what its manifest says", where=str(where))


def take_vmdk(ova: Path, out: Path) -> None:
    """Write the disk of an OVA to *out*. Raises Corrupt where there is none."""
    try:
        with tarfile.open(ova, "r:") as tar:
            for member in tar:
                content = tar.extractfile(member)
                if member.name.endswith(".vmdk") and content is not None:
                    with (
                        whole_file(out, need=member.size) as unfinished,
                        unfinished.open("wb") as file,
                    ):
                        while piece := content.read(CHUNK):
                            file.write(piece)
                    return
    except tarfile.TarError as error:
        raise Corrupt("an OVA cannot be read", where=str(ova), why=str(error)) from error
    raise Corrupt("an OVA has no disk in it", where=str(ova))
