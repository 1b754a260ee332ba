"""What a build is answered under a lock: the same bytes, from here, a shared store or upstream."""

from __future__ import annotations

import http.client
from dataclasses import replace

import pytest
from support.upstream import (
    DEB,
    INRELEASE,
    MIRRORS,
    PACKAGES,
    POOL,
    Shop,
    damage,
    mirror,
    sha256,
    trouble,
)
from support.web import get, site

from imagectl.adapters.inputs.shared import SharedFolder
from imagectl.adapters.inputs.store import InputStore
from imagectl.errors import CannotTell, NotFound
from imagectl.model.lock import Access, Archive

pytest_plugins = ["support.upstream"]


# Locked and offline


def test_a_locked_build_needs_no_upstream(shop: Shop) -> None:
    shop.archive()
    url = shop.web.put("/file", b"data", Content_Type="text/x-data")
    urls = [mirror(INRELEASE), mirror(PACKAGES), mirror(POOL), url]
    locked = shop.record(*urls)
    asked = len(shop.web.asked)

    def no_mirror() -> dict[Archive, str]:
        raise AssertionError("nothing needs to be fetched")

    for access in (Access.LOCKED, Access.OFFLINE):
        with shop.open(access, locked, upstream=no_mirror) as supply:
            bodies = [get(each, supply.port) for each in urls]
            supply.check()
            assert supply.taken() == locked
        assert bodies[2].body == DEB
        assert bodies[3].headers["Content-Type"] == "text/x-data"
    assert len(shop.web.asked) == asked


def test_what_is_taken_is_what_was_asked_for(shop: Shop) -> None:
    one, two = shop.web.put("/one", b"1"), shop.web.put("/two", b"2")
    locked = shop.record(one, two)
    with shop.open(Access.LOCKED, locked) as supply:
        get(two, supply.port)
        assert [each.url for each in supply.taken().downloads] == [two]


def test_what_the_lock_does_not_list_is_refused(shop: Shop) -> None:
    """The guard of P9: a build never silently changes its inputs."""
    listed, new = shop.web.put("/listed", b"1"), shop.web.put("/new", b"2")
    locked = shop.record(listed)
    for access in (Access.LOCKED, Access.OFFLINE):
        with shop.open(access, locked) as supply:
            supply.during("task 'Install new things'")
            got = get(new, supply.port)
            assert (got.status, b"lock" in got.body) == (403, True)
            problem = trouble(supply)
            assert not supply.taken().all
        assert problem.where == new
        assert "task 'Install new things'" in problem.why
        assert "imagectl lock" in problem.hint
    assert shop.web.count("/new") == 0


def test_every_refusal_is_told_of(shop: Shop) -> None:
    with shop.open(Access.LOCKED) as supply:
        for number in range(12):
            supply.during(f"task {number}")
            get(f"http://host.example/{number}", supply.port)
        problem = trouble(supply)
    assert problem.what.startswith("12 downloads")
    assert "http://host.example/3 (task 3)" in problem.why
    assert "and 2 more" in problem.why


def test_locked_inputs_that_the_store_lacks_come_from_upstream_verified(shop: Shop) -> None:
    shop.archive()
    locked = shop.record(mirror(INRELEASE), mirror(PACKAGES), mirror(POOL))
    empty = replace(shop, store=InputStore(shop.folder / "empty"))
    with empty.open(Access.LOCKED, locked) as supply:
        assert get(mirror(POOL), supply.port).body == DEB
        supply.check()
        assert supply.taken().packages == locked.packages
    assert empty.store.verify(sha256(DEB))


def test_upstream_with_other_bytes_than_the_lock_is_refused(shop: Shop) -> None:
    url = shop.web.put("/file", b"a" * 1_000_000)
    locked = shop.record(url)
    shop.web.put("/file", b"b" * 1_000_000)
    empty = replace(shop, store=InputStore(shop.folder / "empty"))
    with empty.open(Access.LOCKED, locked) as supply:
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            get(url, supply.port)
        problem = trouble(supply)
    assert sha256(b"a" * 1_000_000) in problem.why
    assert sha256(b"b" * 1_000_000) in problem.why
    assert list(empty.store.digests()) == []


def test_a_small_wrong_file_gets_a_clean_error(shop: Shop) -> None:
    """Nothing of it was sent yet, so nothing must be broken off."""
    url = shop.web.put("/file", b"right")
    locked = shop.record(url)
    shop.web.put("/file", b"wrong")
    empty = replace(shop, store=InputStore(shop.folder / "empty"))
    with empty.open(Access.LOCKED, locked) as supply:
        got = get(url, supply.port)
        assert (got.status, b"wrong" in got.body.splitlines()) == (502, False)


def test_upstream_without_a_locked_input_is_told_of(shop: Shop) -> None:
    url = shop.web.put("/file", b"data")
    locked = shop.record(url)
    shop.web.pages.clear()
    empty = replace(shop, store=InputStore(shop.folder / "empty"))
    with empty.open(Access.LOCKED, locked) as supply:
        assert get(url, supply.port).status == 502
        problem = trouble(supply)
    assert "404" in problem.why
    assert sha256(b"data") in problem.why
    assert "--update" in problem.hint


def test_an_offline_build_says_at_once_what_is_missing(shop: Shop) -> None:
    urls = [shop.web.put(f"/{number}", b"%d" % number) for number in range(12)]
    locked = shop.record(*urls)
    empty = replace(shop, store=InputStore(shop.folder / "empty"))
    with pytest.raises(NotFound) as caught, empty.open(Access.OFFLINE, locked):
        raise AssertionError("it was opened")
    assert caught.value.what.startswith("12 of 12 inputs")
    assert urls[0] in caught.value.why
    assert "and 2 more" in caught.value.why


def test_a_flipped_bit_is_found_set_aside_and_mended_from_upstream(shop: Shop) -> None:
    url = shop.web.put("/file", b"data" * 1000)
    locked = shop.record(url)
    damage(shop.store, sha256(b"data" * 1000))
    with shop.open(Access.LOCKED, locked) as supply:
        assert get(url, supply.port).body == b"data" * 1000
        supply.check()
    assert shop.store.verify(sha256(b"data" * 1000))
    assert len(list((shop.store.root / ".damaged").iterdir())) == 1


def test_a_flipped_bit_is_an_error_offline_and_nothing_wrong_is_handed_out(shop: Shop) -> None:
    url = shop.web.put("/file", b"data" * 1000)
    locked = shop.record(url)
    damage(shop.store, sha256(b"data" * 1000))
    with shop.open(Access.OFFLINE, locked) as supply:
        got = get(url, supply.port)
        problem = trouble(supply)
    assert got.status == 502
    assert b"datadata" not in got.body
    assert sha256(b"data" * 1000) in problem.why
    assert len(list((shop.store.root / ".damaged").iterdir())) == 1


def test_a_lock_made_with_one_mirror_works_with_another(shop: Shop) -> None:
    shop.archive()
    locked = shop.record(mirror(INRELEASE), mirror(PACKAGES), mirror(POOL))
    with site() as other:
        other.put(f"/mirrors/debian/{POOL}", DEB)
        empty = replace(shop, store=InputStore(shop.folder / "empty"), web=other)
        there = {Archive.DEBIAN: other.url("/mirrors/debian/")}
        with empty.open(Access.LOCKED, locked, upstream=lambda: there) as supply:
            assert get(mirror(POOL), supply.port).body == DEB
            supply.check()


def test_a_mirror_without_the_archive_is_told_of(shop: Shop) -> None:
    only = {Archive.DEBIAN: shop.web.url("/debian")}
    with shop.open(upstream=lambda: only) as supply:
        assert get(f"{MIRRORS[Archive.SECURITY]}/{INRELEASE}", supply.port).status == 502
        assert "debian-security" in trouble(supply).what


def test_a_stored_file_that_goes_away_during_the_build_is_told_of(shop: Shop) -> None:
    url = shop.web.put("/file", b"data")
    with shop.open() as supply:
        get(url, supply.port)
        path = shop.store.find(sha256(b"data"))
        path.unlink()
        path.symlink_to("nowhere")
        assert get(url, supply.port).status == 502
        assert "No such file" in trouble(supply).why
        path.unlink()


# A shared store behind


def team(shop: Shop, name: str) -> Shop:
    """The same upstream, another machine's store, and the team's one behind it."""
    shared = shop.folder / "shared"
    shared.mkdir(exist_ok=True)
    return replace(shop, store=InputStore(shop.folder / name, SharedFolder(shared)))


def test_what_one_machine_recorded_another_one_has_offline(shop: Shop) -> None:
    url = shop.web.put("/file", b"data")
    locked = team(shop, "one").record(url)
    asked = len(shop.web.asked)
    with team(shop, "two").open(Access.OFFLINE, locked) as supply:
        assert get(url, supply.port).body == b"data"
        supply.check()
    assert len(shop.web.asked) == asked


def test_what_a_machine_had_before_is_shared_too(shop: Shop) -> None:
    url = shop.web.put("/file", b"data")
    locked = shop.record(url)
    mine = team(shop, "inputs")
    assert mine.store.root == shop.store.root
    with mine.open(Access.LOCKED, locked) as supply:
        get(url, supply.port)
    assert team(shop, "two").store.find(sha256(b"data")).read_bytes() == b"data"


def test_a_shared_store_with_other_bytes_is_not_believed(shop: Shop) -> None:
    """P10. Upstream has the right ones."""
    url = shop.web.put("/file", b"data")
    locked = team(shop, "one").record(url)
    (stored,) = (shop.folder / "shared" / "sha256").glob("*/*")
    stored.chmod(0o644)
    stored.write_bytes(b"evil")
    with team(shop, "two").open(Access.LOCKED, locked) as supply:
        assert get(url, supply.port).body == b"data"
        supply.check()


def test_a_shared_store_that_is_gone_ends_the_build(shop: Shop) -> None:
    url = shop.web.put("/file", b"data")
    locked = team(shop, "one").record(url)
    two = team(shop, "two")
    (shop.folder / "shared").rename(shop.folder / "unmounted")
    with pytest.raises(CannotTell, match="is not there"), two.open(Access.OFFLINE, locked):
        raise AssertionError("it was opened")
    with pytest.raises(CannotTell, match="is not there"), two.open() as supply:
        assert get(shop.web.put("/other", b"data"), supply.port).status == 200


# Extending


def test_extending_keeps_what_is_locked_and_adds_what_is_new(shop: Shop) -> None:
    old = shop.web.put("/old", b"old")
    locked = shop.record(old)
    shop.web.put("/old", b"newer")
    new = shop.web.put("/new", b"new")
    with shop.open(Access.EXTEND, locked) as supply:
        assert get(old, supply.port).body == b"old"
        assert get(new, supply.port).body == b"new"
        supply.check()
        assert [each.sha256 for each in supply.taken().downloads] == [
            sha256(b"new"),
            sha256(b"old"),
        ]


def test_extending_says_when_a_mirror_has_a_package_no_more(shop: Shop) -> None:
    shop.archive()
    locked = shop.record(mirror(INRELEASE), mirror(PACKAGES))
    del shop.web.pages[f"/debian/{POOL}"]
    with shop.open(Access.EXTEND, locked) as supply:
        get(mirror(INRELEASE), supply.port)
        get(mirror(PACKAGES), supply.port)
        get(mirror(POOL), supply.port)
        problem = trouble(supply)
    assert "no more" in problem.what
    assert "--update" in problem.hint
