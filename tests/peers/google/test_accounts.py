"""Who is let in, and who may do what."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions
from google.auth.exceptions import RefreshError
from google.auth.transport.requests import AuthorizedSession
from google.cloud import compute_v1
from google.cloud.storage import Client

from peers.google.clients import (
    BUCKET,
    PROJECT,
    Connect,
    account,
    ask,
)
from peers.google.peer import Google


def test_accounts_do_what_they_may(peer: Google, connect: Connect, tmp_path: Path) -> None:
    peer.compute.add_image(PROJECT, "a-1")
    key = peer.accounts.add(tmp_path, permissions=("compute.images.*", "storage.objects.list"))
    images = connect(compute_v1.ImagesClient, **account(key))
    assert images.get(project=PROJECT, image="a-1").name == "a-1"
    client = connect(Client, project=PROJECT, **account(key))
    assert list(client.list_blobs(BUCKET)) == []
    assert peer.accounts.given > 0
    with pytest.raises(exceptions.Forbidden, match=r"storage\.objects\.create"):
        client.bucket(BUCKET).blob("a").upload_from_string(b"")
    asked = ["storage.objects.list", "storage.objects.create"]
    assert client.bucket(BUCKET).test_iam_permissions(asked) == asked[:1]
    peer.accounts.end_tokens()
    assert list(client.list_blobs(BUCKET)) == []  # it asks for a new one
    peer.accounts.forget()
    with pytest.raises(exceptions.Unauthorized):
        images.get(project=PROJECT, image="a-1")
    with pytest.raises(RefreshError, match="account not found"):
        list(client.list_blobs(BUCKET))


def test_credentials_are_refused_for_other_reasons_too(
    peer: Google, connect: Connect, tmp_path: Path
) -> None:
    key = peer.accounts.add(tmp_path)

    def listing() -> list[Any]:
        client = connect(Client, project=PROJECT, **account(key))
        return list(client.list_blobs(BUCKET))

    with (
        peer.accounts.refusing("invalid_grant", "Token has been expired or revoked."),
        pytest.raises(RefreshError, match="expired or revoked"),
    ):
        listing()
    peer.skew = timedelta(hours=2)
    with pytest.raises(RefreshError, match="reasonable timeframe"):
        listing()
    peer.skew = -timedelta(hours=2)
    with pytest.raises(RefreshError, match="reasonable timeframe"):
        listing()
    peer.skew = timedelta()
    with peer.accounts.only("storage.objects.get"), pytest.raises(exceptions.Forbidden):
        listing()
    other = json.loads(peer.accounts.add(tmp_path, "other").read_text())
    key.write_text(json.dumps({**json.loads(key.read_text()), "private_key": other["private_key"]}))
    with pytest.raises(RefreshError, match="Invalid JWT Signature"):
        listing()


def test_a_project_says_what_the_caller_may_do_with_it(peer: Google) -> None:
    path = f"/v1/projects/{PROJECT}:testIamPermissions"
    asked = {"permissions": ["compute.images.create", "compute.images.get"]}
    with peer.accounts.only("*.get"):
        assert ask(peer, "POST", path, asked) == (200, {"permissions": ["compute.images.get"]})


def test_tokens_last_an_hour_and_for_their_scopes(
    peer: Google, connect: Connect, tmp_path: Path
) -> None:
    key = account(peer.accounts.add(tmp_path))["credentials"]
    client = connect(Client, project=PROJECT, credentials=key)
    assert list(client.list_blobs(BUCKET)) == []
    given = peer.accounts.given
    assert list(client.list_blobs(BUCKET)) == []
    assert peer.accounts.given == given
    peer.skew = timedelta(hours=1, seconds=5)
    assert list(client.list_blobs(BUCKET)) == []
    assert peer.accounts.given > given
    peer.skew = timedelta()
    narrow = key.with_scopes(["https://www.googleapis.com/auth/devstorage.read_only"])
    # A client would ask for scopes of its own.
    session: Any = AuthorizedSession(narrow)  # type: ignore[no-untyped-call]  # it has no types
    reader = connect(Client, project=PROJECT, credentials=narrow, _http=session)
    assert list(reader.list_blobs(BUCKET)) == []
    with pytest.raises(exceptions.Forbidden, match="insufficient authentication scopes"):
        reader.bucket(BUCKET).blob("a").upload_from_string(b"")
