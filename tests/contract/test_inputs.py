"""What the input store promises, with and without a shared store behind it; and the contract of
``adapters.inputs.store.Shared`` over a folder and a bucket."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import pytest
from support.buckets import ENVIRONMENT, make_bucket, s3_server
from support.children import Child, Say, become_nobody
from support.processes import Killer, end, fork

from imagectl.adapters.content import relative
from imagectl.adapters.durable import PARTIAL
from imagectl.adapters.inputs.shared import SharedBucket, SharedFolder, open_store
from imagectl.adapters.inputs.store import DAMAGED, EMPTY, InputStore, Shared
from imagectl.errors import CannotTell, Corrupt, NotFound
from imagectl.model.names import Sha256
from imagectl.model.place import Bucket
from imagectl.model.project import InputSettings

DATA = b"an input" * 10_000
BUCKET = Bucket("s3", "team-inputs", "some/prefix")


def sha256(data: bytes) -> Sha256:
    return Sha256(hashlib.sha256(data).hexdigest())


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def keep(store: InputStore, data: bytes) -> Sha256:
    with store.incoming() as file:
        file.write(data)
        return file.keep()


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    with s3_server() as url:
        make_bucket(url, BUCKET.name)
        yield url


Tamper = Callable[[Sha256, bytes], None]


class Team:
    """A shared store, and a way to get at it behind imagectl's back."""

    def __init__(self, shared: Shared, tamper: Tamper) -> None:
        self.shared = shared
        self.tamper = tamper


@pytest.fixture(params=["folder", "bucket"])
def team(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Team:
    if request.param == "folder":
        root = tmp_path / "shared"
        root.mkdir()

        def tamper_file(digest: Sha256, data: bytes) -> None:
            path = root / relative(digest)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.write_bytes(data)

        return Team(SharedFolder(root), tamper_file)
    import obstore
    from obstore.store import from_url

    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("endpoint"))
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    bucket = Bucket("s3", BUCKET.name, tmp_path.name)

    def tamper_object(digest: Sha256, data: bytes) -> None:
        obstore.put(from_url(str(bucket)), relative(digest), data)

    return Team(SharedBucket(bucket), tamper_object)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def store(tmp_path: Path) -> InputStore:
    return InputStore(tmp_path / "inputs")


# Shared stores


def fetched(shared: Shared, digest: Sha256) -> bytes | None:
    parts: list[bytes] = []
    return b"".join(parts) if shared.fetch(digest, parts.append) else None


def test_what_is_put_in_a_shared_store_is_there(team: Team, source: Path) -> None:
    digest = sha256(DATA)
    assert not team.shared.has(digest)
    assert fetched(team.shared, digest) is None
    team.shared.put(digest, source)
    team.shared.put(digest, source)
    assert team.shared.has(digest)
    assert fetched(team.shared, digest) == DATA


def test_what_is_in_a_shared_store_is_never_replaced(team: Team, source: Path) -> None:
    digest = sha256(DATA)
    team.tamper(digest, b"somebody else's")
    team.shared.put(digest, source)
    assert fetched(team.shared, digest) == b"somebody else's"


def test_what_appears_in_a_bucket_just_before_is_not_replaced_either(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, source: Path
) -> None:
    """Whoever asks first and puts afterwards may be overtaken in between."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    shared = SharedBucket(Bucket("s3", BUCKET.name, "overtaken"))
    digest = sha256(DATA)
    other = source.with_name("other")
    other.write_bytes(b"somebody else's")
    shared.put(digest, other)
    monkeypatch.setattr(shared, "has", lambda digest: False)
    shared.put(digest, source)
    assert fetched(shared, digest) == b"somebody else's"


def test_many_may_put_the_same_at_once(team: Team, source: Path) -> None:
    digest = sha256(DATA)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: team.shared.put(digest, source), range(8)))
    assert fetched(team.shared, digest) == DATA


def test_a_large_file_goes_into_a_bucket_in_parts(
    team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagectl.adapters.inputs.shared.WHOLE", 1 << 20)
    data = random.Random(1).randbytes(12 << 20)
    (tmp_path / "large").write_bytes(data)
    team.shared.put(sha256(data), tmp_path / "large")
    assert fetched(team.shared, sha256(data)) == data


def test_a_folder_that_is_not_mounted_cannot_be_told_from(tmp_path: Path, source: Path) -> None:
    """P3: what cannot be read is unknown, not empty; nor is anything put where nobody looks."""
    shared = SharedFolder(tmp_path / "not-mounted")
    for ask in (
        lambda: shared.has(sha256(DATA)),
        lambda: fetched(shared, sha256(DATA)),
        lambda: shared.put(sha256(DATA), source),
    ):
        with pytest.raises(CannotTell, match="is not there"):
            ask()
    assert not (tmp_path / "not-mounted").exists()


def test_a_bucket_that_is_not_there_cannot_be_told_from(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, source: Path
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    shared = SharedBucket(Bucket("s3", "no-such-bucket"))
    with pytest.raises(CannotTell):
        shared.put(sha256(DATA), source)


def test_a_bucket_that_does_not_answer_cannot_be_told_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CannotTell) as caught:
        SharedBucket(BUCKET).has(sha256(DATA))
    assert "test" not in caught.value.why.split()


# The store in front of them


def test_what_is_missing_here_is_taken_from_the_shared_store(team: Team, tmp_path: Path) -> None:
    mine = InputStore(tmp_path / "mine", team.shared)
    mine.share([keep(mine, DATA)])
    yours = InputStore(tmp_path / "yours", team.shared)
    assert yours.missing({sha256(DATA), sha256(b"else"), EMPTY}) == {sha256(b"else")}
    assert yours.has(sha256(DATA))
    assert yours.find(sha256(DATA)).read_bytes() == DATA
    assert list(yours.digests()) == [(sha256(DATA), len(DATA))]
    with pytest.raises(NotFound):
        yours.find(sha256(b"else"))


def test_what_the_shared_store_gives_is_verified(team: Team, tmp_path: Path) -> None:
    """P10: a server, a disk or a colleague is not trusted."""
    team.tamper(sha256(DATA), b"not that")
    store = InputStore(tmp_path / "mine", team.shared)
    with pytest.raises(Corrupt) as caught:
        store.find(sha256(DATA))
    assert sha256(b"not that") in caught.value.why
    assert list(store.digests()) == []


def test_what_is_added_here_is_put_there(team: Team, tmp_path: Path, source: Path) -> None:
    store = InputStore(tmp_path / "mine", team.shared)
    assert store.add(source) == sha256(DATA)
    assert fetched(team.shared, sha256(DATA)) == DATA
    other = tmp_path / "other"
    other.write_bytes(b"other")
    store.adopt(other)
    assert fetched(team.shared, sha256(b"other")) == b"other"
    assert not other.exists()


def test_damaged_files_are_never_shared(team: Team, tmp_path: Path) -> None:
    store = InputStore(tmp_path / "mine", team.shared)
    digest = keep(store, DATA)
    flip(store.find(digest))
    with pytest.raises(Corrupt):
        store.share([digest])
    assert fetched(team.shared, digest) is None


def test_settings_say_where_both_are(tmp_path: Path) -> None:
    settings = InputSettings(PurePosixPath("kept"), PurePosixPath("team"))
    store = open_store(tmp_path, settings)
    assert store.root == tmp_path / "kept"
    assert store.shared is not None
    assert str(tmp_path / "team") in store.shared.what
    bucket = open_store(tmp_path, InputSettings(PurePosixPath("kept"), BUCKET))
    assert bucket.shared is not None
    assert "s3://team-inputs/some/prefix" in bucket.shared.what
    assert open_store(tmp_path, InputSettings(PurePosixPath("kept"))).shared is None


def test_a_store_without_a_bucket_does_not_load_what_buckets_need() -> None:
    code = "import sys, imagectl.adapters.inputs.shared; sys.exit('obstore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# The store itself


def test_a_file_has_no_name_before_it_is_kept(store: InputStore) -> None:
    with store.incoming() as file:
        file.write(DATA)
        assert list(store.digests()) == []
        assert file.keep() == sha256(DATA)
        assert file.keep() == sha256(DATA)
    assert store.verify(sha256(DATA)).read_bytes() == DATA
    with store.incoming() as file:
        file.write(b"half")
    assert list(store.digests()) == [(sha256(DATA), len(DATA))]
    assert list((store.root / PARTIAL).iterdir()) == []
    assert store.size == len(DATA)


def test_a_store_that_was_never_used_is_empty_and_stays_unmade(store: InputStore) -> None:
    assert list(store.digests()) == []
    assert store.missing({sha256(DATA), EMPTY}) == {sha256(DATA)}
    with pytest.raises(NotFound):
        store.find(sha256(DATA))
    assert not store.root.exists()


def test_what_is_not_ours_is_not_listed(store: InputStore) -> None:
    keep(store, DATA)
    (store.root / "sha256" / "note.txt").write_text("hello")
    (store.root / "sha256" / sha256(DATA)[:2] / "note.txt").write_text("hello")
    stray = store.root / "sha256" / "00" / sha256(DATA)
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"in the folder of other digits")
    assert [digest for digest, _ in store.digests()].count(sha256(DATA)) == 1


def test_a_folder_that_may_not_be_read_cannot_be_told_from() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = InputStore(Path(folder))
        digest = keep(store, DATA)
        Path(folder).chmod(0o755)
        store.find(digest).parent.chmod(0)

        def look(say: Say) -> None:
            become_nobody()
            for ask in (lambda: list(store.digests()), lambda: store.verify(digest)):
                with pytest.raises(CannotTell):
                    ask()
            say("told")

        try:
            assert Child(look).end() == ["told"]
        finally:
            store.root.joinpath("sha256", digest[:2]).chmod(0o755)


def test_a_file_in_the_place_of_the_store_cannot_be_told_from(store: InputStore) -> None:
    store.root.mkdir()
    (store.root / "sha256").write_text("not a folder")
    with pytest.raises(CannotTell):
        list(store.digests())


def test_a_flipped_bit_is_found_and_kept_for_a_look(store: InputStore) -> None:
    digest = keep(store, DATA)
    flip(store.find(digest))
    with pytest.raises(Corrupt):
        store.verify(digest)
    aside = store.set_aside(digest)
    assert aside is not None
    assert aside.parent.name == DAMAGED
    assert sha256(aside.read_bytes()) != digest
    assert list(store.digests()) == []
    assert keep(store, DATA) == digest
    assert store.verify(digest)


def test_what_is_sound_is_never_set_aside(store: InputStore) -> None:
    digest = keep(store, DATA)
    assert store.set_aside(digest) is None
    assert store.verify(digest)


def test_every_damaged_file_is_kept_for_a_look(store: InputStore) -> None:
    digest = sha256(DATA)
    for _ in range(3):
        keep(store, DATA)
        flip(store.find(digest))
        store.set_aside(digest)
    assert len(list((store.root / DAMAGED).iterdir())) == 3


@pytest.mark.parametrize("way", ["keep", "add", "add expected", "adopt"])
def test_a_damaged_file_does_not_keep_the_right_one_out(
    store: InputStore, source: Path, way: str
) -> None:
    digest = keep(store, DATA)
    flip(store.find(digest))
    match way:
        case "keep":
            keep(store, DATA)
        case "add":
            store.add(source)
        case "add expected":
            store.add(source, digest)
        case _:
            store.adopt(source)
    assert store.verify(digest).read_bytes() == DATA
    assert len(list((store.root / DAMAGED).iterdir())) == 1


def test_another_file_than_expected_is_not_added(store: InputStore, source: Path) -> None:
    with pytest.raises(Corrupt):
        store.add(source, sha256(b"else"))
    assert list(store.digests()) == []


def test_many_threads_find_and_mend_one_damaged_file(store: InputStore) -> None:
    """Nobody moves aside what another one has just mended."""
    digest = keep(store, DATA)
    for _ in range(20):
        flip(store.find(digest))

        def mend(ready: threading.Barrier) -> None:
            ready.wait()
            try:
                store.verify(digest)
            except (Corrupt, NotFound):
                store.set_aside(digest)
                keep(store, DATA)

        with ThreadPoolExecutor(6) as pool:
            ready = threading.Barrier(6)
            for each in [pool.submit(mend, ready) for _ in range(6)]:
                each.result()
        assert store.verify(digest).read_bytes() == DATA
    assert len(list((store.root / DAMAGED).iterdir())) == 20


def test_two_processes_keep_the_same_at_once(store: InputStore) -> None:
    children = [
        fork(lambda: [keep(store, b"%d" % number + DATA) for number in range(50)]) for _ in range(3)
    ]
    assert [end(child) for child in children] == [0, 0, 0]
    assert len(list(store.digests())) == 50
    for digest, _ in store.digests():
        store.verify(digest)


def test_a_process_that_is_killed_leaves_no_half_file(store: InputStore) -> None:
    """P7."""
    data = [random.Random(seed).randbytes(300_000) for seed in range(8)]

    def work() -> None:
        for each in data:
            keep(store, each)

    killer = Killer(7, work)
    for _ in range(40):
        for digest, _ in list(store.digests()):
            store.find(digest).unlink()
        killer.kill(work)
        for digest, _ in store.digests():
            store.verify(digest)
    assert killer.killed > 10
    work()
    assert {digest for digest, _ in store.digests()} == {sha256(each) for each in data}
    assert list((store.root / PARTIAL).iterdir()) == []
