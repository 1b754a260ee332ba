"""What a build is answered while the network, or the server at its other end, misbehaves."""

from __future__ import annotations

import http.client
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.upstream import (
    NOW,
    Shop,
    sha256,
    trouble,
)
from support.web import Page, answer, cut_off, get, hang_up, site

from imagectl.adapters.inputs.supply import open_supply
from imagectl.errors import BuildFailed, CannotTell
from imagectl.model.lock import Access, Inputs

pytest_plugins = ["support.upstream"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_is_cut_off_is_taken_up_again(shop: Shop, ranges: bool) -> None:
    body = bytes(range(256)) * 8000
    url = shop.web.put("/file", body)
    shop.web.ranges = ranges
    shop.web.faults["/file"] = [cut_off(700_000), cut_off(500_000 if ranges else 900_000)]
    with shop.open() as supply:
        assert get(url, supply.port).body == body
        supply.check()
    assert shop.store.verify(sha256(body))
    assert shop.web.asked[1].headers["Range"] == "bytes=700000-"


def test_a_file_that_changes_while_it_is_fetched_is_not_mixed(shop: Shop) -> None:
    url = shop.web.put("/file", b"a" * 1_000_000)
    shop.web.faults["/file"] = [
        cut_off(300_000),
        answer(Page(b"b" * 1_000_000)),
        answer(Page(b"b" * 1_000_000)),
    ]
    with shop.open() as supply:
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            get(url, supply.port)
        assert "changed" in trouble(supply).why
    assert list(shop.store.digests()) == []


def test_a_server_that_goes_on_at_another_place_is_not_followed(shop: Shop) -> None:
    body = bytes(range(256)) * 4000
    url = shop.web.put("/file", body)
    elsewhere = Page(body[5:], 206, {"Content-Range": f"bytes 5-{len(body) - 1}/{len(body)}"})
    shop.web.faults["/file"] = [cut_off(len(body) - 5), answer(elsewhere)]
    with shop.open() as supply:
        assert get(url, supply.port).body == body
    assert shop.store.verify(sha256(body))


def test_a_truncated_download_is_never_kept(shop: Shop) -> None:
    url = shop.web.put("/file", b"z" * 1_000_000)
    shop.web.faults["/file"] = [cut_off(100_000)] * 9
    with shop.open() as supply:
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            get(url, supply.port)
        problem = trouble(supply)
        assert not supply.taken().all
    assert isinstance(problem, CannotTell)
    assert list(shop.store.digests()) == []
    assert list((shop.store.root / ".partial").iterdir()) == []


def test_passing_failures_of_upstream_are_overcome(shop: Shop) -> None:
    url = shop.web.put("/file", b"data")
    shop.web.faults["/file"] = [hang_up, answer(Page(b"busy", 503))]
    assert shop.record(url).downloads[0].sha256 == sha256(b"data")


def test_upstream_that_stays_broken_is_told_of(shop: Shop) -> None:
    url = shop.web.url("/file")
    shop.web.faults["/file"] = [answer(Page(b"busy", 503))] * 9
    with shop.open() as supply:
        supply.during("task 'Fetch it'")
        assert get(url, supply.port).status == 502
        problem = trouble(supply)
    assert isinstance(problem, CannotTell)
    assert (problem.where, "503" in problem.why, "task 'Fetch it'" in problem.why) == (
        url,
        True,
        True,
    )
    assert shop.web.count("/file") == 3


def test_what_works_at_a_later_attempt_of_the_client_is_no_trouble(shop: Shop) -> None:
    url = shop.web.put("/file", b"data")
    shop.web.faults["/file"] = [answer(Page(b"busy", 503))] * 3
    with shop.open() as supply:
        assert get(url, supply.port).status == 502
        assert get(url, supply.port).body == b"data"
        supply.check()


def test_an_upstream_that_is_gone_is_told_of(shop: Shop) -> None:
    with site() as other:
        url = other.url("/file")
        address = other.address
    with open_supply(
        access=Access.RECORD,
        locked=Inputs(),
        mirrors={},
        upstream=dict,
        store=shop.store,
        folder=shop.folder / "supply",
        epoch=0,
        now=lambda: NOW,
        reachable=[address],
        environment={},
        pauses=(),
    ) as supply:
        assert get(url, supply.port).status == 502
        assert "refused" in trouble(supply).why


def test_what_is_on_this_machine_is_not_reached(shop: Shop) -> None:
    """A guest that asks for 127.0.0.1 would get what is there on the host."""
    with site() as private:
        private.put("/secret", b"of the host")
        with shop.open() as supply:
            for host in ("127.0.0.1", "localhost", "[::1]", "0.0.0.0"):
                assert get(f"http://{host}:{private.port}/secret", supply.port).status == 502
            problem = trouble(supply)
        assert isinstance(problem, BuildFailed)
        assert private.asked == []


def test_leaving_ends_what_is_being_fetched(shop: Shop) -> None:
    """A build that is stopped must not wait for a slow server."""
    begun, go_on = threading.Event(), threading.Event()

    def stall(handler: object, page: Page) -> Page:
        begun.set()
        go_on.wait(60)
        return page

    url = shop.web.put("/slow", b"data")
    shop.web.faults["/slow"] = [stall]
    with ThreadPoolExecutor(1) as pool:
        with shop.open() as supply:
            asking = pool.submit(get, url, supply.port)
            assert begun.wait(60)
            before = threading.active_count()
        assert asking.exception(timeout=60) is not None or asking.result().status == 502
        go_on.set()
    assert threading.active_count() < before
