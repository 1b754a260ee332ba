"""What somebody else does while a tree is written, or before one hears of it, is not lost."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from support.examples import CI, NOW, STABLE
from support.signed_trees import DirectoryPublisher, directory_tree, signing
from support.signed_world import FIRST, ONE, SECOND, TWO, World, sign_pending, sign_targets
from tuf.api.metadata import Metadata, Targets

from imagectl.adapters.published.ceremony import Ceremony
from imagectl.adapters.published.directory import DirectoryPlace
from imagectl.adapters.published.publisher import TreePublisher
from imagectl.adapters.published.rotating import Edit
from imagectl.adapters.published.waiting import parse_waiting
from imagectl.consumer import open_catalog
from imagectl.consumer.tree import SignedTree
from imagectl.errors import Conflict, Refused
from imagectl.formats.tuf_roles import CATALOG_ROLE, TIMESTAMP_PATH


class Meanwhile(DirectoryPlace):
    """A folder; when the first list is written to it, that is done."""

    def __init__(self, root: Path, done: Callable[[], object]) -> None:
        super().__init__(root)
        self._done: Callable[[], object] | None = done

    def claim(self, path: str, data: bytes) -> None:
        if self._done is not None:
            done, self._done = self._done, None
            done()
        super().claim(path, data)


class Contested(DirectoryPlace):
    """A folder; while somebody waits for its lock, that is done."""

    def __init__(self, root: Path, done: Callable[[], object]) -> None:
        super().__init__(root)
        self._done = done

    @contextlib.contextmanager
    def locked(self, needed: int) -> Iterator[None]:
        self._done()
        with super().locked(needed):
            yield


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def sign(world: World, key: CryptoSigner) -> None:
    """As `imagectl sign` does it."""
    path = world.pending("channel-stable")
    shown = parse_waiting(path.read_bytes(), str(path), NOW)
    Ceremony(signing(world.signing), (world.publisher,), NOW).sign("channel-stable", [key], shown)


def test_a_signature_stays_that_is_given_while_something_else_is_published(world: World) -> None:
    alice, bob = world.delegate("channel-stable", 2)
    world.publish()
    world.sign_pending("channel-stable", alice, bob)
    world.publish()
    world.promote()
    world.publish_changes()
    world.book.built("debian-ci@20261120.3")
    place = Meanwhile(world.root, lambda: sign(world, alice))
    shown = world.publisher.shown()
    assert shown is not None
    publisher = TreePublisher(place, signing(world.signing), world.clock)
    publisher.publish(world.book.excerpt(shown.generation))
    waits = Metadata[Targets].from_bytes(world.pending("channel-stable").read_bytes())
    assert list(waits.signatures) == [alice.public_key.keyid]


def test_nobody_signs_what_came_in_place_of_what_they_were_shown(world: World) -> None:
    """While somebody reads it, or looks for a token, the catalog may go on."""
    alice, _ = world.hand_over("channel-stable", 2)
    world.promote()
    world.publish()
    path = world.pending("channel-stable")
    shown = parse_waiting(path.read_bytes(), str(path), NOW)
    world.book.rolled_back(STABLE, ONE)
    world.book.moved(STABLE, TWO)
    world.publish()
    before = path.read_bytes()
    ceremony = Ceremony(signing(world.signing), (world.publisher,), NOW)
    with pytest.raises(Conflict, match="has changed meanwhile"):
        ceremony.sign("channel-stable", [alice], shown)
    assert path.read_bytes() == before


def test_a_tree_does_not_go_back_to_what_waited_for_its_lock(world: World) -> None:
    """A version is revoked while another process waits to publish what was before."""
    world.promote()
    before = world.book.snapshot

    def revoke() -> None:
        world.book.revoked(ONE, reason="a hole")
        world.publish()

    place = Contested(world.root, revoke)
    TreePublisher(place, signing(world.signing), world.clock).publish(before)
    tree = directory_tree(world.root, NOW)
    assert tree.catalog().generation == world.book.snapshot.generation
    assert FIRST in tree.warnings(CI)


def test_what_people_sign_elsewhere_stays_while_a_change_waits_for_the_lock(
    world: World, tmp_path: Path
) -> None:
    """Consumers who had got it would take nothing from a tree that goes back."""
    alice, bob = world.hand_over("channel-stable", 2)
    world.promote()
    world.publish()
    pinned = (world.signing / "trust" / "root.json").read_bytes()
    colleague = former_checkout(world)
    shown = world.publisher.shown()
    assert shown is not None
    published = world.book.snapshot
    world.book.revoked(ONE, reason="a hole")

    def consumer() -> SignedTree:
        return open_catalog(str(world.root), root=pinned, cache=tmp_path / "cache", now=NOW)

    def sign_there() -> None:
        sign_pending(colleague / "pending" / "channel-stable.json", alice, bob)
        DirectoryPublisher(world.root, signing(colleague), world.clock).publish(published)
        head = consumer().head(CI, STABLE)
        assert head is not None
        assert head.version == SECOND

    place = Contested(world.root, sign_there)
    publisher = TreePublisher(place, signing(world.signing), world.clock)
    publisher.publish(world.book.excerpt(shown.generation))
    tree = consumer()
    assert FIRST in tree.warnings(CI)
    head = tree.head(CI, STABLE)
    assert head is not None
    assert head.version == SECOND


def replace_key(world: World, role: str, former: str) -> None:
    """Have a new key sign *role* in place of that one."""
    kept = signing(world.signing)
    ceremony = Ceremony(kept, (world.publisher,), NOW)
    new, _ = kept.keys.another(role)
    kept.keys.keep(new)
    ceremony.rotate(Edit(role, (new,), (former,), None, "stolen", "alice"), dry_run=False)
    assert ceremony.settle()


def former_checkout(world: World) -> Path:
    """A colleague's, who has not pulled since."""
    folder = world.signing.with_name("colleague.signing")
    shutil.copytree(world.signing, folder)
    return folder


def test_consumers_of_every_tree_are_led_over_each_root(world: World, tmp_path: Path) -> None:
    second = tmp_path / "second"
    DirectoryPublisher(second, signing(world.signing), world.clock).publish(world.book.snapshot)
    pinned = (world.signing / "trust" / "root.json").read_bytes()
    colleague = former_checkout(world)
    for former in ("online", "online-2"):
        replace_key(world, "online", former)
        world.publish()  # the second tree cannot be reached just then
    shutil.copytree(world.signing / "keys", colleague / "keys", dirs_exist_ok=True)
    for folder in (world.root, second):
        DirectoryPublisher(folder, signing(colleague), world.clock).publish(world.book.snapshot)
        cache = tmp_path / f"cache.{folder.name}"
        tree = open_catalog(str(folder), root=pinned, cache=cache, now=NOW)
        assert tree.catalog().generation == world.book.snapshot.generation


def test_nothing_is_signed_by_a_root_that_consumers_cannot_get_to(
    world: World, tmp_path: Path
) -> None:
    for former in ("online", "online-2"):
        replace_key(world, "online", former)
    (world.signing / "trust" / "roots" / "2.root.json").unlink()
    before = (world.root / "metadata" / "timestamp.json").read_bytes()
    with pytest.raises(Conflict) as caught:
        world.publish()
    assert "root 2 is missing here" in caught.value.what
    assert "catalog/roots/2.root.json" in caught.value.hint
    assert (world.root / "metadata" / "timestamp.json").read_bytes() == before


def test_a_checkout_of_before_a_change_of_keys_publishes_by_what_the_tree_has(world: World) -> None:
    colleague = former_checkout(world)
    replace_key(world, "targets", "targets")
    world.publish()
    world.promote()
    publisher = DirectoryPublisher(world.root, signing(colleague), world.clock)
    publisher.publish(world.book.snapshot)
    shown = directory_tree(world.root, NOW).catalog()
    assert shown.generation == world.book.snapshot.generation
    kept = (colleague / "trust" / "targets.json").read_bytes()
    assert kept == (world.signing / "trust" / "targets.json").read_bytes()


def test_a_checkout_of_before_does_not_take_away_who_has_to_sign(world: World) -> None:
    colleague = former_checkout(world)
    world.hand_over("channel-stable", 2)
    world.promote()
    DirectoryPublisher(world.root, signing(colleague), world.clock).publish(world.book.snapshot)
    assert world.stable() == FIRST
    assert signing(colleague).waiting() == ("channel-stable",)
    kept = (colleague / "trust" / "targets.json").read_bytes()
    assert kept == (world.signing / "trust" / "targets.json").read_bytes()


def test_a_list_that_a_replaced_key_has_signed_does_not_count_however_new(
    world: World, tmp_path: Path
) -> None:
    """Whoever has got the key of targets may have written to the tree, too."""
    mirror, thief = tmp_path / "mirror", tmp_path / "mirror.signing"
    shutil.copytree(world.root, mirror)
    shutil.copytree(world.signing, thief)
    metadata = Metadata[Targets].from_bytes((thief / "trust" / "targets.json").read_bytes())
    metadata.signed.version += 100
    key = CryptoSigner.generate_ed25519()
    metadata.signed.add_key(key.public_key, "channel-stable")
    sign_targets(mirror, thief, metadata)
    DirectoryPublisher(mirror, signing(thief), world.clock).publish(world.book.snapshot)
    pinned = (world.signing / "trust" / "root.json").read_bytes()
    replace_key(world, "targets", "targets")
    shutil.rmtree(world.root)
    shutil.copytree(mirror, world.root)
    world.publish()
    tree = open_catalog(str(world.root), root=pinned, cache=tmp_path / "cache", now=NOW)
    assert tree.head(CI, STABLE) is not None
    kept = (world.signing / "trust" / "targets.json").read_bytes()
    assert key.public_key.keyid.encode() not in kept


def test_what_a_thief_said_keeps_nobody_from_mending_a_tree(world: World) -> None:
    """It was signed with a key that is replaced by now; of the timestamp, nothing is left."""
    ours = world.book.snapshot
    thief = former_checkout(world)
    world.book.revoked(ONE, reason="not true")
    DirectoryPublisher(world.root, signing(thief), world.clock).publish(world.book.snapshot)
    (world.root / TIMESTAMP_PATH).write_bytes(b"")
    replace_key(world, "online", "online")
    world.publisher.publish(ours)
    tree = directory_tree(world.root, NOW)
    assert tree.catalog().generation == ours.generation
    assert tree.warnings(CI) == {}


def test_what_the_catalog_itself_says_is_signed_by_nobody_who_looks_at_it(world: World) -> None:
    world.delegate(CATALOG_ROLE, 1)
    world.publish()
    assert world.pending(CATALOG_ROLE).exists()
    ceremony = Ceremony(signing(world.signing), (world.publisher,), NOW)
    with pytest.raises(Refused, match="signed by its online key alone"):
        ceremony.waiting([CATALOG_ROLE], world.book.snapshot)


def test_where_no_tree_has_it_either_it_is_said_where_it_is(world: World) -> None:
    colleague = former_checkout(world)
    replace_key(world, "targets", "targets")
    for name in ("root.json", "roots/1.root.json"):  # pulled by halves
        path = colleague / "trust" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((world.signing / "trust" / name).read_bytes())
    publisher = DirectoryPublisher(world.root, signing(colleague), world.clock)
    with pytest.raises(Conflict, match="who may sign what since then is not known here"):
        publisher.publish(world.book.snapshot)
