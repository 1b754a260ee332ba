"""What a build is answered: recorded, extended, locked, offline; and what happens when upstream,
the store or the network misbehave. All of it through real sockets on this machine."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.web import Page, Site, answer, cut_off, get, hang_up, site

from imagectl.adapters.inputs.shared import SharedFolder
from imagectl.adapters.inputs.store import EMPTY, InputStore
from imagectl.adapters.inputs.supply import Supply, open_supply
from imagectl.errors import BuildFailed, CannotTell, ImagectlError, NotFound
from imagectl.model.lock import Access, Archive, Download, Inputs, Package
from imagectl.model.names import Sha256

NOW = datetime.now(UTC)  # servers of tests say the real time
MIRRORS = {
    Archive.DEBIAN: "http://mirror.example/debian",
    Archive.SECURITY: "http://mirror.example/debian-security",
}
DEB = b"a package" * 30_000
POOL = "pool/main/h/hello/hello_2.10-3+b1_amd64.deb"
INRELEASE = "dists/bookworm/InRelease"
PACKAGES = "dists/bookworm/main/binary-amd64/Packages.gz"


def sha256(data: bytes) -> Sha256:
    return Sha256(hashlib.sha256(data).hexdigest())


@dataclass
class Shop:
    """A build's supply, to be opened in any mode, with an upstream of its own."""

    folder: Path
    web: Site
    store: InputStore

    def open(
        self,
        access: Access = Access.RECORD,
        locked: Inputs | None = None,
        now: datetime = NOW,
        upstream: Callable[[], dict[Archive, str]] | None = None,
    ) -> AbstractContextManager[Supply]:
        return open_supply(
            access=access,
            locked=locked or Inputs(),
            mirrors=MIRRORS,
            upstream=upstream or self.mirrors,
            store=self.store,
            folder=self.folder / "supply",
            epoch=int(NOW.timestamp()),
            now=lambda: now,
            reachable=[self.web.address],
            environment={},
            pauses=(0.01, 0.01),
        )

    def mirrors(self) -> dict[Archive, str]:
        return {
            Archive.DEBIAN: self.web.url("/debian"),
            Archive.SECURITY: self.web.url("/debian-security"),
        }

    def record(self, *urls: str) -> Inputs:
        with self.open() as supply:
            for url in urls:
                get(url, supply.port)
            supply.check()
            return supply.taken()

    def archive(self, deb: bytes = DEB) -> None:
        """An archive with one package, which its indexes name."""
        packages = gzip.compress(
            f"Package: other\nVersion: 1\nArchitecture: all\nFilename: pool/o.deb\nSize: 1\n"
            f"SHA256: {'0' * 64}\n\n"
            f"Package: hello\nVersion: 1:2.10-3+b1\nArchitecture: amd64\nFilename: {POOL}\n"
            f"Size: {len(deb)}\nSHA256: {sha256(deb)}\nDescription: says hello\n more\n\n".encode(),
            mtime=0,
        )
        release = (
            "Suite: bookworm\nSHA256:\n"
            f" {sha256(packages)} {len(packages)} main/binary-amd64/Packages.gz\n"
        ).encode()
        self.web.put(f"/debian/{INRELEASE}", release)
        self.web.put(f"/debian/{PACKAGES}", packages)
        self.web.put(f"/debian/{POOL}", deb)


def mirror(path: str) -> str:
    return f"{MIRRORS[Archive.DEBIAN]}/{path.replace('+', '%2b')}"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with site() as web:
        yield Shop(tmp_path, web, InputStore(tmp_path / "inputs"))


def trouble(supply: Supply) -> ImagectlError:
    with pytest.raises((BuildFailed, CannotTell)) as caught:
        supply.check()
    return caught.value


def damage(store: InputStore, digest: Sha256) -> None:
    """Flip one bit of a stored file."""
    path = store.find(digest)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


# Recording


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


# Faults of the network


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
        go_on.wait(20)
        return page

    url = shop.web.put("/slow", b"data")
    shop.web.faults["/slow"] = [stall]
    with ThreadPoolExecutor(1) as pool:
        with shop.open() as supply:
            asking = pool.submit(get, url, supply.port)
            assert begun.wait(20)
            before = threading.active_count()
        assert asking.exception(timeout=10) is not None or asking.result().status == 502
        go_on.set()
    assert threading.active_count() < before
