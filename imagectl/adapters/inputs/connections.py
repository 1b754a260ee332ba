"""Connections to servers: which may be made, how TLS is verified, and the ones that are kept open.

TLS is verified with the system's authorities (``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` are honoured),
and the proxies that the environment names are used (``http_proxy``, ``https_proxy``, ``no_proxy``).

A guest must not reach through us what it cannot reach itself: addresses of this machine (loopback)
and of its immediate link, where clouds keep their metadata services, are refused, except on the
hosts named as ``allowed``: the Debian mirrors, which the user has chosen. The name is resolved once
and that address is connected to, so a name that changes its address in between gains nothing.
Behind a proxy only the name can be looked at: what it may reach is the proxy's to decide.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import urllib.parse
import weakref
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from imagectl.errors import BuildFailed

CONNECT_SECONDS = 20
SILENCE_SECONDS = 60

_METADATA = ipaddress.ip_address("fd00:ec2::254")
"""AWS's metadata service over IPv6. The others are link-local."""

_PORTS = {"http": 80, "https": 443}

Address = tuple[str, int]
"""A host, in lower case, and a port."""

Key = tuple[str, Address]
"""What a connection can be used for: a scheme, and an address."""


class Unreachable(Exception):
    """There is no answer now; there may be one later. The message is for people."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request that was sent and its answer, of which nothing but the head was read yet."""

    key: Key
    connection: http.client.HTTPConnection
    answer: http.client.HTTPResponse


class Connections:
    """Makes connections, and keeps idle ones. Any number of threads may use one.

    ``environment`` names proxies and authorities; ``allowed`` are hosts that may be anywhere.
    """

    def __init__(self, environment: Mapping[str, str], allowed: Collection[Address] = ()) -> None:
        # Where both are set, the names in lower case win, as they do for curl and Python.
        lower = {name: value for name, value in environment.items() if name == name.lower()}
        self._environment = {name.lower(): value for name, value in environment.items()} | lower
        self._allowed = frozenset(allowed)
        self._idle: dict[Key, list[http.client.HTTPConnection]] = {}
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._trust: ssl.SSLContext | None = None
        self._closed = False

    def get(self, url: str, headers: Mapping[str, str]) -> Exchange:
        """Send a GET and read the head of the answer.

        Raises Unreachable, and BuildFailed where the address is refused.
        """
        parts = urllib.parse.urlsplit(url)
        key = (parts.scheme, address_of(url))
        proxy = self._proxy(*key)
        target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        ours = {"Host": parts.netloc.rpartition("@")[2], "Accept-Encoding": "identity"}
        sent = {**headers, **ours}
        if proxy is not None and parts.scheme == "http":
            target = url
            sent |= _authorization(proxy)
        while True:
            connection = self._take_idle(key)
            kept_open = connection is not None
            try:
                connection = connection or self._connect(*key, proxy)
                connection.putrequest("GET", target, skip_host=True, skip_accept_encoding=True)
                for name, value in sent.items():
                    connection.putheader(name, value)
                connection.endheaders()
                return Exchange(key, connection, connection.getresponse())
            except (OSError, http.client.HTTPException, ValueError) as error:
                if connection is not None:
                    connection.close()
                if not kept_open:
                    raise Unreachable(said(error)) from error
                # The server has closed what it had kept open: that happens, and is no failure.

    def give_back(self, exchange: Exchange) -> None:
        """Keep a connection, whose answer was read to its end, for the next request."""
        with self._lock:
            if not self._closed and exchange.connection.sock is not None:
                self._idle.setdefault(exchange.key, []).append(exchange.connection)
                return
        exchange.connection.close()

    def close(self) -> None:
        """Close those that are kept, and end those that are read from, wherever they are."""
        with self._lock:
            self._closed = True
            idle = [each for group in self._idle.values() for each in group]
            self._idle.clear()
            sockets = list(self._sockets)
        for connection in idle:
            connection.close()
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _take_idle(self, key: Key) -> http.client.HTTPConnection | None:
        with self._lock:
            group = self._idle.get(key)
            return group.pop() if group else None

    def _connect(
        self, scheme: str, address: Address, proxy: urllib.parse.SplitResult | None
    ) -> http.client.HTTPConnection:
        via = self._open(address) if proxy is None else self._open_proxy(address, proxy)
        try:
            via.settimeout(SILENCE_SECONDS)
            via.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if proxy is not None and proxy.scheme == "https":
                via = self._tls().wrap_socket(via, server_hostname=proxy.hostname)
            if scheme == "https":
                if proxy is not None:
                    _tunnel(via, address, proxy)
                via = self._tls().wrap_socket(via, server_hostname=address[0])
        except BaseException:
            via.close()
            raise
        with self._lock:
            self._sockets.add(via)
        connection = http.client.HTTPConnection(*address)
        connection.sock = via
        return connection

    def _open(self, address: Address) -> socket.socket:
        """A connection to the first address of the host that answers."""
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
        if address not in self._allowed:
            for *_, place in found:
                if is_near(str(place[0])):
                    raise _refused(address, f"its address is {place[0]}")
        failure: OSError | None = None
        for family, kind, protocol, _, place in found:
            connection = socket.socket(family, kind, protocol)
            try:
                connection.settimeout(CONNECT_SECONDS)
                connection.connect(place)
            except OSError as error:
                connection.close()
                failure = failure or error
            else:
                return connection
        raise failure or OSError("it has no address")

    def _open_proxy(self, address: Address, proxy: urllib.parse.SplitResult) -> socket.socket:
        host = address[0]
        local = host == "localhost" or host.endswith(".localhost")
        if address not in self._allowed and (local or is_near(host)):
            raise _refused(address, "it names this machine, or one on its immediate link")
        return socket.create_connection(
            (proxy.hostname or "", proxy.port or _PORTS[proxy.scheme]), CONNECT_SECONDS
        )

    def _proxy(self, scheme: str, address: Address) -> urllib.parse.SplitResult | None:
        named = self._environment.get(f"{scheme}_proxy") or self._environment.get("all_proxy")
        if not named or _is_direct(address, self._environment.get("no_proxy", "")):
            return None
        proxy = urllib.parse.urlsplit(named if "://" in named else f"http://{named}")
        if proxy.scheme not in _PORTS or not proxy.hostname:
            raise Unreachable(f"{scheme}_proxy names a proxy of an unknown kind, {proxy.scheme!r}")
        return proxy

    def _tls(self) -> ssl.SSLContext:
        with self._lock:
            if self._trust is None:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                file = self._environment.get("ssl_cert_file") or None
                folder = self._environment.get("ssl_cert_dir") or None
                if file or folder:
                    try:
                        context.load_verify_locations(file, folder)
                    except OSError as error:
                        named = f"SSL_CERT_FILE={file or ''} SSL_CERT_DIR={folder or ''}"
                        raise Unreachable(f"{named} cannot be read: {said(error)}") from error
                else:
                    context.load_default_certs()
                context.set_alpn_protocols(["http/1.1"])
                self._trust = context
            return self._trust


def address_of(url: str) -> Address:
    """Where the server of an http or https URL is."""
    parts = urllib.parse.urlsplit(url)
    return parts.hostname or "", parts.port or _PORTS[parts.scheme]


def is_near(text: str) -> bool:
    """Whether an IP address is this machine's own or on its immediate link. A name is not."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_multicast
        or address == _METADATA
    )


def said(error: Exception) -> str:
    """What an error of the network says, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "it was silent for too long"
    if isinstance(error, socket.gaierror):
        return f"its name is not known: {error.strerror}"
    if isinstance(error, http.client.RemoteDisconnected):
        return "it closed the connection without an answer"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _refused(address: Address, why: str) -> BuildFailed:
    return BuildFailed(
        f"{address[0]} may not be reached from a build",
        stage="inputs",
        where=f"{address[0]}:{address[1]}",
        why=f"{why}; what is there is not meant for guests",
        hint="give the guest what it needs through the playbook, or from another machine",
    )


def _is_direct(address: Address, no_proxy: str) -> bool:
    """Whether *no_proxy*, in curl's form, names the host, a domain that it is in, or all."""
    host = address[0]
    for entry in no_proxy.lower().replace(",", " ").split():
        name = entry.removesuffix(f":{address[1]}").lstrip("*.") or entry
        if entry == "*" or host == name or host.endswith(f".{name}"):
            return True
    return False


def _authorization(proxy: urllib.parse.SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair = urllib.parse.unquote(f"{proxy.username}:{proxy.password or ''}")
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _tunnel(via: socket.socket, address: Address, proxy: urllib.parse.SplitResult) -> None:
    """Ask the proxy at the other end for a connection to *address*. Raises OSError."""
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    lines = [f"CONNECT {host}:{address[1]} HTTP/1.1", f"Host: {host}:{address[1]}"]
    lines += [f"{name}: {value}" for name, value in _authorization(proxy).items()]
    via.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
    answer = http.client.HTTPResponse(via, method="CONNECT")
    try:
        answer.begin()
        if answer.status != http.HTTPStatus.OK:
            raise OSError(f"the proxy {proxy.hostname} said {answer.status} {answer.reason}")
    finally:
        answer.close()
