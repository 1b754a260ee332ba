"""Pulling from a registry: who is shown which login, and that the digest decides there too."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.web import Page, Site, site

from imagectl.consumer.pulling import fetch
from imagectl.consumer.registry import RegistrySource
from imagectl.errors import Corrupt, Denied
from imagectl.model.names import Sha256

DISK = b"a disk in a registry" * 500
SHA256 = Sha256(hashlib.sha256(DISK).hexdigest())
BLOB = f"/v2/acme/disks/blobs/sha256:{SHA256}"
LOGIN = base64.b64encode(b"images:not-to-be-shown").decode()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with site() as running:
        running.put(BLOB, DISK)
        yield running


def host(server: Site) -> str:
    return f"127.0.0.1:{server.port}"


def logged_in(server: Site, folder: Path) -> None:
    content = {"auths": {host(server): {"auth": LOGIN}, "other.example": {"auth": "b3RoZXI="}}}
    (folder / "config.json").write_text(json.dumps(content))


def wants(server: Site, challenge: str) -> None:
    """Refuse the next one who asks for the blob."""
    page = Page(b"", 401, {"WWW-Authenticate": challenge})
    server.faults[BLOB].append(lambda _handler, _page: page)


def bearer(server: Site) -> str:
    return f'Bearer realm="{server.url("/token")}",service="s",scope="repository:acme/disks:pull"'


def pulled(server: Site, folder: Path) -> bytes:
    source = RegistrySource(f"{host(server)}/acme/disks", SHA256)
    to = folder / "disk"
    fetch(source, SHA256, len(DISK), to, lambda _done, _total: None)
    return to.read_bytes()


def shown(server: Site) -> list[str | None]:
    return [each.headers.get("Authorization") for each in server.asked]


def token_of(server: Site, **content: str) -> str:
    path = "/token?service=s&scope=repository:acme/disks:pull"
    server.put(path, json.dumps(content).encode())
    return path


def test_who_may_read_it_shows_no_login(server: Site, tmp_path: Path) -> None:
    logged_in(server, tmp_path)
    assert pulled(server, tmp_path) == DISK
    assert shown(server) == [None], "a login is only shown where one is wanted"


@pytest.mark.parametrize("name", ["token", "access_token"])
def test_a_token_is_fetched(server: Site, tmp_path: Path, name: str) -> None:
    wants(server, bearer(server))
    token_of(server, **{name: "t0ken"})
    assert pulled(server, tmp_path) == DISK
    assert shown(server) == [None, None, "Bearer t0ken"]


def test_the_token_server_is_shown_the_login(server: Site, tmp_path: Path) -> None:
    logged_in(server, tmp_path)
    wants(server, bearer(server))
    token_of(server, token="t0ken")
    assert pulled(server, tmp_path) == DISK
    assert shown(server) == [None, f"Basic {LOGIN}", "Bearer t0ken"]


def test_a_registry_may_want_the_login_itself(server: Site, tmp_path: Path) -> None:
    logged_in(server, tmp_path)
    wants(server, 'Basic realm="tests"')
    assert pulled(server, tmp_path) == DISK
    assert shown(server) == [None, f"Basic {LOGIN}"]


def test_no_login_goes_to_where_a_blob_is_kept(server: Site, tmp_path: Path) -> None:
    logged_in(server, tmp_path)
    wants(server, 'Basic realm="tests"')
    with site() as store:
        store.put("/kept", DISK)
        server.pages[BLOB] = Page(b"", 307, {"Location": store.url("/kept")})
        assert pulled(server, tmp_path) == DISK
        assert shown(store) == [None]
    assert f"Basic {LOGIN}" in shown(server)


@pytest.mark.parametrize(
    "challenge",
    [
        "",
        "Negotiate",
        'Basic realm="tests"',
        'Bearer realm="ftp://tokens.example/"',
        "Bearer",
        'Bearer realm="{}"',
    ],
)
def test_what_we_have_no_login_for_is_denied(server: Site, tmp_path: Path, challenge: str) -> None:
    server.pages[BLOB] = Page(
        b"", 401, {"WWW-Authenticate": challenge.format(server.url("/no-such-page"))}
    )
    with pytest.raises(Denied, match="is not given to us") as caught:
        pulled(server, tmp_path)
    assert f"`docker login {host(server)}`" in caught.value.hint
    assert caught.value.where == f"{host(server)}/acme/disks@sha256:{SHA256}"


@pytest.mark.parametrize(
    "answer", [b"", b"{}", b"[]", b'{"token": 7}', b'{"token": "a\\nb"}', b"[" * 100_000]
)
def test_a_token_that_is_none(server: Site, tmp_path: Path, answer: bytes) -> None:
    wants(server, bearer(server))
    server.put("/token?service=s&scope=repository:acme/disks:pull", answer)
    with pytest.raises(Denied):
        pulled(server, tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"auths": {}}', '{"auths": 7}'])
def test_a_file_of_docker_that_says_nothing(server: Site, tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    wants(server, 'Basic realm="tests"')
    with pytest.raises(Denied):
        pulled(server, tmp_path)


def test_a_registry_is_not_believed(server: Site, tmp_path: Path) -> None:
    server.put(BLOB, DISK[:-1] + b"?")
    with pytest.raises(Corrupt, match="is not what was published"):
        pulled(server, tmp_path)
    assert not (tmp_path / "disk").exists()


def test_others_are_asked_by_https() -> None:
    for repository in ("registry.example/a", "127.0.0.1.example/a", "10.0.0.1:5000/a"):
        assert RegistrySource(repository, SHA256)._url.startswith("https://")
    for repository in ("localhost:5000/a", "127.0.0.1/a"):
        assert RegistrySource(repository, SHA256)._url.startswith("http://")


def test_no_login_is_shown_where_others_can_read_it(server: Site, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"auths": {"registry.example": {"auth": LOGIN}}})
    )
    token_of(server, token="t0ken")
    assert RegistrySource("registry.example/acme", SHA256)._answer(bearer(server)) is None
    assert server.asked == []
