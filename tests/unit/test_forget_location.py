"""A location that was closed for good: the catalog forgets it, and nothing that is needed (P1)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import Result
from support.examples import ref
from support.projects import new_project, record_version, release

from imagectl.bootstrap.project import Project, open_project
from imagectl.cli.documents import schema
from imagectl.cli.forget_location import ForgottenDocument
from imagectl.model.change import Change, Operation, RecordIntent, StepVersion
from imagectl.model.names import Architecture, Format, LocationName
from imagectl.model.retention import Stage
from imagectl.model.version import Intent
from imagectl.services.publish import place

Run = Callable[..., Result]
HEAD, OLD, ALONE = "debian-base@20261120.1", "debian-base@20261118.1", "debian-base@20261117.1"
DC1 = LocationName("dc1")
FORGET = ("catalog", "forget-location", "dc1", "--reason", "closed")
DOWN = (Stage.DEPRECATED, Stage.OBSOLETE, Stage.QUARANTINED)


def settings(root: Path, *, dc1: bool) -> None:
    """Have the project two locations, or dc1 no more."""
    file = root / "imagectl.yaml"
    section = "  dc1:\n    type: directory\n    path: dc1\n"
    text = file.read_text().replace(section, "")
    file.write_text(text.replace("locations:\n", f"locations:\n{section}") if dc1 else text)


def commit(project: Project, *operations: Operation) -> None:
    generation = project.catalog.snapshot(()).generation
    change = Change(
        *(f"test {generation}", generation, "ana", "test", "plan 7", project.clock.now()),
        operations,
    )
    project.catalog.commit(change)


def down(project: Project, text: str) -> None:
    for stage in DOWN:
        commit(project, StepVersion(ref(text), stage))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """HEAD is in beta; OLD and ALONE in no channel. All are in dc1, which is no more, and but for
    ALONE in local; consumers may get all of them."""
    made = new_project(tmp_path / "images")
    settings(made.root, dc1=True)
    monkeypatch.chdir(made.root)
    made = open_project(made.root)
    release(made, HEAD)
    record_version(made, OLD)
    record_version(made, ALONE)
    for text, names in ((HEAD, ("dc1",)), (OLD, ("dc1", "local")), (ALONE, ("dc1",))):
        place(
            made.releasing, made.store, ref(text), [LocationName(each) for each in names], only=True
        )
    made.close()
    settings(made.root, dc1=False)
    shutil.rmtree(made.root / "dc1")
    opened = open_project(made.root)
    yield opened
    opened.close()


def where(project: Project, text: str) -> list[str]:
    return sorted(each.location for each in project.catalog.snapshot().placed(ref(text)))


def answer(result: Result) -> Any:
    said = json.loads(result.stdout)
    jsonschema.validate(said, schema(ForgottenDocument))
    return said


def test_what_is_quarantined_is_forgotten_and_nothing_else(project: Project, imagectl: Run) -> None:
    down(project, OLD)
    down(project, ALONE)
    said = answer(imagectl(*FORGET, "--json"))
    assert (said["placements"], said["versions"], said["nowhere"]) == (2, [ALONE, OLD], [ALONE])
    assert [each["version"] for each in said["left"]] == [HEAD]
    assert (where(project, OLD), where(project, ALONE)) == (["local"], [])
    assert where(project, HEAD) == ["dc1", "local"]
    assert project.catalog.verify() == ()
    shown = project.publishers[0].shown()
    assert shown is not None
    assert shown.generation == project.catalog.snapshot(()).generation
    text = imagectl("history", "--image", "debian-base").stdout
    assert "forgotten in dc1" in text
    assert "closed" in text


def test_then_a_cleanup_can_delete_it(project: Project, imagectl: Run) -> None:
    down(project, OLD)
    assert "elsewhere: in dc1" in imagectl("show", OLD).stdout
    assert imagectl(*FORGET).exit_code == 0
    assert "elsewhere" not in imagectl("show", OLD).stdout


def test_a_dry_run_changes_nothing(project: Project, imagectl: Run) -> None:
    down(project, OLD)
    before = project.catalog.snapshot(()).generation
    result = imagectl(*FORGET, "--dry-run")
    assert result.exit_code == 0
    assert "1 placement of 1 version in dc1 would be forgotten" in result.stdout
    assert project.catalog.snapshot(()).generation == before


def test_typed_again_it_says_what_is_left(project: Project, imagectl: Run) -> None:
    down(project, OLD)
    assert imagectl(*FORGET).exit_code == 0
    result = imagectl(*FORGET)
    assert result.exit_code == 3
    assert f"{HEAD}: it is active: consumers may get it" in " ".join(result.stderr.split())


def test_a_location_that_is_still_there_is_not_forgotten(project: Project, imagectl: Run) -> None:
    down(project, OLD)
    settings(project.root, dc1=True)
    result = imagectl(*FORGET)
    assert result.exit_code == 3
    assert "imagectl.yaml has it" in result.stderr
    assert "its name out of `locations` in each image.yaml" in " ".join(result.stderr.split())
    assert where(project, OLD) == ["dc1", "local"]


def test_what_somebody_holds_is_not_forgotten(project: Project, imagectl: Run) -> None:
    down(project, OLD)
    assert imagectl("hold", OLD, "--reason", "audit").exit_code == 0
    result = imagectl(*FORGET)
    assert result.exit_code == 3
    assert f"{OLD}: held by tester@unit" in result.stderr
    assert where(project, OLD) == ["dc1", "local"]


@pytest.mark.parametrize(("minutes", "ends"), [(59, False), (60, True)])
def test_what_was_begun_there_is_given_up_after_an_hour(
    project: Project, imagectl: Run, *, minutes: int, ends: bool
) -> None:
    """Else the version would be kept for ever, as one that is just being placed."""
    since = project.clock.now() - timedelta(minutes=minutes)
    begun = Intent(ref(OLD), Format.RAW, Architecture.AMD64, DC1, "sha256/ab", since, "ana")
    commit(project, RecordIntent(begun))
    result = imagectl(*FORGET)
    assert result.exit_code == (0 if ends else 3)
    assert (project.catalog.snapshot().intended(ref(OLD)) == ()) is ends
    assert ("just being placed there" in result.stderr) is not ends


def test_a_deletion_that_was_never_confirmed_stays_on_record(
    project: Project, imagectl: Run
) -> None:
    down(project, OLD)
    down(project, ALONE)
    commit(project, StepVersion(ref(ALONE), Stage.DELETED))
    said = answer(imagectl(*FORGET, "--json"))
    assert (said["versions"], said["unconfirmed"]) == ([OLD], 1)
    (stone,) = project.catalog.snapshot().buried(ref(ALONE))
    assert stone.open


def test_where_nothing_is_recorded_nothing_is_forgotten(project: Project, imagectl: Run) -> None:
    result = imagectl("catalog", "forget-location", "dc2", "--reason", "closed")
    assert result.exit_code == 6


def test_a_reason_is_asked_for(project: Project, imagectl: Run) -> None:
    assert imagectl(*FORGET[:-1], " ").exit_code == 2
