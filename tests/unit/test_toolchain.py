"""Which toolchain a build gets; making one needs mmdebstrap, and is in tests/integration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.examples import digest
from support.supplies import toolchains
from support.trees import ROOT, ListSource, file, folder

from imagectl.adapters.disk.canonical import write_tree
from imagectl.adapters.inputs.store import InputStore
from imagectl.adapters.toolchain import EPOCH, RULES, Toolchains, plain, recipe_digest
from imagectl.errors import NotFound
from imagectl.model.lock import (
    Access,
    Archive,
    Download,
    Index,
    Inputs,
    LockedToolchain,
    Package,
)
from imagectl.model.names import Sha256

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
INPUTS = Inputs(
    (Index(Archive.SECURITY, "dists/trixie-security/InRelease", digest("r"), 1),),
    (Package("mtools", "4.0.48-1", "amd64", Archive.DEBIAN, "pool/m/m.deb", digest("m"), 2),),
    (Download("http://mirror.example/x", 302, digest(""), 0, "text/html", "http://y.example/"),),
)


def asked() -> Mapping[Archive, str]:
    raise AssertionError("there is a toolchain; no mirror need be asked")


def keep(folder_: Path, store: InputStore, content: bytes, made: datetime, recipe: str) -> Sha256:
    """A toolchain that was made here: its tree in *store*, its manifest in *folder_*."""
    source = ListSource([ROOT, folder(b"bin"), file(b"bin/tool", content)])
    tree = write_tree(source, (), 0, store.root.parent / "tree.tar")
    store.adopt(tree.path)
    values: dict[str, Any] = asdict(LockedToolchain("trixie", tree.sha256, INPUTS))
    values |= {"made": made.isoformat(), "recipe": recipe}
    folder_.mkdir(exist_ok=True)
    text = json.dumps(values, default=lambda each: each.value)
    (folder_ / f"{tree.sha256}.json").write_text(text)
    return tree.sha256


@pytest.fixture
def store(tmp_path: Path) -> InputStore:
    return InputStore(tmp_path / "inputs")


@pytest.fixture
def ours(tmp_path: Path, store: InputStore) -> Toolchains:
    return toolchains(tmp_path / "toolchain", store)


def test_the_one_made_last_by_todays_recipe_is_used_and_unpacked(
    tmp_path: Path, store: InputStore, ours: Toolchains
) -> None:
    place = tmp_path / "toolchain"
    keep(place, store, b"old", NOW - timedelta(days=9), recipe_digest())
    newest = keep(place, store, b"newest", NOW, recipe_digest())
    keep(place, store, b"of another recipe", NOW + timedelta(days=9), "f" * 64)
    (place / "broken.json").write_text("{")
    found = ours.newest(asked)
    assert found.locked == LockedToolchain("trixie", newest, INPUTS)
    assert (found.root / "bin" / "tool").read_bytes() == b"newest"
    assert found.root == place / newest
    assert ours.newest(asked) == found


def test_a_lock_gets_exactly_the_one_that_it_names(
    tmp_path: Path, store: InputStore, ours: Toolchains
) -> None:
    old = keep(tmp_path / "toolchain", store, b"old", NOW - timedelta(days=9), recipe_digest())
    keep(tmp_path / "toolchain", store, b"new", NOW, recipe_digest())
    found = ours.exactly(LockedToolchain("trixie", old, INPUTS), Access.OFFLINE, {})
    assert (found.root / "bin" / "tool").read_bytes() == b"old"


def test_a_tree_that_is_not_what_its_name_says_is_never_unpacked(
    tmp_path: Path, store: InputStore, ours: Toolchains
) -> None:
    """It is made again instead; offline, with nothing to make it from, that is what is said."""
    tree = keep(tmp_path / "toolchain", store, b"tool", NOW, recipe_digest())
    kept = store.find(tree)
    kept.chmod(0o600)
    kept.write_bytes(kept.read_bytes().replace(b"tool", b"evil"))
    with pytest.raises(NotFound, match="not in the input store"):
        ours.exactly(LockedToolchain("trixie", tree, INPUTS), Access.OFFLINE, {})
    assert not (tmp_path / "toolchain" / tree).exists()


def test_when_and_where_it_was_made_does_not_change_the_tree(tmp_path: Path) -> None:
    """The rules for its tree drop what a machine, a mirror or a day leaves in it."""

    def tree(text: bytes, at: int) -> Sha256:
        names = (b"etc", b"etc/apt", b"usr", b"usr/share", b"usr/share/man", b"var", b"var/log")
        source = ListSource(
            [
                ROOT,
                *(folder(name, mtime=at) for name in names),
                *(
                    file(name, text, mtime=at)
                    for name in (
                        b"etc/apt/sources.list",
                        b"etc/hostname",
                        b"etc/resolv.conf",
                        b"etc/shadow",
                        b"etc/passwd-",
                        b"usr/share/man/mke2fs",
                        b"var/log/dpkg.log",
                    )
                ),
                file(b"usr/mke2fs", b"a tool", mtime=at),
            ]
        )
        return write_tree(source, RULES, EPOCH, tmp_path / "tree.tar").sha256

    assert tree(b"here", 1_700_000_000) == tree(b"there", 1_800_000_000)


def test_how_the_mirror_is_reached_does_not_change_the_tree() -> None:
    """By https, mmdebstrap would add a package."""
    given = {Archive.DEBIAN: "https://mirror.example/debian", Archive.SECURITY: "http://m/https:"}
    assert plain(given) == {**given, Archive.DEBIAN: "http://mirror.example/debian"}


def test_the_recipe_has_one_digest() -> None:
    assert recipe_digest() == recipe_digest()
    assert len(recipe_digest()) == 64
