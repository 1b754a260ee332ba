"""What a channel has left, and only lacks signatures to say so, is not given once it is gone."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from support.examples import BETA, CI, NOW
from support.signed_trees import DirectoryPublisher, signing, trusted
from support.signed_world import FIRST, ONE, SECOND, TWO, World

from imagectl.consumer import open_catalog
from imagectl.consumer.resolving import resolve
from imagectl.consumer.tree import SignedTree
from imagectl.errors import CannotTell, NotFound, Refused
from imagectl.formats.tuf_roles import IMAGES_ROLE, TIMESTAMP_PATH, waits
from imagectl.policy.resolution import ResolutionRequest


@pytest.fixture
def world(tmp_path: Path) -> World:
    """ONE is in stable and TWO was to be, and two people have to sign that."""
    world = World(tmp_path)
    alice, bob = world.hand_over("channel-stable", 2)
    world.people = [alice, bob]
    world.promote()
    world.publish_changes()
    return world


def consumer(world: World) -> SignedTree:
    root = trusted(world.root).read_bytes()
    cache = world.signing / "cache"
    return open_catalog(str(world.root), root=root, cache=cache, now=world.clock.now)


def stable(world: World) -> object:
    return resolve(consumer(world), ResolutionRequest(CI), world.clock.now).ref.version


def delete(world: World, text: str) -> None:
    for _ in range(4):
        world.book.taken_down(text, reason="too old")
        world.publish_changes()


def test_what_a_channel_has_left_is_given_as_long_as_it_is_there(world: World) -> None:
    assert stable(world) == FIRST


def test_what_a_channel_has_left_is_not_given_once_it_is_deleted(world: World) -> None:
    delete(world, ONE)
    assert FIRST not in consumer(world).warnings(CI), "its index says so, and nothing else"
    with pytest.raises(Refused) as caught:
        stable(world)
    assert "stable of debian-ci still points to a version that cannot be had any more" in str(
        caught.value.what
    )
    reasons = " ".join(caught.value.reasons)
    assert "20261120.1 is deleted since" in reasons
    assert "too old" in reasons
    assert "not signed by enough people yet" in reasons
    assert "`imagectl sign`" in caught.value.hint
    world.sign_pending("channel-stable", *world.people)
    world.publish_changes()
    assert stable(world) == SECOND


def test_so_it_is_while_the_index_waits_for_its_signer_too(world: World) -> None:
    world.hand_over(IMAGES_ROLE, 1)
    delete(world, ONE)
    with pytest.raises(Refused, match="still points to a version"):
        stable(world)


def test_so_it_is_while_new_signers_have_never_signed_yet(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.people = world.delegate("channel-stable", 2)
    world.promote()
    for _ in range(4):
        world.book.taken_down(ONE, reason="too old")
    world.publish()
    assert world.stable() == FIRST, "nobody else may say otherwise"
    with pytest.raises(Refused, match="still points to a version"):
        stable(world)
    world.clock.now = NOW + timedelta(days=50)  # what the former key has signed is signed again
    world.publish()
    with pytest.raises(Refused, match="still points to a version"):
        stable(world)
    world.sign_pending("channel-stable", *world.people)
    world.publish()
    assert stable(world) == SECOND


def test_what_was_revoked_is_not_given_either(world: World) -> None:
    world.book.revoked(ONE, reason="a hole")
    world.publish_changes()
    with pytest.raises(Refused, match="points to a version that was revoked") as caught:
        stable(world)
    assert "types `imagectl sign`, which shows what waits, and `imagectl rollback" in (
        caught.value.hint
    ), "stable is on a good version already, and must not be moved away from it"
    world.sign_pending("channel-stable", *world.people)
    world.publish_changes()
    world.book.revoked(TWO, reason="another hole")
    world.publish_changes()
    with pytest.raises(Refused, match="points to a version that was revoked") as caught:
        stable(world)
    assert caught.value.hint.endswith("types `imagectl rollback stable debian-ci`")


def test_a_quarantined_version_is_not_given_either(world: World) -> None:
    for _ in range(3):
        world.book.taken_down(ONE)
    world.publish_changes()
    with pytest.raises(Refused, match="still points to a version"):
        stable(world)


def test_other_channels_cost_no_look_at_the_index(world: World) -> None:
    """It has megabytes where an image has 100,000 versions."""
    for index in (world.root / "images" / CI).glob("*.index.json"):
        index.unlink()
    assert resolve(consumer(world), ResolutionRequest(CI, channel=BETA), NOW).ref.version == SECOND
    with pytest.raises(CannotTell, match=r"index\.json is not there"):
        stable(world)


def test_of_what_waits_the_timestamp_tells(world: World) -> None:
    said = json.loads((world.root / TIMESTAMP_PATH).read_bytes())["signed"]["imagectl"]
    assert list(said["behind"]) == ["channel-stable"]
    assert waits(said, "channel-stable")
    assert not waits(said, "channel-beta")
    for unknown in (None, {}, {"behind": 3}, "x"):
        assert waits(unknown, "channel-beta"), "nobody has said that it does not"


def test_it_is_measured_what_waits(world: World) -> None:
    assert world.publisher.lags() == {
        "catalog": False,
        "images": False,
        "channel-beta": False,
        "channel-stable": True,
    }


def test_what_waits_is_not_replaced_by_what_is_due_to_be_signed_again(world: World) -> None:
    world.sign_pending("channel-stable", world.people[0])
    signed = world.pending("channel-stable").read_bytes()
    world.clock.now = NOW + timedelta(days=50)
    assert world.publisher.refresh()
    assert world.pending("channel-stable").read_bytes() == signed


def test_a_channel_that_nobody_has_signed_yet_is_said_to_wait(world: World, tmp_path: Path) -> None:
    """Another tree begins where what people have signed is not to be had."""
    for folder in (world.signing / "pending", world.signing / "signed"):
        shutil.rmtree(folder)
    mirror = tmp_path / "mirror"
    DirectoryPublisher(mirror, signing(world.signing), world.clock).publish(world.book.snapshot)
    root = trusted(world.root).read_bytes()
    tree = open_catalog(str(mirror), root=root, cache=tmp_path / "cache", now=NOW)
    assert tree.images() == {CI}
    assert tree.channels(CI) == {BETA}
    with pytest.raises(NotFound, match="in channel stable") as caught:
        resolve(tree, ResolutionRequest(CI), NOW)
    assert "waits for signatures" in caught.value.why
    assert "`imagectl resolve debian-ci:beta`; or " in caught.value.hint
    assert "`imagectl sign`" in caught.value.hint
    assert resolve(tree, ResolutionRequest(CI, channel=BETA), NOW).ref.version == SECOND
