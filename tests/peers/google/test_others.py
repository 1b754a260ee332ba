"""The peer seen by clients that share no code with Google's Python ones, or little."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import libcloud.security
import pytest
from google.auth.credentials import AnonymousCredentials
from googleapiclient import discovery as client_discovery
from googleapiclient.http import MediaInMemoryUpload
from libcloud.compute.drivers.gce import GCENodeDriver

from peers.google.clients import (
    BUCKET,
    IMAGES,
    PROJECT,
    QUANTUM,
    ZONE,
)
from peers.google.discovery import api
from peers.google.peer import Google


@contextmanager
def by_discovery(peer: Google, name: str) -> Iterator[Any]:
    """google-api-python-client's service of that name."""
    document = dict(api(name).document, rootUrl=f"{peer.url}/")
    nobody = AnonymousCredentials()  # type: ignore[no-untyped-call]  # it has no types
    service = client_discovery.build_from_document(document, credentials=nobody)
    yield service
    service.close()


def test_the_discovery_client_walks_pages(peer: Google) -> None:
    for number in range(5):
        peer.compute.add_image(PROJECT, f"a-{number}")
    with by_discovery(peer, "compute") as service:
        images = service.images()
        names, request = [], images.list(project=PROJECT, maxResults=2)
        while request is not None:
            answer = request.execute()
            names += [each["name"] for each in answer["items"]]
            request = images.list_next(request, answer)
    assert names == [f"a-{number}" for number in range(5)]


def test_the_discovery_client_uploads_in_chunks(peer: Google) -> None:
    with by_discovery(peer, "storage") as service:
        objects = service.objects()
        media = MediaInMemoryUpload(bytes(600_000), chunksize=QUANTUM, resumable=True)
        upload = objects.insert(bucket=BUCKET, name="a b/c", media_body=media)
        made = None
        while made is None:
            _, made = upload.next_chunk()
        assert made["size"] == "600000"
        simple = MediaInMemoryUpload(b"\r\n--x\n", mimetype="text/plain")
        objects.insert(bucket=BUCKET, body={"name": "d"}, media_body=simple).execute()
        assert objects.get_media(bucket=BUCKET, object="d").execute() == b"\r\n--x\n"


@pytest.fixture
def proxied(peer: Google, monkeypatch: pytest.MonkeyPatch) -> Google:
    monkeypatch.setenv("https_proxy", peer.url)
    monkeypatch.setattr(libcloud.security, "CA_CERTS_PATH", str(peer.ca))
    return peer


def test_libcloud_lists_finds_deprecates_and_deletes(proxied: Google, tmp_path: Path) -> None:
    for number in range(3):
        proxied.compute.add_image(PROJECT, f"a-{number}", family="f", labels={"n": f"{number}"})
    key = proxied.accounts.add(tmp_path)
    make: Any = GCENodeDriver  # it has no types
    driver = make(
        json.loads(key.read_text())["client_email"],
        str(key),
        project=PROJECT,
        credential_file=str(tmp_path / "token"),
    )
    image = driver.ex_get_image("a-0")
    assert image.extra["labels"] == {"n": "0"}
    assert image.deprecate(replacement=driver.ex_get_image("a-1"), state="DEPRECATED")
    proxied.compute.settle()
    left = proxied.compute.image(PROJECT, "a-0")
    assert left is not None
    assert left["deprecated"]["state"] == "DEPRECATED"
    assert driver.ex_delete_image(image)
    assert proxied.compute.names(IMAGES) == ["a-1", "a-2"]
    assert [each.name for each in driver.ex_list_networks()] == ["default"]
    driver.connection.connection.session.close()
    assert proxied.strays == []


def test_the_proxy_leads_to_nobody_else(peer: Google) -> None:
    context = ssl.create_default_context(cafile=str(peer.ca))
    for host, status in (("storage.googleapis.com", 200), ("example.org", 0)):
        connection = http.client.HTTPSConnection(
            "127.0.0.1", peer.port, timeout=30, context=context
        )
        connection.set_tunnel(host, 443)
        if status:
            connection.request("GET", f"/storage/v1/b/{BUCKET}")
            answer = connection.getresponse()
            assert answer.status == status
            assert json.loads(answer.read())["selfLink"].startswith("https://storage.googleapis")
        else:
            with pytest.raises(OSError, match="403"):
                connection.connect()
        connection.close()
    assert peer.strays == ["example.org"]


@pytest.mark.integration
def test_packer_makes_an_image_of_an_instance(peer: Google, tmp_path: Path) -> None:
    peer.compute.add_image(PROJECT, "debian-12", diskSizeGb="3")
    template = tmp_path / "template.json"
    builder = {
        "type": "googlecompute",
        "project_id": PROJECT,
        "source_image": "debian-12",
        "source_image_project_id": PROJECT,
        "zone": ZONE,
        "image_name": "built-1",
        "image_family": "built",
        "image_labels": {"k": "v"},
        "account_file": str(peer.accounts.add(tmp_path)),
        "communicator": "none",
    }
    template.write_text(json.dumps({"builders": [builder]}))
    ran = subprocess.run(
        ["packer", "build", "-machine-readable", str(template)],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "HTTPS_PROXY": peer.url,
            "SSL_CERT_FILE": str(peer.ca),
            "CHECKPOINT_DISABLE": "1",
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stdout
    assert ",googlecompute,artifact,0,id,built-1\n" in ran.stdout
    made = peer.compute.image(PROJECT, "built-1")
    assert made is not None
    assert (made["labels"], made["family"], made["status"]) == ({"k": "v"}, "built", "READY")
    where = f"projects/{PROJECT}/zones/{ZONE}"
    assert peer.compute.names(f"{where}/disks") == peer.compute.names(f"{where}/instances") == []
    assert peer.strays == []
