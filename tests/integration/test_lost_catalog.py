"""A lost catalog is made again, whole or not at all: in either database, from a folder or a web
server, from a damaged copy not, and whenever it is killed (P7)."""

from __future__ import annotations

import functools
import http.server
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from peers.serving import serving
from support.cli import Run, command_line
from support.lost import Lost, about_to_be_lost
from support.postbox import certified
from support.processes import Killer

from imagectl.adapters.clock import SystemClock
from imagectl.bootstrap.project import open_project
from imagectl.bootstrap.rebuilding import rebuild_catalog
from imagectl.formats.tuf_roles import METADATA, TIMESTAMP_PATH

if TYPE_CHECKING:
    from support.postgresql import Server

pytestmark = pytest.mark.integration
pytest_plugins = ["support.postgresql"]

PUBLIC = "catalog/public"


@pytest.fixture
def imagectl(monkeypatch: pytest.MonkeyPatch) -> Run:
    return command_line(monkeypatch)


@pytest.fixture
def lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imagectl: Run) -> Lost:
    made = about_to_be_lost(tmp_path / "images")
    monkeypatch.chdir(made.root)
    assert imagectl("catalog", "publish").exit_code == 0
    return made


def state(imagectl: Run) -> str:
    """The digest of all that the catalog knows, which is sound."""
    result = imagectl("catalog", "verify", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["sound"]
    assert len(found["state"]) == 64
    return str(found["state"])


def rebuild(imagectl: Run, source: str = PUBLIC) -> tuple[int, str]:
    result = imagectl("catalog", "rebuild", "--from", source)
    return result.exit_code, " ".join(result.stderr.split())


def keep_in(lost: Lost, url: str) -> None:
    """Have the project keep its catalog in that database."""
    settings = lost.root / "imagectl.yaml"
    text = settings.read_text()
    before = text[text.index("catalog:") : text.index("  # The tree that consumers read")]
    settings.write_text(text.replace(before, f"catalog:\n  url: {json.dumps(url)}\n", 1))


def test_into_postgresql(lost: Lost, imagectl: Run, postgresql: Server) -> None:
    before = state(imagectl)
    lost.lose()
    keep_in(lost, postgresql.schema())
    assert rebuild(imagectl)[0] == 0
    assert state(imagectl) == before
    assert not lost.database.exists()
    assert imagectl("promote", "stable").exit_code == 0
    after = state(imagectl)
    # And from there to SQLite again.
    keep_in(lost, "sqlite:///.imagectl/catalog.sqlite3")
    assert rebuild(imagectl)[0] == 0
    assert state(imagectl) == after


@pytest.fixture
def https(lost: Lost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of the tree on a web server that this machine trusts."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    context, certificate = certified(tmp_path)
    handler = functools.partial(Quiet, directory=str(lost.public))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serving(server):
        yield f"https://127.0.0.1:{server.server_address[1]}"


def test_from_a_web_server(
    lost: Lost, imagectl: Run, https: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = state(imagectl)
    lost.lose()
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", str(certified(stranger)[1]))
    code, said = rebuild(imagectl, https)
    assert code == 5, said
    assert "certificate" in said
    assert not lost.database.exists()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
    assert rebuild(imagectl, https)[0] == 0
    assert state(imagectl) == before


def test_from_a_tree_that_is_cut_short_or_altered_nothing_is_made(
    lost: Lost, imagectl: Run
) -> None:
    """Each file that a rebuild reads, each time named."""
    before = state(imagectl)
    lost.lose()
    newest = max(lost.history.glob("*.events.json"), key=lambda each: each.stat().st_mtime_ns)
    read = [
        lost.public / TIMESTAMP_PATH,
        last(lost, "snapshot"),
        last(lost, "targets"),
        last(lost, "catalog"),
        max(lost.public.glob("*.catalog.json"), key=lambda each: each.stat().st_mtime_ns),
        newest,
        *lost.history.glob("sha256/*/*.json"),
    ]
    assert len(read) == 8
    for path in read:
        data = path.read_bytes()
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        for harm in (b"", data[:middle], data[:-1], flipped, data + b"\n" * 100):
            path.write_bytes(harm)
            code, said = rebuild(imagectl)
            if code == 0:
                # What is signed is the content: a line's end after it is no other content.
                assert (path.name, harm) == ("timestamp.json", data + b"\n" * 100)
                lost.lose()
                continue
            assert code in (1, 5), said
            assert path.name in said
            assert not lost.database.exists()
        path.write_bytes(data)
    assert rebuild(imagectl)[0] == 0
    assert state(imagectl) == before


def last(lost: Lost, role: str) -> Path:
    """The newest metadata of a role."""
    found = (lost.public / METADATA).glob(f"*.{role}.json")
    return max(found, key=lambda each: int(each.name.partition(".")[0]))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_killed_at_any_moment_the_next_one_makes_all_of_it(
    lost: Lost, imagectl: Run, kind: str, request: pytest.FixtureRequest
) -> None:
    """P7. 25 kills."""
    before = state(imagectl)

    def work() -> None:
        with closing(open_project(lost.root)) as project:
            rebuild_catalog(project, PUBLIC, None, SystemClock().now())

    def lose() -> None:
        lost.lose()
        if kind == "postgresql":
            keep_in(lost, request.getfixturevalue("postgresql").schema())

    lose()
    killer = Killer(5, work)
    made, not_made = 0, 0
    for _ in range(25):
        lose()
        killer.kill(work)
        listed = imagectl("list", "--json")
        if listed.exit_code == 0:
            made += 1
            assert state(imagectl) == before
            assert rebuild(imagectl)[0] == 3, "there is one already"
        else:
            not_made += 1
            assert listed.exit_code == 5, listed.output
            code, said = rebuild(imagectl)
            assert code == 0, said
        assert state(imagectl) == before
    assert killer.killed >= 8, "the kills came too late to prove anything"
    assert not_made >= 5
