"""The verbs that read the catalog and move channels, on a real project in a folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from support.cli import answer
from support.locks import lock_of
from support.projects import (
    NEW,
    OLD,
    record_version,
    store_inside,
    store_origin,
    three_in_beta,
)

from imagectl.bootstrap.project import Project
from imagectl.cli.history import History
from imagectl.cli.list import Listed
from imagectl.cli.moves import Moved
from imagectl.cli.output import Failure
from imagectl.cli.publish import Published
from imagectl.cli.show import Shown
from imagectl.model.version import Reproducible

Run = Callable[..., Result]


@pytest.fixture
def project(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """See ``support.projects.three_in_beta``."""
    monkeypatch.setenv("COLUMNS", "80")
    return three_in_beta(project)


def test_list_shows_what_each_channel_points_to(project: Project, imagectl: Run) -> None:
    imagectl("promote", "stable", "debian-ci")
    result = imagectl("list")
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["IMAGE", "BUILT", "CHANNEL", "POINTS", "TO", "SINCE"],
        ["debian-base", "2", "versions", "beta", "20261120.1", "just", "now"],
        ["stable", "-"],
        ["debian-ci", "1", "version", "beta", "20261119.1", "just", "now"],
        ["stable", "20261119.1", "just", "now"],
    ]
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_list_of_an_image_shows_its_versions(project: Project, imagectl: Run) -> None:
    record_version(project, "debian-base@20261121.1", failed=2)
    lines = imagectl("list", "debian-base").stdout.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["20261121.1", "20261120.1", "20261118.1"]
    assert "12 passed, 2 FAILED" in lines[2]
    assert lines[3].endswith("beta")


def test_list_as_a_document(project: Project, imagectl: Run) -> None:
    said = answer(imagectl("list", "--json"), Listed)
    base = said["images"][0]
    assert (base["name"], base["defined"]) == ("debian-base", True)
    assert [each["version"] for each in base["versions"]] == ["20261120.1", "20261118.1"]
    assert base["versions"][0]["channels"] == ["beta"]
    stable = {"version": None, "since": None, "by": None, "coming": None}
    assert base["channels"][1] == {"name": "stable", **stable}
    assert said["images"][1]["defined"] is False


def test_list_of_a_misspelt_image(project: Project, imagectl: Run) -> None:
    result = imagectl("list", "debian-bse")
    assert result.exit_code == 6
    assert "did you mean debian-base?" in result.stderr


def test_show_tells_everything_about_a_version(project: Project, imagectl: Run) -> None:
    imagectl("promote", "stable")
    said = answer(imagectl("show", NEW, "--json"), Shown)
    assert [each["name"] for each in said["channels"]] == ["beta", "stable"]
    assert said["tests"]["passed"] == 12
    assert Path(said["log"]).read_text() == f"log of {NEW}"
    text = imagectl("show", "debian-base:stable").stdout
    for part in (NEW, said["summary"], said["artifacts"][0]["sha256"], "12 passed", "2:28"):
        assert part in text
    assert said["placements"][0]["reference"] in text


NEWEST = "debian-base@20261121.1"


def test_show_tells_how_a_version_was_made(project: Project, imagectl: Run) -> None:
    origin = store_origin(project, NEWEST, Reproducible.YES)
    record_version(project, NEWEST, origin=origin, inside=store_inside(project, NEWEST))
    said = answer(imagectl("show", NEWEST, "--json"), Shown)
    assert said["origin"] == {
        "reproducible": "yes",
        "cause": "",
        "epoch": "2026-11-20T12:00:00Z",
        "raw": origin.raw,
    }
    documents = {each["name"]: each for each in said["documents"]}
    assert list(documents) == [
        *("lock", "source", "contents", "manifest", "spdx", "cyclonedx", "provenance")
    ]
    assert documents["lock"]["sha256"] == origin.lock
    for name, document in documents.items():
        content = lock_of(NEWEST) if name == "lock" else f"{name} of {NEWEST}"
        assert Path(document["file"]).read_text() == content
    text = imagectl("show", NEWEST).stdout
    assert "again     reproducible: its lock gives the same bytes again\n" in text
    assert "inputs    of 2026-11-20 12:00 UTC\n" in text
    for document in documents.values():
        assert f"/{document['sha256']}" in text


@pytest.mark.parametrize(
    ("reproducible", "cause", "line"),
    [
        (Reproducible.NO, "/etc/x differs", "NOT reproducible: /etc/x differs"),
        (Reproducible.NO, "", "NOT reproducible: the cause is not known"),
        (
            Reproducible.UNPROVEN,
            "",
            "not proven: `imagectl build debian-base --twice` would tell",
        ),
    ],
)
def test_show_and_list_tell_what_is_not_reproducible(
    project: Project, imagectl: Run, reproducible: Reproducible, cause: str, line: str
) -> None:
    origin = store_origin(project, NEWEST, reproducible, cause)
    record_version(project, NEWEST, origin=origin, opaque=True)
    text = imagectl("show", NEWEST).stdout
    assert f"again     {line}\n" in text
    assert "tree      none: the disk is as Packer left it\n" in text
    said = answer(imagectl("show", NEWEST, "--json"), Shown)
    assert (said["tree"], said["tree_size"]) == (None, None)
    assert said["origin"]["cause"] == cause
    assert [each["name"] for each in said["documents"]] == ["lock", "source"]
    listed = answer(imagectl("list", "debian-base", "--json"), Listed)["images"][0]["versions"]
    assert [each["reproducible"] for each in listed] == [reproducible.value, None, None]
    lines = imagectl("list", "debian-base").stdout.splitlines()
    assert reproducible.value in lines[2].split()
    assert "-" in lines[3].split()
    assert max(map(len, lines)) <= 80


def test_show_says_which_document_is_gone(project: Project, imagectl: Run) -> None:
    origin = store_origin(project, NEWEST, Reproducible.YES)
    record_version(project, NEWEST, origin=origin)
    project.store.path(origin.lock).unlink()
    assert "lock       gone from the store\n" in imagectl("show", NEWEST).stdout
    said = answer(imagectl("show", NEWEST, "--json"), Shown)
    assert said["documents"][0] == {"name": "lock", "sha256": origin.lock, "file": None}


def test_a_version_of_long_ago_says_nothing_of_locks(project: Project, imagectl: Run) -> None:
    said = answer(imagectl("show", NEW, "--json"), Shown)
    assert (said["origin"], said["documents"]) == (None, [])
    text = imagectl("show", NEW).stdout
    assert "again" not in text
    assert "lock" not in text


def test_show_names_a_required_location_that_is_missing(project: Project, imagectl: Run) -> None:
    record_version(project, "debian-base@20261121.1")
    assert "local: not there, and required" in imagectl("show", "debian-base@20261121.1").stdout


def test_show_without_a_version_says_what_to_type(project: Project, imagectl: Run) -> None:
    result = imagectl("show", "debian-base")
    assert result.exit_code == 2
    assert f"`imagectl show {NEW}` is the newest" in result.stderr


@pytest.mark.parametrize("wrong", ["debian-base@20261199.1", "../x@20261120.1", "x@1", "a@b:c"])
def test_a_name_that_is_none_is_bad_usage(project: Project, imagectl: Run, wrong: str) -> None:
    result = imagectl("show", wrong)
    assert result.exit_code == 2
    assert "is not a" in result.stderr


def test_promote_moves_every_image_and_says_what_consumers_get(
    project: Project, imagectl: Run
) -> None:
    result = imagectl("promote", "stable", "--reason", "weekly", "--json")
    said = answer(result, Moved)
    assert [(each["image"], each["verdict"]) for each in said["decisions"]] == [
        ("debian-base", "move"),
        ("debian-ci", "move"),
    ]
    reference = said["decisions"][0]["delivered"][0]["reference"]
    assert Path(reference).read_text() == f"qcow2 disk of {NEW}"
    assert imagectl("resolve", "debian-base").stdout == f"{reference}\n"
    move = answer(imagectl("history", "stable", "--json"), History)["moves"][0]
    assert (move["by"], move["reason"], move["before"]) == ("tester@unit", "weekly", None)


def test_promote_again_has_nothing_to_do(project: Project, imagectl: Run) -> None:
    imagectl("promote", "stable")
    result = imagectl("promote", "stable")
    assert result.exit_code == 0
    assert "debian-base:stable  stays at 20261120.1" in result.stdout


def test_dry_run_changes_nothing_and_explain_says_why(project: Project, imagectl: Run) -> None:
    before = project.catalog.snapshot().generation
    result = imagectl("promote", "stable", "--dry-run", "--explain")
    assert "debian-base:stable  would go nothing -> 20261120.1" in result.stdout
    assert "    - 12 tests passed" in result.stdout
    assert project.catalog.snapshot().generation == before
    assert imagectl("resolve", "debian-base").exit_code == 6


def test_a_refused_promotion_lists_every_reason(project: Project, imagectl: Run) -> None:
    record_version(project, "debian-base@20261121.1", failed=2)
    result = imagectl("promote", "stable", "debian-base@20261121.1", "--json")
    assert result.exit_code == 3
    reasons = answer(result, Failure)["error"]["reasons"]
    assert len(reasons) == 3
    assert [reason for reason in reasons if f"  - {reason}\n" not in result.stderr] == []


def test_rollback_goes_back_and_keeps_the_history(project: Project, imagectl: Run) -> None:
    imagectl("promote", "stable", OLD)
    imagectl("promote", "stable", "debian-base")
    result = imagectl("rollback", "stable", "--reason", "broken DNS")
    assert result.exit_code == 0
    assert "debian-base:stable  20261120.1 -> 20261118.1" in result.stdout
    assert "consumers now get qcow2 amd64 from local" in result.stdout
    resolved = Path(imagectl("resolve", "debian-base").stdout.strip())
    assert resolved.read_text() == f"qcow2 disk of {OLD}"
    lines = imagectl("history", "stable", "--image", "debian-base").stdout.splitlines()
    assert "20261120.1 -> 20261118.1" in lines[0]
    assert lines[1] == "    rolled back by tester@unit: broken DNS"
    assert len(lines) == 6
    assert max(map(len, lines)) <= 80


def test_rollback_with_nothing_to_go_back_to_is_refused(project: Project, imagectl: Run) -> None:
    imagectl("promote", "stable")
    result = imagectl("rollback", "stable", "debian-base")
    assert result.exit_code == 3
    assert "there is no earlier good version" in result.stderr


def test_rollback_to_a_lost_artifact_is_refused(project: Project, imagectl: Run) -> None:
    """P6: the rollback target is verified, byte for byte, before anything moves."""
    imagectl("promote", "stable", OLD)
    gone = Path(imagectl("resolve", "debian-base").stdout.strip())
    imagectl("promote", "stable", "debian-base")
    gone.unlink()
    result = imagectl("rollback", "stable", "debian-base")
    assert result.exit_code == 3
    assert f"`imagectl publish {OLD} --to local`" in result.stderr
    assert imagectl("publish", OLD).exit_code == 0
    assert imagectl("rollback", "stable", "debian-base").exit_code == 0


def test_history_is_newest_first_and_names_channels(project: Project, imagectl: Run) -> None:
    said = answer(imagectl("history", "--json"), History)["moves"]
    assert [each["generation"] for each in said] == sorted(
        (each["generation"] for each in said), reverse=True
    )
    assert imagectl("history", "stable").stderr == "nothing has been released there yet\n"
    assert imagectl("history", "sable").exit_code == 6


def test_publish_puts_a_version_in_its_locations(project: Project, imagectl: Run) -> None:
    record_version(project, "debian-base@20261121.1")
    said = answer(imagectl("publish", "debian-base@20261121.1", "--json"), Published)
    assert [(each["location"], each["new"]) for each in said["placements"]] == [("local", True)]
    again = imagectl("publish", "debian-base@20261121.1")
    assert "is there, verified" in again.stdout
    assert imagectl("resolve", "debian-base@20261121.1").exit_code == 0


def test_publish_to_an_unknown_location(project: Project, imagectl: Run) -> None:
    result = imagectl("publish", NEW, "--to", "locla")
    assert result.exit_code == 6
    assert "did you mean local?" in result.stderr


def test_catalog_verify_and_publish(project: Project, imagectl: Run) -> None:
    result = imagectl("catalog", "verify")
    assert result.exit_code == 0
    assert result.stdout.startswith("sound: ")
    newest = project.root / "catalog" / "public" / "metadata" / "timestamp.json"
    newest.unlink()
    assert imagectl("resolve", "debian-base:beta").exit_code == 6
    assert imagectl("catalog", "publish").exit_code == 0
    assert imagectl("resolve", "debian-base:beta").exit_code == 0


def test_catalog_verify_finds_what_was_changed_behind_its_back(
    project: Project, imagectl: Run
) -> None:
    import sqlite3

    project.close()
    with sqlite3.connect(project.root / ".imagectl" / "catalog.sqlite3") as database:
        database.execute("UPDATE versions SET summary = 'another'")
    database.close()
    result = imagectl("catalog", "verify")
    assert result.exit_code == 1
    assert result.stdout.startswith("NOT sound: ")


def test_catalog_verify_names_what_cannot_even_be_read(project: Project, imagectl: Run) -> None:
    import sqlite3

    project.close()
    with sqlite3.connect(project.root / ".imagectl" / "catalog.sqlite3") as database:
        database.execute("UPDATE versions SET created = 'yesterday'")
    database.close()
    result = imagectl("catalog", "verify")
    assert result.exit_code == 1
    assert "yesterday" in result.stdout


@pytest.mark.parametrize("verb", [["list"], ["promote", "stable"], ["build"]])
def test_a_lost_catalog_is_never_replaced_by_an_empty_one(
    project: Project, imagectl: Run, verb: list[str]
) -> None:
    """P2: consumers are shown a catalog, so there was one; its absence means that it is lost."""
    project.close()
    file = project.root / ".imagectl" / "catalog.sqlite3"
    for path in file.parent.glob("catalog.sqlite3*"):
        path.unlink()
    result = imagectl(*verb)
    assert result.exit_code == 5
    assert "the catalog is not there, but consumers are shown one" in result.stderr
    assert "backup" in result.stderr
    assert not file.exists()


def test_a_reason_that_is_no_text_is_refused_in_words(project: Project, imagectl: Run) -> None:
    result = imagectl("promote", "stable", "--reason", "no \udcff text")
    assert result.exit_code == 1
    assert "cannot be written down" in result.stderr
    assert "internal error" not in result.stderr


def test_outside_of_a_project(imagectl: Run, tmp_path: Path) -> None:
    result = imagectl("-C", str(tmp_path), "list")
    assert result.exit_code == 6
    assert "imagectl init" in result.stderr


def test_completion_offers_channels_images_and_versions(project: Project) -> None:
    def offered(words: str, position: int) -> list[str]:
        done = subprocess.run(
            [Path(sys.executable).with_name("imagectl")],
            env={
                "PATH": "/usr/bin:/bin",
                "_IMAGECTL_COMPLETE": "bash_complete",
                "COMP_WORDS": words,
                "COMP_CWORD": str(position),
            },
            capture_output=True,
            text=True,
            check=True,
        )
        return [line.removeprefix("plain,") for line in done.stdout.splitlines()]

    assert offered("imagectl promote st", 2) == ["stable"]
    assert offered("imagectl resolve debian-c", 2) == [
        "debian-ci",
        "debian-ci:beta",
        "debian-ci@20261119.1",
    ]
    assert offered("imagectl history --image d", 3) == ["debian-base"]
