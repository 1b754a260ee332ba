"""What the API answers: what the tree says, verified, or an error with a fitting status (P10)."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families
from support.served import fill
from support.tuf_trees import TufTree

from imagectl.adapters.web.counts import Counts
from imagectl.adapters.web.exchange import Reply, Request
from imagectl.adapters.web.server import Handler
from imagectl.bootstrap import serving as bootstrap
from imagectl.bootstrap.serving import Served
from imagectl.cli.documents import schema
from imagectl.cli.main import root as program
from imagectl.cli.output import Failure, Output
from imagectl.cli.resolved import Resolved
from imagectl.cli.serve import application
from imagectl.cli.serve.application import Serving, Worker
from imagectl.cli.serve.documents import Health, Images, Versions
from imagectl.cli.serve.openapi import document as openapi

DAY = timedelta(days=1)


class Clock:
    """What the server takes the time from."""

    at = datetime.now(UTC)
    ticks = 0.0

    def now(self) -> datetime:
        return type(self).at

    def monotonic(self) -> float:
        return type(self).ticks


class Shop:
    """A tree, and a worker that serves it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "tree"
        self.tree = TufTree(now=Clock.at.replace(microsecond=0))
        fill(self.tree, Clock.at, images=2, generation=7)
        self.tree.write(self.folder)
        root = folder / "root.json"
        root.write_bytes(self.tree.files["metadata/1.root.json"])
        served = Served(self.folder, root)
        self.worker = Worker(
            Serving(served, folder / "cache", Counts(4), Output(quiet=True), 1, "started")
        )
        self.worker.ready()

    def ask(self, path: str, query: str = "", method: str = "GET", **headers: str) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = Request(method, path, query, named)
        reply = self.worker.at_once(request) or self.worker.answer(request)
        self.worker.answered(request, "127.0.0.1:1", reply.status, 0)
        return reply

    def get(self, path: str, query: str = "", status: int = 200) -> Any:
        reply = self.ask(path, query)
        assert reply.status == status, reply
        assert isinstance(reply.body, bytes)
        return json.loads(reply.body)

    def error(self, path: str, query: str, status: int) -> Any:
        found = self.get(path, query, status)
        jsonschema.validate(found, schema(Failure))
        return found["error"]

    def publish(self, generation: int) -> None:
        fill(self.tree, Clock.at, images=2, generation=generation)
        self.tree.write(self.folder)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setattr(Clock, "at", datetime.now(UTC).replace(microsecond=0))
    monkeypatch.setattr(Clock, "ticks", 0.0)
    monkeypatch.setattr(bootstrap, "SystemClock", Clock)
    monkeypatch.setattr("imagectl.cli.serve.application.SystemClock", Clock)
    return Shop(tmp_path)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    def go_on(length: timedelta) -> None:
        monkeypatch.setattr(Clock, "at", Clock.at + length)
        monkeypatch.setattr(Clock, "ticks", Clock.ticks + length.total_seconds())

    return go_on


def test_what_is_resolved_is_what_the_command_line_says(shop: Shop) -> None:
    found = shop.get("/v1/resolve", "image=image-0")
    jsonschema.validate(found, schema(Resolved))
    assert (found["version"], found["channel"]) == ("20261120.5", "stable")
    assert found["reference"] == "/srv/images/image-0/20261120.5.qcow2"


def test_every_parameter_counts(shop: Shop) -> None:
    found = shop.get(
        "/v1/resolve",
        "image=image-1&channel=beta&location=local&format=raw&architecture=amd64&max_age=9000d",
    )
    assert (found["version"], found["format"]) == ("20261120.4", "raw")
    assert any("deprecated" in each for each in found["notices"])
    pinned = shop.get("/v1/resolve", "image=image-0&version=20261101.1&channel=beta")
    assert (pinned["version"], pinned["channel"]) == ("20261101.1", None)


@pytest.mark.parametrize(
    ("query", "status", "kind"),
    [
        ("", 400, "bad-usage"),
        ("image=", 400, "bad-usage"),
        ("image=Image", 400, "bad-usage"),
        ("image=image-0&image=image-0", 400, "bad-usage"),
        ("image=image-0&chanel=beta", 400, "bad-usage"),
        ("image=image-0&version=20260230.1", 400, "bad-usage"),
        ("image=image-0&max_age=soon", 400, "bad-usage"),
        ("image=image-0&format=iso", 400, "bad-usage"),
        ("image=%ff", 400, "bad-usage"),
        ("&".join("image=image-0" for _ in range(99)), 400, "bad-usage"),
        ("image=image-9", 404, "not-found"),
        ("image=image-0&channel=nightly", 404, "not-found"),
        ("image=image-0&version=20260101.1", 404, "not-found"),
        ("image=image-0&version=20261120.2", 404, "not-found"),  # deleted
        ("image=image-0&version=20261120.3", 403, "refused"),  # revoked
        ("image=image-0&max_age=0s", 403, "refused"),
        ("image=image-0&location=moon", 404, "not-found"),
        ("image=image-1", 409, "bad-usage"),  # raw or qcow2
    ],
)
def test_errors_are_the_documents_of_the_command_line(
    shop: Shop, query: str, status: int, kind: str
) -> None:
    assert shop.error("/v1/resolve", query, status)["kind"] == kind


def test_what_is_in_the_tree_is_downloaded_from_this_server(shop: Shop) -> None:
    """Its own folder says nothing to whoever asks; a path below the server does."""
    found = shop.get("/v1/resolve", "image=image-1&format=raw")
    assert found["url"] == "/disks/20261120.5.raw"
    disk = shop.folder / "disks" / "20261120.5.raw"
    disk.parent.mkdir()
    disk.write_bytes(b"disk")
    assert shop.ask(found["url"]).status == 200
    assert shop.get("/v1/resolve", "image=image-1&format=qcow2")["url"] is None


def test_several_ways_are_put_back_as_parameters(shop: Shop) -> None:
    assert shop.error("/v1/resolve", "image=image-1", 409)["hint"] == "add format=qcow2|raw"


def test_an_answer_is_the_same_as_long_as_the_artifact_is(
    shop: Shop, later: Callable[[timedelta], None]
) -> None:
    first = shop.ask("/v1/resolve", "image=image-0")
    tag = dict(first.headers)["etag"]
    later(2 * DAY)
    again = shop.ask("/v1/resolve", "image=image-0")
    assert again.body != first.body, "its age"
    assert dict(again.headers)["etag"] == tag
    assert shop.ask("/v1/resolve", "image=image-0", if_none_match=tag).status == 304
    beta = shop.ask("/v1/resolve", "image=image-0&channel=beta", if_none_match=tag)
    assert beta.status == 200


def test_an_age_is_judged_at_each_second(shop: Shop, later: Callable[[timedelta], None]) -> None:
    created = datetime(2026, 11, 20, tzinfo=UTC)
    limit = int((Clock.at - created).total_seconds())
    query = f"image=image-0&max_age={limit}s"
    assert shop.ask("/v1/resolve", query).status == 200
    later(timedelta(seconds=1))
    assert shop.ask("/v1/resolve", query).status == 403


def test_images_and_versions_are_listed(shop: Shop) -> None:
    images = shop.get("/v1/images")
    jsonschema.validate(images, schema(Images))
    assert [each["image"] for each in images["images"]] == ["image-0", "image-1"]
    assert [each["version"] for each in images["images"][0]["channels"]] == [
        "20261120.4",
        "20261120.5",
    ]
    versions = shop.get("/v1/versions", "image=image-0")
    jsonschema.validate(versions, schema(Versions))
    assert len(versions["versions"]) == 100
    newest, deprecated, revoked, deleted, older = versions["versions"][:5]
    assert (newest["version"], newest["channels"]) == ("20261120.5", ["stable"])
    assert (newest["warning"], older["warning"]) == (None, None)
    assert deprecated["warning"]["warned"] == "deprecated"
    assert revoked["warning"]["reason"] == "broken"
    assert (deleted["document"], deleted["warning"]["warned"]) == (None, "deleted")
    assert shop.ask(newest["path"]).status == 200
    assert shop.error("/v1/versions", "image=image-9", 404)["kind"] == "not-found"


def test_the_list_of_images_is_there_before_it_is_asked_for(shop: Shop) -> None:
    request = Request("GET", "/v1/images", "", {})
    assert shop.worker.at_once(request) is None
    loop = asyncio.new_event_loop()
    Handler(shop.worker).__rsgi_init__(loop)
    loop.run_until_complete(until(lambda: shop.worker.at_once(request) is not None))
    loop.close()
    shop.publish(8)
    assert shop.worker.at_once(request) is None
    assert shop.get("/v1/images")["generation"] == 8


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.01)


def test_a_tree_that_is_broken_at_the_start_ends_nothing(shop: Shop) -> None:
    timestamp = shop.folder / "metadata" / "timestamp.json"
    timestamp.write_bytes(timestamp.read_bytes().replace(b'"version":2', b'"version":3'))
    shop.worker.warm_up()
    assert shop.error("/v1/images", "", 503)


def test_documents_are_read_where_they_are_served_from(shop: Shop, tmp_path: Path) -> None:
    """Copies of thousands, each of them made durable, would take seconds."""
    shop.get("/v1/images")
    shop.get("/v1/resolve", "image=image-0")
    kept = {path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    assert "timestamp.json" in kept
    assert not [each for each in kept if len(each) == 64]


def test_what_is_published_anew_is_answered_at_once(shop: Shop) -> None:
    assert shop.get("/v1/images")["generation"] == 7
    assert shop.get("/healthz")["generation"] == 7
    shop.publish(8)
    assert shop.get("/v1/images")["generation"] == 8
    assert shop.get("/healthz")["generation"] == 8


def test_nothing_older_is_answered_than_before(shop: Shop) -> None:
    old = dict(shop.tree.files)
    shop.publish(8)
    assert shop.get("/v1/images")["generation"] == 8
    for name, data in old.items():
        (shop.folder / name).write_bytes(data)
    assert shop.error("/v1/images", "", 503)["kind"] == "cannot-tell"


def test_signatures_that_are_over_are_not_answered_from(
    shop: Shop, later: Callable[[timedelta], None]
) -> None:
    assert shop.get("/v1/resolve", "image=image-0")
    later(15 * DAY)
    assert shop.error("/v1/resolve", "image=image-0", 503)["kind"] == "cannot-tell"
    reply = shop.ask("/healthz")
    assert reply.status == 503
    assert dict(reply.headers)["retry-after"] == "5"
    assert shop.ask("/metadata/timestamp.json").status == 200, "consumers verify it themselves"


def test_a_changed_document_is_not_answered_from(shop: Shop) -> None:
    path = next(shop.folder.rglob("images/image-0/channels/*.stable.json"))
    path.write_bytes(path.read_bytes().replace(b"20261120.5", b"20261120.1"))
    assert shop.error("/v1/resolve", "image=image-0", 500)["kind"] == "corrupt"


def test_a_broken_tree_is_not_verified_for_each_request(
    shop: Shop, later: Callable[[timedelta], None]
) -> None:
    timestamp = shop.folder / "metadata" / "timestamp.json"
    good = timestamp.read_bytes()
    timestamp.write_bytes(good.replace(b'"version":2', b'"version":3'))
    found = os.stat(timestamp)
    assert shop.error("/healthz", "", 503)
    current = shop.worker._current
    first = current._trouble
    assert shop.error("/v1/images", "", 503)
    assert current._trouble is first
    timestamp.write_bytes(good)
    os.utime(timestamp, ns=(found.st_mtime_ns, found.st_mtime_ns))
    later(timedelta(seconds=2))
    assert shop.get("/healthz")["ok"]


def test_no_more_is_remembered_than_may_be(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "REMEMBERED", 60_000)
    for seconds in range(90_000_000, 90_000_050):
        assert shop.ask("/v1/resolve", f"image=image-0&max_age={seconds}s").status == 200
        assert shop.ask("/v1/versions", "image=image-0").status == 200
    kept = shop.worker._known.values()
    assert sum(body.weight + application.OVERHEAD for _, _, body in kept) == shop.worker._weight
    assert shop.worker._weight <= 60_000


def test_a_list_that_many_ask_for_is_made_once(shop: Shop) -> None:
    request = Request("GET", "/v1/images", "", {})
    assert shop.worker.at_once(request) is None
    assert shop.worker.takes_long(request)
    first = shop.worker.answer(request)
    assert shop.worker.answer(request).body is first.body, "it came while the first was made"


def test_only_who_serves_pays_for_the_server() -> None:
    code = (
        "import sys; from imagectl.cli import serve, resolve; "
        "print([each for each in ('granian', 'zstandard', 'prometheus_client') "
        "if each in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_health_and_numbers(shop: Shop) -> None:
    jsonschema.validate(shop.get("/healthz"), schema(Health))
    shop.ask("/nothing")
    reply = shop.ask("/metrics")
    assert isinstance(reply.body, bytes)
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(reply.body.decode())
        for sample in family.samples
    }
    assert samples["imagectl_serve_requests_total", "healthz", "2xx"] == 1
    assert samples["imagectl_serve_requests_total", "file", "4xx"] == 1
    assert samples["imagectl_serve_generation",] == 7
    assert samples["imagectl_serve_tree_ok",] == 1


def test_what_is_not_known_has_no_number(shop: Shop) -> None:
    """P8."""
    (shop.folder / "metadata" / "timestamp.json").unlink()
    reply = shop.ask("/metrics")
    assert isinstance(reply.body, bytes)
    assert b"imagectl_serve_tree_ok 0.0" in reply.body
    assert b"imagectl_serve_generation" not in reply.body
    assert b"imagectl_serve_expires" not in reply.body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW"])
@pytest.mark.parametrize("path", ["/v1/resolve", "/metadata/timestamp.json", "/nothing"])
def test_nothing_can_be_changed(shop: Shop, method: str, path: str) -> None:
    reply = shop.ask(path, method=method)
    assert reply.status == 405
    assert dict(reply.headers)["allow"] == "GET, HEAD, OPTIONS"


def test_pages_of_any_site_may_ask(shop: Shop) -> None:
    reply = shop.ask("/v1/resolve", method="OPTIONS")
    assert reply.status == 204
    assert "If-None-Match" in dict(reply.headers)["access-control-allow-headers"]
    for path in ("/v1/images", "/nothing", "/metadata/timestamp.json"):
        assert dict(shop.ask(path).headers)["access-control-allow-origin"] == "*"


def test_a_mistake_of_ours_is_an_answer_and_in_the_log(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    reply = shop.worker.mistake(Request("GET", "/v1/images", "", {}), KeyError("secret"))
    assert reply.status == 500
    assert isinstance(reply.body, bytes)
    error = json.loads(reply.body)["error"]
    assert error["kind"] == "internal-error"
    assert "secret" not in reply.body.decode()
    assert "KeyError: 'secret'" in capsys.readouterr().err


def test_the_document_describes_every_answer(shop: Shop) -> None:
    found = shop.get("/v1/openapi.json")
    assert found == openapi()
    for path, methods in found["paths"].items():
        parameters = methods["get"].get("parameters", ())
        wanted = [each["name"] for each in parameters if each.get("required")]
        assert shop.ask(path, "&".join(f"{name}=image-0" for name in wanted)).status == 200


@pytest.mark.parametrize("listen", ["8080:", "host", "127.0.0.1:65536", "127.0.0.1:٣"])
def test_what_is_no_address_is_bad_usage(listen: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(program, ["-C", str(tmp_path), "serve", "--listen", listen])
    assert result.exit_code == 2
    assert "is no address" in result.stderr


def test_without_a_tree_nothing_is_served(tmp_path: Path) -> None:
    run = CliRunner().invoke
    options = ["-C", str(tmp_path), "serve", "--listen", "127.0.0.1:0"]
    nowhere = run(program, options)
    assert (nowhere.exit_code, "--catalog DIR" in nowhere.stderr) == (2, True)
    rootless = run(program, [*options, "--catalog", str(tmp_path)])
    assert (rootless.exit_code, "--root FILE" in rootless.stderr) == (2, True)
    empty = run(program, [*options, "--catalog", str(tmp_path), "--root", "root.json"])
    assert (empty.exit_code, "there is no published catalog" in empty.stderr) == (6, True)
