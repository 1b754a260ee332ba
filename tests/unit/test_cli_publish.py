"""``imagectl publish`` on a real project with two directories, and what shows what it left open."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import Result
from support.cli import answer
from support.projects import new_project, record_version, release

from imagectl.adapters.clock import SystemClock
from imagectl.bootstrap.project import Project
from imagectl.cli.list import Listed
from imagectl.cli.output import Failure
from imagectl.cli.publish import Published
from imagectl.cli.show import Shown

Run = Callable[..., Result]
NEW = "debian-base@20261121.1"
OTHER = "debian-base@20261122.1"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A version that is recorded and nowhere yet; ``dc1`` is a second directory."""
    made = new_project(tmp_path / "images")
    settings = made.root / "imagectl.yaml"
    settings.write_text(settings.read_text() + "  dc1: { type: directory, path: dc1 }\n")
    record_version(made, NEW)
    monkeypatch.chdir(made.root)
    yield made
    made.close()


@pytest.fixture
def broken(project: Project) -> Path:
    """A file in the place of dc1's files: nothing can be put there until it is removed."""
    (project.root / "dc1").mkdir()
    file = project.root / "dc1" / "sha256"
    file.write_text("not a folder")
    return file


def make_optional(project: Project, *names: str) -> None:
    definition = project.root / "images" / "debian-base" / "image.yaml"
    text = definition.read_text()
    assert "required: [local]" in text
    listed = ", ".join(names)
    definition.write_text(
        text.replace("required: [local]", f"required: [local]\n  optional: [{listed}]")
    )


def test_it_is_put_in_all_locations_at_once(project: Project, imagectl: Run) -> None:
    said = answer(imagectl("publish", NEW, "--to", "dc1", "--json"), Published)
    assert [(each["location"], each["new"]) for each in said["placements"]] == [
        ("local", True),
        ("dc1", True),
    ]
    assert (said["failed"], said["given_up"]) == ([], [])
    assert [each["unproven"] for each in said["placements"]] == [[], []]


def test_what_was_gone_is_said_to_be_put_there_again(project: Project, imagectl: Run) -> None:
    (placed,) = answer(imagectl("publish", NEW, "--json"), Published)["placements"]
    Path(placed["reference"]).unlink()
    lines = imagectl("publish", NEW).stdout.splitlines()
    assert lines[0].endswith(": was gone; put there again and verified")
    assert imagectl("publish", NEW).stdout.splitlines()[0].endswith(": is there, verified")


@pytest.mark.parametrize("mount_point", [True, False])
def test_nothing_is_published_into_a_disk_that_is_not_mounted(
    project: Project, imagectl: Run, mount_point: bool
) -> None:
    record_version(project, OTHER)
    (placed,) = answer(imagectl("publish", NEW, "--json"), Published)["placements"]
    root = Path(placed["reference"]).parents[2]
    root.rename(project.root / "unmounted")
    if mount_point:
        root.mkdir()
    result = imagectl("publish", OTHER, "--json")
    error = answer(result, Failure)["error"]
    assert (result.exit_code, error["what"]) == (5, "location local is not there, or not mounted")
    assert not list(root.glob("*"))
    shutil.rmtree(root, ignore_errors=True)
    (project.root / "unmounted").rename(root)
    assert imagectl("publish", OTHER).exit_code == 0
    assert imagectl("publish", NEW).stdout.splitlines()[0].endswith(": is there, verified")


def test_verify_names_where_it_does_not_look(project: Project, imagectl: Run) -> None:
    release(project, OTHER)
    assert "not verified" not in imagectl("verify").stdout
    assert imagectl("publish", OTHER, "--to", "dc1").exit_code == 0
    last = imagectl("verify").stdout.splitlines()[-1]
    assert last == "not verified: the copies in dc1, which no channel requires"


def test_who_publishes_in_one_more_place_is_told_what_that_means_for_consumers(
    project: Project, imagectl: Run
) -> None:
    """What they typed until then is an error from then on."""
    assert "have to say" not in imagectl("publish", NEW).stderr
    release(project, OTHER)
    assert imagectl("resolve", "debian-base:beta").exit_code == 0
    assert "have to say" not in imagectl("publish", NEW, "--to", "dc1").stderr, "in no channel"
    said = " ".join(imagectl("publish", OTHER, "--to", "dc1").stderr.split())
    assert (
        "consumers of debian-base:beta have to say from now on which one they want: it is in dc1 "
        "and local; --location or IMAGECTL_LOCATION says it"
    ) in said
    assert imagectl("resolve", "debian-base:beta").exit_code == 2
    assert imagectl("resolve", "debian-base:beta", "--location", "dc1").exit_code == 0
    assert "have to say" not in imagectl("publish", OTHER, "--to", "dc1").stderr, "told before"


def test_one_location_that_fails_keeps_the_other_from_nothing(
    project: Project, imagectl: Run, broken: Path
) -> None:
    result = imagectl("publish", NEW, "--to", "dc1", "--json")
    error = answer(result, Failure)["error"]
    assert result.exit_code == error["exit_code"] != 0
    assert error["what"] == f"publishing {NEW} failed in dc1; it is in local, which is recorded"
    (cause,) = error["causes"]
    assert (cause["place"], cause["exit_code"]) == ("dc1", error["exit_code"])
    assert cause["what"] in result.stderr
    assert f"`imagectl publish {NEW} --to dc1` goes on where it stopped" in result.stderr

    shown = answer(imagectl("show", NEW, "--json"), Shown)
    assert [each["location"] for each in shown["placements"]] == ["local"]
    (begun,) = shown["unfinished"]
    assert (begun["location"], begun["format"], begun["by"]) == ("dc1", "qcow2", "tester@unit")
    text = imagectl("show", NEW).stdout
    assert "dc1: qcow2 amd64 NOT FINISHED, begun just now by tester@unit" in text
    assert begun["named"] in text
    (version,) = answer(imagectl("list", "debian-base", "--json"), Listed)["images"][0]["versions"]
    assert version["unfinished"] == ["dc1"]
    wanted = f"{NEW} was not finished in dc1: `imagectl publish {NEW} --to dc1` goes on"
    assert wanted in imagectl("list", "debian-base").stdout

    broken.unlink()
    again = imagectl("publish", NEW, "--to", "dc1")
    assert again.exit_code == 0
    assert "is there, verified" in again.stdout
    assert "put there and verified" in again.stdout
    assert answer(imagectl("show", NEW, "--json"), Shown)["unfinished"] == []
    assert "not finished" not in imagectl("list", "debian-base").stdout
    assert imagectl("catalog", "verify").exit_code == 0


def test_an_optional_location_of_the_definition_is_tried_and_fails_nothing(
    project: Project, imagectl: Run, broken: Path
) -> None:
    make_optional(project, "dc1")
    result = imagectl("publish", NEW, "--json")
    assert result.exit_code == 0
    said = answer(result, Published)
    assert [each["location"] for each in said["placements"]] == ["local"]
    assert [each["location"] for each in said["failed"]] == ["dc1"]
    assert f"warning: {NEW} is not in dc1, which is optional" in result.stderr
    assert said["failed"][0]["what"] in result.stderr
    broken.unlink()
    said = answer(imagectl("publish", NEW, "--json"), Published)
    assert [each["location"] for each in said["placements"]] == ["local", "dc1"]


def test_a_definition_that_cannot_be_read_does_not_keep_a_version_from_its_locations(
    project: Project, imagectl: Run
) -> None:
    (project.root / "images" / "debian-base" / "image.yaml").write_text("summary: [\n")
    result = imagectl("publish", NEW)
    assert result.exit_code == 0
    assert "optional locations of debian-base are left out" in result.stderr


def test_what_never_came_about_is_given_up(
    project: Project, imagectl: Run, broken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert imagectl("publish", NEW, "--to", "dc1").exit_code != 0
    # Somebody may be at it.
    refused = imagectl("publish", NEW, "--give-up")
    assert refused.exit_code == 3
    assert "less than 1 h ago" in refused.stderr
    later = SystemClock().now() + timedelta(hours=1)
    monkeypatch.setattr(SystemClock, "now", lambda _: later)
    # Begun again: the note is as new as that.
    assert imagectl("publish", NEW, "--to", "dc1").exit_code != 0
    assert imagectl("publish", NEW, "--give-up").exit_code == 3
    assert imagectl("catalog", "verify").exit_code == 0
    later += timedelta(hours=1)
    # P3: what is there cannot be seen, so it may be that something is.
    shutil.rmtree(broken.parent)
    broken.parent.write_text("not a folder")
    assert imagectl("publish", NEW, "--give-up").exit_code == 5
    broken.parent.unlink()
    record_version(project, "debian-base@20261122.1")
    assert imagectl("publish", "debian-base@20261122.1", "--to", "dc1").exit_code == 0
    said = answer(imagectl("publish", NEW, "--give-up", "--to", "dc1", "--json"), Published)
    (ended,) = said["given_up"]
    assert (ended["location"], ended["architecture"]) == ("dc1", "amd64")
    assert answer(imagectl("show", NEW, "--json"), Shown)["unfinished"] == []
    again = imagectl("publish", NEW, "--give-up")
    assert again.exit_code == 6
    assert "nothing of debian-base@20261121.1 is unfinished" in again.stderr
