"""Under which lock a build runs: made, kept, extended, refused; online and offline."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path, PurePosixPath

import pytest
from support.workshop import (
    IMAGE,
    OTHER_ROLE,
    SAME_INPUTS,
    Workshop,
    open_workshop,
    origin,
)

from imagectl.errors import BadInput, BuildFailed, NotFound
from imagectl.model.image import DebianBase, DiskBase, Image
from imagectl.model.lock import Access
from imagectl.model.names import (
    Architecture,
    ImageName,
    Sha256,
)
from imagectl.model.version import Reproducible


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return open_workshop(tmp_path)


# --- the lock ----------------------------------------------------------------------------------


def test_the_first_build_makes_the_lock_and_says_so(shop: Workshop) -> None:
    built = shop.build()
    assert built.lock is not None
    assert built.lock.name == "image.lock"
    lock = shop.locked()
    assert [each.url.rpartition("/")[2] for each in lock.inputs.downloads] == [
        "baseline",
        "bookworm",
    ]
    assert lock.definition == shop.definitions.digests(IMAGE)
    assert {each.format: each.sha256 for each in built.version.artifacts} == lock.expected.formats
    assert any("commit it" in note for note in shop.progress.notes)
    assert shop.equipper.used[0].access is Access.RECORD
    assert origin(built.version).reproducible is Reproducible.UNPROVEN


def test_nothing_new_builds_nothing_and_needs_no_upstream(shop: Workshop) -> None:
    first = shop.build()
    shop.clock.advance(timedelta(days=90))
    shop.equipper.upstream.gone = True
    shop.equipper.kept.clear()
    again = shop.build()
    assert not again.fresh
    assert again.version == first.version
    assert shop.equipper.runs == 1


def test_a_lock_keeps_a_build_as_it_was_whatever_upstream_has_by_now(shop: Workshop) -> None:
    first = shop.build()
    shop.clock.advance(timedelta(days=90))
    shop.equipper.upstream.edition = "two"
    before = shop.locked()
    again = shop.build(force=True)
    assert again.fresh
    assert again.lock is None
    assert again.version.artifacts == first.version.artifacts
    assert again.version.tree == first.version.tree
    assert shop.locked() == before
    assert shop.equipper.used[-1].access is Access.LOCKED
    assert origin(again.version).reproducible is Reproducible.YES
    assert again.version.fingerprint == first.version.fingerprint


@pytest.mark.parametrize("what", ["definition", "playbooks", "tool", "force", "lock"])
def test_whatever_changes_builds_again(shop: Workshop, what: str) -> None:
    shop.build()
    shop.clock.advance(timedelta(hours=1))
    match what:
        case "definition":
            again = shop.build(SAME_INPUTS)
        case "playbooks":
            shop.definitions.playbooks = "two"
            again = shop.build()
        case "tool":
            again = shop.build(tool="0.2.0")
        case "lock":
            shop.lock(update=True)
            again = shop.build()
        case _:
            again = shop.build(force=True)
    assert again.fresh
    assert str(again.version.ref) == "debian@20261120.2"
    assert not shop.build(
        SAME_INPUTS if what == "definition" else IMAGE, tool=again.version.tool
    ).fresh


def test_a_changed_definition_is_built_from_the_inputs_that_are_locked(shop: Workshop) -> None:
    shop.build()
    before = shop.locked()
    shop.equipper.upstream.edition = "two"
    again = shop.build(SAME_INPUTS)
    after = shop.locked()
    assert (after.inputs, after.epoch, after.base) == (before.inputs, before.epoch, before.base)
    assert after.definition == shop.definitions.digests(SAME_INPUTS)
    assert after.expected != before.expected
    assert again.lock is not None
    assert origin(again.version).reproducible is Reproducible.UNPROVEN
    notes = "\n".join(shop.progress.notes)
    assert "definition of debian changed since its lock was made" in notes
    assert "with the inputs of before and another result: commit it" in notes
    assert shop.build(SAME_INPUTS, force=True).version.artifacts == again.version.artifacts


def test_other_tests_of_the_same_bytes_are_proof_too(shop: Workshop) -> None:
    first = shop.build().version
    suites = replace(IMAGE, suites=(PurePosixPath("tests/images/test_y.py"),))
    version = shop.build(suites).version
    assert version.artifacts == first.artifacts
    assert origin(version).reproducible is Reproducible.YES
    assert shop.locked().definition == shop.definitions.digests(suites)
    assert "with the inputs of before and the same result" in shop.progress.notes[-1]


def test_what_is_not_locked_is_not_fetched(shop: Workshop) -> None:
    """A build never changes its inputs: not even where a playbook asks for more of them."""
    shop.build()
    before = shop.locked()
    with pytest.raises(BuildFailed, match="docker is not locked") as caught:
        shop.build(OTHER_ROLE)
    assert caught.value.hint == "imagectl lock debian"
    assert shop.locked() == before
    shop.lock(OTHER_ROLE)
    assert shop.build(OTHER_ROLE).fresh


def test_an_upstream_that_serves_something_else_fails_the_build(shop: Workshop) -> None:
    shop.build()
    shop.equipper.kept.clear()
    shop.equipper.upstream.edition = "two"
    with pytest.raises(BuildFailed, match="is not what was locked"):
        shop.build(force=True)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (replace(IMAGE, base=DebianBase("trixie")), "Debian bookworm, and the image on trixie"),
        (replace(IMAGE, base=DiskBase("x", Sha256("b" * 64))), "another kind of base"),
        (replace(IMAGE, architecture=Architecture.ARM64), "for amd64, and the image for arm64"),
    ],
)
def test_a_lock_of_something_else_is_told_before_anything_is_built(
    shop: Workshop, image: Image, said: str
) -> None:
    shop.build()
    with pytest.raises(BadInput) as caught:
        shop.build(image)
    (problem,) = caught.value.problems
    assert said in problem.what
    assert problem.file == "images/debian/image.lock"
    assert problem.hint == "imagectl lock debian --update"
    assert shop.equipper.runs == 1


def test_a_lock_that_was_copied_from_another_image_is_told(shop: Workshop) -> None:
    shop.build()
    other = replace(IMAGE, name=ImageName("other"))
    folder = shop.definitions.project / "images"
    (folder / "other").mkdir()
    (folder / "other/image.lock").write_bytes((folder / "debian/image.lock").read_bytes())
    with pytest.raises(BadInput) as caught:
        shop.build(other)
    assert "it is the lock of debian" in caught.value.problems[0].what


# --- offline -----------------------------------------------------------------------------------


def test_offline_needs_a_lock(shop: Workshop) -> None:
    with pytest.raises(NotFound, match="debian has no lock") as caught:
        shop.build(offline=True)
    assert caught.value.hint == "imagectl lock debian"


def test_offline_needs_no_upstream(shop: Workshop) -> None:
    first = shop.build()
    shop.equipper.upstream.gone = True
    again = shop.build(offline=True, force=True)
    assert again.version.artifacts == first.version.artifacts
    assert shop.equipper.used[-1].access is Access.OFFLINE
    del shop.equipper.kept[shop.locked().inputs.downloads[0].sha256]
    with pytest.raises(NotFound, match=r"the input store lacks .*baseline"):
        shop.build(offline=True, force=True)
