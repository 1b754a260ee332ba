"""What Packer says it has made: read from its output and its manifest, and never guessed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imagectl.adapters.packer import parse_line
from imagectl.adapters.packer_output import (
    MANIFEST,
    Artifact,
    Artifacts,
    Manifests,
    disk_of,
    image_of,
)
from imagectl.errors import BuildFailed

GCE = """\
1795265358,,ui,say,==> googlecompute: Creating image...
1795265358,googlecompute,artifact-count,1
1795265358,googlecompute,artifact,0,builder-id,packer.googlecompute
1795265358,googlecompute,artifact,0,id,ci-1795265358
1795265358,googlecompute,artifact,0,string,A disk image was created: ci-1795265358
1795265358,googlecompute,artifact,0,files-count,0
1795265358,googlecompute,artifact,0,end
"""
"""As Packer 1.6.6 writes it."""

FILE = """\
1,file.a,artifact-count,2
1,file.a,artifact,0,builder-id,packer.file
1,file.a,artifact,0,id,File
1,file.a,artifact,0,files-count,1
1,file.a,artifact,0,file,0,out/disk%!(PACKER_COMMA)1.raw
1,file.a,artifact,0,end
1,file.a,artifact,1,builder-id,packer.file
1,file.a,artifact,1,id,File
1,file.a,artifact,1,files-count,1
1,file.a,artifact,1,file,0,out/disk%!(PACKER_COMMA)1.raw
1,file.a,artifact,1,end
"""
"""Twice the same: once for the builder, and once as its post-processor passed it on."""


def read(text: str) -> tuple[Artifact, ...]:
    artifacts = Artifacts()
    for each in text.splitlines():
        line = parse_line(each)
        if line is not None:
            artifacts.take(line)
    return artifacts.made


def thing(id: str, *files: str) -> Artifact:
    return Artifact("b", "builder", id, files)


def test_what_a_builder_made_is_read() -> None:
    made = Artifact("googlecompute", "packer.googlecompute", "ci-1795265358", ())
    assert read(GCE) == (made,)
    assert image_of(read(GCE), "t.json") == "ci-1795265358"


def test_what_is_said_twice_counts_once() -> None:
    assert read(FILE) == (Artifact("file.a", "packer.file", "File", ("out/disk,1.raw",)),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage\n",
        GCE.replace("artifact,0,end", "artifact,0"),
        GCE.replace("artifact,0,id,ci-1795265358\n", "artifact,0,id\n"),
        GCE.replace("artifact,0,id", "artifact,7,id"),
    ],
    ids=["nothing", "garbage", "cut off", "no id", "of another"],
)
def test_an_artifact_that_cannot_be_read_is_none(text: str) -> None:
    with pytest.raises(BuildFailed):
        image_of(read(text), "t.json")


def test_two_images_are_not_chosen_between() -> None:
    with pytest.raises(BuildFailed, match="2 images") as caught:
        image_of([thing("one"), thing("two")], "t.json")
    assert "one" in caught.value.why
    assert "`only`" in caught.value.hint


def test_files_are_no_image_and_an_image_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="only files") as caught:
        image_of([thing("File", "a.raw")], "t.json")
    assert "`builds`" in caught.value.hint
    with pytest.raises(BuildFailed, match="no disk on this machine") as caught:
        disk_of([thing("ci-1")], tmp_path, "t.json")
    assert "`builds: LOCATION`" in caught.value.hint


def test_the_disk_among_other_files_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a.qcow2").touch()
    (tmp_path / "only-one").touch()
    assert disk_of([thing("x", "a.qcow2", "a.log")], tmp_path, "t.json") == tmp_path / "a.qcow2"
    assert disk_of([thing("x", "only-one")], tmp_path, "t.json") == tmp_path / "only-one"
    absolute = str(tmp_path / "a.qcow2")
    assert disk_of([thing("x", absolute)], Path("/"), "t.json") == tmp_path / "a.qcow2"


@pytest.mark.parametrize("files", [("a.raw", "b.raw"), ("a", "b")])
def test_several_disks_are_not_chosen_between(tmp_path: Path, files: tuple[str, ...]) -> None:
    with pytest.raises(BuildFailed, match="2 files"):
        disk_of([thing("x", *files)], tmp_path, "t.json")


def test_a_disk_that_was_taken_away_is_missed(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="not there"):
        disk_of([thing("x", "a.raw")], tmp_path, "t.json")


def manifest(folder: Path, run: object, *ids: str) -> None:
    builds = [
        {"name": "a", "builder_type": "googlecompute", "artifact_id": id, "files": None}
        | {"packer_run_uuid": run}
        for id in ids
    ]
    document = {"builds": builds, "last_run_uuid": run}
    (folder / MANIFEST).write_text(json.dumps(document))


def test_only_what_is_new_in_a_manifest_is_of_this_run(tmp_path: Path) -> None:
    manifest(tmp_path, "run-1", "old")
    before = Manifests.seen([tmp_path])
    assert before.made() == ()
    manifest(tmp_path, "run-2", "new")
    assert before.made() == (Artifact("a", "googlecompute", "new", ()),)


def test_a_manifest_has_the_builds_of_earlier_runs_too(tmp_path: Path) -> None:
    manifest(tmp_path, "run-2", "new")
    document = json.loads((tmp_path / MANIFEST).read_text())
    document["builds"].insert(0, {**document["builds"][0], "packer_run_uuid": "run-1"})
    document["builds"][0]["artifact_id"] = "old"
    before = Manifests.seen([tmp_path / "elsewhere"])
    assert before.made() == ()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / MANIFEST).write_text(json.dumps(document))
    assert [each.id for each in before.made()] == ["new"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"last_run_uuid": "r", "builds": 3}', '{"builds": [[]]}', "\x00"]
)
def test_what_is_no_manifest_names_nothing(tmp_path: Path, text: str) -> None:
    before = Manifests.seen([tmp_path])
    (tmp_path / MANIFEST).write_text(text)
    assert before.made() == ()


def test_a_manifest_that_says_otherwise_is_not_overruled(tmp_path: Path) -> None:
    """Two different answers are none."""
    manifest(tmp_path, "run-2", "ci-2")
    made = (*read(GCE), *Manifests((tmp_path,), {tmp_path: None}).made())
    with pytest.raises(BuildFailed, match="2 images"):
        image_of(made, "t.json")
