"""Trees in buckets: what keeps publishers apart that have no lock, and what a bucket may answer."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar

import obstore
import pytest
from peers.faults import (
    Action,
    FaultProxy,
    Request,
    Response,
    answer,
    change_response,
    lose_response,
)
from support.bucket_trees import (
    bucket_at,
    bucket_place,
    bucket_publisher,
    bucket_tree,
    contents,
    store,
)
from support.examples import BETA, CI, NOW, STABLE
from support.releases import Book
from support.signed_trees import signing

from imagectl.adapters.clock import SystemClock
from imagectl.adapters.published import bucket, publisher
from imagectl.adapters.published.bucket import MARK, BucketPlace
from imagectl.adapters.published.publisher import TreePublisher
from imagectl.adapters.published.thinning import snapshot_number, thin_out
from imagectl.errors import CannotTell, Conflict, Denied, NotFound
from imagectl.formats.tuf_roles import METADATA, TIMESTAMP_PATH
from imagectl.model.names import VersionId
from imagectl.model.snapshot import Snapshot

ONE, TWO = "debian-ci@20261120.1", "debian-ci@20261120.2"
FIRST, SECOND = (VersionId("20261120", serial) for serial in (1, 2))


@dataclass(frozen=True)
class Tree:
    """A tree in a bucket, whose first state shows ONE as stable."""

    url: str
    proxy: FaultProxy
    folder: Path
    book: Book

    def publisher(self, place: BucketPlace | None = None, ahead: float = 0) -> TreePublisher:
        """As another machine has it, whose clock is *ahead* by so many seconds."""
        place = place or bucket_place(self.url, self.folder)
        return TreePublisher(place, signing(self.folder), lambda: NOW + timedelta(seconds=ahead))

    def publish(self, ahead: float = 0) -> None:
        self.publisher(ahead=ahead).publish(self.book.snapshot)

    def stable(self) -> VersionId:
        """Where stable leads, through every document on the way."""
        tree = bucket_tree(self.url, self.folder, NOW)
        catalog, head, index = tree.catalog(), tree.head(CI, STABLE), tree.index(CI)
        assert head is not None
        assert index is not None
        assert tree.head(CI, BETA) is not None
        assert catalog.generation >= 2
        assert index.versions[head.version] == head.document
        return tree.version(head.document).ref.version


@pytest.fixture(params=["s3", "gs"])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Tree:
    book = Book()
    book.built(ONE)
    book.moved(STABLE, ONE)
    url: str = request.getfixturevalue(f"{request.param}_tree")
    made = Tree(url, request.getfixturevalue(f"{request.param}_proxy"), tmp_path, book)
    made.publish()
    return made


def test_a_bucket_that_keeps_silent_is_asked_once(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rollback reads each tree three times, and each time took a minute."""
    seconds = 0.0

    def asked(request: Request) -> bool:
        nonlocal seconds
        seconds += 30  # for so long it is waited for
        return request.method == "GET"

    monkeypatch.setattr(bucket, "RETRY_SECONDS", 0.2)
    place = BucketPlace(
        bucket_at(tree.url), tree.folder / "turns", lambda: NOW + timedelta(seconds=seconds)
    )
    assert place.read(TIMESTAMP_PATH) is not None
    monkeypatch.setattr(bucket, "RETRY_SECONDS", 60.0)
    with tree.proxy.rule(asked, lose_response), pytest.raises(CannotTell, match="be read"):
        place.read(TIMESTAMP_PATH)
    before = tree.proxy.requests
    with pytest.raises(CannotTell, match="be read"):
        place.read(TIMESTAMP_PATH)
    assert tree.proxy.requests == before, "others wait"
    seconds += 61
    assert place.read(TIMESTAMP_PATH) is not None


class Meeting(BucketPlace):
    """Comes to the timestamp when the others have, too, or have given up."""

    together: ClassVar[threading.Barrier]

    def replace(self, path: str, data: bytes, before: bytes | None) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            self.together.wait(20)
        super().replace(path, data, before)


@pytest.mark.parametrize("apart", [0.5, 7])
def test_of_two_publishers_one_wins_and_the_other_is_told(tree: Tree, apart: float) -> None:
    """Where their clocks agree they want the same names; where not, only the timestamp's."""
    seen: list[VersionId] = []
    broken: list[Exception] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            try:
                seen.append(tree.stable())
            except Exception as error:  # whatever it is, a consumer would have met it
                broken.append(error)

    consumer = threading.Thread(target=look)
    consumer.start()
    try:
        for number in range(2, 7):
            tree.book.built(f"debian-ci@20261120.{number}")
            tree.book.moved(STABLE, f"debian-ci@20261120.{number}")
            Meeting.together = threading.Barrier(2)
            ended: list[Exception | None] = []

            def publish(ahead: float, ended: list[Exception | None] = ended) -> None:
                place = Meeting(bucket_at(tree.url), tree.folder / f"{ahead}", SystemClock().now)
                try:
                    tree.publisher(place, ahead).publish(tree.book.snapshot)
                    ended.append(None)
                except Conflict as error:
                    ended.append(error)
                    Meeting.together.abort()

            begins = number * 1000
            both = [
                threading.Thread(target=publish, args=(begins + ahead,)) for ahead in (0, apart)
            ]
            for each in both:
                each.start()
            for each in both:
                each.join()
            told = [each for each in ended if each is not None]
            assert len(ended) == 2
            assert len(told) == 1, told
            assert tree.url in str(told[0])
            assert isinstance(told[0], Conflict)
            assert told[0].hint.startswith("`imagectl catalog publish`")
            assert tree.stable().serial == number
    finally:
        over.set()
        consumer.join()
    assert not broken
    assert sorted(seen) == seen
    assert len({*seen}) > 1


def test_a_list_is_written_by_the_first_that_claims_its_name(tree: Tree) -> None:
    path = f"{METADATA}/99.catalog.json"
    one, other = (bucket_place(tree.url, tree.folder) for _ in range(2))
    one.claim(path, b"{}")
    one.claim(path, b"{}")
    with pytest.raises(Conflict, match="another process publishes") as caught:
        other.claim(path, b"[]")
    assert caught.value.where == f"{tree.url}/{path}"
    assert contents(tree.url)[path] == b"{}"


class Killed(BaseException):
    pass


class Mortal(BucketPlace):
    """Is killed instead of the change after so many."""

    changes: int

    def _put(self, path: str, data: bytes, mode: object) -> None:
        if self.changes == 0:
            raise Killed
        self.changes -= 1
        super()._put(path, data, mode)  # type: ignore[arg-type]  # whatever it was

    def remove(self, path: str) -> None:
        if self.changes == 0:
            raise Killed
        self.changes -= 1
        super().remove(path)


def killed_after(tree: Tree, changes: int, snapshot: Snapshot) -> bool:
    """Publish, killed after so many changes; whether it was."""
    place = Mortal(bucket_at(tree.url), tree.folder / "mortal", SystemClock().now)
    place.changes = changes
    try:
        tree.publisher(place).publish(snapshot)
    except Killed:
        return True
    return False


def test_killed_at_any_change_the_state_before_is_read_and_the_next_one_published(
    tree: Tree,
) -> None:
    """P7. The clock stands still: what was left has the numbers that come next."""
    number, changes = 2, 0
    while True:
        tree.book.built(f"debian-ci@20261120.{number}")
        tree.book.moved(STABLE, f"debian-ci@20261120.{number}")
        if not killed_after(tree, changes, tree.book.snapshot):
            break
        assert tree.stable().serial == number - 1
        # The next one says another thing, under numbers of its own.
        tree.book.built(f"debian-ci@20261120.{number + 1}")
        tree.book.moved(STABLE, f"debian-ci@20261120.{number + 1}")
        tree.publish()
        assert tree.stable().serial == number + 1
        number, changes = number + 2, changes + 1
    assert changes >= 8
    assert tree.stable().serial == number


def timestamp_put(request: Request) -> bool:
    return request.method == "PUT" and "timestamp" in request.path


def test_an_answer_that_was_lost_is_no_conflict(tree: Tree) -> None:
    tree.book.built(TWO)
    tree.book.moved(STABLE, TWO)
    with tree.proxy.rule(timestamp_put, lose_response, times=1):
        tree.publish()
    assert tree.stable() == SECOND


def cut(response: Response) -> Response:
    headers = {**response.headers, "Connection": "close"}
    return Response(response.status, headers, response.body[:-3])


FAULTS: dict[str, Action] = {
    "denied": answer(403, b"<Error><Code>AccessDenied</Code></Error>"),
    "down": answer(503, b"<Error><Code>SlowDown</Code></Error>"),
    "truncated": change_response(cut),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_a_bucket_answers_is_not_an_empty_tree(
    tree: Tree, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "RETRY_SECONDS", 0.5)
    before = contents(tree.url)
    tree.book.built(TWO)
    with tree.proxy.rule(lambda request: request.method == "GET", FAULTS[fault]):
        asked: tuple[Callable[[], object], ...] = (tree.publisher().shown, tree.publish)
        for ask in asked:
            with pytest.raises(CannotTell) as caught:
                ask()
            assert tree.url in caught.value.what
            assert caught.value.why
            assert caught.value.hint
            assert isinstance(caught.value, Denied) is (fault == "denied")
    assert contents(tree.url) == before


def test_what_cannot_be_written_leaves_the_state_before(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "RETRY_SECONDS", 0.5)
    tree.book.built(TWO)
    tree.book.moved(STABLE, TWO)
    for action in (answer(403), answer(500)):
        for matches in (timestamp_put, lambda request: request.method == "PUT"):
            with (
                tree.proxy.rule(matches, action),
                pytest.raises(CannotTell, match="cannot be written") as caught,
            ):
                tree.publish()
            assert caught.value.where.startswith(tree.url)
            assert tree.stable() == FIRST
    tree.publish()
    assert tree.stable() == SECOND


def test_a_bucket_that_is_not_there_is_not_an_empty_tree(tree: Tree) -> None:
    scheme = tree.url.partition(":")[0]
    missing = bucket_publisher(f"{scheme}://acme-nothing/public", tree.folder)
    with pytest.raises(CannotTell, match=f"{scheme}://acme-nothing/public") as caught:
        missing.shown()
    assert "NoSuchBucket" in caught.value.why
    with pytest.raises(NotFound, match="no published catalog"):
        bucket_tree(f"{tree.url}/below", tree.folder).catalog()


def test_browsers_and_caches_are_told_what_changes(tree: Tree) -> None:
    opened = store(tree.url)
    for path in contents(tree.url):
        told = obstore.get(opened, path).attributes
        assert told["Content-Type"] == "application/json"
        if path == TIMESTAMP_PATH:
            assert told["Cache-Control"] == "no-cache"
        else:
            assert "immutable" in told["Cache-Control"]


def test_a_promotion_asks_a_bucket_for_little(tree: Tree) -> None:
    """Each request takes some ten milliseconds of somebody's time, one after the other."""
    for number in range(2, 30):
        tree.book.built(f"debian-ci@20261120.{number}")
    tree.publish()
    since = tree.book.snapshot.generation
    tree.book.moved(STABLE, "debian-ci@20261120.29")
    before = tree.proxy.requests
    tree.publisher().publish(tree.book.excerpt(since))
    assert tree.proxy.requests - before <= 24
    assert tree.stable().serial == 29


def snapshots(tree: Tree) -> list[int]:
    return sorted(filter(None, map(snapshot_number, contents(tree.url))))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three states are kept, and four more are too many."""
    monkeypatch.setattr(publisher, "KEPT_STATES", 3)
    monkeypatch.setattr(bucket, "SURPLUS", 4)


@pytest.mark.usefixtures("few")
def test_old_states_go_a_few_at_a_time(tree: Tree) -> None:
    counts = []
    for number in range(2, 13):
        tree.book.built(f"debian-ci@20261120.{number}")
        tree.publish()
        counts.append(len(snapshots(tree)))
    assert counts == [2, 3, 4, 5, 6, 3, 4, 5, 6, 3, 4]
    files = contents(tree.url)
    assert MARK not in files
    assert len([each for each in files if each.endswith(".index.json")]) == 4
    assert tree.stable() == FIRST


@pytest.mark.usefixtures("few")
def test_who_may_not_remove_files_publishes_all_the_same(tree: Tree) -> None:
    def removes(request: Request) -> bool:
        return request.method == "DELETE" or (request.method == "POST" and "delete" in request.path)

    with tree.proxy.rule(removes, answer(403)):
        for number in range(2, 10):
            tree.book.built(f"debian-ci@20261120.{number}")
            tree.publish()
    assert len(snapshots(tree)) == 9
    bucket_place(tree.url, tree.folder).settled()
    tree.book.built("debian-ci@20261120.10")
    tree.publish()
    assert len(snapshots(tree)) == 3
    assert tree.stable() == FIRST


def test_what_another_publisher_has_claimed_stays(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so does what consumers are shown meanwhile."""
    monkeypatch.setattr(bucket, "SURPLUS", 1)
    tree.book.built(TWO)
    tree.publish()
    (_, current) = snapshots(tree)
    removed: list[int] = []

    class Interrupted(BucketPlace):
        def replace(self, path: str, data: bytes, before: bytes | None) -> None:
            thin_out(bucket_place(tree.url, tree.folder), 1, current)
            removed.append(len(snapshots(tree)))
            assert tree.stable() == FIRST
            super().replace(path, data, before)

    tree.book.moved(STABLE, TWO)
    place = Interrupted(bucket_at(tree.url), tree.folder / "other", SystemClock().now)
    tree.publisher(place).publish(tree.book.snapshot)
    assert removed == [2], "the first state, and that one only, has gone"
    assert tree.stable() == SECOND


class Doomed(BucketPlace):
    """Is killed before the timestamp."""

    def replace(self, path: str, data: bytes, before: bytes | None) -> None:
        raise Killed


def test_what_an_old_state_names_is_not_counted_on_while_such_files_go(tree: Tree) -> None:
    tree.book.built(TWO)
    tree.book.moved(STABLE, TWO)
    doomed = Doomed(bucket_at(tree.url), tree.folder / "doomed", SystemClock().now)
    with pytest.raises(Killed):
        tree.publisher(doomed).publish(tree.book.snapshot)
    obstore.put(store(tree.url), MARK, b"")
    with pytest.raises(Conflict, match="removes old files") as caught:
        tree.publish()
    assert caught.value.where == f"{tree.url}/{MARK}"
    assert tree.stable() == FIRST

    def later() -> datetime:
        return SystemClock().now() + bucket.MARK_HOLDS

    place = BucketPlace(bucket_at(tree.url), tree.folder / "later", later)
    tree.publisher(place).publish(tree.book.snapshot)
    assert tree.stable() == SECOND


@pytest.mark.parametrize("path", [TIMESTAMP_PATH, f"{METADATA}/1.root.json"])
def test_what_is_damaged_is_put_right(tree: Tree, path: str) -> None:
    """Also what is created otherwise, and never replaced."""
    good = contents(tree.url)[path]
    obstore.put(store(tree.url), path, good[:100])
    again = tree.publisher(ahead=1)
    again.publish(tree.book.snapshot)
    assert [path in each for each in again.mended] == [True]
    assert tree.stable() == FIRST
    assert len(contents(tree.url)[path]) > 100
