"""Provenance: what a version was made from, signed, and found out where a byte is changed (P10)."""

from __future__ import annotations

import base64
import copy
import json
import os
import re
import shutil
import stat
import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from support.examples import NOW, digest, lock, ref, version
from support.processes import end, fork
from support.systems import image, workspace

from imagectl.adapters.inside import LocalInspector
from imagectl.adapters.inside.provenance import PAYLOAD, Json, sign, statement, verify
from imagectl.adapters.inside.signing import PRIVATE, PUBLIC, project_key, public_key
from imagectl.errors import Corrupt, Failed, NotFound
from imagectl.model.lock import LockedParentBase
from imagectl.services.ports.building import Made

MADE = Made(NOW, NOW + timedelta(minutes=3), "0.1.0", digest("source"), digest("report"))


def said() -> Json:
    artifacts = version("debian-base@20261120.1").artifacts
    return statement(image(), lock(), artifacts, MADE, invocation="20261120-abc")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project") / "keys"
    project_key(folder)
    return folder


@pytest.fixture(scope="module")
def envelope(keys: Path) -> bytes:
    return sign(said(), project_key(keys))


def test_the_statement_is_one_of_in_toto() -> None:
    document = said()
    parsed = json_format.ParseDict(document, Statement([], "", {}).pb)
    Statement.copy_from_pb(parsed).validate()
    predicate = json_format.ParseDict(document["predicate"], provenance_pb2.Provenance())
    assert predicate.build_definition.build_type == "urn:imagectl:build:1"
    for each in predicate.build_definition.resolved_dependencies:
        ResourceDescriptor.copy_from_pb(each).validate()
    assert predicate.run_details.metadata.started_on.ToDatetime() == NOW.replace(tzinfo=None)


def test_every_input_of_the_lock_is_a_dependency_by_its_digest() -> None:
    named = said()["predicate"]["buildDefinition"]["resolvedDependencies"]
    digests = [each["digest"]["sha256"] for each in named]
    made_from = lock()
    wanted = [each.sha256 for each in (*made_from.inputs.all, *made_from.toolchain.inputs.all)]
    assert digests == [MADE.source, made_from.toolchain.tree, *wanted]
    uris = {each.get("uri") for each in named}
    assert "pkg:deb/debian/openssh-server@1:9.2p1-2%2Bdeb12u7?arch=amd64" in uris
    assert "https://mirror.example/simple/black/" in uris


def test_a_parent_is_a_dependency_by_its_tree() -> None:
    parent = LockedParentBase(ref("debian-base@20261119.1"), digest("parent"))
    child = replace(lock(), base=parent)
    artifacts = version("debian-base@20261120.1").artifacts
    document = statement(image("debian-ci"), child, artifacts, MADE, invocation="x")
    dependencies = document["predicate"]["buildDefinition"]["resolvedDependencies"]
    expected = {"name": "parent debian-base@20261119.1", "digest": {"sha256": digest("parent")}}
    assert expected in dependencies


def test_what_was_signed_is_read_again(keys: Path, envelope: bytes) -> None:
    assert verify(envelope, public_key(keys / PUBLIC), "provenance.json") == said()
    opened = json.loads(envelope)
    assert opened["payloadType"] == PAYLOAD
    assert [each["keyid"] for each in opened["signatures"]] == [public_key(keys / PUBLIC).keyid]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_changed_byte_is_found_out(keys: Path, envelope: bytes, data: st.DataObject) -> None:
    document = json.loads(envelope)
    where = data.draw(st.sampled_from(["payload", "signature"]))
    holder = document if where == "payload" else document["signatures"][0]
    key = "payload" if where == "payload" else "sig"
    raw = bytearray(base64.b64decode(holder[key]))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    holder[key] = base64.b64encode(raw).decode()
    with pytest.raises(Corrupt, match="not what this key has signed"):
        verify(json.dumps(document).encode(), public_key(keys / PUBLIC), "provenance.json")


def test_what_is_no_signed_statement_is_refused(keys: Path, envelope: bytes) -> None:
    key = public_key(keys / PUBLIC)
    unsigned = {**json.loads(envelope), "signatures": []}
    twice = json.loads(envelope)
    twice["signatures"] += copy.deepcopy(twice["signatures"])
    other_type = {**json.loads(envelope), "payloadType": "text/plain"}
    wrong: tuple[object, ...] = (unsigned, twice, other_type, {}, [], None, {"payload": 1})
    for text in wrong:
        with pytest.raises(Corrupt):
            verify(json.dumps(text).encode(), key, "provenance.json")
    with pytest.raises(Corrupt):
        verify(b"\xff not JSON", key, "provenance.json")
    with pytest.raises(Corrupt, match="not what this key") as caught:
        verify(sign({"_type": "x", "predicateType": "y"}, project_key(keys)), key, "here")
    assert caught.value.where == "here"


def test_the_documented_check_works_without_imagectl(
    keys: Path, envelope: bytes, tmp_path: Path
) -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/see-inside.md").read_text()
    (script,) = (each for each in re.findall(r"```sh\n(.*?)```", page, re.S) if "openssl" in each)
    shutil.copy(keys / PUBLIC, tmp_path)
    (tmp_path / "provenance.json").write_bytes(envelope)

    def check() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-ec", script], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    done = check()
    assert (done.returncode, "Signature Verified Successfully" in done.stdout) == (0, True)
    assert json.loads((tmp_path / "statement.json").read_text()) == said()
    changed = base64.b64encode(json.dumps({**said(), "subject": []}).encode()).decode()
    document = {**json.loads(envelope), "payload": changed}
    (tmp_path / "provenance.json").write_text(json.dumps(document))
    assert check().returncode != 0


def test_a_signature_on_something_else_is_not_one_on_a_statement(keys: Path) -> None:
    other = Envelope(json.dumps(said()).encode(), "text/plain", {})
    other.sign(project_key(keys))
    with pytest.raises(Corrupt, match="not what this key has signed") as caught:
        verify(json.dumps(other.to_dict()).encode(), public_key(keys / PUBLIC), "provenance.json")
    assert "text/plain" in caught.value.why


def test_another_projects_key_does_not_verify(envelope: bytes, tmp_path: Path) -> None:
    project_key(tmp_path)
    with pytest.raises(Corrupt):
        verify(envelope, public_key(tmp_path / PUBLIC), "provenance.json")


def test_the_inspector_signs_with_the_projects_key(keys: Path, tmp_path: Path) -> None:
    artifacts = version("debian-base@20261120.1").artifacts
    path = LocalInspector(keys).attest(image(), lock(), artifacts, MADE, workspace(tmp_path))
    assert verify(path.read_bytes(), public_key(keys / PUBLIC), str(path)) == said()


def test_only_its_owner_may_read_the_key(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        project_key(tmp_path / "keys")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "keys" / PRIVATE).stat().st_mode) == 0o600
    (tmp_path / "keys" / PRIVATE).chmod(0o640)
    with pytest.raises(Failed, match="can be read by others") as caught:
        project_key(tmp_path / "keys")
    assert "chmod 600" in caught.value.hint


def test_the_key_stays_the_same(keys: Path) -> None:
    assert project_key(keys).public_key.keyid == public_key(keys / PUBLIC).keyid
    assert sorted(path.name for path in keys.glob("*.pem")) == [PRIVATE, PUBLIC]


def test_builds_that_come_first_together_make_one_key(tmp_path: Path) -> None:
    folder = tmp_path / "keys"

    def sign_one(number: int) -> None:
        (tmp_path / f"by-{number}").write_text(project_key(folder).public_key.keyid)

    children = [fork(lambda number=number: sign_one(number)) for number in range(6)]  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    assert [end(child) for child in children] == [0] * 6
    ids = {path.read_text() for path in tmp_path.glob("by-*")}
    assert ids == {public_key(folder / PUBLIC).keyid}
    assert not [path for path in folder.iterdir() if path.name.startswith("tmp")]


def test_a_damaged_key_is_never_replaced_silently(tmp_path: Path) -> None:
    project_key(tmp_path)
    (tmp_path / PRIVATE).write_text("not a key")
    with pytest.raises(Corrupt, match="not an ed25519 key"):
        project_key(tmp_path)
    assert (tmp_path / PRIVATE).read_text() == "not a key"


def test_a_lost_public_key_is_written_again(tmp_path: Path) -> None:
    keyid = project_key(tmp_path).public_key.keyid
    (tmp_path / PUBLIC).unlink()
    project_key(tmp_path)
    assert public_key(tmp_path / PUBLIC).keyid == keyid


def test_a_public_key_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        public_key(tmp_path / "missing.pem")
    (tmp_path / "wrong.pem").write_text("-----BEGIN PUBLIC KEY-----\n")
    with pytest.raises(Corrupt, match="not an ed25519 public key"):
        public_key(tmp_path / "wrong.pem")
