"""What a consumer keeps, what it asks for, and what it does while nobody answers (P7, P10)."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from support import web
from support.tuf_trees import INDEX, NOW, TufTree, as_bytes, indexed
from support.web import Page, Site

from imagectl.consumer import cache as cache_module
from imagectl.consumer.cache import Cache
from imagectl.consumer.fetching import TreeFetcher
from imagectl.consumer.signed_tree import SignedFiles, open_files
from imagectl.errors import CannotTell, Failed

TIMESTAMP = "/metadata/timestamp.json"
DAY = timedelta(days=1)


@pytest.fixture
def tree() -> TufTree:
    return indexed()


@pytest.fixture
def server() -> Iterator[Site]:
    with web.site() as made:
        yield made


class Client:
    def __init__(self, server: Site, tree: TufTree, cache: Path) -> None:
        self.server = server
        self.tree = tree
        self.cache = cache
        self.url = tree.serve(server)

    def look(
        self,
        days: float = 0,
        max_stale: timedelta | None = None,
        url: str = "",
        server: float | None = None,
    ) -> SignedFiles:
        """As it is after so many days, by the clock here and by that of the *server*."""
        self.server.asked.clear()
        self.server.clock = (NOW + (days if server is None else server) * DAY).timestamp()
        return open_files(
            url or self.url,
            root=self.tree.files["metadata/1.root.json"],
            cache=self.cache,
            now=NOW + days * DAY,
            max_stale=max_stale,
        )

    def read(self, days: float = 0, max_stale: timedelta | None = None) -> bytes | None:
        files = self.look(days, max_stale)
        try:
            return files.target(INDEX, as_bytes)
        finally:
            files.close()

    @property
    def asked(self) -> list[str]:
        return [each.path.removeprefix("/metadata/") for each in self.server.asked]


@pytest.fixture
def client(server: Site, tree: TufTree, tmp_path: Path) -> Client:
    return Client(server, tree, tmp_path / "cache")


def test_only_what_is_new_is_asked_for(client: Client) -> None:
    assert client.read() == b"the index"
    document = "/" + client.tree.path(INDEX, b"the index")
    assert client.asked == [
        "2.root.json",
        "timestamp.json",
        "2.snapshot.json",
        "1.targets.json",
        "2.images.json",
        document,
    ]

    assert client.read() == b"the index"
    assert client.asked == ["2.root.json", "timestamp.json"]

    client.tree.publish("channel-beta")
    client.tree.serve(client.server)
    assert client.read() == b"the index"
    assert client.asked == ["2.root.json", "timestamp.json", "3.snapshot.json"]


def test_nothing_is_asked_for_compressed(client: Client) -> None:
    client.read()
    assert {each.headers["Accept-Encoding"] for each in client.server.asked} == {"identity"}


def test_a_timestamp_that_is_the_same_is_not_sent_again(client: Client) -> None:
    client.server.conditional = True
    client.read()
    etag = json.loads((client.cache / "state.json").read_bytes())["etag"]

    assert client.read() == b"the index"
    assert client.server.asked[-1].headers["If-None-Match"] == etag

    client.tree.put("images", INDEX, b"a newer index")
    client.tree.publish("images")
    client.tree.serve(client.server)
    assert client.read() == b"a newer index"
    assert client.read() == b"a newer index"


def test_an_etag_is_not_sent_of_what_is_not_here_any_more(client: Client) -> None:
    client.server.conditional = True
    client.read()
    (client.cache / "metadata" / "timestamp.json").unlink()

    assert client.read() == b"the index"
    assert all("If-None-Match" not in each.headers for each in client.server.asked)


def test_an_etag_is_only_sent_for_the_state_that_it_is_of(client: Client) -> None:
    """Another process may have gone on meanwhile."""
    client.server.conditional = True
    client.read()
    state = (client.cache / "state.json").read_bytes()
    client.tree.publish("images")
    client.tree.serve(client.server)
    client.read()
    (client.cache / "state.json").write_bytes(state)

    assert client.read() == b"the index"
    assert all("If-None-Match" not in each.headers for each in client.server.asked)


def test_an_etag_is_of_one_address(client: Client) -> None:
    client.server.conditional = True
    client.read()
    with web.site() as mirror:
        mirror.conditional = True
        files = client.look(url=client.tree.serve(mirror))
        assert all("If-None-Match" not in each.headers for each in mirror.asked)
        files.close()


def test_a_server_that_always_says_nothing_is_new_is_believed_until_it_runs_out(
    client: Client,
) -> None:
    client.server.conditional = True
    client.read()
    old = client.server.pages[TIMESTAMP]
    client.tree.publish("images")
    client.tree.serve(client.server)
    client.server.pages[TIMESTAMP] = old

    assert client.read(days=13) == b"the index"
    with pytest.raises(CannotTell, match="has run out"):
        client.read(days=15)


@pytest.mark.parametrize("lost", ["metadata", "documents", "state.json", "."])
def test_a_cache_may_be_lost(client: Client, lost: str) -> None:
    import shutil

    client.read()
    path = client.cache / lost
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()

    assert client.read() == b"the index"


def test_a_cache_that_was_damaged_is_fetched_again(client: Client) -> None:
    client.read()
    files = [path for path in client.cache.rglob("*") if path.is_file() and path.name != "lock"]
    assert len(files) > 6
    for path in files:
        for damaged in (b"", b"{", b"[" * 10_000, path.read_bytes()[:-1] + b"\xff"):
            path.write_bytes(damaged)
            assert client.read() == b"the index", f"{path} {damaged[:10]!r}"


def test_what_is_kept_is_on_disk_before_it_counts(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut must not take away what protects from an older state."""
    synced = []
    real = os.fsync

    def fsync(fd: int) -> None:
        synced.append(os.fstat(fd).st_ino)
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    client.read()

    for name in ("root", "timestamp", "snapshot", "targets", "images"):
        assert (client.cache / "metadata" / f"{name}.json").stat().st_ino in synced
    assert (client.cache / "metadata").stat().st_ino in synced
    for path in (client.cache / "documents").rglob("*"):
        assert path.stat().st_ino in synced or path.is_dir()


def test_nothing_is_written_where_nothing_is_new(client: Client) -> None:
    client.read()
    before = {path: path.stat().st_mtime_ns for path in (client.cache / "metadata").rglob("*.json")}
    client.read()
    after = {path: path.stat().st_mtime_ns for path in (client.cache / "metadata").rglob("*.json")}
    assert before == after


def test_leftovers_of_a_killed_process_are_removed(client: Client) -> None:
    client.read()
    left = client.cache / "metadata" / ".partial-abc"
    left.write_bytes(b"half")
    client.read()
    assert not left.exists()


def test_documents_that_nobody_needs_go(client: Client) -> None:
    client.read()
    [kept] = (client.cache / "documents").glob("??/*")
    old = (NOW - 100 * DAY).timestamp()
    os.utime(kept, (old, old))
    assert client.read() == b"the index"
    assert kept.stat().st_mtime > old


def test_a_document_stays_as_long_as_it_is_read(client: Client) -> None:
    client.read()
    [kept] = (client.cache / "documents").glob("??/*")
    there, old = kept.stat().st_ino, (NOW - 80 * DAY).timestamp()
    os.utime(kept, (old, old))
    assert client.read() == b"the index"
    assert kept.stat().st_mtime > old
    assert kept.stat().st_ino == there, "nor was it written again"


def test_many_at_once_share_a_cache(client: Client) -> None:
    found: list[bytes | None] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(client.read())
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not failed
    assert found == [b"the index"] * 8


def test_a_process_that_does_not_let_go_is_named(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "LOCK_SECONDS", 0.05)
    with (
        Cache(client.cache).locked(),
        pytest.raises(CannotTell, match="another process has been fetching"),
    ):
        client.look()


def test_a_cache_that_cannot_be_written(client: Client, tmp_path: Path) -> None:
    client.cache = tmp_path / "file" / "cache"
    client.cache.parent.write_bytes(b"")
    with pytest.raises(Failed, match="cannot be kept") as caught:
        client.look()
    assert "IMAGECTL_CACHE" in caught.value.hint


def test_a_cache_whose_lock_is_none(client: Client) -> None:
    """As one of another user, whose lock we may not open."""
    (client.cache / "lock").mkdir(parents=True)
    with pytest.raises(Failed, match="cannot be kept") as caught:
        client.look()
    assert caught.value.where.endswith("/lock")
    assert "IMAGECTL_CACHE" in caught.value.hint


def test_a_cache_where_nothing_can_be_locked(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on some network file systems."""

    def flock(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(Failed, match="cannot be kept") as caught:
        client.look()
    assert "IMAGECTL_CACHE" in caught.value.hint


def test_it_works_while_no_server_answers(client: Client) -> None:
    client.read()
    client.server.close()

    files = client.look(days=3)

    assert files.offline
    assert files.target(INDEX, as_bytes) == b"the index"
    [notice] = files.notices
    assert "cannot be reached (Connection refused)" in notice
    assert "3 d ago" in notice
    assert "holds until 2026-12-04" in notice


def test_it_works_while_the_server_is_in_trouble(client: Client) -> None:
    client.read()
    client.server.pages = dict.fromkeys(client.server.pages, Page(b"oops", 503))
    client.server.pages["/metadata/2.root.json"] = Page(b"oops", 503)
    assert client.look().offline

    client.tree.serve(client.server)
    files = client.look()
    assert not files.offline
    assert not files.notices
    files.close()


def test_what_has_run_out_does_not_hold_offline(client: Client) -> None:
    client.read()
    client.server.close()

    assert client.look(days=13).offline
    with pytest.raises(CannotTell, match="does not hold any more") as caught:
        client.look(days=15)
    assert "Connection refused" in caught.value.why


def test_what_is_too_old_for_its_consumer_is_refused(client: Client) -> None:
    client.read()
    client.server.close()

    assert client.read(days=1, max_stale=2 * DAY) == b"the index"
    with pytest.raises(CannotTell, match="too old") as caught:
        client.read(days=3, max_stale=2 * DAY)
    assert "max_stale allows 2 d" in caught.value.why


def test_how_old_it_is_has_to_be_known_where_that_matters(client: Client) -> None:
    client.read()
    client.server.close()
    (client.cache / "state.json").unlink()

    assert client.look(days=1).offline
    with pytest.raises(CannotTell, match="too old"):
        client.look(days=1, max_stale=2 * DAY)


def test_how_old_it_is_cannot_be_told_by_a_clock_that_went_back(client: Client) -> None:
    client.read(days=10)
    client.server.close()

    files = client.look(days=7)
    assert files.offline
    [notice, clock] = files.notices
    assert "this is what it said some time ago" in notice
    assert "a clock that goes back" in clock
    with pytest.raises(CannotTell, match="too old") as caught:
        client.look(days=7, max_stale=2 * DAY)
    assert "last reached nobody knows when" in caught.value.why
    assert "a clock that goes back" in caught.value.why


def test_two_clocks_may_differ_a_little(client: Client) -> None:
    client.read(days=10)
    client.server.close()
    assert len(client.look(days=10 - 4 / 1440, max_stale=2 * DAY).notices) == 1


def test_what_was_never_seen_is_not_made_up(client: Client) -> None:
    client.server.close()
    with pytest.raises(CannotTell, match="cannot be read") as caught:
        client.look()
    assert caught.value.why == "Connection refused"


def test_a_document_that_was_never_fetched(client: Client) -> None:
    client.look().close()  # only the lists of the top
    client.server.close()
    files = client.look()
    with pytest.raises(CannotTell, match="what was seen before is not enough"):
        files.target(INDEX, as_bytes)


def test_a_document_that_is_not_in_the_cache(client: Client) -> None:
    client.read()
    client.server.close()
    for path in (client.cache / "documents").glob("??/*"):
        path.unlink()
    files = client.look()
    with pytest.raises(CannotTell, match="is not among what was fetched before"):
        files.target(INDEX, as_bytes)


def test_what_is_played_back_is_not_taken_for_an_outage(client: Client) -> None:
    old = client.tree.copy()
    client.tree.publish("images")
    client.tree.serve(client.server)
    client.read()
    old.serve(client.server)

    with pytest.raises(CannotTell, match="older than what was seen"):
        client.look()


def test_a_clock_that_is_wrong_is_named(client: Client) -> None:
    with pytest.raises(CannotTell, match="the clock of this machine") as caught:
        client.look(days=400, server=0)
    assert "2026-11-20 12:00 UTC there" in caught.value.why
    assert "timedatectl" in caught.value.hint


def test_a_clock_that_goes_back_is_named(client: Client) -> None:
    client.read(days=10)
    files = client.look(days=2)
    assert "a clock that goes back" in files.notices[0]
    files.close()


def test_an_answer_without_end(client: Client) -> None:
    body = client.tree.files["metadata/timestamp.json"] + b" " * 10_000_000
    client.server.pages[TIMESTAMP] = Page(body, chunked=True)
    with pytest.raises(CannotTell, match="longer than it may be"):
        client.look()


@pytest.mark.parametrize("fault", [web.hang_up, web.cut_off(10)])
def test_a_connection_that_breaks_once(client: Client, fault: web.Fault) -> None:
    client.server.faults[TIMESTAMP] = [fault]
    assert client.read() == b"the index"


def test_a_server_that_is_busy_is_asked_again(client: Client) -> None:
    client.server.faults[TIMESTAMP] = [web.answer(Page(b"", 503))]
    assert client.read() == b"the index"


def test_a_fetcher_says_what_the_server_says(server: Site) -> None:
    server.pages["/secret"] = Page(b"", 403)
    fetcher = TreeFetcher()
    with pytest.raises(Exception, match="the server answers 403"):
        fetcher.download_bytes(server.url("/secret"), 10)
    fetcher.close()
