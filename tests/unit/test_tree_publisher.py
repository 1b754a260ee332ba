"""Signing what consumers read: what is due, what waits for others, and that nothing else counts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from support.examples import BASE, BETA, CI, NOW, STABLE
from support.signed_trees import (
    DirectoryPublisher,
    directory_publisher,
    directory_tree,
    signing,
    trusted,
)
from support.signed_world import FIRST, ONE, SECOND, TWO, World
from tuf.api.metadata import Metadata, Targets

from imagectl.adapters.published.directory import DirectoryPlace
from imagectl.adapters.published.publisher import TreePublisher
from imagectl.adapters.published.signing import Signing
from imagectl.adapters.signing_keys import SigningKeys
from imagectl.errors import CannotTell, Corrupt, Failed, NoSpace
from imagectl.formats.tuf_roles import (
    CATALOG_ROLE,
    IMAGES_ROLE,
    LIFETIMES,
    METADATA,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    TIMESTAMP_PATH,
)
from imagectl.model.names import ChannelName

DAY = timedelta(days=1)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_every_byte_of_the_tree_counts(world: World) -> None:
    """P10: one flipped bit in any file that leads to stable is refused, and the file is named."""
    files = [each for each in world.root.rglob("*.json") if "beta" not in each.name]
    on_the_way = [each for each in files if not each.name.endswith(".root.json")]
    assert len(on_the_way) == 10
    for path in on_the_way:
        data = path.read_bytes()
        for at in range(0, len(data), 37):
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            with pytest.raises(Corrupt) as caught:
                read_all(world)
            assert path.name in caught.value.where
        path.write_bytes(data)
    read_all(world)


def read_all(world: World) -> None:
    tree = directory_tree(world.root, world.clock.now)
    tree.catalog()
    index = tree.index(CI)
    assert index is not None
    head = tree.head(CI, STABLE)
    assert head is not None
    tree.version(index.versions[head.version])


@pytest.mark.parametrize("role", [TIMESTAMP, SNAPSHOT, TARGETS, IMAGES_ROLE])
def test_what_anybody_else_has_signed_does_not_count(world: World, role: str) -> None:
    forger = CryptoSigner.generate_ed25519()
    (path,) = (world.root / METADATA).glob(f"*{role}.json")
    metadata = Metadata[Targets].from_bytes(path.read_bytes())
    metadata.sign(forger)
    path.write_bytes(metadata.to_bytes())
    with pytest.raises(Corrupt, match=path.name):
        read_all(world)


def test_a_role_speaks_for_its_own_documents_alone(world: World) -> None:
    """An online key that signs warnings cannot sign what a channel points to."""
    tree = directory_tree(world.root, NOW)
    assert tree.head(CI, STABLE) is not None
    assert tree.head(CI, ChannelName("catalog")) is None
    assert tree.head(BASE, STABLE) is None


def test_signatures_that_are_over_are_not_believed(world: World) -> None:
    world.clock.now = NOW + LIFETIMES[TIMESTAMP] - timedelta(seconds=1)
    assert world.stable() == FIRST
    world.clock.now = NOW + LIFETIMES[TIMESTAMP]
    with pytest.raises(CannotTell, match=r"signature of timestamp in .* is over") as caught:
        world.stable()
    assert "imagectl catalog refresh" in caught.value.hint
    assert world.publisher.shown() is not None, "whoever renews it has to read it"


def test_nothing_is_signed_again_that_is_not_due(world: World) -> None:
    before = contents(world.root)
    world.clock.now = NOW + 6 * DAY
    assert not world.publisher.refresh()
    world.publish()
    assert contents(world.root) == before


def contents(root: Path) -> dict[str, bytes]:
    return {str(each): each.read_bytes() for each in root.rglob("*.json")}


def test_what_is_due_is_signed_again(world: World) -> None:
    world.clock.now = NOW + 8 * DAY
    before = world.publisher.signatures()
    assert world.publisher.refresh()
    after = world.publisher.signatures()
    renewed = {role for role in after if after[role] != before[role]}
    assert renewed == {TIMESTAMP, SNAPSHOT}
    assert after[TIMESTAMP] == world.clock.now + LIFETIMES[TIMESTAMP]
    assert world.stable() == FIRST
    world.clock.now = NOW + 50 * DAY
    assert world.publisher.refresh()
    assert world.publisher.signatures()[CATALOG_ROLE] == world.clock.now + 90 * DAY
    world.clock.now = NOW + 200 * DAY
    assert world.publisher.refresh()
    assert world.publisher.signatures()["root"] == world.clock.now + LIFETIMES["root"]
    assert (world.root / METADATA / "2.root.json").exists()
    assert json.loads(trusted(world.root).read_bytes())["signed"]["version"] == 2
    assert world.stable() == FIRST
    assert world.publisher.shown() is not None


def test_an_older_root_leads_to_the_newest(world: World, tmp_path: Path) -> None:
    pinned = tmp_path / "pinned.json"
    shutil.copy(trusted(world.root), pinned)
    world.clock.now = NOW + 200 * DAY
    world.publisher.refresh()
    shutil.copy(pinned, trusted(world.root))
    assert world.stable() == FIRST


def test_refreshing_what_is_not_published_does_nothing(tmp_path: Path) -> None:
    publisher = directory_publisher(tmp_path / "public")
    assert not publisher.refresh()
    assert publisher.signatures() == {}
    assert not trusted(tmp_path / "public").exists()


def test_keys_that_belong_offline_are_not_needed_again(world: World) -> None:
    world.go_offline()
    world.promote()
    world.publish()
    assert world.stable() == SECOND
    assert world.publisher.refresh() is False


def test_without_the_online_key_nothing_changes(world: World) -> None:
    (world.signing / "keys" / "online.pem").unlink()
    before = contents(world.root)
    world.promote()
    with pytest.raises(Failed, match="cannot be signed here") as caught:
        world.publish()
    assert "catalog.keys" in caught.value.hint
    assert contents(world.root) == before
    assert not list((world.signing / "keys").glob("*.pem.*")), "no key is made over a lost one"
    assert not (world.signing / "keys" / "online.pem").exists()


def test_a_state_that_nobody_has_signed_is_not_shown(world: World) -> None:
    """The timestamp's key is here, and that of what the catalog is at is not."""
    world.hand_over(CATALOG_ROLE, 1)
    assert not world.pending(CATALOG_ROLE).exists()
    before = contents(world.root)
    world.promote()
    with pytest.raises(Failed, match="cannot be signed here"):
        world.publish()
    assert contents(world.root) == before


def test_a_tree_that_was_lost_begins_again_above_what_was_seen(world: World) -> None:
    """And without the keys that are offline."""
    before = json.loads((world.root / TIMESTAMP_PATH).read_bytes())["signed"]["version"]
    shutil.rmtree(world.root)
    world.go_offline()
    world.clock.now = NOW + DAY
    world.publish()
    after = json.loads((world.root / TIMESTAMP_PATH).read_bytes())["signed"]["version"]
    assert after > before
    assert world.stable() == FIRST


def test_a_tree_without_the_root_that_is_trusted_is_not_written_over(world: World) -> None:
    trusted(world.root).unlink()
    before = contents(world.root)
    with pytest.raises(CannotTell, match="whose signatures count"):
        world.publish()
    with pytest.raises(CannotTell, match="whose signatures count"):
        world.stable()
    assert contents(world.root) == before


@pytest.mark.parametrize("lost", [False, True])
def test_nothing_is_published_by_a_list_of_signers_that_was_altered(
    world: World, lost: bool
) -> None:
    """Neither by what somebody got into it, nor by one that is begun anew in its place."""
    world.hand_over("channel-stable", 2)
    path = world.signing / "trust" / "targets.json"
    metadata = Metadata[Targets].from_bytes(path.read_bytes())
    metadata.signed.add_key(CryptoSigner.generate_ed25519().public_key, "channel-stable")
    altered = metadata.to_bytes()
    path.write_bytes(altered)
    if lost:
        shutil.rmtree(world.root)
    before = contents(world.root)
    world.promote()
    with pytest.raises(Corrupt, match=r"targets\.json was changed after it was signed"):
        world.publish()
    assert contents(world.root) == before
    assert path.read_bytes() == altered


def test_an_old_tree_that_comes_back_does_not_take_away_who_has_to_sign(
    world: World, tmp_path: Path
) -> None:
    shutil.copytree(world.root, tmp_path / "mirror")
    world.hand_over("channel-stable", 2)
    shutil.rmtree(world.root)
    shutil.copytree(tmp_path / "mirror", world.root)
    world.promote()
    world.publish()
    assert world.stable() == FIRST
    assert world.pending("channel-stable").exists()


def test_nobody_is_told_of_new_signers_before_they_have_signed(world: World) -> None:
    alice, bob = world.delegate("channel-stable", 2)
    world.promote()
    world.publish()
    assert world.stable() == FIRST, "those who could sign until then move nothing any more"
    assert world.pending("channel-stable").exists()
    world.sign_pending("channel-stable", alice)
    world.publish()
    assert world.stable() == FIRST
    assert world.pending("channel-stable").exists()
    world.sign_pending("channel-stable", bob)
    world.publish()
    assert not world.pending("channel-stable").exists()
    (newest,) = (world.root / METADATA).glob("2.targets.json")
    assert world.stable() == SECOND
    assert newest.read_bytes() == (world.signing / "trust" / "targets.json").read_bytes()


def test_a_move_waits_until_enough_have_signed(world: World) -> None:
    alice, bob = world.hand_over("channel-stable", 2)
    assert world.stable() == FIRST
    world.promote()
    world.book.revoked(ONE, reason="a hole")
    world.publish()
    tree = directory_tree(world.root, NOW)
    assert world.stable() == FIRST
    assert tree.warnings(CI)[FIRST].reason == "a hole", "a warning waits for nobody"
    index = tree.index(CI)
    assert index is not None
    assert SECOND in index.versions
    assert world.publisher.shown() == replace(
        world.publisher.shown() or tree.catalog(), generation=world.book.snapshot.generation
    )
    world.sign_pending("channel-stable", alice)
    world.publish()
    assert world.stable() == FIRST
    assert world.pending("channel-stable").exists()
    world.sign_pending("channel-stable", alice)  # one person is not two
    world.publish()
    assert world.stable() == FIRST
    world.sign_pending("channel-stable", bob)
    world.publish()
    assert world.stable() == SECOND
    assert not world.pending("channel-stable").exists()


def test_signatures_are_kept_until_what_they_are_for_is_shown(world: World) -> None:
    """P7. Whoever has signed may be on holiday by now."""
    alice, bob = world.delegate("channel-stable", 2)
    world.publish()
    world.sign_pending("channel-stable", alice, bob)
    signed = world.pending("channel-stable").read_bytes()
    full = 0
    while True:
        place = Failing(world.root, full)
        try:
            TreePublisher(place, signing(world.signing), world.clock).publish(world.book.snapshot)
        except NoSpace:
            full += 1
            assert world.pending("channel-stable").read_bytes() == signed
        else:
            break
    assert full >= 3
    assert not world.pending("channel-stable").exists()
    assert world.stable() == FIRST


def test_a_file_that_was_damaged_while_there_was_no_timestamp_is_mended(world: World) -> None:
    (index,) = (world.root / "images" / CI).glob("*.index.json")
    index.write_bytes(index.read_bytes().replace(b'"', b"'"))
    (world.root / TIMESTAMP_PATH).unlink()
    world.publish()
    read_all(world)


def test_what_was_deleted_is_told_although_the_index_waits(world: World) -> None:
    carol, _ = world.hand_over(IMAGES_ROLE, 1)
    world.book.built(TWO)
    world.book.moved(STABLE, TWO)
    for _ in range(4):
        world.book.taken_down(ONE)
    world.publish()
    tree = directory_tree(world.root, NOW)
    index = tree.index(CI)
    assert index is not None
    assert FIRST in index.versions
    assert tree.warnings(CI)[FIRST].warned.taken_away
    world.sign_pending(IMAGES_ROLE, carol)
    world.publish()
    tree = directory_tree(world.root, NOW)
    index = tree.index(CI)
    assert index is not None
    assert FIRST in index.deleted
    assert tree.warnings(CI) == {}


def test_a_channel_that_is_new_can_wait_for_the_offline_key(world: World) -> None:
    world.go_offline()
    late = ChannelName("late")
    world.book.moved(late, ONE)
    world.publish()
    tree = directory_tree(world.root, NOW)
    assert tree.catalog().generation == world.book.snapshot.generation
    assert tree.head(CI, late) is None
    assert world.pending(TARGETS).exists()
    assert signing(world.signing).waiting() == (TARGETS,)


def test_a_channel_that_is_new_is_shown_with_the_next_change(world: World) -> None:
    late = ChannelName("late")
    world.book.moved(late, ONE)
    world.publish_changes()
    head = directory_tree(world.root, NOW).head(CI, late)
    assert head is not None
    assert head.version == FIRST


def test_who_has_to_sign_is_not_taken_back_by_what_waited_before(world: World) -> None:
    """Such as where a backup of the folder of what waits was brought back."""
    trust = world.signing / "trust" / "targets.json"
    former = trust.read_bytes()
    world.hand_over("channel-stable", 2)
    now = trust.read_bytes()
    world.pending(TARGETS).parent.mkdir(exist_ok=True)
    world.pending(TARGETS).write_bytes(former)
    world.promote()
    world.publish()
    assert trust.read_bytes() == now
    assert world.stable() == FIRST


def resigned(data: bytes) -> bytes:
    """The same list, which nobody has signed who may."""
    metadata = Metadata[Targets].from_bytes(data)
    metadata.sign(CryptoSigner.generate_ed25519())
    return metadata.to_bytes()


def newest(world: World, role: str) -> Path:
    found = (world.root / METADATA).glob(f"*.{role}.json")
    return max(found, key=lambda each: int(each.name.partition(".")[0]))


def test_another_tree_is_not_given_what_nobody_has_signed_who_may(
    world: World, tmp_path: Path
) -> None:
    """Consumers would get nothing of that channel, and nobody be asked to sign it."""
    world.hand_over("channel-stable", 2)
    kept = world.signing / "signed" / "channel-stable.json"
    kept.write_bytes(resigned(kept.read_bytes()))
    other = DirectoryPublisher(tmp_path / "other", signing(world.signing), world.clock)
    other.publish(world.book.snapshot)
    assert world.pending("channel-stable").exists()
    assert not list((tmp_path / "other" / METADATA).glob("*.channel-stable.json"))


def test_another_tree_is_not_given_what_is_due_to_be_signed_again(
    world: World, tmp_path: Path
) -> None:
    """Consumers would believe it for days at most, and nobody be asked to sign it."""
    world.hand_over("channel-stable", 2)
    world.clock.now = NOW + 60 * DAY
    other = DirectoryPublisher(tmp_path / "other", signing(world.signing), world.clock)
    other.publish(world.book.snapshot)
    assert world.pending("channel-stable").exists()
    assert not list((tmp_path / "other" / METADATA).glob("*.channel-stable.json"))


def there_and_back(world: World) -> tuple[CryptoSigner, bytes, bytes]:
    """The index says one thing, another one, and then the first again, in lists that Carol has
    signed. Her key, what she was asked to sign first, and the list that this became."""
    carol, _ = world.delegate(IMAGES_ROLE, 1)
    world.publish()
    asked = world.pending(IMAGES_ROLE).read_bytes()
    deeds: tuple[Callable[[], None], ...] = (
        lambda: None,
        lambda: world.book.placed_elsewhere(ONE),
        lambda: world.book.placed_as_at_first(ONE),
    )
    said = []
    for deed in deeds:
        deed()
        world.publish()
        if world.pending(IMAGES_ROLE).exists():
            world.sign_pending(IMAGES_ROLE, carol)
            world.publish()
        said.append(newest(world, IMAGES_ROLE).read_bytes())
    first, second, third = (Metadata[Targets].from_bytes(each).signed for each in said)
    assert first.version < second.version < third.version
    assert first.targets == third.targets != second.targets
    return carol, asked, said[0]


def test_a_damaged_tree_is_not_mended_with_an_older_list_that_says_the_same(world: World) -> None:
    _, _, former = there_and_back(world)
    (world.signing / "signed" / f"{IMAGES_ROLE}.json").write_bytes(former)
    newest(world, IMAGES_ROLE).write_bytes(b"")
    newest(world, SNAPSHOT).write_bytes(b"")
    with pytest.raises(Corrupt) as caught:
        world.publish()
    assert f"`imagectl sign {IMAGES_ROLE}`" in caught.value.hint


def test_what_waited_before_what_is_published_is_not_taken_up_again(world: World) -> None:
    carol, asked, _ = there_and_back(world)
    last = Metadata[Targets].from_bytes(newest(world, IMAGES_ROLE).read_bytes()).signed.version
    world.book.placed_elsewhere(ONE)
    world.publish()
    world.sign_pending(IMAGES_ROLE, carol)
    world.publish()
    world.book.placed_as_at_first(ONE)
    world.pending(IMAGES_ROLE).parent.mkdir(exist_ok=True)
    world.pending(IMAGES_ROLE).write_bytes(asked)
    world.publish()
    waiting = Metadata[Targets].from_bytes(world.pending(IMAGES_ROLE).read_bytes()).signed
    assert waiting.version > last + 1


def test_a_damaged_tree_is_not_mended_with_what_nobody_has_signed_who_may(world: World) -> None:
    world.hand_over("channel-stable", 2)
    (world.signing / "signed" / "channel-stable.json").unlink()
    path = newest(world, "channel-stable")
    path.write_bytes(resigned(path.read_bytes()))
    newest(world, SNAPSHOT).write_bytes(b"")
    with pytest.raises(Corrupt) as caught:
        world.publish()
    assert "`imagectl sign channel-stable`" in caught.value.hint


def test_a_damaged_tree_is_not_mended_with_an_older_list(world: World) -> None:
    """Of the same content, signed anew since: consumers take no list that goes back."""
    alice, bob = world.hand_over("channel-stable", 2)
    kept = world.signing / "signed" / "channel-stable.json"
    former = kept.read_bytes()
    world.clock.now = NOW + 60 * DAY
    world.publish()
    world.sign_pending("channel-stable", alice, bob)
    world.publish()
    assert kept.read_bytes() != former
    world.clock.now += DAY
    world.publish()
    kept.write_bytes(former)
    newest(world, "channel-stable").write_bytes(b"")
    newest(world, SNAPSHOT).write_bytes(b"")
    with pytest.raises(Corrupt) as caught:
        world.publish()
    assert "`imagectl sign channel-stable`" in caught.value.hint


class Failing(DirectoryPlace):
    """A directory on a disk that is full after some files."""

    def __init__(self, root: Path, room: int) -> None:
        super().__init__(root)
        self.room = room

    def write(self, path: str, data: bytes) -> None:
        if self.room == 0:
            raise OSError(28, "No space left on device", path)
        self.room -= 1
        super().write(path, data)


def test_whatever_cannot_be_written_the_tree_is_as_before(world: World, tmp_path: Path) -> None:
    """P7: the timestamp comes last, so nothing that it leads to is missing."""
    world.promote()
    held = signing(world.signing)
    before = tmp_path / "before"
    shutil.copytree(world.root, before)
    room = 0
    while True:
        place = Failing(world.root, room)
        try:
            TreePublisher(place, held, world.clock).publish(world.book.snapshot)
        except NoSpace:
            read_all(world)
            assert world.stable() == FIRST
            room += 1
            shutil.rmtree(world.root)
            shutil.copytree(before, world.root)
        else:
            break
    assert room >= 8
    assert world.stable() == SECOND


def test_what_a_killed_publisher_left_is_not_taken_for_what_comes_next(
    world: World, tmp_path: Path
) -> None:
    """Its lists may have the same number and length, and other content."""
    before = tmp_path / "before"
    shutil.copytree(world.root, before)
    world.promote()
    world.publish()
    lists = {each.name: each.read_bytes() for each in (world.root / METADATA).iterdir()}
    shutil.rmtree(world.root)
    shutil.copytree(before, world.root)
    for name, data in lists.items():
        if not (world.root / METADATA / name).exists():
            (world.root / METADATA / name).write_bytes(b"x" * len(data))
    world.publish()
    read_all(world)
    assert world.stable() == SECOND


def test_two_trees_share_what_is_trusted(world: World, tmp_path: Path) -> None:
    held: Signing = signing(world.signing)
    other = DirectoryPublisher(tmp_path / "other", held, world.clock)
    world.go_offline()
    other.publish(world.book.snapshot)
    assert other.shown() == world.publisher.shown()


def test_beta_of_nothing_is_nothing(world: World) -> None:
    assert directory_tree(world.root, NOW).head(BASE, BETA) is None


def with_a_token(world: World) -> DirectoryPublisher:
    """Its settings name a hardware key, which is not plugged in."""
    beside = world.signing
    keys = SigningKeys(("hsm:2",), beside / "keys", beside)
    kept = Signing(keys, beside / "trust", beside / "pending", lambda: (BETA, STABLE))
    return DirectoryPublisher(world.root, kept, world.clock)


def test_a_key_elsewhere_that_does_not_answer_holds_up_nothing_that_can_wait(world: World) -> None:
    """Root and targets are due to be signed again, and hold for half a year more."""
    world.go_offline()
    world.clock.now = NOW + 183 * DAY
    world.publish()
    world.clock.now = NOW + 191 * DAY
    assert with_a_token(world).refresh()
    world.book.revoked(ONE, reason="a hole")
    with_a_token(world).publish(world.book.snapshot)
    tree = directory_tree(world.root, world.clock.now)
    assert FIRST in tree.warnings(CI)


def test_what_has_to_be_signed_now_is_not_called_somebody_elses(world: World) -> None:
    """The online key may be the one that does not answer: it is worth another try."""
    (world.signing / "keys" / "online.pem").unlink()
    world.promote()
    publisher = with_a_token(world)
    for _ in range(2):
        with pytest.raises(CannotTell, match="the signing key hsm:2 does not answer"):
            publisher.publish(world.book.snapshot)
