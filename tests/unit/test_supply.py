"""What a build is answered that records what it downloads. All of it through real sockets."""

from __future__ import annotations

import gzip
import http.client
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from support.upstream import (
    DEB,
    INRELEASE,
    NOW,
    PACKAGES,
    POOL,
    Shop,
    mirror,
    sha256,
    trouble,
)
from support.web import Page, get

from imagectl.adapters.inputs.store import EMPTY, InputStore
from imagectl.model.lock import Access, Archive, Download, Package

pytest_plugins = ["support.upstream"]


def test_what_a_build_downloads_is_listed_by_what_it_is(shop: Shop) -> None:
    shop.archive()
    wheel = shop.web.put("/simple/wheel", b"PK", Content_Type="application/zip")
    taken = shop.record(mirror(INRELEASE), mirror(PACKAGES), mirror(POOL), wheel)
    assert [each.path for each in taken.indexes] == [INRELEASE, PACKAGES]
    assert taken.packages == (
        Package("hello", "1:2.10-3+b1", "amd64", Archive.DEBIAN, POOL, sha256(DEB), len(DEB)),
    )
    assert taken.downloads == (Download(wheel, 200, sha256(b"PK"), 2, "application/zip"),)
    assert {digest for digest, _ in shop.store.digests()} == taken.digests


def test_an_index_asked_for_by_its_digest_is_understood(shop: Shop) -> None:
    shop.archive()
    packages = shop.web.pages[f"/debian/{PACKAGES}"].body
    by_hash = f"dists/bookworm/main/binary-amd64/by-hash/SHA256/{sha256(packages)}"
    shop.web.put(f"/debian/{by_hash}", packages)
    taken = shop.record(mirror(INRELEASE), mirror(by_hash), mirror(POOL))
    assert [each.name for each in taken.packages] == ["hello"]


def test_a_package_that_no_index_names_is_a_download(shop: Shop) -> None:
    shop.archive()
    taken = shop.record(mirror(POOL))
    assert [each.url for each in taken.downloads] == [mirror(POOL).replace("%2b", "+")]


def test_recording_takes_everything_anew_whatever_was_locked(shop: Shop) -> None:
    """As `lock --update` must."""
    url = shop.web.put("/file", b"old")
    locked = shop.record(url)
    shop.web.put("/file", b"new")
    with shop.open(Access.RECORD, locked) as supply:
        assert get(url, supply.port).body == b"new"
        assert [each.sha256 for each in supply.taken().downloads] == [sha256(b"new")]


def test_redirects_and_what_is_not_there_are_answers_too(shop: Shop) -> None:
    target = shop.web.put("/new", b"moved here")
    shop.web.pages["/old"] = Page(b"see there", 302, {"Location": "/new"})
    old, gone = shop.web.url("/old"), shop.web.url("/gone")
    with shop.open() as supply:
        redirect = get(old, supply.port)
        assert (redirect.status, redirect.headers["Location"]) == (302, target)
        assert get(gone, supply.port).status == 404
        supply.check()
        taken = supply.taken()
    assert {(each.url, each.status, each.sha256, each.location) for each in taken.downloads} == {
        (old, 302, EMPTY, target),
        (gone, 404, EMPTY, ""),
    }
    shop.web.pages.clear()
    with shop.open(Access.OFFLINE, taken) as supply:
        assert get(old, supply.port).headers["Location"] == target
        assert get(gone, supply.port).status == 404
        assert supply.taken() == taken


def test_redirects_of_a_mirror_are_followed_here(shop: Shop) -> None:
    shop.archive()
    shop.web.pages[f"/cdn/{POOL}"] = shop.web.pages.pop(f"/debian/{POOL}")
    shop.web.pages[f"/debian/{POOL}"] = Page(status=301, headers={"Location": f"/cdn/{POOL}"})
    taken = shop.record(mirror(INRELEASE), mirror(PACKAGES), mirror(POOL))
    assert [each.sha256 for each in taken.packages] == [sha256(DEB)]
    assert not taken.downloads


def test_one_build_has_one_answer(shop: Shop) -> None:
    url = shop.web.put("/file", b"one")
    with shop.open() as supply:
        assert get(url, supply.port).body == b"one"
        shop.web.put("/file", b"two")
        assert get(url, supply.port).body == b"one"
    assert shop.web.count("/file") == 1


def test_conditions_and_ranges_get_the_whole_answer(shop: Shop) -> None:
    url = shop.web.put("/file", b"0123456789", Last_Modified="Sat, 21 Nov 2026 00:00:00 GMT")
    asks = {"If-Modified-Since": "Sun, 22 Nov 2026 00:00:00 GMT", "Range": "bytes=5-"}
    with shop.open() as supply:
        for _ in range(2):
            got = get(url, supply.port, asks)
            assert (got.status, got.body, got.headers["Content-Length"]) == (
                200,
                b"0123456789",
                "10",
            )
    assert not {"Range", "If-Modified-Since"} & set(shop.web.asked[0].headers)


def test_parallel_requests_for_one_url_fetch_it_once(shop: Shop) -> None:
    url = shop.web.put("/file", b"x" * 3_000_000)
    with shop.open() as supply, ThreadPoolExecutor(8) as pool:
        bodies = list(pool.map(lambda _: get(url, supply.port).body, range(8)))
    assert bodies == [b"x" * 3_000_000] * 8
    assert shop.web.count("/file") == 1


def test_a_body_of_unknown_length_is_recorded(shop: Shop) -> None:
    shop.web.pages["/page"] = Page(b"y" * 5000, chunked=True)
    with shop.open() as supply:
        assert get(shop.web.url("/page"), supply.port).body == b"y" * 5000
        again = get(shop.web.url("/page"), supply.port)
        assert again.body == b"y" * 5000


def test_head_is_answered_like_get_without_a_body(shop: Shop) -> None:
    url = shop.web.put("/file", b"12345", Content_Type="text/x-five")
    with shop.open() as supply:
        got = get(url, supply.port, method="HEAD")
        assert (got.status, got.body, got.headers["Content-Length"]) == (200, b"", "5")
        assert got.headers["Content-Type"] == "text/x-five"
        assert get(url, supply.port).body == b"12345"
    assert [each.method for each in shop.web.asked] == ["GET"]


def test_credentials_reach_upstream_and_no_lock(shop: Shop) -> None:
    url = shop.web.put("/private", b"mine")
    with shop.open() as supply:
        get(url, supply.port, {"Authorization": "Basic c2VjcmV0", "Proxy-Authorization": "x"})
        taken = supply.taken()
    assert shop.web.asked[0].headers["Authorization"] == "Basic c2VjcmV0"
    assert "Proxy-Authorization" not in shop.web.asked[0].headers
    assert "c2VjcmV0" not in repr(taken)


def test_packages_that_the_store_has_are_not_fetched_again(shop: Shop) -> None:
    """As after a build that was killed."""
    shop.archive()
    first = shop.record(mirror(INRELEASE), mirror(PACKAGES), mirror(POOL))
    assert shop.record(mirror(INRELEASE), mirror(PACKAGES), mirror(POOL)) == first
    assert shop.web.count(f"/debian/{POOL}") == 1
    assert shop.web.count(f"/debian/{INRELEASE}") == 2, "indexes are always taken anew"
    assert shop.web.count(f"/debian/{PACKAGES}") == 1


def test_a_mirror_with_other_bytes_than_its_index_says_is_refused(shop: Shop) -> None:
    shop.archive()
    shop.web.put(f"/debian/{POOL}", b"evil" + DEB[4:])
    with shop.open() as supply:
        get(mirror(INRELEASE), supply.port)
        get(mirror(PACKAGES), supply.port)
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            get(mirror(POOL), supply.port)
        problem = trouble(supply)
        assert not supply.taken().packages
    assert sha256(DEB) in problem.why
    assert sha256(b"evil" + DEB[4:]) in problem.why
    assert sha256(b"evil" + DEB[4:]) not in {digest for digest, _ in shop.store.digests()}


def test_an_index_with_other_bytes_than_its_release_says_is_refused(shop: Shop) -> None:
    shop.archive()
    shop.web.put(f"/debian/{PACKAGES}", gzip.compress(b"Package: other\n"))
    with shop.open() as supply:
        get(mirror(INRELEASE), supply.port)
        assert get(mirror(PACKAGES), supply.port).status == 502
        assert "other bytes" in trouble(supply).what


def test_a_wrong_clock_is_told_of(shop: Shop) -> None:
    url = shop.web.put("/file", b"data")
    with shop.open(now=NOW + timedelta(days=3650)) as supply:
        assert get(url, supply.port).status == 502
        problem = trouble(supply)
        assert not supply.taken().all
    assert "clock" in problem.what
    assert "timedatectl" in problem.hint


def test_a_cached_answer_is_as_old_as_it_says(shop: Shop) -> None:
    """A cache passes the origin's ``Date`` on, and says for how long it kept the answer."""
    shop.web.clock = (NOW - timedelta(days=5)).timestamp()
    old = shop.web.put("/old", b"data", Age=str(5 * 86400))
    shop.record(old)
    with shop.open() as supply:
        assert get(shop.web.put("/older", b"data"), supply.port).status == 502


def test_the_clock_does_not_matter_where_everything_is_locked(shop: Shop) -> None:
    url = shop.web.put("/file", b"data")
    locked = shop.record(url)
    empty = replace(shop, store=InputStore(shop.folder / "empty"))
    with empty.open(Access.LOCKED, locked, now=NOW + timedelta(days=3650)) as supply:
        assert get(url, supply.port).body == b"data"
        supply.check()
