"""The server as people run it: fuzzed by its own document, stopped, killed, published under."""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.processes import alive, ends
from support.programs import running
from support.served import PROGRAM, Running, a_tree, fill, serving
from support.tuf_trees import TufTree

from imagectl.adapters.web.server import HEADER_SECONDS, STOP_SECONDS
from imagectl.cli.serve.openapi import document as openapi
from imagectl.consumer import open_catalog, resolve
from imagectl.model.names import ImageName
from imagectl.policy.resolution import ResolutionRequest

pytestmark = pytest.mark.integration

SCHEMATHESIS = str(Path(sys.executable).parent / "schemathesis")
EXAMPLES = 30
"""Of each way to ask, in each of schemathesis' phases: some 15 s in all."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("served")
    (made / "root.json").write_bytes(a_tree(made / "tree", datetime.now(UTC)))
    (made / "tree" / ".lock").write_text("secret")
    (made / "secret").write_text("secret")
    return made


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Running]:
    with serving(folder / "tree", folder / "root.json", folder / "log") as made:
        yield made


def get(server: Running, path: str) -> Any:
    with urllib.request.urlopen(server.url + path) as answer:
        return json.load(answer)


def connected(server: Running) -> socket.socket:
    address = urlsplit(server.url)
    assert address.hostname is not None
    return socket.create_connection((address.hostname, address.port or 80), timeout=60)


def of_names_that_there_are() -> dict[str, Any]:
    """The document for a client that asks for this tree's own names, and for some others."""
    found = openapi()
    known = {
        "image": ["image-0", "image-1", "image-9"],
        "channel": ["stable", "beta", "nightly"],
        "version": ["20261120.5", "20261120.4", "20261120.3", "20261120.2", "20240101.1"],
        "location": ["local", "moon"],
    }
    for path in found["paths"].values():
        for parameter in path["get"].get("parameters", ()):
            if parameter["name"] in known:
                parameter["schema"] = {"type": "string", "enum": known[parameter["name"]]}
    return found


@pytest.mark.parametrize("names", ["any", "known"])
def test_nothing_that_is_asked_breaks_it(server: Running, tmp_path: Path, names: str) -> None:
    described = tmp_path / "openapi.json"
    described.write_text(json.dumps(openapi() if names == "any" else of_names_that_there_are()))
    command = [SCHEMATHESIS, "run", str(described), "--url", server.url, "--checks", "all"]
    options = ["--max-examples", str(EXAMPLES), "--generation-database", "none", "--no-color"]
    done = subprocess.run(
        [*command, *options], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "a mistake of imagectl" not in server.log.read_text()


def test_a_consumer_takes_it_for_the_tree(server: Running, folder: Path, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    root = (folder / "root.json").read_bytes()
    tree = open_catalog(server.url, root=root, cache=tmp_path, now=now)
    found = resolve(tree, ResolutionRequest(ImageName("image-0")), now)
    assert found.reference == get(server, "/v1/resolve?image=image-0")["reference"]


@pytest.mark.parametrize(
    "path",
    [
        "/../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/metadata/%2e%2e%2f%2e%2e%2fsecret",
        "/.%2e/secret",
        "/%252e%252e/secret",
        "/..%c0%afsecret",
        "/.lock",
        "/%2elock",
        "//.lock",
        "/metadata\\..\\..\\secret",
        "/metadata/timestamp.json%00",
        "http://localhost/../secret",
    ],
)
def test_no_path_leads_out(server: Running, path: str) -> None:
    with connected(server) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.split()[1] in (b"404", b"400"), answer
    assert not answer.endswith(b"secret")


def test_headers_that_are_no_text_break_nothing(server: Running) -> None:
    for name in ("Range", "If-None-Match", "Accept-Encoding", "If-Range"):
        with connected(server) as connection:
            head = b"GET /metadata/timestamp.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            connection.sendall(head + name.encode() + b": \xff\xfe\xe4\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 400")), answer


def test_a_connection_is_used_again_also_after_an_error(server: Running) -> None:
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    for _ in range(3):
        for method, path, status in (
            ("HEAD", "/v1/nothing", 404),
            ("DELETE", "/v1/resolve", 405),
            ("OPTIONS", "/v1/resolve", 204),
            ("GET", "/v1/images", 200),
        ):
            connection.request(method, path)
            answer = connection.getresponse()
            assert answer.status == status
            assert bool(answer.read()) == (method in ("GET", "DELETE"))
    connection.request("POST", "/v1/resolve", body=b"x" * 100)
    answer = connection.getresponse()
    assert (answer.status, json.load(answer)["error"]["kind"]) == (405, "bad-usage")
    connection.close()


def test_consumers_see_before_or_after(tmp_path: Path) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    tree, folder = TufTree(now=now), tmp_path / "tree"
    fill(tree, now, images=2, generation=1)
    tree.write(folder)
    (tmp_path / "root.json").write_bytes(tree.files["metadata/1.root.json"])
    with serving(folder, tmp_path / "root.json", tmp_path / "log") as server:
        asking = True

        def seen() -> list[int]:
            found = []
            while asking:
                found.append(get(server, "/v1/images")["generation"])
            return found

        with concurrent.futures.ThreadPoolExecutor() as threads:
            watching = [threads.submit(seen) for _ in range(2)]
            for generation in range(2, 8):
                fill(tree, now, images=2, generation=generation)
                timestamp = tree.files["metadata/timestamp.json"]
                for name, data in tree.files.items():
                    if not (folder / name).exists():  # a published file is never written again
                        (folder / name).parent.mkdir(parents=True, exist_ok=True)
                        (folder / name).write_bytes(data)
                (folder / ".new").write_bytes(timestamp)
                (folder / ".new").replace(folder / "metadata" / "timestamp.json")
                assert get(server, "/v1/images")["generation"] == generation
            asking = False
            for each in watching:
                assert each.result() == sorted(each.result())


def test_a_large_answer_is_ended_before_it_stops(tmp_path: Path) -> None:
    root = a_tree(tmp_path / "tree", datetime.now(UTC))
    (tmp_path / "root.json").write_bytes(root)
    large = os.urandom(1 << 20) * 24
    (tmp_path / "tree" / "large.bin").write_bytes(large)
    with serving(tmp_path / "tree", tmp_path / "root.json", tmp_path / "log") as server:
        with urllib.request.urlopen(f"{server.url}/large.bin") as answer:
            first = answer.read(1000)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            assert first + answer.read() == large
        assert server.process.wait(timeout=60) == 0
    assert "stopped" in server.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_told_to(folder: Path, tmp_path: Path, number: int) -> None:
    with serving(folder / "tree", folder / "root.json", tmp_path / "log") as server:
        workers = workers_of(server)
        began = time.monotonic()
        os.kill(server.process.pid, number)
        assert server.process.wait(timeout=60) == 0
    assert time.monotonic() - began < STOP_SECONDS - 1
    assert len(workers) == 2
    assert not any(Path(f"/proc/{each}").exists() for each in workers)


def test_workers_do_not_outlive_the_server(folder: Path, tmp_path: Path) -> None:
    with serving(folder / "tree", folder / "root.json", tmp_path / "log") as server:
        get(server, "/healthz")
        workers = workers_of(server)
        server.process.kill()
        server.process.wait()
    assert all(ends(each) for each in workers), "a worker lives"


def test_a_worker_that_dies_is_replaced(folder: Path, tmp_path: Path) -> None:
    with serving(folder / "tree", folder / "root.json", tmp_path / "log") as server:
        get(server, "/healthz")
        killed = workers_of(server)[0]
        os.kill(killed, signal.SIGKILL)
        until = time.monotonic() + 60
        while len(set(workers_of(server)) - {killed}) < 2:
            assert time.monotonic() < until
            time.sleep(0.05)
        # The kernel may have given a connection to the dead one before it knew.
        with suppress(ConnectionError):
            get(server, "/healthz")
        assert get(server, "/healthz")["ok"]


def test_it_stops_at_once_also_while_it_begins(folder: Path, tmp_path: Path) -> None:
    command = [PROGRAM, "serve", "--listen", "127.0.0.1:0", "--workers", "4"]
    options = ["--catalog", str(folder / "tree"), "--root", str(folder / "root.json")]
    for milliseconds in range(0, 80, 20):
        with running([*command, *options], stderr=subprocess.PIPE) as process:
            until = time.monotonic() + 60
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            while not children.read_text():
                assert time.monotonic() < until
            time.sleep(milliseconds / 1000)
            began = time.monotonic()
            process.terminate()
            assert process.wait(timeout=60) == 0
        assert time.monotonic() - began < STOP_SECONDS - 1


def test_who_never_ends_a_request_is_not_waited_for(folder: Path, tmp_path: Path) -> None:
    with serving(folder / "tree", folder / "root.json", tmp_path / "log") as server:
        halves = [connected(server) for _ in range(50)]
        for each in halves:
            each.settimeout(HEADER_SECONDS * 4)
            each.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        for each in halves:
            with each, suppress(ConnectionError):
                while each.recv(1000):  # an error is said before the end, perhaps
                    pass
        assert get(server, "/healthz")["ok"]


def test_two_servers_do_not_share_an_address(server: Running, folder: Path) -> None:
    command = [PROGRAM, "serve", "--listen", urlsplit(server.url).netloc]
    options = ["--catalog", str(folder / "tree"), "--root", str(folder / "root.json")]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "cannot be listened on" in done.stderr


def workers_of(server: Running) -> list[int]:
    found = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()
    return [each for each in map(int, found.split()) if alive(each)]
