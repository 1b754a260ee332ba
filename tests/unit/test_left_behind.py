"""What a channel has left, and only lacks signatures to say so, is not given once it is gone."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from support.examples import BETA, CI, NOW
from support.signed_trees import trusted
from support.signed_world import FIRST, ONE, SECOND, World

from imagectl.consumer import open_catalog
from imagectl.consumer.resolving import resolve
from imagectl.consumer.tree import SignedTree
from imagectl.errors import CannotTell, Refused
from imagectl.formats.tuf_roles import IMAGES_ROLE, TIMESTAMP_PATH, waits
from imagectl.policy.resolution import ResolutionRequest


@pytest.fixture
def world(tmp_path: Path) -> World:
    """ONE is in stable and TWO was to be, and two people have to sign that."""
    world = World(tmp_path)
    alice, bob = world.delegate("channel-stable", 2)
    world.publish()
    world.sign_pending("channel-stable", alice, bob)
    world.publish()
    world.people = [alice, bob]
    world.promote()
    world.publish_changes()
    return world


def consumer(world: World) -> SignedTree:
    root = trusted(world.root).read_bytes()
    return open_catalog(str(world.root), root=root, cache=world.signing / "cache", now=NOW)


def stable(world: World) -> object:
    return resolve(consumer(world), ResolutionRequest(CI), NOW).ref.version


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
    (carol, _) = world.delegate(IMAGES_ROLE, 1)
    world.publish()
    world.sign_pending(IMAGES_ROLE, carol)
    world.publish()
    delete(world, ONE)
    with pytest.raises(Refused, match="still points to a version"):
        stable(world)


def test_what_was_revoked_is_not_given_either(world: World) -> None:
    world.book.revoked(ONE, reason="a hole")
    world.publish_changes()
    with pytest.raises(Refused, match="points to a version that was revoked"):
        stable(world)


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


def test_what_waits_is_not_replaced_by_what_is_due_to_be_signed_again(world: World) -> None:
    world.sign_pending("channel-stable", world.people[0])
    signed = world.pending("channel-stable").read_bytes()
    world.clock.now = NOW + timedelta(days=50)
    assert world.publisher.refresh()
    assert world.pending("channel-stable").read_bytes() == signed
