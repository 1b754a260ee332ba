"""What whoever publishes believes of a tree (P10), where one of its keys is a thief's.

Each is the work of somebody who has got the keys that sign by themselves, or may write to the tree.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from securesystemslib.signer import CryptoSigner
from support.tuf_trees import TufTree
from tuf.api.metadata import MetaFile

from imagectl.adapters.published.verified import VerifiedTree, trusted_root
from imagectl.errors import Corrupt
from imagectl.formats.tuf_roles import TIMESTAMP_PATH

ROLE = "channel-stable"
DOCUMENT = "images/debian-base/channels/stable.json"


def opened(tree: TufTree) -> VerifiedTree:
    """The tree, by the first of its roots."""
    root = trusted_root(tree.files["metadata/1.root.json"], "root.json")
    return VerifiedTree("tree", tree.files.get, root, tree.files[TIMESTAMP_PATH])


def test_what_is_signed_is_believed() -> None:
    tree = TufTree()
    tree.put(ROLE, DOCUMENT, b"{}")
    tree.publish(ROLE)
    tree.new_root(tree.rekey("root"))
    found = opened(tree)
    assert found.root.signed.version == 2
    assert found.find(DOCUMENT) is not None


def not_by_those_before(tree: TufTree) -> None:
    tree.rekey("root")
    tree.new_root()


def not_by_its_own_keys(tree: TufTree) -> None:
    old = tree.rekey("root")
    tree.root.signed.version = 2
    tree.sign("root", old)


def one_left_out(tree: TufTree) -> None:
    tree.root.signed.version = 3
    tree.files["metadata/2.root.json"] = tree.sign("root")


@pytest.mark.parametrize("attack", [not_by_those_before, not_by_its_own_keys, one_left_out])
def test_no_root_counts_that_the_one_before_does_not_hand_over_to(
    attack: Callable[[TufTree], None],
) -> None:
    tree = TufTree()
    attack(tree)
    with pytest.raises(Corrupt, match=r"2\.root\.json"):
        opened(tree)


def test_a_root_that_its_keys_have_not_signed_is_not_trusted() -> None:
    tree = TufTree()
    forged = tree.sign("root", [CryptoSigner.generate_ed25519()])
    with pytest.raises(Corrupt, match="somebody else has signed it"):
        trusted_root(forged, "root.json")


def signed_by_somebody_else(tree: TufTree) -> None:
    tree.signers[ROLE] = [CryptoSigner.generate_ed25519()]
    tree.publish(ROLE)


def another_of_the_same_number(tree: TufTree) -> None:
    tree.put(ROLE, "images/debian-ci/channels/stable.json", b"{}")
    tree.sign(ROLE)


def an_old_one_under_the_next_number(tree: TufTree) -> None:
    old = tree.files[tree.place(ROLE)]
    tree.publish(ROLE)
    tree.files[tree.place(ROLE)] = old
    named = MetaFile.from_data(tree.lists[ROLE].signed.version, old, ["sha256"])
    tree.snapshot.signed.meta[f"{ROLE}.json"] = named
    tree.sign("snapshot")
    tree.sign_timestamp()


@pytest.mark.parametrize(
    "attack",
    [signed_by_somebody_else, another_of_the_same_number, an_old_one_under_the_next_number],
)
def test_no_list_counts_but_the_one_that_its_role_has_signed(
    attack: Callable[[TufTree], None],
) -> None:
    tree = TufTree()
    tree.put(ROLE, DOCUMENT, b"{}")
    tree.publish(ROLE)
    attack(tree)
    with pytest.raises(Corrupt, match=ROLE):
        opened(tree).role(ROLE)


def test_a_role_that_may_sign_for_one_image_signs_for_no_other() -> None:
    tree = TufTree({ROLE: (DOCUMENT,)})
    other = "images/debian-ci/channels/stable.json"
    for each in (DOCUMENT, other):
        tree.put(ROLE, each, b"{}")
    tree.publish(ROLE)
    assert opened(tree).find(DOCUMENT) is not None
    assert opened(tree).find(other) is None
