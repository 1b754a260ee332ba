"""The private keys that sign what consumers read: where they are found, made and refused."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest
from botocore.session import get_session
from moto import mock_aws
from securesystemslib.signer import CryptoSigner, Key

from imagectl.adapters.inside.signing import project_key
from imagectl.adapters.signing_keys import ONLINE_KEY, ROOT_KEY, TARGETS_KEY, SigningKeys
from imagectl.errors import CannotTell, Corrupt, Failed, NotFound, ToolMissing
from imagectl.model.image import SecretKind, SecretRef


def keys(tmp_path: Path, *named: SecretRef | str) -> SigningKeys:
    return SigningKeys(named, tmp_path / ".imagectl" / "keys", tmp_path)


def file(name: str) -> SecretRef:
    return SecretRef(SecretKind.FILE, name)


def put(path: Path, mode: int = 0o600) -> CryptoSigner:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = CryptoSigner.generate_ed25519()
    path.write_bytes(made.private_bytes)
    path.chmod(mode)
    return made


def signs(found: SigningKeys, key: Key) -> bool:
    """Whether a signature by that key's private half can be had, and is right."""
    signer = found.signer(key.keyid)
    if signer is None:
        return False
    key.verify_signature(signer.sign(b"data"), b"data")
    return True


def test_three_keys_are_made_once_for_their_owner_alone(tmp_path: Path) -> None:
    here = keys(tmp_path)
    first = here.first()
    assert set(first) == {ROOT_KEY, TARGETS_KEY, ONLINE_KEY}
    made = {each.name: each for each in here.made}
    assert set(made) == {"root.pem", "targets.pem", "online.pem"}
    assert {stat.S_IMODE(each.stat().st_mode) for each in made.values()} == {0o600}
    assert stat.S_IMODE(here.folder.stat().st_mode) == 0o700
    later = keys(tmp_path)
    assert {name: [each.keyid for each in found] for name, found in later.first().items()} == {
        name: [each.keyid for each in found] for name, found in first.items()
    }
    assert later.made == []
    assert all(signs(later, each) for found in first.values() for each in found)


def test_keys_are_found_where_the_settings_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = put(tmp_path / "stick" / "root.pem")
    alice = put(tmp_path / "alice.pem")
    online = CryptoSigner.generate_ed25519()
    monkeypatch.setenv("ONLINE", online.private_bytes.decode())
    named = (file("stick"), file("alice.pem"), SecretRef(SecretKind.ENV, "ONLINE"))
    here = keys(tmp_path, *named)
    assert all(signs(here, each.public_key) for each in (root, alice, online))
    first = here.first()
    assert [each.keyid for each in first[ROOT_KEY]] == [root.public_key.keyid]
    assert {each.keyid for each in first[ONLINE_KEY]} == {
        alice.public_key.keyid,
        online.public_key.keyid,
    }
    assert [each.name for each in here.made] == ["targets.pem"]


def test_a_builds_own_key_signs_nothing_of_the_tree(tmp_path: Path) -> None:
    here = keys(tmp_path)
    provenance = project_key(here.folder).public_key
    first = here.first()
    assert sum(map(len, first.values())) == 3
    assert here.signer(provenance.keyid) is None


def test_a_key_that_is_offline_is_not_here(tmp_path: Path) -> None:
    here = keys(tmp_path, file("stick"), file("root.pem"), SecretRef(SecretKind.ENV, "NOT_SET"))
    assert here.signer(CryptoSigner.generate_ed25519().public_key.keyid) is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    key = put(tmp_path / "online.pem", mode)
    with pytest.raises(Failed, match="can be read by others") as caught:
        keys(tmp_path, file("online.pem")).signer(key.public_key.keyid)
    assert "chmod 600" in caught.value.hint


@pytest.mark.parametrize("data", [b"", b"secret words", b"-----BEGIN PRIVATE KEY-----\nsecret"])
def test_what_is_no_key_is_named_and_not_shown(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "online.pem"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(Corrupt, match="not a private key") as caught:
        keys(tmp_path, file("online.pem")).signer("x")
    assert caught.value.where == str(path)
    assert "secret" not in f"{caught.value!r} {caught.value.why} {caught.value.hint}"
    assert caught.value.__cause__ is None


def test_a_key_in_a_kms_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS' KMS, as moto has it; asked only for what no file's key can sign."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with mock_aws():
        client = get_session().create_client("kms")
        made = client.create_key(KeyUsage="SIGN_VERIFY", KeySpec="RSA_2048")
        here = keys(tmp_path, f"awskms:{made['KeyMetadata']['KeyId']}", file("online.pem"))
        own = put(tmp_path / "online.pem")
        assert signs(here, own.public_key)
        assert here._elsewhere == {}
        first = here.first()
        (elsewhere,) = (each for each in first[ONLINE_KEY] if each.keytype == "rsa")
        signer = here.signer(elsewhere.keyid)
        assert signer is not None
        # moto takes the digest that it is sent for the message, and hashes it once more.
        elsewhere.verify_signature(signer.sign(b"data"), hashlib.sha256(b"data").digest())


def test_a_kms_that_does_not_answer_cannot_be_told_from_one_without_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with mock_aws(), pytest.raises(CannotTell, match="awskms:nothing does not answer"):
        keys(tmp_path, "awskms:nothing").signer("x")


def test_a_kms_whose_package_is_not_installed_says_so(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="needs a Python package"):
        keys(tmp_path, "hv:online/1").signer("x")


def test_a_hardware_key_asks_for_its_pin(monkeypatch: pytest.MonkeyPatch) -> None:
    from imagectl.adapters.signing_keys import PIN, _pin

    monkeypatch.delenv(PIN, raising=False)
    with pytest.raises(NotFound, match="asks for its PIN"):
        _pin("PIN")
    monkeypatch.setenv(PIN, "1234")
    assert _pin("PIN") == "1234"
