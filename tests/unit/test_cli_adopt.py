"""``imagectl adopt`` on a real project: images that others have made in Compute Engine."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from peers.google.calls import Refuse, Warn
from support.adopting import DAY_ONE, DAY_TWO, IMAGES, GoogleAdopter, google_adopter, versions
from support.cli import Run
from support.projects import record_version, release

from imagectl.adapters.locations import calls
from imagectl.bootstrap.project import Project, open_project
from imagectl.model.change import Change, Operation, StepVersion, UnholdVersion
from imagectl.model.names import Format, LocationName
from imagectl.model.retention import Stage
from imagectl.policy.readiness import unready, untested


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleAdopter]:
    with google_adopter(tmp_path, monkeypatch) as made:
        yield made


def test_images_of_others_become_versions_that_are_held(world: GoogleAdopter) -> None:
    world.made("ci-20170301-a", "ci-20170301", "ci-1488450000", at=DAY_ONE)
    world.made("base-20170302", at=DAY_TWO, architecture="ARM64")
    said = world.adopt("gce-prod", "--reason", "ticket 4711")
    assert versions(said) == {
        "base-20170302": "base@20170301.1",
        "ci-1488450000": "ci@20170301.1",
        "ci-20170301": "ci@20170301.2",
        "ci-20170301-a": "ci-20170301-a@20170301.1",
    }
    assert all(each["held"] and not each["again"] for each in said["adopted"])
    now = world.snapshot()
    assert len(now.versions) == 4
    for ref, version in now.versions.items():
        (hold,) = now.holds[ref]
        assert (hold.by, hold.reason) == (
            "tester@unit",
            "adopted from gce-prod: ticket 4711",
        )
        assert not version.tests.ok
        (placed,) = now.placed(ref)
        assert placed.format is Format.NATIVE
        assert placed.provider_id in {each["provider_id"] for each in said["adopted"]}
        assert now.intended(ref) == ()
        assert world.labels(placed.reference.rpartition("/")[2])["imagectl-version"] == str(
            ref.version
        ).replace(".", "-")
    (base,) = now.of(next(each for each in now.images if each == "base"))
    assert base.created.isoformat() == "2017-03-01T23:30:00+00:00"
    assert base.artifacts[0].architecture.value == "arm64"


def test_a_dry_run_changes_nothing_and_says_the_same(world: GoogleAdopter) -> None:
    world.made("ci-20170301", "ci-20170302")
    before = world.cloud.count()
    would = world.adopt("gce-prod", "--dry-run")
    asked = Counter(each.id for each in world.cloud.calls[before:])
    assert not [each for each in asked if "Labels" in each or "insert" in each]
    assert world.snapshot().generation == 0
    done = world.adopt("gce-prod")
    assert done["adopted"] == would["adopted"]


def test_a_cleanup_s_plan_names_adopt_for_what_it_could_take(world: GoogleAdopter) -> None:
    """Of a folder, adopt could take nobody's files."""
    world.made("ci-20170301")
    with closing(open_project(world.root)) as project:
        release(project, "debian-base@20261120.1")
    (world.root / ".imagectl/locations/local/notes.txt").write_text("somebody's")
    page = world.run("cleanup", "plan")
    assert page.exit_code == 0, page.output
    assert "local  notes.txt: it has no marks of imagectl's" in page.stdout
    offered = "`imagectl adopt gce-prod --dry-run` says which could be made known"
    assert offered in page.stdout
    assert "imagectl adopt local" not in page.stdout
    assert world.adopt("local", "--dry-run")["adopted"] == []
    world.adopt("gce-prod")
    assert "imagectl adopt" not in world.run("cleanup", "plan").stdout


def test_what_is_adopted_is_no_ones_to_promote_or_to_get(world: GoogleAdopter) -> None:
    """P6: whatever the channel asks for, no test has proven it."""
    (world.root / "catalog/channels.yaml").write_text(
        "channels:\n  beta: {entry: true}\n  stable: {from: beta, gates: [rollback_ready]}\n"
    )
    world.made("ci-20170301")
    world.adopt("gce-prod")
    refused = world.run("promote", "stable", "ci@20170301.1")
    assert refused.exit_code == 3, refused.output
    now = world.snapshot()
    (version,) = now.versions.values()
    takes = {LocationName("gce-prod"): [Format.NATIVE]}
    assert unready(version, now, version.required_locations, takes) == untested(version) != ()
    assert world.run("resolve", "ci@20170301.1").exit_code == 6
    shown = world.run("show", "ci@20170301.1")
    assert shown.exit_code == 0
    assert "adopted from gce-prod" in shown.output
    assert ", not by imagectl" in shown.output
    assert "none: no channel can point to it" in shown.output
    for claim in ("0 passed", "built ", "as Packer left it"):
        assert claim not in shown.output
    said = json.loads(world.run("show", "ci@20170301.1", "--json").stdout)
    assert said["adopted"] is True


def test_again_there_is_nothing_to_do(world: GoogleAdopter) -> None:
    world.made("ci-20170301", "ci-20170302")
    world.adopt("gce-prod")
    before = world.snapshot()
    again = world.adopt("gce-prod")
    assert (again["adopted"], again["known"], again["failed"]) == ([], 2, [])
    assert world.snapshot() == before


def test_patterns_and_the_image_are_the_askers(world: GoogleAdopter) -> None:
    world.made("ci-20170301", "ci-20170302", "twelve-monkeys", "other-1")
    said = world.adopt("gce-prod", "ci-2017*", "twelve-*", "--image", "legacy")
    assert sorted(versions(said)) == ["ci-20170301", "ci-20170302", "twelve-monkeys"]
    assert world.labels("other-1") == {}
    missing = world.run("adopt", "gce-prod", "nothing-*")
    assert missing.exit_code == 6
    assert world.run("adopt", "nowhere").exit_code == 6


def test_numbers_that_exist_are_not_given_again(world: GoogleAdopter) -> None:
    project = open_project(world.root)
    record_version(project, "ci@20170301.1")
    record_version(project, "ci@20170301.7")
    project.close()
    world.made("ci-20170301")
    assert versions(world.adopt("gce-prod")) == {"ci-20170301": "ci@20170301.8"}


def test_other_catalogs_things_and_unusable_ones_are_listed_and_left(world: GoogleAdopter) -> None:
    world.made("ci-1")
    theirs = {
        "imagectl-catalog": "00000000-0000-4000-8000-00000000000f",
        "imagectl-image": "ci",
        "imagectl-version": "20170301-1",
        "imagectl-format": "gce",
        "imagectl-architecture": "amd64",
        "imagectl-sha256": "0" * 32,
        "imagectl-sha256-rest": "0" * 32,
    }
    world.made("theirs", labels=theirs)
    world.made("old", deprecated={"state": "OBSOLETE"})
    said = world.adopt("gce-prod", status=1)
    assert list(versions(said)) == ["ci-1"]
    assert [each["name"] for each in said["left"]] == ["theirs"]
    (failed,) = said["failed"]
    assert failed["name"] == "old"
    assert "--state ACTIVE" in failed["hint"]
    assert world.labels("theirs") == theirs
    assert [str(each) for each in world.snapshot().versions] == ["ci-1@20170301.1"]


def test_a_dry_run_promises_nothing_that_is_refused_then(world: GoogleAdopter) -> None:
    """What cannot be used gets no number either: of one day, the others are counted without it."""
    world.made("ci-20170301")
    world.made("ci-20170302", deprecated={"state": "OBSOLETE"})
    world.made("ci-20170303", deprecated={"state": "DELETED"})
    world.made("ci-20170304", deprecated={"state": "DEPRECATED"})
    world.made("ci-20170305", status="FAILED")
    world.made("ci-20170306", status="FAILED", deprecated={"state": "DEPRECATED"})
    would = world.adopt("gce-prod", "--dry-run", status=1)
    assert versions(would) == {"ci-20170301": "ci@20170301.1", "ci-20170304": "ci@20170301.2"}
    told = world.run("adopt", "gce-prod", "--dry-run").stdout
    assert "CANNOT BE ADOPTED: ci-20170302: image ci-20170302 cannot be used" in told
    assert world.snapshot().generation == 0
    done = world.adopt("gce-prod", status=1)
    assert done["adopted"] == would["adopted"]
    assert len(done["failed"]) == 4
    assert by_name(done["failed"]) == by_name(would["failed"])


def by_name(things: list[dict[str, str]]) -> list[dict[str, str]]:
    return sorted(things, key=lambda each: each["name"])


def test_a_listing_in_part_adopts_nothing(world: GoogleAdopter) -> None:
    """P3."""
    world.made("ci-20170301")
    with world.cloud.during(Warn(), "compute.images.list"):
        result = world.run("adopt", "gce-prod")
    assert result.exit_code == 5
    assert world.snapshot().generation == 0


@pytest.mark.parametrize("call", ["compute.images.setLabels", "compute.images.get"])
def test_what_fails_is_listed_and_taken_the_next_time(world: GoogleAdopter, call: str) -> None:
    world.made(*(f"ci-2017030{number}" for number in range(1, 5)))
    denied = Refuse(403, "forbidden", "Required permission")
    with world.cloud.during(denied, call, skip=1, times=1) as rule:
        said = world.adopt("gce-prod", status=1)
    assert rule.hits == 1
    assert len(said["adopted"]) == 3
    (failed,) = said["failed"]
    again = world.adopt("gce-prod")
    assert list(versions(again)) == [failed["name"]]
    now = world.snapshot()
    assert len(now.versions) == sum(len(each) for each in now.placements.values()) == 4
    assert not now.intents


@pytest.mark.parametrize("at", range(1, 12))
def test_stopped_anywhere_it_goes_on_and_makes_nothing_twice(world: GoogleAdopter, at: int) -> None:
    """P7: the process dies at a request to the cloud, before it or after; what is marked by then is
    in the catalog, held, or is found by its marks."""
    names = [f"ci-2017030{number}" for number in range(1, 4)]
    world.made(*names)
    run, died = calls.Calls.run, list[str]()

    def dying(self: calls.Calls, what: str, attempt: Callable[[], Any], *more: Any) -> Any:
        done = None
        if len(died) % 2 or len(died) // 2 + 1 != at:
            done = run(self, what, attempt, *more)
        died.append(what)
        if len(died) == at:
            raise KeyboardInterrupt
        return done

    with mock.patch.object(calls.Calls, "run", dying):
        assert world.run("adopt", "gce-prod").exit_code in (1, 130)
    marked = [name for name in names if "imagectl-catalog" in world.labels(name)]
    before = world.snapshot()
    for name in marked:
        assert world.labels(name)["imagectl-version"].replace("-", ".") in {
            str(ref.version) for ref in before.versions
        }
    assert set(before.holds) == set(before.versions)
    world.adopt("gce-prod")
    now = world.snapshot()
    assert len(now.versions) == 3
    assert not now.intents
    assert all(len(now.placed(ref)) == 1 for ref in now.versions)


def test_what_is_of_a_deleted_version_is_told(world: GoogleAdopter) -> None:
    """Its labels are gone, or it was deleted just now: only its description says what it is."""
    world.made("ci-20170301", "ci-20170302")
    world.adopt("gce-prod", "ci-20170301")
    project = open_project(world.root)
    (version,) = project.catalog.snapshot().versions
    steps = Stage.DEPRECATED, Stage.OBSOLETE, Stage.QUARANTINED, Stage.DELETED
    commit(project, UnholdVersion(version, "tester@unit"))
    for stage in steps:
        commit(project, StepVersion(version, stage))
    project.close()
    world.cloud.compute.resources[f"{IMAGES}/ci-20170301"]["labels"] = {}
    said = world.adopt("gce-prod", status=1)
    assert list(versions(said)) == ["ci-20170302"]
    (failed,) = said["failed"]
    assert (failed["kind"], failed["name"]) == ("refused", "ci-20170301")
    assert failed["why"] == f"{version} has been deleted"
    assert failed["hint"] == f"`imagectl cleanup undelete {version}` brings it back"
    assert world.labels("ci-20170301") == {}


def commit(project: Project, *operations: Operation) -> None:
    releasing = project.releasing
    generation, now = project.catalog.snapshot(()).generation, releasing.clock.now()
    key = releasing.new_key()
    project.catalog.commit(Change(key, generation, "tester@unit", "test", "", now, operations))


def requests_of(world: GoogleAdopter, count: int) -> Counter[str]:
    """What adopting that many takes."""
    world.made(*(f"ci-{1_500_000_000 + number}" for number in range(count)))
    before = world.cloud.count()
    said = world.adopt("gce-prod")
    assert len(said["adopted"]) == count
    asked = Counter(each.id.removeprefix("compute.") for each in world.cloud.calls[before:])
    now = world.snapshot()
    assert len(now.versions) == len(now.holds) == len(now.placements) == count
    ids = [str(each.id) for each in now.of(now.images[0])]
    assert ids == [f"20170301.{number + 1}" for number in range(count)]
    return asked


def expected(count: int) -> dict[str, int]:
    """One page for each 500. Each is read as it is described, before and after it is marked."""
    return {
        "images.list": -(-count // 500) + 1,  # and one to see whether the project is there
        "images.get": 3 * count,
        "images.setLabels": count,
        "globalOperations.wait": count,
    }


def test_what_adopting_takes_in_requests(world: GoogleAdopter) -> None:
    asked = requests_of(world, 120)
    assert {name: asked[name] for name in expected(120)} == expected(120)


@pytest.mark.long
def test_2500_images_are_adopted_with_as_many_requests_for_each(world: GoogleAdopter) -> None:
    asked = requests_of(world, 2500)
    assert {name: asked[name] for name in expected(2500)} == expected(2500)


def test_2500_images_are_looked_at_in_bulk(world: GoogleAdopter) -> None:
    world.made(*(f"ci-{1_500_000_000 + number}" for number in range(2500)))
    before = world.cloud.count("compute.images.list", "compute.images.get")
    said = world.adopt("gce-prod", "--dry-run")
    assert len(said["adopted"]) == 2500
    assert world.cloud.count("compute.images.list", "compute.images.get") - before == 6


def test_a_folders_other_files_are_no_images(world: GoogleAdopter) -> None:
    project = open_project(world.root)
    release(project, "debian-ci@20261120.1")
    project.close()
    folder = world.root / ".imagectl/locations/local"
    (folder / "notes.txt").write_text("somebody's")
    said = world.adopt("local")
    assert (said["adopted"], said["known"]) == ([], 1)
    assert "notes.txt" in [each["name"] for each in said["left"]]
    assert (folder / "notes.txt").read_text() == "somebody's"


def test_people_are_told_what_became_of_each(world: GoogleAdopter) -> None:
    world.made("ci-20170301", "x" * 50)
    result = world.run("adopt", "gce-prod")
    assert "ci@20170301.1  ci-20170301: adopted, held" in result.stdout
    assert f"left as it is: {'x' * 50}: its name gives no image's name" in result.stdout
    assert "1 thing adopted, 0 known before, 1 left as they are" in result.stdout
    assert "imagectl unhold ci@20170301.1" in result.stderr


def test_the_default_architecture_is_shown_as_it_is_typed(imagectl: Run) -> None:
    assert "[default: amd64]" in " ".join(imagectl("adopt", "--help").stdout.split())
