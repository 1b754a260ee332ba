"""What a build may reach, by which way, and whom it trusts."""

from __future__ import annotations

import base64
import http.server
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from peers.serving import serving
from support.web import Site, site

from imagectl.adapters.inputs.connections import Connections, Unreachable, address_of, is_near
from imagectl.errors import BuildFailed


@pytest.fixture
def web() -> Iterator[Site]:
    with site() as made:
        made.put("/file", b"data")
        yield made


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "169.254.169.254",
        "224.0.0.1",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
    ],
)
def test_this_machine_and_its_link_are_near(address: str) -> None:
    assert is_near(address)


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "192.168.1.1", "203.0.113.80", "2001:db8::1", "fd12::1", "a.example"]
)
def test_the_rest_is_not(address: str) -> None:
    assert not is_near(address)


def test_what_is_near_is_refused_unless_it_is_allowed(web: Site) -> None:
    with pytest.raises(BuildFailed, match="may not be reached"):
        Connections({}).get(web.url("/file"), {})
    with pytest.raises(BuildFailed, match="may not be reached"):
        Connections({}, [("127.0.0.1", web.port + 1)]).get(web.url("/file"), {})
    assert web.asked == []
    connections = Connections({}, [web.address])
    exchange = connections.get(web.url("/file"), {})
    assert exchange.answer.read() == b"data"
    connections.give_back(exchange)
    connections.close()


def test_a_connection_that_the_server_has_closed_is_replaced(web: Site) -> None:
    connections = Connections({}, [web.address])
    exchange = connections.get(web.url("/file"), {})
    exchange.answer.read()
    assert exchange.connection.sock is not None
    exchange.connection.sock.shutdown(2)
    connections.give_back(exchange)
    again = connections.get(web.url("/file"), {})
    assert again.answer.read() == b"data"
    again.connection.close()
    connections.close()


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://A.Example/x", ("a.example", 80)),
        ("https://a.example", ("a.example", 443)),
        ("https://[::1]:8443/x", ("::1", 8443)),
    ],
)
def test_where_a_server_is(url: str, address: tuple[str, int]) -> None:
    assert address_of(url) == address


class _Forwarding(http.server.BaseHTTPRequestHandler):
    """A proxy that answers everything itself, and notes what it was asked."""

    asked: list[tuple[str, str, str | None]]

    def do_GET(self) -> None:
        self.asked.append((self.command, self.path, self.headers["Proxy-Authorization"]))
        self.send_response(200 if self.command == "GET" else 403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_CONNECT = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def forwarding() -> Iterator[tuple[str, list[tuple[str, str, str | None]]]]:
    asked: list[tuple[str, str, str | None]] = []
    handler = type("Handler", (_Forwarding,), {"asked": asked})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    with serving(server):
        yield f"127.0.0.1:{server.server_address[1]}", asked


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_the_proxy_of_the_environment_is_used(name: str) -> None:
    with forwarding() as (address, asked):
        connections = Connections({name: f"http://me:p%40ss@{address}"})
        exchange = connections.get("http://files.example/a?b", {})
        assert exchange.answer.status == 200
        exchange.connection.close()
    password = base64.b64encode(b"me:p@ss").decode()
    assert asked == [("GET", "http://files.example/a?b", f"Basic {password}")]


def test_https_goes_through_the_proxy_in_a_tunnel() -> None:
    with forwarding() as (address, asked):
        with pytest.raises(Unreachable, match="said 403"):
            Connections({"https_proxy": address}).get("https://files.example/a", {})
        assert asked == [("CONNECT", "files.example:443", None)]


@pytest.mark.parametrize(
    ("no_proxy", "direct"),
    [
        ("127.0.0.1", True),
        ("*", True),
        ("other.example, 127.0.0.1:PORT", True),
        (".0.1", True),
        ("27.0.0.1", False),
        ("", False),
        ("127.0.0.1:1", False),
    ],
)
def test_no_proxy_is_honoured(web: Site, no_proxy: str, direct: bool) -> None:
    with forwarding() as (address, asked):
        environment = {
            "http_proxy": address,
            "NO_PROXY": "*",
            "no_proxy": no_proxy.replace("PORT", str(web.port)),
        }
        connections = Connections(environment, [web.address])
        connections.get(web.url("/file"), {}).connection.close()
    assert (len(web.asked), len(asked)) == ((1, 0) if direct else (0, 1))


@pytest.mark.parametrize("host", ["localhost", "x.localhost", "127.0.0.1", "[::1]"])
def test_what_is_near_by_its_name_is_refused_behind_a_proxy_too(host: str) -> None:
    with forwarding() as (address, asked):
        with pytest.raises(BuildFailed, match="may not be reached"):
            Connections({"http_proxy": address}).get(f"http://{host}:1/x", {})
        assert asked == []


def test_a_proxy_of_an_unknown_kind_is_said_to_be() -> None:
    with pytest.raises(Unreachable, match="socks5"):
        Connections({"http_proxy": "socks5://127.0.0.1:1"}).get("http://files.example/", {})


def test_authorities_that_cannot_be_read_are_said_to_be(web: Site) -> None:
    connections = Connections({"SSL_CERT_FILE": "/no/such.pem"}, [web.address])
    with pytest.raises(Unreachable, match=r"/no/such\.pem.* cannot be read: No such file"):
        connections.get(web.url("/file").replace("http:", "https:"), {})


def test_a_name_that_nobody_knows_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="name"):
        Connections({}).get("http://no-such-host.invalid/", {})
