"""Making and renewing locks: the only way in which the inputs of a build change (P9)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from support.workshop import CHILD, IMAGE, OPAQUE, Workshop, open_workshop, origin

from imagectl.errors import BadInput, BuildFailed, Conflict, NotFound
from imagectl.model.image import DebianBase, Image, Provision
from imagectl.model.lock import Access, LockedDiskBase, LockedPackagesBase, LockedParentBase
from imagectl.model.version import Reproducible
from imagectl.services.lock import LockRequest, accept, propose
from imagectl.testing.build import RecordingProgress

OTHER_ROLE = replace(IMAGE, provision=Provision(roles=("baseline", "docker")))


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return open_workshop(tmp_path)


def urls(shop: Workshop, image: Image = IMAGE) -> list[str]:
    return [each.url.rpartition("/")[2] for each in shop.locked(image).inputs.downloads]


def test_a_lock_is_made_without_testing_or_recording(shop: Workshop) -> None:
    shop.prover.failing = {"test_up"}
    lock = shop.lock()
    assert urls(shop) == ["baseline", "bookworm"]
    assert lock.expected.tree is not None
    assert lock.base == LockedPackagesBase("bookworm")
    assert lock.definition == shop.definitions.digests(IMAGE)
    assert shop.catalog.snapshot().versions == {}
    assert shop.equipper.used[-1].access is Access.RECORD


def test_the_build_after_it_shows_whether_the_image_is_reproducible(shop: Workshop) -> None:
    lock = shop.lock()
    shop.clock.advance(timedelta(days=1))
    shop.equipper.upstream.gone = True
    version = shop.build().version
    assert origin(version).reproducible is Reproducible.YES
    assert origin(version).raw == lock.expected.raw
    assert shop.locked() == lock


def test_a_lock_that_is_as_it_should_be_is_left_alone(shop: Workshop) -> None:
    lock = shop.lock()
    shop.equipper.upstream.edition = "two"
    runs = shop.equipper.runs
    proposal = shop.propose()
    assert proposal.access is None
    assert proposal.lock == lock
    assert shop.equipper.runs == runs


def test_what_a_changed_definition_needs_is_added_to_what_is_locked(shop: Workshop) -> None:
    before = shop.lock()
    shop.clock.advance(timedelta(days=30))
    shop.equipper.upstream.edition = "two"
    after = shop.lock(OTHER_ROLE)
    assert urls(shop) == ["baseline", "bookworm", "docker"]
    kept = [each for each in after.inputs.downloads if not each.url.endswith("docker")]
    assert tuple(kept) == before.inputs.downloads
    assert after.epoch == before.epoch
    assert after.definition == shop.definitions.digests(OTHER_ROLE)
    assert shop.equipper.used[-1].access is Access.EXTEND
    assert shop.build(OTHER_ROLE).fresh


def test_what_a_changed_definition_does_not_need_any_more_is_unlocked(shop: Workshop) -> None:
    shop.lock(OTHER_ROLE)
    shop.lock(IMAGE)
    assert urls(shop) == ["baseline", "bookworm"]


def test_another_base_is_locked_anew_and_the_rest_stays(shop: Workshop) -> None:
    before = shop.lock()
    shop.equipper.upstream.edition = "two"
    after = shop.lock(replace(IMAGE, base=DebianBase("trixie")))
    assert after.base == LockedPackagesBase("trixie")
    assert urls(shop) == ["baseline", "trixie"]
    assert after.inputs.downloads[0] == before.inputs.downloads[0]


def test_update_takes_everything_anew(shop: Workshop) -> None:
    before = shop.lock()
    shop.clock.advance(timedelta(days=30))
    shop.equipper.upstream.edition = "two"
    after = shop.lock(update=True)
    assert after.epoch == before.epoch + 30 * 86_400
    assert {each.sha256 for each in after.inputs.downloads}.isdisjoint(before.inputs.digests)
    used = shop.equipper.used[-1]
    assert (used.access, used.lock, used.fresh) == (Access.RECORD, None, True)


def test_update_replaces_a_lock_that_cannot_be_read(shop: Workshop) -> None:
    """As the message about such a lock says."""
    shop.lock()
    file = shop.definitions.project / "images/debian/image.lock"
    file.write_text("<<<<<<< ours\n")
    with pytest.raises(BadInput, match="problem"):
        shop.propose()
    assert file.read_text() == "<<<<<<< ours\n"
    shop.lock(update=True)
    assert urls(shop) == ["baseline", "bookworm"]
    assert any("cannot be read, and is to be replaced" in note for note in shop.progress.notes)


def test_a_lock_that_became_unreadable_meanwhile_is_left_alone(shop: Workshop) -> None:
    shop.lock()
    proposal = shop.propose(update=True)
    file = shop.definitions.project / "images/debian/image.lock"
    file.write_text("<<<<<<< ours\n")
    with pytest.raises(Conflict):
        accept(shop.bench, proposal)
    assert file.read_text() == "<<<<<<< ours\n"


def test_a_proposal_alone_writes_nothing(shop: Workshop) -> None:
    before = shop.lock()
    shop.equipper.upstream.edition = "two"
    proposal = shop.propose(update=True)
    assert proposal.before == before
    assert proposal.lock != before
    assert shop.locked() == before


def test_the_parent_is_locked_by_its_version(shop: Workshop) -> None:
    with pytest.raises(NotFound, match="debian:beta does not exist yet"):
        shop.lock(CHILD)
    parent = shop.deliver().built.version
    assert parent.tree is not None
    assert shop.lock(CHILD).base == LockedParentBase(parent.ref, parent.tree.sha256)
    newer = shop.deliver(replace(IMAGE, summary="newer")).built.version
    extended = shop.lock(replace(CHILD, summary="changed")).base
    assert extended == LockedParentBase(parent.ref, parent.tree.sha256), "extending keeps it"
    assert newer.tree is not None
    assert shop.lock(CHILD, update=True).base == LockedParentBase(newer.ref, newer.tree.sha256)


def test_a_disk_made_elsewhere_is_locked_by_its_digest(shop: Workshop) -> None:
    lock = shop.lock(OPAQUE)
    assert lock.base == LockedDiskBase("vendor.img", "a" * 64, 7)  # type: ignore[arg-type]
    assert lock.expected.tree is None


def test_a_failing_playbook_writes_nothing(shop: Workshop) -> None:
    shop.equipper.failure = BuildFailed("task 7 failed", stage="provision")
    with pytest.raises(BuildFailed, match="task 7"):
        shop.lock()
    assert shop.definitions.lock(IMAGE.name) is None


def test_a_lock_that_somebody_else_made_meanwhile_is_left_alone(shop: Workshop) -> None:
    shop.lock()
    shop.equipper.upstream.edition = "two"
    proposal = shop.propose(update=True)
    theirs = replace(shop.locked(), epoch=7)
    shop.definitions.write_lock(theirs)
    with pytest.raises(Conflict, match="somebody else changed the lock of debian"):
        accept(shop.bench, proposal)
    assert shop.locked() == theirs


def test_a_definition_that_changed_meanwhile_is_not_locked(shop: Workshop) -> None:
    proposal = shop.propose()
    shop.definitions.playbooks = "edited meanwhile"
    with pytest.raises(BuildFailed, match="changed while it was being built"):
        accept(shop.bench, proposal)
    assert shop.definitions.lock(IMAGE.name) is None


@pytest.mark.parametrize("stage", ["tools", "base", "provision", "disk"])
def test_killed_at_any_stage_the_lock_is_as_it_was(shop: Workshop, stage: str) -> None:
    before = shop.lock()

    class Killing(RecordingProgress):
        def stage(self, name: str, expected_seconds: float | None = None) -> None:
            if name == stage:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        propose(shop.bench, IMAGE, LockRequest(update=True), Killing())
    assert shop.locked() == before
