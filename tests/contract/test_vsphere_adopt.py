"""``imagectl adopt`` on a vCenter: templates that others made in a folder, against VMware's
simulator."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from peers.vsphere import Machine
from support.adopting import Adopter, versions
from support.cli import command_line
from support.places.vsphere import InVcenter, opened
from support.projects import new_project

from imagectl.adapters.locations.vsphere_marks import Marks, read_marks
from imagectl.adapters.locations.vsphere_session import Session
from imagectl.model.names import Format
from imagectl.model.retention import Stage

OLD, NEW = datetime(2015, 3, 1, 10, tzinfo=UTC), datetime(2015, 3, 2, 11, tzinfo=UTC)
NOTES = "made by hand, ask Bob"
VERSIONS = {"ci-20150301": "ci@20150301.1", "base-arm64": "base@20150302.1"}


@dataclass
class World(Adopter):
    """A project whose one location is a folder of a vCenter."""

    place: InVcenter

    def made(self, name: str, at: datetime, *, folder: str = "", template: bool = True) -> None:
        self.place.peer.fill(
            1,
            name,
            folder=folder or self.place.settings.folder,
            annotation=NOTES,
            created=at,
            template=template,
        )

    def machine(self, name: str) -> Machine:
        (found,) = self.place.peer.machines(name)
        return found

    def marks(self, name: str) -> Marks | None:
        return read_marks(self.machine(name).annotation)


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """With two templates in the folder that somebody else made."""
    place = opened(request, tmp_path)
    root = tmp_path / "project"
    new_project(root).close()
    settings = place.settings
    location = {
        "type": "vsphere",
        "host": settings.host,
        "port": settings.port,
        "ca": str(settings.ca),
        "datacenter": settings.datacenter,
        "folder": settings.folder,
        "datastore": settings.datastore,
        "username": {"file": str(tmp_path / "user")},
        "password": {"file": str(tmp_path / "password")},
    }
    (root / "imagectl.yaml").write_text(json.dumps({"locations": {"dc1": location}}))
    world = World(root, command_line(monkeypatch), place)
    world.made("ci-20150301", OLD)
    world.made("base-arm64", NEW)
    return world


def by_name(said: Any) -> list[Any]:
    return sorted(said["adopted"], key=lambda each: str(each["name"]))


def test_templates_of_others_become_versions_that_are_held(world: World) -> None:
    before = {name: world.machine(name) for name in VERSIONS}
    said = world.adopt("dc1", "--reason", "ticket 4711")
    assert versions(said) == VERSIONS
    assert all(each["held"] and not each["again"] for each in said["adopted"])
    now = world.snapshot()
    assert {str(ref) for ref in now.versions} == set(VERSIONS.values())
    for ref, version in now.versions.items():
        (hold,) = now.holds[ref]
        assert (hold.by, hold.reason) == ("tester@unit", "adopted from dc1: ticket 4711")
        assert not version.tests.ok
        assert now.stage(ref) is Stage.ACTIVE
        assert now.intended(ref) == ()
        (placed,) = now.placed(ref)
        assert placed.format is Format.NATIVE
        name = placed.reference.rpartition("/")[2]
        assert placed.provider_id.endswith(f"/{before[name].instance_uuid}")
        marks, machine = world.marks(name), world.machine(name)
        assert marks is not None
        assert (marks.owner.version, marks.instance) == (ref, machine.instance_uuid)
        assert machine.annotation.startswith(NOTES)
        assert (machine.template, machine.disks) == (True, before[name].disks)
    (base,) = (each for each in now.versions.values() if each.ref.image == "base")
    assert base.created == NEW
    assert base.artifacts[0].architecture.value == "arm64"
    assert world.run("verify").exit_code == 0
    again = world.adopt("dc1")
    assert (again["adopted"], again["known"], again["failed"]) == ([], 2, [])
    assert world.snapshot() == now


def test_a_dry_run_changes_nothing_and_says_the_same(world: World) -> None:
    would = world.adopt("dc1", "--dry-run")
    assert world.snapshot().generation == 0
    assert {world.machine(name).annotation for name in VERSIONS} == {NOTES}
    done = world.adopt("dc1")
    assert by_name(done) == by_name(would)


def test_what_is_no_template_or_elsewhere_is_left(world: World) -> None:
    world.made("ci-runs", OLD, template=False)
    world.made("ci-other", OLD, folder="images")
    would = world.adopt("dc1", "--dry-run", status=1)
    said = world.adopt("dc1", status=1)
    assert versions(said) == versions(would) == VERSIONS
    assert said["failed"] == would["failed"]
    (failed,) = said["failed"]
    assert (failed["name"], failed["what"]) == ("ci-runs", "ci-runs is no template")
    assert world.machine("ci-runs").annotation == world.machine("ci-other").annotation == NOTES
    world.place.peer.change("ci-other", destroy=True)


def test_a_clone_of_what_was_adopted_is_another_one(world: World) -> None:
    """P2: it has the notes of its template, our marks among them."""
    world.adopt("dc1")
    text = world.machine("ci-20150301").annotation
    world.place.peer.fill(
        1, "ci-20150303", folder=world.place.settings.folder, annotation=text, created=NEW
    )
    said = world.adopt("dc1")
    assert versions(said) == {"ci-20150303": "ci@20150302.1"}
    marks = world.marks("ci-20150303")
    assert marks is not None
    assert marks.instance == world.machine("ci-20150303").instance_uuid
    assert world.run("verify").exit_code == 0


def test_a_view_with_gaps_adopts_nothing(world: World) -> None:
    """P3."""
    with world.place.set_for_a_while(unreachable=[world.place.datacenter]):
        assert world.run("adopt", "dc1").exit_code == 5
    assert world.snapshot().generation == 0


def test_what_fails_is_listed_and_taken_the_next_time(world: World) -> None:
    """P7: it is in the catalog by then, and held."""
    stuck = {"method": "ReconfigVM_Task", "do": "task_fault", "fault": "GenericVmConfigFault"}
    with world.place.peer.wrong({**stuck, "times": 1}):
        said = world.adopt("dc1", status=1)
    (failed,) = said["failed"]
    assert world.marks(failed["name"]) is None
    before = world.snapshot()
    assert {str(ref) for ref in before.holds} == set(VERSIONS.values())
    assert [str(ref) for ref in before.intents] == [VERSIONS[failed["name"]]]
    again = world.adopt("dc1")
    assert versions(again) == {failed["name"]: VERSIONS[failed["name"]]}
    now = world.snapshot()
    assert set(now.versions) == set(before.versions)
    assert not now.intents


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", [1, 2])
def test_who_dies_as_it_marks_leaves_nothing_that_is_not_held(
    world: World, monkeypatch: pytest.MonkeyPatch, at: int, after: bool
) -> None:
    """P7: whatever is marked is in the catalog, held; typed again, nothing is made twice."""
    ask, marking = Session.ask, list[str]()

    def dying(
        self: Session, what: str, method: Callable[..., Any], *more: Any, **named: Any
    ) -> Any:
        ours = what.startswith("marking ")
        if ours:
            marking.append(what)
        if ours and len(marking) == at and not after:
            raise KeyboardInterrupt
        done = ask(self, what, method, *more, **named)
        if ours and len(marking) == at:
            self.wait(what, done)
            raise KeyboardInterrupt
        return done

    with monkeypatch.context() as patched:
        patched.setattr(Session, "ask", dying)
        assert world.run("adopt", "dc1").exit_code in (1, 130)
    assert len(marking) == at
    before = world.snapshot()
    marked = {name: marks for name in VERSIONS if (marks := world.marks(name)) is not None}
    assert len(marked) == at - 1 + after
    assert {str(each.owner.version) for each in marked.values()} <= {
        str(ref) for ref in before.holds
    }
    assert set(before.holds) == set(before.versions)
    world.adopt("dc1")
    now = world.snapshot()
    assert {str(ref) for ref in now.versions} == set(VERSIONS.values())
    assert set(now.holds) == set(now.versions)
    assert not now.intents
    assert all(len(now.placed(ref)) == 1 for ref in now.versions)
