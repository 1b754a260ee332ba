"""How the proxy speaks with the programs of a build: HTTP as it is, and https with the build's own
authority; and what it does with everything else that is sent to it."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from support.web import Page, Site, get, site

from imagectl.adapters.inputs.authority import Authority
from imagectl.adapters.inputs.store import InputStore
from imagectl.adapters.inputs.supply import Supply, open_supply
from imagectl.errors import BuildFailed, CannotTell
from imagectl.model.lock import Access, Inputs

NOW = dt.datetime.now(dt.UTC)  # servers of tests say the real time


@pytest.fixture
def web() -> Iterator[Site]:
    with site() as made:
        yield made


@pytest.fixture
def supply(web: Site, tmp_path: Path) -> Iterator[Supply]:
    with opened(web, tmp_path) as made:
        yield made


def opened(
    web: Site, folder: Path, environment: dict[str, str] | None = None
) -> contextlib.AbstractContextManager[Supply]:
    return open_supply(
        access=Access.RECORD,
        locked=Inputs(),
        mirrors={},
        upstream=dict,
        store=InputStore(folder / "inputs"),
        folder=folder / "supply",
        epoch=int(NOW.timestamp()),
        now=lambda: NOW,
        reachable=[web.address, ("localhost", web.port)],
        environment=environment or {},
        pauses=(),
    )


def say(supply: Supply, data: bytes) -> bytes:
    """Send the proxy bytes, and return all that it sends until it hangs up."""
    with socket.create_connection(("127.0.0.1", supply.port), timeout=20) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        parts = []
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def refusal(supply: Supply) -> BuildFailed:
    with pytest.raises(BuildFailed) as caught:
        supply.check()
    return caught.value


def test_it_listens_on_this_machine_only(supply: Supply) -> None:
    assert supply.proxy == f"http://127.0.0.1:{supply.port}"
    other = socket.gethostbyname_ex(socket.gethostname())[2]
    for address in {*other, "127.0.0.2"} - {"127.0.0.1"}:
        with pytest.raises(OSError), socket.create_connection((address, supply.port), 2):  # noqa: PT011
            pass


def test_a_connection_is_kept_for_the_next_request(supply: Supply, web: Site) -> None:
    one, two = web.put("/one", b"1"), web.put("/two", b"22")
    connection = http.client.HTTPConnection("127.0.0.1", supply.port, timeout=20)
    with contextlib.closing(connection):
        for url, body in ((one, b"1"), (two, b"22"), (one, b"1")):
            connection.request("GET", url)
            sent = connection.sock
            assert connection.getresponse().read() == body
            assert connection.sock is sent


def test_requests_may_be_sent_before_their_answers_are_read(supply: Supply, web: Site) -> None:
    """apt does that, ten at a time."""
    urls = [web.put(f"/{number}", b"<%d>" % number) for number in range(10)]
    asks = b"".join(f"GET {url} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for url in urls)
    said = say(supply, asks)
    places = [said.index(b"<%d>" % number) for number in range(10)]
    assert places == sorted(places)


def test_an_old_client_is_answered_and_hung_up_on(supply: Supply, web: Site) -> None:
    web.pages["/page"] = Page(b"whole" * 100, chunked=True)
    said = say(supply, f"GET {web.url('/page')} HTTP/1.0\r\n\r\n".encode())
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"Content-Length: 500" in head
    assert b"Transfer-Encoding" not in head
    assert body == b"whole" * 100


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND"])
def test_a_build_can_only_read(supply: Supply, web: Site, method: str) -> None:
    url = web.put("/service", b"data")
    supply.during("task 'Report home'")
    got = get(url, supply.port, method=method)
    assert (got.status, web.asked) == (405, [])
    get(url, supply.port)
    problem = refusal(supply)
    assert (problem.where, method in problem.why, "task 'Report home'" in problem.why) == (
        url,
        True,
        True,
    )


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /file HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET file:///etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET ftp://mirror.example/file HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET http:///file HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET http://mirror.example:port/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET http://mirror.example/" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET http://mirror.example/" + b"x" * 70000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET http://h.example/ HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 400),
        (b"GET http://h.example/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET http://h.example/ HTTP/1.1\r\nContent-Length: many\r\n\r\n", 400),
        (b"CONNECT mirror.example HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT mir'ror:443 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT [::zz]:443 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT -:443 HTTP/1.1\r\n\r\n", 200),
        (b"GET http://h.example/ HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET http://h.example/ HTTP/9.1\r\n\r\n", 505),
    ],
)
def test_odd_requests_are_turned_away_and_told_of(
    supply: Supply, web: Site, request_: bytes, status: int
) -> None:
    said = say(supply, request_)
    if status != 200:
        assert said.startswith(b"HTTP/1.1 %d " % status)
        assert refusal(supply)
    assert get(web.put("/file", b"still here"), supply.port).body == b"still here"


def test_clients_that_hang_up_do_no_harm(supply: Supply, web: Site) -> None:
    url = web.put("/file", b"x" * 5_000_000)
    for data in (b"", b"GET ", f"GET {url} HTTP/1.1\r\nHost: x\r\n\r\n".encode()):
        connection = socket.create_connection(("127.0.0.1", supply.port), timeout=20)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.sendall(data)
        connection.close()
    assert get(url, supply.port).body == b"x" * 5_000_000
    supply.check()


@pytest.mark.parametrize(
    ("headers", "path", "encoding"),
    [
        ({"Content-Type": "text/html; charset=utf-8", "Content-Encoding": "gzip"}, "/page", "gzip"),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, "/api", "gzip"),
        ({"Content-Type": "application/x-tar", "Content-Encoding": "gzip"}, "/a.tar", None),
        ({"Content-Type": "text/plain"}, "/a.tar.gz", None),
        ({"Content-Type": "application/gzip"}, "/a", None),
    ],
)
def test_a_client_is_told_of_text_that_comes_compressed_nevertheless(
    supply: Supply, web: Site, headers: dict[str, str], path: str, encoding: str | None
) -> None:
    web.pages[path] = Page(b"\x1f\x8b" + b"compressed" * 40_000, headers=headers)
    for _ in range(2):
        got = get(web.url(path), supply.port, {"Accept-Encoding": "gzip, br"})
        assert got.headers.get("Content-Encoding") == encoding
        assert got.body == web.pages[path].body
    assert web.asked[0].headers["Accept-Encoding"] == "identity"


def test_an_answer_that_cannot_be_replayed_is_an_error(supply: Supply, web: Site) -> None:
    web.pages["/page"] = Page(b"??", headers={"Content-Encoding": "br"})
    assert get(web.url("/page"), supply.port).status == 502
    with pytest.raises(CannotTell, match="compresses"):
        supply.check()


# https


def trusting(supply: Supply) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(supply.authority))


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[Site, Path]]:
    """A site with https, and the file with the authority that vouches for it."""
    folder = tmp_path / "upstream"
    folder.mkdir()
    authority = Authority(folder, int(NOW.timestamp()), NOW)
    trust = folder / "ca.pem"
    trust.write_bytes(authority.pem)
    context = authority.context("127.0.0.1")
    context.sni_callback = lambda connection, name, _: setattr(
        connection, "context", authority.context(name or "127.0.0.1")
    )
    with site(context) as made:
        yield made, trust


def test_https_is_read_and_recorded(secure: tuple[Site, Path], tmp_path: Path) -> None:
    web, trust = secure
    web.put("/file", b"data" * 100_000)
    with opened(web, tmp_path, {"SSL_CERT_FILE": str(trust)}) as supply:
        for host in ("127.0.0.1", "localhost"):
            url = f"https://{host}:{web.port}/file"
            got = get(url, supply.port, trust=trusting(supply))
            assert (got.status, got.body) == (200, b"data" * 100_000)
            again = get(url, supply.port, trust=trusting(supply))
            assert again.body == got.body
        supply.check()
        assert len(supply.taken().downloads) == 2
    assert web.count("/file") == 2


def test_upstream_with_a_certificate_of_nobody_is_refused(
    secure: tuple[Site, Path], tmp_path: Path
) -> None:
    web, _ = secure
    web.put("/file", b"data")
    with opened(web, tmp_path) as supply:
        assert get(web.url("/file"), supply.port, trust=trusting(supply)).status == 502
        with pytest.raises(CannotTell) as caught:
            supply.check()
        assert "certificate is not trusted" in caught.value.why
        assert not supply.taken().all


def test_upstream_with_the_certificate_of_another_is_refused(tmp_path: Path) -> None:
    """One that a trusted authority has signed, for another host."""
    authority = Authority(tmp_path, int(NOW.timestamp()), NOW)
    trust = tmp_path / "ca.pem"
    trust.write_bytes(authority.pem)
    with site(authority.context("other.example")) as web:
        web.put("/file", b"data")
        with opened(web, tmp_path, {"SSL_CERT_FILE": str(trust)}) as supply:
            url = f"https://localhost:{web.port}/file"
            assert get(url, supply.port, trust=trusting(supply)).status == 502
            with pytest.raises(CannotTell) as caught:
                supply.check()
    assert "not valid for 'localhost'" in caught.value.why
    assert web.asked == []


def test_a_program_that_does_not_trust_the_build_is_told_of(supply: Supply, web: Site) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        get("https://files.example/x", supply.port, trust=ssl.create_default_context())
    problem = wait_for_refusal(supply)
    assert problem.where == "https://files.example:443"
    assert "does not trust" in problem.why


def test_what_is_not_https_within_connect_is_refused(supply: Supply) -> None:
    """Such as git over ssh through a proxy."""
    with socket.create_connection(("127.0.0.1", supply.port), timeout=20) as connection:
        connection.sendall(b"CONNECT git.example:22 HTTP/1.1\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
        with contextlib.suppress(ConnectionError):
            connection.recv(100)
    problem = wait_for_refusal(supply)
    assert problem.where == "https://git.example:22"
    assert "not https" in problem.why


def wait_for_refusal(supply: Supply) -> BuildFailed:
    """The proxy's side of a conversation ends a moment after ours."""
    moment = threading.Event()
    for _ in range(200):
        try:
            supply.check()
        except BuildFailed as problem:
            return problem
        moment.wait(0.05)
    raise AssertionError("nothing was refused")


def test_every_host_gets_a_certificate_in_its_name(supply: Supply) -> None:
    for host in ("files.example", "10.1.2.3", "::1"):
        named = f"[{host}]" if ":" in host else host
        raw = socket.create_connection(("127.0.0.1", supply.port), timeout=20)
        with raw:
            raw.sendall(f"CONNECT {named}:443 HTTP/1.1\r\n\r\n".encode())
            assert raw.recv(100).startswith(b"HTTP/1.1 200")
            context = trusting(supply)
            context.verify_flags |= ssl.VERIFY_X509_STRICT
            with context.wrap_socket(raw, server_hostname=host) as connection:
                assert connection.selected_alpn_protocol() in (None, "http/1.1")


def test_the_authority_is_valid_on_this_machine_and_in_the_guest(tmp_path: Path) -> None:
    """The guest's clock begins at the epoch, which may be years ago."""
    epoch = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    authority = Authority(tmp_path, int(epoch.timestamp()), NOW)
    certificate = x509.load_pem_x509_certificate(authority.pem)
    assert certificate.not_valid_before_utc == epoch - dt.timedelta(days=1)
    assert certificate.not_valid_after_utc > NOW + dt.timedelta(days=3650)
    authority.context("files.example")
    assert list(tmp_path.iterdir()) == [], "no key stays behind"


def test_no_two_builds_have_the_same_authority(tmp_path: Path) -> None:
    one, two = (Authority(tmp_path, 0, NOW) for _ in range(2))
    keys = {
        x509.load_pem_x509_certificate(each.pem)
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        for each in (one, two)
    }
    assert len(keys) == 2
