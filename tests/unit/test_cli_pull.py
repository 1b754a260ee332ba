"""``imagectl pull``: what is asked for, and what is said where it cannot be had."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.buckets import ENVIRONMENT, make_bucket, s3_server
from support.cli import Run
from support.examples import ref
from support.projects import new_project, release

from imagectl.consumer import Resolution, pull
from imagectl.errors import BadUsage, CannotTell
from imagectl.model.names import Architecture, Format, LocationName, Sha256

VERSION = "debian-base@20261120.1"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A consumer's folder; the project has its folder of artifacts on the same machine."""
    project = new_project(tmp_path / "project")
    release(project, VERSION)
    project.close()
    folder = tmp_path / "consumer"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("IMAGECTL_CATALOG", str(tmp_path / "project" / "catalog" / "public"))
    monkeypatch.setenv("IMAGECTL_ROOT", str(tmp_path / "project" / "catalog" / "root.json"))
    return folder


def test_a_folder_that_can_be_read_here_is_enough(home: Path, imagectl: Run) -> None:
    done = imagectl("pull", "debian-base:beta", "--to", "disk.qcow2", "--json")
    assert done.exit_code == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["file"], answer["fetched"]) == ("disk.qcow2", answer["size"])
    assert (home / "disk.qcow2").read_text() == f"qcow2 disk of {VERSION}"
    assert imagectl("pull", "debian-base:beta", "--to", "disk.qcow2").stdout == "disk.qcow2\n"

    Path(answer["source"]).chmod(0o644)
    Path(answer["source"]).unlink()
    done = imagectl("pull", "debian-base:beta", "--to", "again.qcow2")
    assert done.exit_code == 5
    assert "`url` of location local" in done.stderr
    assert not [*home.glob("again*")]


def test_what_has_arrived_is_kept_where_it_is_stopped(
    home: Path, imagectl: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And that is what it says: nothing was cleaned up that would have to be fetched once more."""

    replace_file = os.replace

    def stop(source: str | Path, to: str | Path) -> None:
        if Path(to).name == "disk.qcow2":
            raise KeyboardInterrupt
        replace_file(source, to)

    with monkeypatch.context() as stopped:
        stopped.setattr(os, "replace", stop)
        done = imagectl("pull", "debian-base:beta", "--to", "disk.qcow2")
    assert done.exit_code == 130
    assert "what has arrived is kept beside it" in done.stderr
    assert "cleaned up" not in done.stderr
    assert not (home / "disk.qcow2").exists()
    assert [*home.glob("disk.qcow2.*.part")]
    assert imagectl("pull", "debian-base:beta", "--to", "disk.qcow2").exit_code == 0


def test_an_address_that_is_named_later_reaches_consumers(home: Path, imagectl: Run) -> None:
    before = json.loads(imagectl("resolve", "debian-base:beta", "--json").stdout)
    assert before["url"] is None

    root = home.parent / "project"
    settings = root / "imagectl.yaml"
    assert settings.read_text().count("path: .imagectl/locations/local") == 1
    settings.write_text(
        settings.read_text().replace(
            "path: .imagectl/locations/local",
            "path: .imagectl/locations/local, url: 'https://cdn.example/disks/'",
        )
    )
    done = imagectl("-C", str(root), "catalog", "publish")
    assert done.exit_code == 0, done.stderr
    after = json.loads(imagectl("resolve", "debian-base:beta", "--json").stdout)
    sha256 = before["sha256"]
    assert after["url"] == f"https://cdn.example/disks/sha256/{sha256[:2]}/{sha256}"
    assert {**after, "url": None, "age_seconds": 0} == {**before, "age_seconds": 0}


def test_it_is_asked_for_as_in_resolve(home: Path, imagectl: Run) -> None:
    assert imagectl("resolve", "debian-base:beta", "--lock", "locked.json").exit_code == 0
    assert imagectl("pull", "--locked", "locked.json", "--to", "disk").exit_code == 0
    refused = imagectl("pull", VERSION, "--locked", "locked.json", "--to", "disk")
    assert refused.exit_code == 3

    (home / ".imagectl.yaml").write_text("image: debian-base\nchannel: beta\n")
    assert imagectl("pull", "--to", "other").exit_code == 0
    assert (home / "other").read_bytes() == (home / "disk").read_bytes()
    assert imagectl("pull", "debian-base:nightly", "--to", "disk").exit_code == 6


def test_one_file_holds_one_image(home: Path, imagectl: Run) -> None:
    (home / ".imagectl.yaml").write_text("images: {debian-base: {channel: beta}, other: {}}\n")
    done = imagectl("pull", "--to", "disk")
    assert done.exit_code == 2
    assert "2 images are asked for" in done.stderr
    assert imagectl("pull", "debian-base", "--to", "disk").exit_code == 0


def test_nothing_goes_to_standard_output(home: Path, imagectl: Run) -> None:
    done = imagectl("pull", "debian-base:beta", "--to", "-")
    assert done.exit_code == 2
    assert "standard output" in done.stderr
    assert [*home.iterdir()] == []


def resolved(reference: str, sha256: str = "ab" * 32, size: int = 6) -> Resolution:
    """A resolution to what is at *reference*."""
    return Resolution(
        ref(VERSION),
        None,
        reference,
        LocationName("there"),
        Format.QCOW2,
        Architecture.AMD64,
        Sha256(sha256),
        size,
        datetime(2026, 11, 20, tzinfo=UTC),
        timedelta(1),
        (),
    )


@pytest.mark.parametrize(
    ("reference", "hint"),
    [
        ("projects/acme/global/images/x", "gcloud compute instances create"),
        ("/dc/vm/images/debian-base", "govc vm.clone -vm /dc/vm/images/debian-base"),
    ],
)
def test_what_is_no_file_says_what_to_type(tmp_path: Path, reference: str, hint: str) -> None:
    with pytest.raises(BadUsage, match="no file that can be pulled") as caught:
        pull(resolved(reference), tmp_path / "disk")
    assert hint in caught.value.hint
    assert [*tmp_path.iterdir()] == []


def test_a_bucket_is_read_with_what_the_environment_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    import obstore
    from obstore.store import from_url

    to = tmp_path / "disk"
    data = b"a disk in a bucket" * 1000
    sha256 = hashlib.sha256(data).hexdigest()
    with s3_server() as endpoint:
        make_bucket(endpoint, "acme")
        for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": endpoint}.items():
            monkeypatch.setenv(name, value)
        key = f"disks/sha256/{sha256[:2]}/{sha256}"
        found = resolved(f"s3://acme/{key}", sha256, len(data))
        with pytest.raises(CannotTell, match="is not there"):
            pull(found, to)
        obstore.put(from_url("s3://acme"), key, data)
        part = tmp_path / f"disk.{sha256[:16]}.part"
        part.write_bytes(data[:7000])
        assert pull(found, to).fetched == len(data) - 7000
        assert to.read_bytes() == data
        to.unlink()
        named = replace(found, reference="elsewhere", url=f"s3://acme/{key}")
        assert pull(named, to).fetched == len(data)
