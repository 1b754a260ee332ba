"""Keys that are in no file: of a hardware token (SoftHSM), and of AWS KMS.

AWS's own client asks a KMS of the tests, which has what is asked for and no more: moto's hashes a
digest that it is to sign once more, which AWS does not.
"""

from __future__ import annotations

import json
import subprocess
import threading
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pkcs11
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11.util.ec import encode_named_curve_parameters
from support.buckets import ENVIRONMENT
from support.cli import command_line
from support.teams import IMAGE, ONE, Team

LIBRARY = "/usr/lib/softhsm/libsofthsm2.so"
PIN = "5678"
LABEL = "release keys"
TOKEN_KEY = "hsm:2?label=release+keys"


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Team:
    return Team(tmp_path, command_line(monkeypatch))


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A token with one key. The library reads where tokens are once for each process."""
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    settings = folder / "softhsm2.conf"
    settings.write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SOFTHSM2_CONF", str(settings))
        command = ["softhsm2-util", "--init-token", "--free", "--label", LABEL]
        subprocess.run(
            [*command, "--so-pin", "1234", "--pin", PIN], check=True, capture_output=True
        )
        environment.setenv("PYKCS11LIB", LIBRARY)
        with (
            pkcs11.lib(LIBRARY).get_token(token_label=LABEL).open(rw=True, user_pin=PIN) as session
        ):
            curve = session.create_domain_parameters(
                pkcs11.KeyType.EC,
                {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")},
                local=True,
            )
            curve.generate_keypair(store=True, id=b"\x02", label="signs")
        yield TOKEN_KEY


def test_a_token_is_one_of_two_people(
    team: Team, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGECTL_KEY_PIN", PIN)
    team.done(
        *("catalog", "rotate-keys", "channel-stable", "--reason", "two people"),
        *("--add", token, "--add", team.public("bob")),
        *("--remove", "online", "--threshold", "2"),
    )
    team.done("sign", "channel-stable", "--key", token, "--yes")
    team.sign("channel-stable", "bob")
    team.next_version()
    team.done("promote", "stable")
    assert team.stable() == "20261120.1", "until both have signed"
    team.sign("channel-stable", "bob")
    team.done("sign", "channel-stable", "--key", token, "--yes")
    assert team.stable() == "20261120.2"


@pytest.mark.parametrize(
    ("pin", "key", "said"),
    [
        (None, TOKEN_KEY, "export IMAGECTL_KEY_PIN="),
        ("0000", TOKEN_KEY, "PinIncorrect"),
        (PIN, "hsm:7?label=release+keys", "could not find ECDSA key"),
        (PIN, "hsm:2?label=another", "No PKCS#11 token found for label another"),
    ],
)
def test_a_token_that_cannot_sign_is_told(
    team: Team,
    token: str,
    monkeypatch: pytest.MonkeyPatch,
    pin: str | None,
    key: str,
    said: str,
) -> None:
    monkeypatch.setenv("IMAGECTL_KEY_PIN", PIN)
    team.done(
        *("catalog", "rotate-keys", "channel-stable", "--reason", "two people"),
        *("--add", token, "--add", team.public("bob")),
        *("--remove", "online", "--threshold", "2"),
    )
    if pin is None:
        monkeypatch.delenv("IMAGECTL_KEY_PIN")
    else:
        monkeypatch.setenv("IMAGECTL_KEY_PIN", pin)
    result = team.imagectl("-C", str(team.root), "sign", "channel-stable", "--key", key, "--yes")
    assert result.exit_code not in (0, 70), result.stderr
    assert said in result.stderr
    assert "Traceback" not in result.stderr


@dataclass
class KeyService:
    """AWS KMS with one key. ``flawed``: it signs something else."""

    endpoint: str
    flawed: bool = False


@contextmanager
def key_service() -> Iterator[KeyService]:
    """Source: AWS KMS API Reference, GetPublicKey and Sign (``MessageType`` DIGEST)."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    made = KeyService("")

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            said = {"KeyId": asked["KeyId"]}
            if self.headers["X-Amz-Target"] == "TrentService.GetPublicKey":
                said["PublicKey"] = b64encode(public).decode()
                said |= {"SigningAlgorithms": ["ECDSA_SHA_256"], "KeySpec": "ECC_NIST_P256"}
            else:
                assert (asked["MessageType"], asked["SigningAlgorithm"]) == (
                    "DIGEST",
                    "ECDSA_SHA_256",
                )
                digest = b64decode(asked["Message"])
                digest = bytes(32) if made.flawed else digest
                signed = key.sign(digest, ec.ECDSA(Prehashed(SHA256())))
                said["Signature"] = b64encode(signed).decode()
            body = json.dumps(said).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        made.endpoint = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield made
        server.shutdown()


def test_a_key_of_aws_kms_signs_what_is_published(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = "awskms:alias/images"
    for name, value in (ENVIRONMENT | {"AWS_DEFAULT_REGION": "us-east-1"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with key_service() as service:
        monkeypatch.setenv("AWS_ENDPOINT_URL", service.endpoint)
        settings = team.root / "imagectl.yaml"
        text = settings.read_text().replace("catalog:", f"catalog:\n  keys: ['{uri}']", 1)
        settings.write_text(text)
        team.done(
            *("catalog", "rotate-keys", "online", "--reason", "in a KMS from now on"),
            *("--add", uri, "--remove", "online"),
        )
        team.private("online").rename(team.folder / "online.pem")
        team.next_version()
        team.done("promote", "stable")
        assert team.stable() == "20261120.2"
        service.flawed = True
        said = team.imagectl("-C", str(team.root), "revoke", ONE, "--reason", "a hole").stderr
        assert "is not its signature" in said
        assert not team.consumer().warnings(IMAGE)
    said = team.refused("catalog", "publish", code=5)
    assert uri in said
    assert "does not answer" in said
    assert not team.consumer().warnings(IMAGE)
