"""A project that publishes to a folder and to buckets, from the command line to a consumer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from peers.faults import FaultProxy, answer
from support.bucket_trees import contents
from support.cli import Run, command_line
from support.projects import new_project, release

from imagectl.bootstrap.project import Project

OLD, NEW = "debian-base@20261118.1", "debian-base@20261120.1"


@pytest.fixture
def imagectl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setenv("IMAGECTL_CACHE", str(tmp_path / ".consumer-cache"))
    return command_line(monkeypatch)


def publish_to(project: Project, *trees: str) -> None:
    """Have the project publish there."""
    settings = project.root / "imagectl.yaml"
    text = settings.read_text()
    publish = next(line for line in text.splitlines() if line.startswith("  publish:"))
    settings.write_text(text.replace(publish, f"  publish: [{', '.join(trees)}]"))


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A project; the current folder."""
    project = new_project(tmp_path / "images")
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("COLUMNS", "80")
    yield project
    project.close()


@pytest.fixture
def project(made: Project, s3_tree: str, gs_tree: str) -> Project:
    """Two versions, both in beta, in a folder and two buckets."""
    publish_to(made, "catalog/public", f"'{s3_tree}'", f"'{gs_tree}'")
    for each in (OLD, NEW):
        release(made, each)
    return made


def shown(project: Project) -> list[int | None]:
    """The generation that each tree shows."""
    found = [each.shown() for each in project.publishers]
    return [None if each is None else each.generation for each in found]


def test_a_promotion_reaches_consumers_of_every_tree(
    project: Project, imagectl: Run, s3_tree: str, gs_tree: str, tmp_path: Path
) -> None:
    before = shown(project)
    done = imagectl("promote", "stable", "--reason", "it is good")
    assert done.exit_code == 0, done.stderr
    after = shown(project)
    assert len(before) == len(after) == 3
    assert len({*before}) == len({*after}) == 1
    assert before != after
    trusted = tmp_path / "root.json"
    shutil.copy(project.root / "catalog" / "root.json", trusted)
    for url in (s3_tree, gs_tree):
        there = ("--catalog", url, "--root", str(trusted))
        done = imagectl("resolve", "debian-base:stable", *there, "--json")
        assert done.exit_code == 0, done.stderr
        assert json.loads(done.stdout)["version"] == NEW.partition("@")[2]
        to = tmp_path / "disk.qcow2"
        done = imagectl("pull", "debian-base:stable", *there, "--to", str(to))
        assert done.exit_code == 0, done.stderr
        assert to.read_text() == f"qcow2 disk of {NEW}"
        to.unlink()


def test_verbs_of_the_catalog_speak_of_buckets(
    project: Project, imagectl: Run, s3_tree: str, gs_tree: str
) -> None:
    trees = [str(project.root / "catalog/public"), s3_tree, gs_tree]
    done = imagectl("catalog", "publish", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["trees"] == trees
    done = imagectl("catalog", "refresh", "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)["trees"]
    assert [each["tree"] for each in told] == trees
    assert all("timestamp" in each["expires"] for each in told)
    done = imagectl("metrics")
    assert done.exit_code == 0, done.stderr
    for tree in trees:
        assert f'tree="{tree}"' in done.stdout
    done = imagectl("catalog", "rotate-keys", "online", "--new", "--reason", "it is time")
    assert done.exit_code == 0, done.stderr
    assert imagectl("catalog", "verify").exit_code == 0
    assert len({*shown(project)}) == 1


def test_a_bucket_that_does_not_answer_is_named_and_the_folder_is_written(
    project: Project, imagectl: Run, gs_tree: str, gs_proxy: FaultProxy
) -> None:
    with gs_proxy.rule(lambda request: request.method == "PUT", answer(403)):
        done = imagectl("promote", "stable", "--reason", "x")
    assert done.exit_code == 1
    assert gs_tree in done.stderr
    assert "`imagectl catalog publish`" in done.stderr
    first, second, third = shown(project)
    assert first == second != third
    assert imagectl("catalog", "publish").exit_code == 0
    assert len({*shown(project)}) == 1


def test_a_project_may_publish_to_a_bucket_alone(
    made: Project, imagectl: Run, s3_tree: str, s3_proxy: FaultProxy
) -> None:
    publish_to(made, f"{{to: '{s3_tree}', history: true}}")
    release(made, NEW)
    made.close()
    done = imagectl("resolve", "debian-base:beta", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["version"] == NEW.partition("@")[2]
    assert not (made.root / "catalog/public").exists()
    done = imagectl("serve")
    assert done.exit_code == 2
    assert "only trees in folders are served" in done.stderr
    assert imagectl("doctor").exit_code in (0, 1)

    before = json.loads(imagectl("catalog", "verify", "--json").stdout)["state"]
    for each in (made.root / ".imagectl").glob("catalog.sqlite3*"):
        each.unlink()
    lost = imagectl("list")
    assert lost.exit_code == 5
    assert s3_tree in lost.stderr
    with s3_proxy.rule(lambda request: True, answer(403)):
        assert imagectl("list").exit_code == 5, "nobody knows that there never was a catalog"
    done = imagectl("catalog", "rebuild", "--from", s3_tree, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["state"] == before
    assert len(contents(s3_tree)) > 8
