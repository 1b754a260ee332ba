"""``imagectl inputs``: what the input store holds, what needs it, and whether it is sound."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result
from support.examples import lock

from imagectl.adapters.inputs.store import EMPTY, InputStore
from imagectl.errors import CannotTell
from imagectl.formats.lock_text import write_lock
from imagectl.model.lock import Download, Inputs, LockedDiskBase
from imagectl.model.names import ImageName, Sha256
from imagectl.services.inputs import needed, reach

Run = Callable[..., Result]

IMAGE = """\
description: An image.
base: {debian: bookworm}
disk: {size: 2GiB, formats: [qcow2]}
tests: [suite.py]
"""


def sha256(data: bytes) -> Sha256:
    return Sha256(hashlib.sha256(data).hexdigest())


def download(name: str, data: bytes) -> Download:
    return Download(f"http://files.example/{name}", 200, sha256(data), len(data))


@pytest.fixture
def project(tmp_path: Path, imagectl: Run) -> Path:
    (tmp_path / "imagectl.yaml").touch()
    for name in ("one", "two", "none"):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        (folder / "image.yaml").write_text(IMAGE)
    inputs = Inputs(downloads=(download("a", b"aaaa"), download("empty", b"")))
    toolchain = replace(lock().toolchain, tree=sha256(b"tools"), inputs=Inputs())
    one = replace(lock(), image=ImageName("one"), inputs=inputs, toolchain=toolchain)
    two = replace(one, image=ImageName("two"), inputs=Inputs((), (), (download("b", b"b"),)))
    for each in (one, two):
        (tmp_path / "images" / each.image / "image.lock").write_text(write_lock(each))
    return tmp_path


@pytest.fixture
def store(project: Path) -> InputStore:
    store = InputStore(project / ".imagectl" / "inputs")
    for data in (b"aaaa", b"tools", b"old and unreached"):
        with store.incoming() as file:
            file.write(data)
            file.keep()
    return store


def test_what_a_lock_needs_is_its_downloads_its_tools_and_its_disk() -> None:
    found = replace(lock(), base=LockedDiskBase("base.qcow2", sha256(b"disk"), 4))
    assert needed(found) == found.inputs.digests | found.toolchain.inputs.digests | {
        found.toolchain.tree,
        sha256(b"disk"),
    }


def test_all_that_is_stored_is_shown_once(store: InputStore) -> None:
    """Reached and unreached together are everything."""
    files = reach(store, [])
    assert {(each.sha256, each.size) for each in files} == set(store.digests())
    assert all(not each.images for each in files)


def test_list_shows_size_and_reach(imagectl: Run, project: Path, store: InputStore) -> None:
    result = imagectl("inputs", "list", "-C", str(project))
    assert result.exit_code == 0
    assert "3 files, 26 B, in " in result.stdout
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["one", "2", "9", "B"] in lines
    assert ["two", "1", "5", "B", "1"] in lines
    assert ["(no", "lock)", "1", "17", "B"] in lines


def test_list_as_a_document(imagectl: Run, project: Path, store: InputStore) -> None:
    found = json.loads(imagectl("inputs", "list", "--all", "--json", "-C", str(project)).stdout)
    assert (found["files"], found["size"]) == (3, 26)
    assert found["images"] == [
        {"image": "one", "files": 2, "size": 9, "missing": 0},
        {"image": "two", "files": 1, "size": 5, "missing": 1},
    ]
    assert (found["unreached"], found["unreached_size"]) == (1, 17)
    users = {each["sha256"]: each["images"] for each in found["contents"]}
    assert users == {
        sha256(b"aaaa"): ["one"],
        sha256(b"tools"): ["one", "two"],
        sha256(b"old and unreached"): [],
    }
    brief = json.loads(imagectl("inputs", "list", "--json", "-C", str(project)).stdout)
    assert brief["contents"] is None


def test_an_empty_store_is_no_error(imagectl: Run, project: Path) -> None:
    assert "0 files, 0 B" in imagectl("inputs", "list", "-C", str(project)).stdout
    assert "sound: 0 files" in imagectl("inputs", "verify", "-C", str(project)).stdout
    assert not (project / ".imagectl" / "inputs").exists()


def test_a_sound_store_is_said_to_be(imagectl: Run, project: Path, store: InputStore) -> None:
    result = imagectl("inputs", "verify", "--json", "-C", str(project))
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"sound": True, "files": 3, "size": 26, "damaged": []}


def test_every_damaged_file_is_named_and_left_where_it_is(
    imagectl: Run, project: Path, store: InputStore
) -> None:
    for data in (b"aaaa", b"tools"):
        path = store.find(sha256(data))
        path.chmod(0o644)
        path.write_bytes(b"x" + data[1:])
    result = imagectl("inputs", "verify", "-C", str(project))
    assert result.exit_code == 1
    assert "NOT sound: 2 of 3 files" in result.stdout
    for data in (b"aaaa", b"tools"):
        assert str(store.find(sha256(data))) in result.stdout
        assert sha256(b"x" + data[1:]) in result.stdout
    document = json.loads(imagectl("inputs", "verify", "--json", "-C", str(project)).stdout)
    assert {each["sha256"] for each in document["damaged"]} == {sha256(b"aaaa"), sha256(b"tools")}


def test_a_store_that_cannot_be_read_is_unknown(
    imagectl: Run, project: Path, store: InputStore
) -> None:
    """P3: not empty, and not sound."""
    top = store.root / "sha256"
    top.rename(store.root / "elsewhere")
    top.write_text("not a folder")
    with pytest.raises(CannotTell):
        list(store.digests())
    for verb in ("list", "verify"):
        result = imagectl("inputs", verb, "-C", str(project))
        assert result.exit_code == 5
        assert "cannot be read" in result.stderr


def test_nothing_needs_the_file_without_content(project: Path, store: InputStore) -> None:
    assert EMPTY not in dict(store.digests())
    assert store.missing({EMPTY}) == frozenset()
