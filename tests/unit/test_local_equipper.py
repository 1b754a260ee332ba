"""What a build without a network must have before it begins. Building needs tests/integration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.examples import digest
from support.supplies import supplier, toolchains

from imagectl.adapters.base_cache import BaseCache
from imagectl.adapters.equipment import SHOWN, LocalEquipper, missing_inputs
from imagectl.adapters.inputs.store import InputStore
from imagectl.adapters.mirrors import Mirror
from imagectl.adapters.packer_template import PackerTemplates
from imagectl.adapters.provision import Settings
from imagectl.adapters.qemu import Accelerator
from imagectl.adapters.store import FileStore
from imagectl.errors import NotFound
from imagectl.model.lock import (
    Access,
    Archive,
    BuildMode,
    DefinitionDigests,
    Download,
    Expected,
    Inputs,
    Lock,
    LockedDiskBase,
    LockedPackagesBase,
    LockedToolchain,
    Package,
)
from imagectl.model.names import Architecture, ImageName
from imagectl.services.ports.building import Conditions
from imagectl.services.ports.workspaces import Workspace
from imagectl.testing.build import RecordingProgress


def package(name: str) -> Package:
    path = f"pool/{name}.deb"
    return Package(name, "1", "amd64", Archive.DEBIAN, path, digest(name), len(name))


LOCK = Lock(
    ImageName("debian"),
    Architecture.AMD64,
    BuildMode.VM,
    1_700_000_000,
    DefinitionDigests(digest("1"), digest("2"), digest("3"), digest("4")),
    {Archive.DEBIAN: "http://mirror.example/debian"},
    LockedToolchain("trixie", digest("tree"), Inputs(packages=(package("mtools"),))),
    LockedPackagesBase("bookworm"),
    Inputs(
        packages=(package("curl"), package("wget")),
        downloads=(Download("http://x.example/y", 302, digest(""), 0, "", "http://z.example/"),),
    ),
    Expected(digest("tree"), digest("raw"), {}),
)


def keep(store: InputStore, content: str) -> None:
    source = store.root.parent / "source"
    source.write_text(content)
    assert store.add(source) == digest(content)


@pytest.fixture
def store(tmp_path: Path) -> InputStore:
    return InputStore(tmp_path / "inputs")


def missing(store: InputStore, lock: Lock = LOCK) -> list[str]:
    return missing_inputs(lock, store, toolchains(store.root.parent / "toolchain", store))


def test_all_that_is_missing_is_named_as_the_lock_names_it(store: InputStore) -> None:
    keep(store, "curl")
    assert missing(store) == ["debian/pool/mtools.deb", "debian/pool/wget.deb"]
    disk = LockedDiskBase("https://x.example/disk", digest("disk"), 4)
    assert "https://x.example/disk" in missing(store, replace(LOCK, base=disk))


def test_what_a_kept_toolchain_was_made_from_is_not_needed(
    store: InputStore, tmp_path: Path
) -> None:
    for content in ("curl", "wget"):
        keep(store, content)
    assert missing(store) == ["debian/pool/mtools.deb"]
    keep(store, "tree")
    assert missing(store) == []


def equipper(store: InputStore, folder: Path) -> LocalEquipper:
    def no_mirror() -> Mirror:
        raise AssertionError("under a lock no mirror is asked for its address")

    def no_machine(kernel: Path | None, work: Path) -> Accelerator:
        raise AssertionError("nothing is booted")

    return LocalEquipper(
        Settings(folder, 1, no_machine),
        FileStore(folder / "store"),
        store,
        supplier(store),
        toolchains(folder / "toolchain", store),
        BaseCache(folder / "bases"),
        PackerTemplates(folder, folder / "packer-cache"),
        no_mirror,
    )


def workspace(folder: Path) -> Workspace:
    work = folder / "work"
    work.mkdir()
    return Workspace("1", work, folder, folder / "log", LOCK.epoch)


def test_offline_nothing_is_begun_that_cannot_be_ended(store: InputStore, tmp_path: Path) -> None:
    many = tuple(package(f"p{number:03}") for number in range(SHOWN + 5))
    lock = replace(LOCK, inputs=Inputs(packages=many))
    conditions = Conditions(tmp_path, Access.OFFLINE, lock)
    with (
        pytest.raises(NotFound, match=r"26 of the inputs of debian are not") as caught,
        equipper(store, tmp_path).equip(conditions, workspace(tmp_path), RecordingProgress()),
    ):
        pass
    assert caught.value.why.startswith("debian/pool/mtools.deb\ndebian/pool/p000.deb\n")
    assert caught.value.why.endswith("... and 6 more")


def test_equipment_is_of_the_lock(store: InputStore, tmp_path: Path) -> None:
    """Its mirrors, its toolchain; and of what it lists, what was read."""
    for content in ("curl", "wget"):
        keep(store, content)
    unpacked = tmp_path / "toolchain" / LOCK.toolchain.tree
    unpacked.mkdir(parents=True)
    conditions = Conditions(tmp_path, Access.OFFLINE, LOCK)
    with equipper(store, tmp_path).equip(
        conditions, workspace(tmp_path), RecordingProgress()
    ) as equipment:
        taken = equipment.taken()
        assert equipment.session.toolchain.root == unpacked
        assert equipment.session.route.verified
    assert (taken.mirrors, taken.toolchain) == (LOCK.mirrors, LOCK.toolchain)
    assert taken.inputs == Inputs()
