"""``imagectl adopt`` on a real project: images that others have made in Compute Engine, and things
of ours that the catalog has forgotten."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import jsonschema
import pytest
from click.testing import Result
from peers.google.calls import Refuse, Warn
from peers.google.peer import Google, google
from support.cli import Run, command_line
from support.places.gce import BUCKET, PROJECT
from support.projects import new_project, record_version, release

from imagectl.adapters.locations import calls, gce
from imagectl.bootstrap.project import Project, open_project
from imagectl.cli.adopt import AdoptedDocument
from imagectl.cli.documents import schema
from imagectl.model.change import Change, Operation, StepVersion, UnholdVersion
from imagectl.model.names import Format, LocationName
from imagectl.model.retention import Stage
from imagectl.model.snapshot import Snapshot
from imagectl.policy.readiness import unready, untested
from imagectl.services.publish import place

IMAGES = f"projects/{PROJECT}/global/images"
DAY_ONE, DAY_TWO = "2017-03-01T10:00:00.000-08:00", "2017-03-02T00:30:00.000+01:00"


@dataclass
class World:
    """A project with a folder and a project of Compute Engine as its locations."""

    root: Path
    cloud: Google
    imagectl: Run

    def run(self, *arguments: str) -> Result:
        return self.imagectl("-C", str(self.root), *arguments)

    def adopt(self, *arguments: str, status: int = 0) -> Any:
        result = self.run("adopt", *arguments, "--json")
        assert result.exit_code == status, result.output
        said = json.loads(result.stdout)
        jsonschema.validate(said, schema(AdoptedDocument))
        return said

    def snapshot(self) -> Snapshot:
        project = open_project(self.root)
        try:
            assert project.catalog.verify() == ()
            return project.catalog.snapshot()
        finally:
            project.close()

    def made(self, *names: str, at: str = DAY_ONE, **facts: object) -> None:
        for name in names:
            self.cloud.compute.add_image(PROJECT, name, creationTimestamp=at, **facts)

    def labels(self, name: str) -> dict[str, str]:
        found: dict[str, str] = self.cloud.compute.resources[f"{IMAGES}/{name}"].get("labels", {})
        return found


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    root = tmp_path / "project"
    new_project(root).close()
    monkeypatch.setattr(gce, "PER_SECOND", 1e6)
    with google((PROJECT,), (BUCKET,)) as cloud:
        key = cloud.accounts.add(tmp_path)
        (root / "imagectl.yaml").write_text(
            "locations:\n"
            "  local: {type: directory, path: .imagectl/locations/local}\n"
            f"  gce-prod: {{type: gce, project: {PROJECT}, bucket: {BUCKET}, "
            f"endpoint: '{cloud.url}', storage_endpoint: '{cloud.url}', "
            f"credentials: {{file: {key}}}}}\n"
        )
        yield World(root, cloud, command_line(monkeypatch))


def versions(said: Any) -> dict[str, str]:
    return {each["name"]: each["version"] for each in said["adopted"]}


def test_images_of_others_become_versions_that_are_held(world: World) -> None:
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


def test_a_dry_run_changes_nothing_and_says_the_same(world: World) -> None:
    world.made("ci-20170301", "ci-20170302")
    before = world.cloud.count()
    would = world.adopt("gce-prod", "--dry-run")
    asked = Counter(each.id for each in world.cloud.calls[before:])
    assert not [each for each in asked if "Labels" in each or "insert" in each]
    assert world.snapshot().generation == 0
    done = world.adopt("gce-prod")
    assert done["adopted"] == would["adopted"]


def test_what_is_adopted_is_no_ones_to_promote_or_to_get(world: World) -> None:
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


def test_again_there_is_nothing_to_do(world: World) -> None:
    world.made("ci-20170301", "ci-20170302")
    world.adopt("gce-prod")
    before = world.snapshot()
    again = world.adopt("gce-prod")
    assert (again["adopted"], again["known"], again["failed"]) == ([], 2, [])
    assert world.snapshot() == before


def test_patterns_and_the_image_are_the_askers(world: World) -> None:
    world.made("ci-20170301", "ci-20170302", "twelve-monkeys", "other-1")
    said = world.adopt("gce-prod", "ci-2017*", "twelve-*", "--image", "legacy")
    assert sorted(versions(said)) == ["ci-20170301", "ci-20170302", "twelve-monkeys"]
    assert world.labels("other-1") == {}
    missing = world.run("adopt", "gce-prod", "nothing-*")
    assert missing.exit_code == 6
    assert world.run("adopt", "nowhere").exit_code == 6


def test_numbers_that_exist_are_not_given_again(world: World) -> None:
    project = open_project(world.root)
    record_version(project, "ci@20170301.1")
    record_version(project, "ci@20170301.7")
    project.close()
    world.made("ci-20170301")
    assert versions(world.adopt("gce-prod")) == {"ci-20170301": "ci@20170301.8"}


def test_other_catalogs_things_and_unusable_ones_are_listed_and_left(world: World) -> None:
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


def test_a_listing_in_part_adopts_nothing(world: World) -> None:
    """P3."""
    world.made("ci-20170301")
    with world.cloud.during(Warn(), "compute.images.list"):
        result = world.run("adopt", "gce-prod")
    assert result.exit_code == 5
    assert world.snapshot().generation == 0


@pytest.mark.parametrize("call", ["compute.images.setLabels", "compute.images.get"])
def test_what_fails_is_listed_and_taken_the_next_time(world: World, call: str) -> None:
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
def test_stopped_anywhere_it_goes_on_and_makes_nothing_twice(world: World, at: int) -> None:
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


def test_what_is_of_a_deleted_version_is_told(world: World) -> None:
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


def requests_of(world: World, count: int) -> Counter[str]:
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


def test_what_adopting_takes_in_requests(world: World) -> None:
    asked = requests_of(world, 120)
    assert {name: asked[name] for name in expected(120)} == expected(120)


@pytest.mark.long
def test_2500_images_are_adopted_with_as_many_requests_for_each(world: World) -> None:
    asked = requests_of(world, 2500)
    assert {name: asked[name] for name in expected(2500)} == expected(2500)


def test_2500_images_are_looked_at_in_bulk(world: World) -> None:
    world.made(*(f"ci-{1_500_000_000 + number}" for number in range(2500)))
    before = world.cloud.count("compute.images.list", "compute.images.get")
    said = world.adopt("gce-prod", "--dry-run")
    assert len(said["adopted"]) == 2500
    assert world.cloud.count("compute.images.list", "compute.images.get") - before == 6


def forget(world: World, do: Callable[[], None]) -> None:
    """What *do* records is lost: the catalog comes back from a backup of before."""
    catalog, backup = world.root / ".imagectl/catalog.sqlite3", world.root / "backup"
    open_project(world.root).catalog.close()
    shutil.copy(catalog, backup)
    do()
    for each in catalog.parent.glob("catalog.sqlite3-*"):
        each.unlink()
    shutil.copy(backup, catalog)


def test_what_an_older_catalog_does_not_know_is_recorded_again(world: World) -> None:
    """In two formats, in two folders, one of which is asked for."""
    text = (world.root / "imagectl.yaml").read_text()
    more = "  second: {type: directory, path: .imagectl/locations/second}\n"
    (world.root / "imagectl.yaml").write_text(text + more)
    begun = open_project(world.root)
    record_version(begun, "debian-base@20261101.1")
    begun.close()

    def build() -> None:
        project = open_project(world.root)
        ref = record_version(project, "debian-ci@20261120.1", formats=(Format.QCOW2, Format.RAW))
        for name in ("local", "second"):
            place(project.releasing, project.store, ref, [LocationName(name)], only=True)
        project.close()

    forget(world, build)
    assert world.run("show", "debian-ci@20261120.1").exit_code == 6
    said = world.adopt("local")
    assert {each["version"] for each in said["adopted"]} == {"debian-ci@20261120.1"}
    assert all(each["again"] and each["held"] for each in said["adopted"])
    again = world.adopt("second")
    assert len(again["adopted"]) == 2
    assert not any(each["held"] for each in again["adopted"])
    now = world.snapshot()
    (version,) = now.of(next(each for each in now.images if each == "debian-ci"))
    assert {each.format for each in version.artifacts} == {Format.QCOW2, Format.RAW}
    assert sorted(version.required_locations) == ["local", "second"]
    assert len(now.placed(version.ref)) == 4
    assert {each.reference for each in now.placed(version.ref) if each.location == "local"} == {
        str(world.root / ".imagectl/locations/local" / each.provider_id)
        for each in now.placed(version.ref)
        if each.location == "local"
    }
    assert world.run("verify").exit_code == 0
    assert world.adopt("local")["known"] == 2


def test_what_is_another_one_than_its_labels_say_is_not_recorded(world: World) -> None:
    """P2: what is recorded as a version's artifact has been compared with it."""
    world.made("ci-20170301")
    begun = open_project(world.root)
    record_version(begun, "debian-base@20261101.1")
    begun.close()
    forget(world, lambda: void(world.adopt("gce-prod")))
    labels = world.cloud.compute.resources[f"{IMAGES}/ci-20170301"]["labels"]
    labels |= {"imagectl-sha256": "f" * 32, "imagectl-sha256-rest": "f" * 32}
    said = world.adopt("gce-prod", status=1)
    assert said["adopted"] == []
    (failed,) = said["failed"]
    assert failed["what"] == "ci-20170301 is another one than its marks say"
    assert f"they say {'f' * 64}" in failed["why"]
    assert "ci" not in world.snapshot().images


def void(_: object) -> None:
    """For lambdas that are called for what they do."""


def test_where_two_locations_have_two_of_one_version_none_is_recorded(world: World) -> None:
    """P2: nobody can tell which of them was meant."""
    text = (world.root / "imagectl.yaml").read_text()
    more = "  second: {type: directory, path: .imagectl/locations/second}\n"
    (world.root / "imagectl.yaml").write_text(text + more)
    begun = open_project(world.root)
    record_version(begun, "debian-base@20261101.1")
    begun.close()

    def build(name: str) -> None:
        project = open_project(world.root)
        disk = world.root / f"{name}.qcow2"
        disk.write_text(f"the disk in {name}")
        ref = record_version(project, "debian-ci@20261120.1", disks={Format.QCOW2: disk})
        place(project.releasing, project.store, ref, [LocationName(name)], only=True)
        project.close()

    for name in ("local", "second"):
        forget(world, partial(build, name))
    said = world.adopt("local", status=1)
    assert said["adopted"] == []
    (failed,) = said["failed"]
    assert failed["what"] == "there are two of debian-ci@20261120.1 in qcow2"
    assert "second" in failed["where"]
    assert "debian-ci" not in world.snapshot().images


def test_bytes_that_the_store_has_lost_come_back_with_it(world: World) -> None:
    def build() -> None:
        project = open_project(world.root)
        release(project, "debian-ci@20261120.1")
        project.close()

    forget(world, build)
    shutil.rmtree(world.root / ".imagectl/store")
    said = world.adopt("local")
    (one,) = said["adopted"]
    now = world.snapshot()
    (artifact,) = next(iter(now.versions.values())).artifacts
    project = open_project(world.root)
    assert project.store.verify(artifact.sha256).stat().st_size == artifact.size
    project.close()
    assert one["version"] == "debian-ci@20261120.1"


def test_a_version_that_is_elsewhere_too_waits_until_all_of_it_can_be_seen(world: World) -> None:
    """P3: it is recorded once, complete."""

    def build() -> None:
        project = open_project(world.root)
        release(project, "debian-ci@20261120.1")
        project.close()

    forget(world, build)
    with world.cloud.during(Warn(), "compute.images.list"):
        said = world.adopt("local", status=1)
    assert said["adopted"] == []
    assert "not all of gce-prod could be seen" in said["failed"][0]["what"]
    assert not world.snapshot().versions


def test_a_placement_that_was_not_recorded_is(world: World) -> None:
    """Of a version that is: nothing else of it changes, and nobody holds it for that."""
    project = open_project(world.root)
    ref = record_version(project, "debian-ci@20261120.1")
    project.close()

    def publish() -> None:
        project = open_project(world.root)
        place(project.releasing, project.store, ref)
        project.close()

    forget(world, publish)
    (one,) = world.adopt("local")["adopted"]
    assert (one["version"], one["again"], one["held"]) == (str(ref), True, False)
    now = world.snapshot()
    assert len(now.placed(ref)) == 1
    assert not now.holds


def test_a_folders_other_files_are_no_images(world: World) -> None:
    project = open_project(world.root)
    release(project, "debian-ci@20261120.1")
    project.close()
    folder = world.root / ".imagectl/locations/local"
    (folder / "notes.txt").write_text("somebody's")
    said = world.adopt("local")
    assert (said["adopted"], said["known"]) == ([], 1)
    assert "notes.txt" in [each["name"] for each in said["left"]]
    assert (folder / "notes.txt").read_text() == "somebody's"


def test_people_are_told_what_became_of_each(world: World) -> None:
    world.made("ci-20170301", "x" * 50)
    result = world.run("adopt", "gce-prod")
    assert "ci@20170301.1  ci-20170301: adopted, held" in result.stdout
    assert f"left as it is: {'x' * 50}: its name gives no image's name" in result.stdout
    assert "1 thing adopted, 0 known before, 1 left as they are" in result.stdout
    assert "imagectl unhold ci@20170301.1" in result.stderr


def test_the_default_architecture_is_shown_as_it_is_typed(imagectl: Run) -> None:
    assert "[default: amd64]" in " ".join(imagectl("adopt", "--help").stdout.split())
