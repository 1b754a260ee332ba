"""``imagectl adopt`` on a real project: things of ours that the catalog has forgotten."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from peers.google.calls import Warn
from support.adopting import IMAGES, GoogleAdopter, google_adopter, versions
from support.places.gce import archive
from support.projects import record_version, release

from imagectl.adapters.locations.gce_labels import MARK
from imagectl.bootstrap.project import open_project
from imagectl.model.names import Format, LocationName
from imagectl.services.ports.locations import Mark
from imagectl.services.publish import place


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleAdopter]:
    with google_adopter(tmp_path, monkeypatch) as made:
        yield made


def forget(world: GoogleAdopter, do: Callable[[], None]) -> None:
    """What *do* records is lost: the catalog comes back from a backup of before."""
    catalog, backup = world.root / ".imagectl/catalog.sqlite3", world.root / "backup"
    open_project(world.root).catalog.close()
    shutil.copy(catalog, backup)
    do()
    for each in catalog.parent.glob("catalog.sqlite3-*"):
        each.unlink()
    shutil.copy(backup, catalog)


def test_what_an_older_catalog_does_not_know_is_recorded_again(world: GoogleAdopter) -> None:
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


def test_what_is_another_one_than_its_labels_say_is_not_recorded(world: GoogleAdopter) -> None:
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


def test_a_dry_run_says_which_of_ours_cannot_be_used_any_more(world: GoogleAdopter) -> None:
    """What imagectl itself has marked can be: its label says so."""
    world.made("ci-20170301", "ci-20170302")
    begun = open_project(world.root)
    record_version(begun, "debian-base@20261101.1")
    begun.close()

    def build() -> None:
        world.adopt("gce-prod")
        project = open_project(world.root)
        release(project, "debian-ci@20261119.1")
        disk = world.root / "disk.tar.gz"
        disk.write_bytes(archive(1))
        ref = record_version(project, "debian-ci@20261120.1", disks={Format.GCE: disk})
        place(project.releasing, project.store, ref, [LocationName("gce-prod")], only=True)
        project.close()

    forget(world, build)
    ours = "debian-ci-20261120-1-amd64"
    for name in ("ci-20170301", "ci-20170302", ours):
        world.cloud.compute.resources[f"{IMAGES}/{name}"]["deprecated"] = {"state": "OBSOLETE"}
    world.labels("ci-20170301")[MARK] = Mark.OBSOLETE.value
    would = world.adopt("gce-prod", "--dry-run", status=1)
    assert {each["name"] for each in would["failed"]} == {"ci-20170302", ours}
    done = world.adopt("gce-prod", status=1)
    assert versions(done) == versions(would)
    assert done["failed"] == would["failed"]


def test_where_two_locations_have_two_of_one_version_none_is_recorded(world: GoogleAdopter) -> None:
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


def test_bytes_that_the_store_has_lost_come_back_with_it(world: GoogleAdopter) -> None:
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


def test_a_version_that_is_elsewhere_too_waits_until_all_of_it_can_be_seen(
    world: GoogleAdopter,
) -> None:
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


def test_a_placement_that_was_not_recorded_is(world: GoogleAdopter) -> None:
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
