"""One key under two ids, however it is written, is told from two keys, and refused (P10)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner, Key, SSlibKey
from support.tuf_trees import NOW, TufTree
from tuf.api.metadata import DelegatedRole, Delegations, Root, SuccinctRoles, Targets

from imagectl.consumer.signed_tree import SignedFiles, open_files
from imagectl.errors import CannotTell
from imagectl.formats.tuf_keys import counted_twice, own_id, same_key, under_a_strange_id

RSA = rsa.generate_private_key(65537, 2048).public_key()
EC = ec.generate_private_key(ec.SECP256R1()).public_key()
ED25519 = CryptoSigner.generate_ed25519().public_key
SPKI = PublicFormat.SubjectPublicKeyInfo


def written(key: Key, keyid: str, public: str | None = None, scheme: str | None = None) -> Key:
    text = str(key.keyval["public"]) if public is None else public
    return SSlibKey(keyid, key.keytype, scheme or key.scheme, {"public": text})


def pem(of: rsa.RSAPublicKey | ec.EllipticCurvePublicKey, form: PublicFormat = SPKI) -> str:
    return of.public_bytes(Encoding.PEM, form).decode()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ED25519, written(ED25519, "b")),
        (ED25519, written(ED25519, "b", str(ED25519.keyval["public"]).upper())),
        (
            ED25519,
            written(ED25519, "b", bytes.fromhex(ED25519.keyval["public"]).hex(" ")),
        ),
        (SSlibKey.from_crypto(EC), written(SSlibKey.from_crypto(EC), "b", f"\n{pem(EC)}\n\n")),
        (
            SSlibKey.from_crypto(RSA),
            written(SSlibKey.from_crypto(RSA), "b", scheme="rsa-pkcs1v15-sha256"),
        ),
        (
            SSlibKey.from_crypto(RSA),
            written(SSlibKey.from_crypto(RSA), "b", pem(RSA, PublicFormat.PKCS1)),
        ),
    ],
    ids=["id", "upper case", "spaces", "lines", "scheme", "another form of PEM"],
)
def test_it_is_one_key(one: Key, other: Key) -> None:
    assert same_key(one, other)


def test_others_are_not() -> None:
    keys = [
        *(CryptoSigner.generate_ed25519().public_key for _ in range(2)),
        SSlibKey.from_crypto(RSA),
        SSlibKey.from_crypto(EC),
        written(ED25519, "c", "no key"),
        written(ED25519, "d", "nor this"),
        written(SSlibKey.from_crypto(EC), "e", "nor that"),
    ]
    for one in keys:
        assert [each for each in keys if same_key(one, each)] == [one]


def test_a_root_is_looked_through() -> None:
    root = Root()
    root.add_key(ED25519, "timestamp")
    root.add_key(written(ED25519, "b"), "snapshot")
    assert counted_twice(root) == "", "whoever has it signs for two roles, once each"
    root.add_key(written(ED25519, "c"), "snapshot")
    assert "one key of snapshot under two ids, b and c" in counted_twice(root)


def test_lists_of_signers_are_looked_through() -> None:
    keys = {"a": written(ED25519, "a"), "b": written(ED25519, "b")}
    apart = [
        DelegatedRole(name, [keyid], 1, terminating=True, paths=["*"])
        for name, keyid in (("images", "a"), ("catalog", "b"))
    ]
    signed = Targets(delegations=Delegations(keys, {each.name: each for each in apart}))
    assert counted_twice(signed) == ""
    apart[0].keyids.append("b")
    assert "one key of images under two ids" in counted_twice(signed)


def test_roles_that_are_many_are_looked_through() -> None:
    keys = {"a": written(ED25519, "a"), "b": written(ED25519, "b")}
    many = SuccinctRoles(["a", "b"], 2, 4, "bin")
    assert "two ids" in counted_twice(Targets(delegations=Delegations(keys, None, many)))


def test_what_lists_nobody_is_well() -> None:
    assert counted_twice(Targets()) == ""
    missing = DelegatedRole("images", ["a", "b"], 1, terminating=True, paths=["*"])
    assert counted_twice(Targets(delegations=Delegations({}, {"images": missing}))) == ""


def test_the_id_of_a_key_is_its_own() -> None:
    """As securesystemslib makes them, whatever people call it."""
    for key in (ED25519, SSlibKey.from_crypto(RSA), SSlibKey.from_crypto(EC)):
        assert own_id(key) == key.keyid
        again = SSlibKey.from_dict(key.keyid, {**key.to_dict(), "x-imagectl-name": "alice"})
        assert own_id(again) == key.keyid


@pytest.mark.parametrize(
    "change",
    [
        lambda key: key.keyval.update(public="00" * 32),
        lambda key: setattr(key, "scheme", "another"),
        lambda key: setattr(key, "keytype", "another"),
        lambda key: key.keyval.update(private="more"),
        lambda key: key.keyval.update(public=0.5),
        lambda key: key.keyval.update(public="\ud800"),
    ],
    ids=["key", "scheme", "type", "more", "number", "no text"],
)
def test_another_key_under_that_id_is_found(change: Callable[[Key], None]) -> None:
    key = SSlibKey.from_dict(ED25519.keyid, copy.deepcopy(ED25519.to_dict()))
    root, listed = Root(), Targets(delegations=Delegations({key.keyid: key}, {}))
    root.add_key(key, "timestamp")
    assert under_a_strange_id(root) == under_a_strange_id(listed) == ""
    change(key)
    for each in (root, listed):
        assert f"under the id {key.keyid[:12]}, which is not" in under_a_strange_id(each)


STABLE = "images/debian-ci/channels/stable.json"


class Client:
    """A consumer that has the first root of a tree."""

    def __init__(self, folder: Path, tree: TufTree) -> None:
        self.folder = folder
        self.root = tree.files["metadata/1.root.json"]

    def look(self, tree: TufTree) -> SignedFiles:
        mirror = self.folder / "mirror"
        tree.write(mirror)
        return open_files(str(mirror), root=self.root, cache=self.folder / "cache", now=NOW)


def under_another_id(signer: CryptoSigner) -> CryptoSigner:
    """The same key, written in another way, too."""
    private = load_pem_private_key(signer.private_bytes, None)
    public = str(signer.public_key.keyval["public"]).upper()
    again = written(signer.public_key, "ab" * 32, public)
    assert isinstance(again, SSlibKey)
    return CryptoSigner(private, again)


@pytest.fixture
def tree() -> TufTree:
    made = TufTree({"images": ("images/*/index.json",)})
    made.delegate("channel-stable", (STABLE,), threshold=2)
    made.put("channel-stable", STABLE, b"the head")
    return made


def test_consumers_do_not_take_one_key_for_two_people(tmp_path: Path, tree: TufTree) -> None:
    """python-tuf counts ids, and whoever writes the list chooses them."""
    [alice] = tree.signers["channel-stable"]
    tree.signers["channel-stable"] = [alice, under_another_id(alice)]
    tree.delegate("channel-stable", (STABLE,), threshold=2)
    tree.publish("targets", "channel-stable")

    with pytest.raises(CannotTell) as caught:
        Client(tmp_path, tree).look(tree)

    assert "one key of channel-stable under two ids" in caught.value.why
    assert caught.value.where.endswith("/2.targets.json")
    assert caught.value.hint


def test_consumers_do_not_follow_a_root_that_counts_a_key_twice(
    tmp_path: Path, tree: TufTree
) -> None:
    client = Client(tmp_path, tree)
    client.look(tree)
    [online] = tree.signers["snapshot"]
    tree.root.signed.add_key(under_another_id(online).public_key, "snapshot")
    tree.new_root(tree.signers["root"])

    with pytest.raises(CannotTell) as caught:
        client.look(tree)

    assert "one key of snapshot under two ids" in caught.value.why


def test_nor_do_they_begin_with_one(tmp_path: Path, tree: TufTree) -> None:
    [online] = tree.signers["snapshot"]
    tree.root.signed.add_key(under_another_id(online).public_key, "snapshot")
    tree.sign("root")

    with pytest.raises(CannotTell) as caught:
        Client(tmp_path, tree).look(tree)

    assert "one key of snapshot under two ids" in caught.value.why
