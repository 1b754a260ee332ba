"""What is being imported into vSphere has a lease, as what is made to be thrown away has, until it
is an image."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from support.examples import ref
from support.machines.vsphere import claim_of, with_ledger
from support.places.place import CATALOG_ID, ignore
from support.places.vsphere import DISK, InVcenter, opened

from imagectl.adapters.clock import SystemClock
from imagectl.adapters.locations import vsphere_claims, vsphere_import
from imagectl.adapters.locations.vsphere_claims import show_claim
from imagectl.adapters.locations.vsphere_marks import PARTIAL
from imagectl.errors import CannotTell, Conflict, Failed
from imagectl.model.resource import Claim, ResourceKind
from imagectl.policy.leases import sort_resources
from imagectl.testing.resources import MemoryResources

NOW = SystemClock().now().replace(microsecond=0)
VERSION = ref("debian-ci@20261120.1")
NAME = "debian-ci-20261120.1-amd64"


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> InVcenter:
    return opened(request, tmp_path)


HALF_SENT = {"method": "NFC", "do": "cut", "bytes": DISK // 2}
STAYS = {"method": "HttpNfcLeaseAbort", "do": "drop"}
"""What an upload that breaks off leaves where the vCenter does not clean up."""


@pytest.mark.parametrize("lost", [False, True])
def test_a_half_import_is_the_janitor_s_when_its_lease_is_over(
    place: InVcenter, tmp_path: Path, lost: bool
) -> None:
    """Also where the ledger was lost."""
    ledger = MemoryResources()
    location = with_ledger(place, ledger)
    with place.peer.wrong(HALF_SENT, STAYS), pytest.raises(CannotTell):
        location.put(VERSION, *place.artifact(tmp_path), NOW, ignore)
    (entry,) = ledger.all()
    assert (entry.kind, entry.name) == (ResourceKind.UPLOAD, NAME + PARTIAL)
    if lost:
        ledger.end(entry.id)
    shown = location.resources(lambda: NOW)
    (found,) = shown.found
    assert (found.name, found.kind) == (entry.name, entry.kind)
    assert found.claim is not None
    assert (found.claim.catalog, found.claim.resource) == (CATALOG_ID, entry.id)
    now = sort_resources(shown, ledger.all(), CATALOG_ID, SystemClock().now())
    assert [each.name for each in now.needed] == [found.name]
    with pytest.raises(Conflict):
        location.collect(found, SystemClock().now())
    over = found.claim.until + timedelta(minutes=6)
    (due,) = sort_resources(shown, ledger.all(), CATALOG_ID, over).due
    assert location.collect(due.found, over) is None
    assert place.peer.machines(found.name) == []


def test_an_import_s_lease_is_renewed_while_it_is_sent_and_ends_with_it(
    place: InVcenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vsphere_import, "KEEP_ALIVE", 0.0)
    monkeypatch.setattr(vsphere_import, "CHUNK", DISK // 8)
    ledger = MemoryResources()
    until: list[datetime] = []

    def moved(_: int) -> None:
        (entry,) = ledger.all() or (None,)
        (machine,) = place.peer.machines(NAME + PARTIAL) or (None,)
        if entry is not None and machine is not None:
            claim = claim_of(machine)
            assert claim is not None
            assert claim.resource == entry.id
            until.append(claim.until)
            time.sleep(0.2)

    placed = with_ledger(place, ledger, every=timedelta(seconds=0.1)).put(
        VERSION, *place.artifact(tmp_path), NOW, moved
    )
    assert until[-1] > until[0]
    assert ledger.all() == ()
    (machine,) = place.peer.machines(NAME)
    assert "imagectl-claim" not in machine.annotation
    assert "imagectl-claim" not in machine.custom
    assert place.location.verify(placed, NOW) == placed


def test_an_import_goes_on_where_its_claim_may_not_be_renewed(
    place: InVcenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A vCenter may refuse all changes of a machine that it imports. It is asked once."""
    monkeypatch.setattr(vsphere_import, "KEEP_ALIVE", 0.0)
    monkeypatch.setattr(vsphere_import, "CHUNK", DISK // 8)
    location = with_ledger(place, MemoryResources(), every=timedelta(seconds=0.05))
    before = place.peer.counts().get("ReconfigVM_Task", 0)
    refused = {"method": "ReconfigVM_Task", "do": "fault", "fault": "InvalidState", "times": 1}
    with place.peer.wrong(refused):
        artifact = place.artifact(tmp_path)
        placed = location.put(VERSION, *artifact, NOW, lambda _: time.sleep(0.1))
    assert place.peer.counts()["ReconfigVM_Task"] - before == 2, "refused once, and whole"
    assert location.verify(placed, NOW) == placed


def test_an_import_does_not_wait_for_a_renewal_that_is_not_done(
    place: InVcenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A vCenter may do it only when the import has ended, whose own lease ends without bytes."""
    monkeypatch.setattr(vsphere_import, "KEEP_ALIVE", 0.0)
    monkeypatch.setattr(vsphere_import, "CHUNK", DISK // 8)
    monkeypatch.setattr(vsphere_claims, "RENEWAL_SECONDS", 0.1)
    location = with_ledger(place, MemoryResources(), every=timedelta(seconds=0.05))
    before = place.peer.counts().get("CancelTask", 0)
    slow = {"method": "ReconfigVM_Task", "do": "task_slow", "seconds": 600.0, "times": 1}
    with place.peer.wrong(slow):
        artifact = place.artifact(tmp_path)
        placed = location.put(VERSION, *artifact, NOW, lambda _: time.sleep(0.1))
    assert place.peer.counts()["CancelTask"] - before == 1, "done later, it would be in the way"
    assert location.verify(placed, NOW) == placed


def test_an_import_is_not_begun_that_cannot_be_written_down(
    place: InVcenter, tmp_path: Path
) -> None:
    ledger = MemoryResources()
    ledger.broken = True
    before = place.peer.counts().get("ImportVApp", 0)
    with pytest.raises(CannotTell):
        with_ledger(place, ledger).put(VERSION, *place.artifact(tmp_path), NOW, ignore)
    assert place.peer.counts().get("ImportVApp", 0) == before


def test_an_image_is_not_collected_whatever_it_says_and_is_called(
    place: InVcenter, tmp_path: Path
) -> None:
    """All that is missing is its name: then it still is a machine, and called as half imports are
    (P1)."""
    artifact = place.artifact(tmp_path)
    refused = {"method": "MarkAsTemplate", "do": "fault", "fault": "InvalidState"}
    with place.peer.wrong(refused), pytest.raises(Failed):
        place.location.put(VERSION, *artifact, NOW, ignore)
    path = f"{place.datacenter}/vm/{place.settings.folder}/{NAME}{PARTIAL}"
    over = Claim(CATALOG_ID, "1" * 32, NOW - timedelta(hours=1))
    show_claim(place.admin, place.at(path), over)
    (found,) = place.location.resources(lambda: NOW).found
    assert found.claim is None
    with pytest.raises(Conflict):
        place.location.collect(found, NOW)
    placed = place.location.put(VERSION, *artifact, NOW, ignore)
    assert place.location.verify(placed, NOW) == placed
