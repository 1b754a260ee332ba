"""``lock`` and ``rebuild`` on a real project; the slow tools are the in-memory ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from support.cli import answer
from support.projects import record_version
from support.workbenches import Tools, child_of

from imagectl.bootstrap.project import Project
from imagectl.cli.build import Built
from imagectl.cli.lock import Locked
from imagectl.cli.output import Failure
from imagectl.cli.rebuild import RebuiltDocument
from imagectl.errors import BuildFailed

Run = Callable[..., Result]

LOCK = Path("images/debian-base/image.lock")
DEFINITION = Path("images/debian-base/image.yaml")


def add_package(name: str) -> None:
    """The definition asks for one package more."""
    text = DEFINITION.read_text()
    assert "packages: [" in text
    DEFINITION.write_text(text.replace("packages: [", f"packages: [{name}, "))


# --- lock --------------------------------------------------------------------------------------


def test_lock_makes_one_and_then_leaves_it(project: Project, tools: Tools, imagectl: Run) -> None:
    result = imagectl("lock", "debian-base")
    assert result.exit_code == 0
    assert result.stdout.startswith("debian-base  locked: 5 inputs, ")
    assert "next: commit the lock" in result.stderr
    before = LOCK.read_text()
    again = imagectl("lock", "debian-base")
    assert again.stdout.startswith("debian-base  its lock is as it should be")
    assert LOCK.read_text() == before
    (said,) = answer(imagectl("lock", "debian-base", "--json"), Locked)["locks"]
    assert (said["outcome"], said["written"], said["inputs"]) == ("current", False, 5)
    assert project.catalog.snapshot().versions == {}


def test_lock_adds_what_a_changed_definition_needs(
    project: Project, tools: Tools, imagectl: Run
) -> None:
    imagectl("build")
    add_package("git")
    refused = imagectl("build", "--json")
    assert refused.exit_code == 1
    assert answer(refused, Failure)["error"]["hint"] == "imagectl lock debian-base"
    result = imagectl("lock", "debian-base")
    assert result.stdout.splitlines()[0] == (
        "debian-base  extended, since its definition changed: 1 download new, other bytes"
    )
    assert "      + https://mirror.example/git" in result.stdout
    assert imagectl("build").exit_code == 0


def test_lock_update_shows_what_changes_and_a_dry_run_writes_nothing(
    project: Project, tools: Tools, imagectl: Run
) -> None:
    imagectl("lock", "debian-base")
    before = LOCK.read_text()
    tools.equipper.upstream.edition = "two"
    dry = imagectl("lock", "debian-base", "--update", "--dry-run")
    assert dry.exit_code == 0
    assert dry.stdout.splitlines()[0] == (
        "debian-base  would be updated: 5 downloads changed, other bytes"
    )
    assert "      ~ https://mirror.example/bookworm  " in dry.stdout
    assert LOCK.read_text() == before
    said = answer(imagectl("lock", "debian-base", "--update", "--dry-run", "--json"), Locked)
    assert said["dry_run"] is True
    (lock,) = said["locks"]
    assert (lock["outcome"], lock["written"]) == ("updated", False)
    assert [each["what"] for each in lock["changes"]["downloads"][:2]] == [
        "https://mirror.example/baseline",
        "https://mirror.example/bookworm",
    ]
    assert lock["changes"]["result"] is True
    imagectl("lock", "debian-base", "--update")
    assert LOCK.read_text() != before


def test_what_changes_is_shown_before_it_is_written(
    project: Project, tools: Tools, imagectl: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    imagectl("lock", "debian-base")
    tools.equipper.upstream.edition = "two"

    def killed(*arguments: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("imagectl.services.lock.accept", killed)
    result = imagectl("lock", "debian-base", "--update")
    assert result.exit_code == 130
    assert "updated: 5 downloads changed" in result.stdout


def test_lock_of_several_images_goes_on_after_one_that_fails(
    project: Project, tools: Tools, imagectl: Run
) -> None:
    (project.root / "images/child").mkdir()
    (project.root / "images/child/image.yaml").write_text(child_of("debian-base:beta"))
    result = imagectl("lock", "child", "debian-base", "--json")
    assert result.exit_code == 6
    locks = answer(result, Locked)["locks"]
    assert [(each["image"], each["outcome"]) for each in locks] == [
        ("debian-base", "made"),
        ("child", "failed"),
    ]
    assert locks[1]["error"]["kind"] == "not-found"
    assert "1 image of 2 failed" in result.stderr


def test_a_lock_that_was_edited_is_not_built_from(
    project: Project, tools: Tools, imagectl: Run
) -> None:
    imagectl("build")
    LOCK.write_text(LOCK.read_text().replace("size: ", "size: 1"))
    for verb in ("build", "lock"):
        result = imagectl(verb, "debian-base")
        assert result.exit_code == 2
        assert "images/debian-base/image.lock:" in result.stderr


def test_lock_needs_an_image(project: Project, imagectl: Run) -> None:
    assert imagectl("lock").exit_code == 2


# --- what build says of it ---------------------------------------------------------------------


def test_build_says_whether_it_is_reproducible(
    project: Project, tools: Tools, imagectl: Run
) -> None:
    first = imagectl("build", "--json")
    (build,) = answer(first, Built)["builds"]
    assert (build["reproducible"], build["cause"]) == ("unproven", "")
    assert build["lock"] == str(project.root / LOCK)
    assert "commit it" in first.stderr
    again = imagectl("build", "--twice")
    assert "    reproducible: yes" in again.stdout.splitlines()
    tools.equipper.noise = ["var/id: 1", "var/id: 2"]
    drifted = imagectl("build", "--force", "--twice")
    assert drifted.exit_code == 0
    assert "    reproducible: no: 1 path differs between two builds: var/id" in drifted.stdout
    assert "add var/id to `volatile`" in drifted.stderr


def test_build_offline(project: Project, tools: Tools, imagectl: Run) -> None:
    result = imagectl("build", "--offline")
    assert result.exit_code == 6
    assert "hint:  imagectl lock debian-base" in result.stderr
    imagectl("build")
    tools.equipper.upstream.gone = True
    assert imagectl("build", "--offline", "--force").exit_code == 0


# --- rebuild -----------------------------------------------------------------------------------


def built(project: Project, imagectl: Run) -> str:
    imagectl("build")
    (version,) = project.catalog.snapshot().versions
    return str(version)


def lose_disk(project: Project) -> Path:
    (version,) = project.catalog.snapshot().versions.values()
    disk = project.store.path(version.artifacts[0].sha256)
    disk.unlink()
    return disk


def test_rebuild_puts_back_what_was_lost(project: Project, tools: Tools, imagectl: Run) -> None:
    version = built(project, imagectl)
    disk = lose_disk(project)
    before = disk.parent
    result = imagectl("rebuild", version, "--offline")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == (
        f"{version}  the same bytes again: tree, raw disk and 1 artifact"
    )
    assert "    put back into the artifact store: qcow2" in result.stdout.splitlines()
    assert f"next: imagectl publish {version}" in result.stderr
    assert before.is_dir()
    assert disk.exists()
    assert imagectl("publish", version).exit_code == 0
    assert "the artifact store had everything already" in imagectl("rebuild", version).stdout


def test_rebuild_verify_changes_nothing(project: Project, tools: Tools, imagectl: Run) -> None:
    version = built(project, imagectl)
    disk = lose_disk(project)
    result = imagectl("rebuild", version, "--verify", "--json")
    assert result.exit_code == 0
    said = answer(result, RebuiltDocument)
    assert said["verify"] is True
    assert said["versions"][0]["outcome"] == "same"
    assert said["versions"][0]["restored"] == []
    assert not disk.exists()


def test_rebuild_that_gives_other_bytes(project: Project, tools: Tools, imagectl: Run) -> None:
    version = built(project, imagectl)
    disk = lose_disk(project)
    tools.equipper.noise = ["var/id: 1", "var/id: 1"]
    result = imagectl("rebuild", version)
    assert result.exit_code == 1
    assert f"{version}  NOT the same bytes: 1 path differs" in result.stdout
    assert "    var/id: content differs\n      add var/id to `volatile`" in result.stdout
    assert "nothing was put back" in result.stderr
    assert not disk.exists()
    json_result = imagectl("rebuild", version, "--json")
    assert json_result.exit_code == 1
    (said,) = answer(json_result, RebuiltDocument)["versions"]
    assert said["outcome"] == "different"
    assert [each["what"] for each in said["deviations"]] == ["tree", "raw disk", "qcow2"]
    assert said["differences"][0]["path"] == "var/id"


def test_rebuild_of_what_was_recorded_before_locks(
    project: Project, tools: Tools, imagectl: Run
) -> None:
    version = record_version(project, "debian-base@20261120.1")
    result = imagectl("rebuild", str(version))
    assert result.exit_code == 1
    assert "before imagectl kept what versions are made from" in result.stderr


def test_rebuild_of_an_unknown_version(project: Project, tools: Tools, imagectl: Run) -> None:
    assert imagectl("rebuild", "debian-base@20200101.1").exit_code == 6
    assert imagectl("rebuild", "debian-base").exit_code == 2


def test_rebuild_whose_build_fails(project: Project, tools: Tools, imagectl: Run) -> None:
    version = built(project, imagectl)
    tools.equipper.failure = BuildFailed("task 7 failed", stage="provision")
    result = imagectl("rebuild", version, "--json")
    assert result.exit_code == 1
    assert answer(result, Failure)["error"]["kind"] == "build-failed"
