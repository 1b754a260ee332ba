"""Change by change, a tree comes to show the same as when it is written at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.examples import BASE, CI, NOW, STABLE
from support.releases import LOCAL, Book
from support.signed_trees import DirectoryPublisher, directory_tree, signing
from support.signed_world import FIRST, ONE, SECOND, World, sign_targets
from support.strategies import histories
from tuf.api.metadata import DelegatedRole, Metadata, Targets

from imagectl.adapters.published.directory import DirectoryTree
from imagectl.errors import Conflict, Refused
from imagectl.formats.published_v1.writing import rendering
from imagectl.formats.tuf_roles import (
    IMAGES_ROLE,
    delegated_paths,
    delegation_order,
    image_role,
)
from imagectl.model.change import Change
from imagectl.model.names import VersionId
from imagectl.model.published import Warned
from imagectl.model.retention import Stage
from imagectl.testing.catalog import MemoryCatalog
from imagectl.testing.published import MemoryPublisher

THREE = "debian-ci@20261120.3"
THIRD = VersionId("20261120", 3)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=histories(most=14))
def test_what_changed_on_top_of_what_was_is_all_of_it(history: list[Change]) -> None:
    """Byte for byte."""
    catalog, grown, whole = MemoryCatalog("id"), MemoryPublisher(), MemoryPublisher()
    grown.publish(catalog.snapshot())
    for each in history:
        catalog.commit(each)
        shown = grown.shown()
        assert shown is not None
        changed = catalog.changed(shown.generation, len(history))
        assert changed is not None
        try:
            whole.publish(catalog.snapshot())
        except Refused:
            with pytest.raises(Refused):
                grown.publish(changed)
        else:
            grown.publish(changed)
            assert grown.targets == whole.targets
            assert grown.shown() == whole.shown()


DEEDS = ["build", "incomplete", "move", "elsewhere", "revoke", "down", "up"]


@given(st.lists(st.sampled_from(DEEDS)))
@settings(max_examples=60, deadline=None)
def test_whatever_is_done_to_versions_is_shown(deeds: list[str]) -> None:
    """The same, with more that consumers see: a general history has little that is ready."""
    book, grown, whole = Book(), MemoryPublisher(), MemoryPublisher()
    book.built(ONE)
    grown.publish(book.snapshot)
    for serial, deed in enumerate(deeds, start=2):
        since = book.snapshot.generation
        do(book, deed, serial)
        whole.publish(book.snapshot)
        grown.publish(book.excerpt(since))
        assert grown.targets == whole.targets


def do(book: Book, deed: str, serial: int) -> None:
    """Do that to what is there, where it can be done."""
    known = [each.ref for each in book.snapshot.of(CI)]
    heads = {each.head.version for each in book.snapshot.channels.values()}
    free = [each for each in known if each.version not in heads]
    gone = {*book.snapshot.stages, *book.snapshot.revoked}
    good = [each for each in known if each not in gone]
    match deed:
        case "build":
            book.built(f"debian-ci@20261120.{serial}")
        case "incomplete":
            book.built(f"debian-ci@20261120.{serial}", placed=(), enters=False)
        case "move" if ready := [each for each in good if book.snapshot.placed(each)]:
            book.moved(STABLE, str(ready[serial % len(ready)]))
        case "revoke" if known[0] not in book.snapshot.revoked:
            book.revoked(str(known[0]), reason="a hole")
        case "down" if free and book.snapshot.stage(free[0]) is not Stage.DELETED:
            book.taken_down(str(free[0]))
        case "elsewhere" if good:
            book.placed_elsewhere(str(good[serial % len(good)]))
        case "up" if free and book.snapshot.stage(free[0]) is Stage.QUARANTINED:
            book.brought_back(str(free[0]))
        case _:
            pass


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def targets(world: World) -> Mapping[str, object]:
    """Every document that the tree names, by its digest."""
    tree = world.publisher._tree()
    assert tree is not None
    found: dict[str, object] = {}
    for role in tree.roles():
        for target in tree.names(role):
            assert tree.find(target) is not None
            found[target] = tree.target(target)
    return found


def same_at_once(world: World, folder: Path) -> None:
    """The tree has what it would have if it were written at once."""
    other = World(folder)
    other.book = world.book
    other.publish()
    assert targets(world) == targets(other)


def test_a_promotion_makes_nothing_but_its_documents_anew(world: World, tmp_path: Path) -> None:
    for serial in range(2, 30):
        world.book.built(f"debian-ci@20261120.{serial}")
    world.publish()
    before = {path: path.stat().st_mtime_ns for path in world.root.rglob("*.json")}
    world.book.moved(STABLE, "debian-ci@20261120.29")
    world.publish_changes()
    after = set(world.root.rglob("*.json"))
    new = sorted(str(path.relative_to(world.root)) for path in after - before.keys())
    assert not [path for path in new if "versions/" in path or "index" in path]
    assert len(new) == 5
    same_at_once(world, tmp_path / "other")


def test_while_people_have_not_signed_changes_are_said_alone(world: World, tmp_path: Path) -> None:
    """Whatever else happens, and however often, nothing is lost of what waits."""
    alice, bob = world.hand_over("channel-stable", 2)
    world.promote()
    world.publish_changes()
    assert world.stable() == FIRST
    world.book.built("debian-base@20261120.1")
    world.publish_changes()
    world.book.moved(STABLE, "debian-base@20261120.1")
    world.publish_changes()
    world.book.built(THREE)
    world.book.revoked(ONE, reason="a hole")
    world.publish_changes()
    assert world.stable() == FIRST
    assert directory_tree(world.root, NOW).warnings(CI)[FIRST].warned is Warned.REVOKED
    world.sign_pending("channel-stable", alice, bob)
    world.book.built("debian-ci@20261120.4")
    world.publish_changes()
    assert world.stable() == SECOND
    head = directory_tree(world.root, NOW).head(BASE, STABLE)
    assert head is not None
    same_at_once(world, tmp_path / "other")


def test_what_has_been_signed_for_another_state_does_not_count(world: World) -> None:
    alice, bob = world.hand_over("channel-stable", 2)
    world.promote()
    world.publish_changes()
    world.sign_pending("channel-stable", alice, bob)
    world.book.built(THREE)
    world.book.moved(STABLE, THREE)
    world.publish_changes()
    assert world.stable() == FIRST
    world.sign_pending("channel-stable", alice, bob)
    world.publish_changes()
    assert world.stable() == THIRD


def test_where_what_waits_was_lost_or_altered_all_is_said_anew(world: World) -> None:
    alice, bob = world.hand_over("channel-stable", 2)
    world.promote()
    world.publish_changes()
    waiting = world.pending("channel-stable").read_bytes()
    altered = waiting.replace(b'"length":', b'"length":1')
    assert altered != waiting
    for harm in (b"{}", altered, waiting.replace(b"20261120.2", b"20261120.9"), None):
        if harm is None:
            world.pending("channel-stable").unlink()
        else:
            world.pending("channel-stable").write_bytes(harm)
        world.book.placed_elsewhere(ONE)
        with pytest.raises(Conflict, match="lacks what others have to sign of channel-stable"):
            world.publish_changes()
        world.publish()
        assert b"20261120.2" in world.pending("channel-stable").read_bytes()
    world.sign_pending("channel-stable", alice, bob)
    world.publish_changes()
    assert world.stable() == SECOND


def test_what_was_deleted_is_told_change_by_change_while_the_index_waits(
    world: World, tmp_path: Path
) -> None:
    carol, _ = world.hand_over(IMAGES_ROLE, 1)
    world.promote()
    world.publish_changes()
    for _ in range(4):
        world.book.taken_down(ONE)
        world.publish_changes()
    world.book.built(THREE)
    world.publish_changes()
    tree = directory_tree(world.root, NOW)
    index = tree.index(CI)
    assert index is not None
    assert set(index.versions) == {FIRST}
    assert tree.warnings(CI)[FIRST].warned is Warned.DELETED
    world.book.revoked(THREE, reason="a hole")
    world.publish_changes()
    warnings = directory_tree(world.root, NOW).warnings(CI)
    assert {each: said.warned for each, said in warnings.items()} == {
        FIRST: Warned.DELETED,
        THIRD: Warned.REVOKED,
    }
    world.sign_pending(IMAGES_ROLE, carol)
    world.book.built("debian-ci@20261120.4")
    world.publish_changes()
    world.sign_pending(IMAGES_ROLE, carol)
    world.publish_changes()
    tree = directory_tree(world.root, NOW)
    index = tree.index(CI)
    assert index is not None
    assert set(index.versions) == {SECOND, THIRD, VersionId("20261120", 4)}
    assert set(index.deleted) == {FIRST}
    world.publish()
    same_at_once(world, tmp_path / "other")


def test_what_former_signers_have_signed_is_not_signed_again_unseen(world: World) -> None:
    world.delegate(IMAGES_ROLE, 1)
    world.promote()
    with pytest.raises(Conflict, match="images is signed by others from now on"):
        world.publish_changes()
    world.publish()


def test_an_image_that_gets_keys_of_its_own_is_found_with_the_next_change(world: World) -> None:
    path = world.signing / "trust" / "targets.json"
    metadata = Metadata[Targets].from_bytes(path.read_bytes())
    delegations = metadata.signed.delegations
    assert delegations is not None
    assert delegations.roles is not None
    roles, own = delegations.roles, image_role(CI)
    roles[own] = DelegatedRole(
        own, roles[IMAGES_ROLE].keyids, 1, terminating=True, paths=list(delegated_paths(own))
    )
    delegations.roles = {name: roles[name] for name in delegation_order(roles)}
    sign_targets(world.root, world.signing, metadata)
    world.book.built("debian-base@20261120.1")
    with pytest.raises(Conflict, match=f"{own} is signed by others from now on"):
        world.publish_changes()
    world.publish()
    assert directory_tree(world.root, NOW).index(CI) is not None


def test_a_tree_that_missed_what_was_signed_gets_it_with_the_next_change(
    world: World, tmp_path: Path
) -> None:
    late = DirectoryPublisher(tmp_path / "late", signing(world.signing), world.clock)
    alice, bob = world.delegate("channel-stable", 2)
    for publisher in (world.publisher, late):
        publisher.publish(world.book.snapshot)
    world.sign_pending("channel-stable", alice, bob)
    for publisher in (world.publisher, late):
        publisher.publish(world.book.snapshot)
    world.promote()
    for publisher in (world.publisher, late):
        publisher.publish(world.book.snapshot)
    world.sign_pending("channel-stable", alice, bob)
    since = world.book.snapshot.generation
    world.publish()
    assert world.stable() == SECOND
    world.book.built(THREE)
    for publisher in (world.publisher, late):
        publisher.publish(world.book.excerpt(since))
    tree = DirectoryTree(tmp_path / "late", world.signing / "trust" / "root.json")
    head = tree.head(CI, STABLE)
    assert head is not None
    assert head.version == SECOND


def test_where_locations_have_other_addresses_all_is_said_anew(world: World) -> None:
    world.promote()
    urls = {LOCAL: "https://cdn.example/disks/"}
    publisher = DirectoryPublisher(world.root, signing(world.signing), world.clock, urls)
    since = world.book.snapshot.generation - 2
    with pytest.raises(Conflict, match="former addresses"):
        publisher.publish(world.book.excerpt(since))
    publisher.publish(world.book.snapshot)
    world.book.built(THREE)
    publisher.publish(world.book.excerpt(since + 2))
    assert rendering(urls) != rendering({})
