"""``verify``, its metrics, and the verbs that make good what it finds, on a real project."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from support.cli import answer
from support.examples import ref
from support.projects import (
    CI,
    NEW,
    OLD,
    new_project,
    release,
    three_in_beta,
)

from imagectl.bootstrap.project import Project
from imagectl.cli.moves import behind_document, tell_behind
from imagectl.cli.output import Output
from imagectl.cli.publish import Published
from imagectl.cli.rollback import RolledBack
from imagectl.cli.verify import VerifiedDocument
from imagectl.errors import CannotTell
from imagectl.model.names import ImageName, LocationName
from imagectl.services.show import Behind

Run = Callable[..., Result]


@pytest.fixture
def project(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """See ``support.projects.three_in_beta``."""
    monkeypatch.setenv("COLUMNS", "80")
    return three_in_beta(project)


def test_locations_whose_families_are_behind_are_named_with_what_to_type(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    deaf = CannotTell("the location does not answer", hint="`imagectl doctor` asks it")
    behind = [
        Behind(LocationName("gce-test"), ImageName(name), deaf, required=False)
        for name in ("debian-base", "debian-ci")
    ]
    tell_behind(Output(), behind)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "warning: families of debian-base and debian-ci in gce-test may not show what channels "
        "have; put that right, then `imagectl catalog publish`",
        "cannot tell: the location does not answer",
        "  hint:  `imagectl doctor` asks it",
    ]
    assert [each["image"] for each in behind_document(behind)] == ["debian-base", "debian-ci"]


def test_verify_says_whether_all_is_where_it_has_to_be(
    project: Project, imagectl: Run, tmp_path: Path
) -> None:
    imagectl("promote", "stable")
    file = tmp_path / "imagectl.prom"
    result = imagectl("verify", "--json", "--metrics", str(file))
    said = answer(result, VerifiedDocument)
    assert (result.exit_code, said["ok"]) == (0, True)
    base = said["channels"][0]
    assert (base["image"], base["channel"], base["version"]) == ("debian-base", "beta", NEW[12:])
    assert base["rollback"] == [OLD[12:]]
    assert {each["state"] for each in base["checked"]} == {"good"}
    series = 'imagectl_rollback_ready{channel="beta",image="debian-base",location="local"}'
    assert f"{series} 1.0" in file.read_text()
    lines = imagectl("verify").stdout.splitlines()
    assert lines[1].split() == ["debian-base:beta", NEW[12:], OLD[12:], "local", "good"]
    assert max(map(len, lines)) <= 80


def test_verify_exits_for_cron(project: Project, imagectl: Run, tmp_path: Path) -> None:
    """1: something is certainly gone; 5: a location does not answer (P3, P8)."""
    file = tmp_path / "imagectl.prom"
    said = answer(imagectl("verify", "--json"), VerifiedDocument)
    assert said["ok"]
    (placed,) = project.catalog.snapshot().placed(ref(OLD))
    Path(placed.reference).unlink()
    result = imagectl("verify", "--metrics", str(file))
    assert result.exit_code == 1
    assert f"`imagectl publish {OLD} --to local`" in result.stdout
    assert "`imagectl publish --backfill debian-base` puts there" in result.stderr
    series = 'imagectl_rollback_ready{channel="beta",image="debian-base",location="local"}'
    assert f"{series} 0.0" in file.read_text()
    assert imagectl("publish", "--backfill", "debian-base").exit_code == 0
    assert imagectl("verify").exit_code == 0
    folder = project.root / ".imagectl/locations/local"
    away = folder.rename(folder.with_name("away"))
    folder.mkdir()
    result = imagectl("verify", "--metrics", str(file))
    assert result.exit_code == 5
    assert "UNKNOWN" not in result.stdout
    assert "unknown in local" in result.stdout
    assert "imagectl_rollback_ready{" not in file.read_text()
    folder.rmdir()
    away.rename(folder)
    assert imagectl("verify", "stable", "--image", "nothing").exit_code == 6


def test_what_is_corrupt_is_moved_away_before_it_is_put_there_again(
    project: Project, imagectl: Run
) -> None:
    """Typed as told: nothing is ever put over what is there."""
    snapshot = project.catalog.snapshot()
    (placed,), (other,) = snapshot.placed(ref(OLD)), snapshot.placed(ref(NEW))
    Path(placed.reference).write_bytes(b"something else")
    result = imagectl("verify")
    said = " ".join(result.stderr.split())
    assert result.exit_code == 1
    assert "1 version corrupt where it has to be, and nothing is put over what is there" in said
    assert "move that away" in said
    assert "puts there what is missing" not in said
    backfill = ("publish", "--backfill", "debian-base")
    assert f"then `imagectl {' '.join(backfill)}`" in said
    failed = imagectl(*backfill)
    assert failed.exit_code != 0
    assert "1 version could not be put where it has to be" in " ".join(failed.stderr.split())
    Path(other.reference).write_bytes(b"something else")
    failed = imagectl(*backfill)
    assert "2 versions could not be put where they have to be" in " ".join(failed.stderr.split())
    for each in (placed, other):
        Path(each.reference).rename(project.root / each.sha256)
    assert imagectl(*backfill).exit_code == 0
    assert imagectl("verify").exit_code == 0


def test_metrics_say_of_what_there_are_not_all_numbers(project: Project, imagectl: Run) -> None:
    folder = project.root / ".imagectl/locations/local"
    folder.rename(folder.with_name("away"))
    folder.mkdir()
    result = imagectl("metrics")
    assert result.exit_code == 5
    said = " ".join(result.stderr.split())
    assert "not all numbers about what channels point to and their ways back: it cannot be" in said
    assert "imagectl_rollback_versions{" in result.stdout


@pytest.mark.parametrize("some", [("beta",), ("--image", "debian-ci")])
def test_metrics_are_of_everything_or_not_written(
    project: Project, imagectl: Run, tmp_path: Path, some: tuple[str, ...]
) -> None:
    """P8: the gauges of all others would be dropped, beside a success that looks whole."""
    file = tmp_path / "imagectl.prom"
    assert imagectl("verify", "--metrics", str(file)).exit_code == 0
    before = file.read_bytes()
    result = imagectl("verify", *some, "--metrics", str(file))
    assert result.exit_code == 2
    assert f"`imagectl verify --metrics {file}`" in result.stderr
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "verb", [("verify",), ("promote", "stable"), ("publish", "--backfill"), ("catalog", "refresh")]
)
def test_nothing_is_signed_where_nothing_was_ever_recorded(
    imagectl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...]
) -> None:
    """No keys are made by somebody who looks, maybe on another machine than that of the keys."""
    fresh = new_project(tmp_path / "fresh")
    monkeypatch.chdir(fresh.root)
    assert imagectl(*verb).exit_code == 0
    assert not (fresh.state / "keys").exists()
    assert not list((fresh.root / "catalog").rglob("*.json"))


def test_metrics_are_emptied_where_the_catalog_cannot_be_read(
    project: Project, imagectl: Run, tmp_path: Path
) -> None:
    """P8: also a run that ends early leaves no last known value."""
    file = tmp_path / "imagectl.prom"
    assert imagectl("verify", "--metrics", str(file)).exit_code == 0
    assert "imagectl_head_ready{" in file.read_text()
    catalog = project.root / ".imagectl/catalog.sqlite3"
    project.close()
    catalog.write_bytes(b"no database at all" * 100)
    assert imagectl("verify", "--metrics", str(file)).exit_code == 5
    assert "imagectl_head_ready{" not in file.read_text()
    assert "imagectl_verify_last_success_timestamp_seconds" in file.read_text()


def test_backfill_takes_images(project: Project, imagectl: Run) -> None:
    said = answer(imagectl("publish", "--backfill", "--json"), Published)
    assert said["version"] is None
    assert [each["version"] for each in said["placements"]] == [OLD, NEW, CI]
    assert not any(each["new"] for each in said["placements"])
    for wrong in ((OLD,), ("--to", "local"), ("--give-up",)):
        result = imagectl("publish", "--backfill", *wrong)
        assert (result.exit_code, "takes images" in result.stderr) == (2, True)
    assert imagectl("publish").exit_code == 2
    assert "not debian-base" in imagectl("publish", "debian-base").stderr


def test_backfill_exits_for_a_required_location_that_is_not_configured(
    project: Project, imagectl: Run
) -> None:
    (project.root / "imagectl.yaml").write_text(
        "locations:\n  dc2: {type: directory, path: .imagectl/locations/local}\n"
    )
    result = imagectl("publish", "--backfill", "debian-ci")
    assert result.exit_code == 6
    assert f"{CI} has to be in local, not among the locations of imagectl.yaml" in result.stderr


def test_rollback_check_and_its_exit_codes(project: Project, imagectl: Run) -> None:
    release(project, "debian-base@20261121.1")
    result = imagectl("rollback", "beta", "debian-base", "--check")
    assert result.exit_code == 0
    assert "would go 20261121.1 -> 20261120.1" in result.stdout
    assert "debian-base:beta  could go further back to 20261118.1" in result.stdout
    said = answer(imagectl("rollback", "beta", "debian-base", "--check", "--json"), RolledBack)
    assert said["dry_run"]
    (placed,) = project.catalog.snapshot().placed(ref(OLD))
    Path(placed.reference).unlink()
    result = imagectl("rollback", "beta", "debian-base", "--check")
    assert result.exit_code == 3
    assert f"`imagectl publish {OLD} --to local` puts it there" in result.stderr
    folder = project.root / ".imagectl/locations/local"
    folder.rename(folder.with_name("away"))
    folder.mkdir()
    assert imagectl("rollback", "beta", "debian-base", "--check").exit_code == 5
    result = imagectl("rollback", "beta", "--check", "--drill")
    assert (result.exit_code, "one at a time" in result.stderr) == (2, True)
