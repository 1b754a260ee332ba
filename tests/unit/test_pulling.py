"""What is pulled: the bytes that were published, or nothing, whatever a server does (P10, P7)."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.web import Fault, Handler, Page, Site, answer, cut_off, hang_up, site

from imagectl.consumer import pulling
from imagectl.consumer.pulling import Pulled, fetch
from imagectl.consumer.sources import FileSource, WebSource
from imagectl.errors import BadUsage, CannotTell, Corrupt, Denied, Failed, ImagectlError
from imagectl.model.names import Sha256

DISK = b"".join(number.to_bytes(4) for number in range(60_000))
OTHER = DISK[:100_000] + b"another" + DISK[100_007:]
SHA256 = Sha256(hashlib.sha256(DISK).hexdigest())


@pytest.fixture
def server() -> Iterator[Site]:
    with site() as running:
        running.put("/disk", DISK)
        yield running


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulling, "PAUSE_SECONDS", 0.001)


def pulled(server: Site, to: Path) -> Pulled:
    return fetch(WebSource(server.url("/disk")), SHA256, len(DISK), to, lambda _done, _total: None)


def part_of(to: Path) -> Path:
    return to.with_name(f"{to.name}.{SHA256[:16]}.part")


def ranges(server: Site) -> list[str]:
    return [each.headers.get("Range", "all") for each in server.asked]


def test_all_of_it_and_nothing_else(server: Site, tmp_path: Path) -> None:
    to = tmp_path / "disk"
    to.write_bytes(b"what was there before")
    told = []
    source = WebSource(server.url("/disk"))
    done = fetch(source, SHA256, len(DISK), to, lambda *moved: told.append(moved))
    assert to.read_bytes() == DISK
    assert done == Pulled(to, server.url("/disk"), len(DISK))
    assert told[0] == (0, len(DISK))
    assert told[-1] == (len(DISK), len(DISK))
    assert [*tmp_path.iterdir()] == [to]
    assert to.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_nothing_is_fetched_where_it_is_there(server: Site, tmp_path: Path) -> None:
    to = tmp_path / "disk"
    to.write_bytes(DISK)
    assert pulled(server, to).fetched == 0
    assert server.asked == []
    to.write_bytes(OTHER)
    assert pulled(server, to).fetched == len(DISK)
    assert to.read_bytes() == DISK


def test_a_broken_download_goes_on(server: Site, tmp_path: Path) -> None:
    server.faults["/disk"] = [cut_off(70_000), cut_off(50_000), hang_up]
    assert pulled(server, tmp_path / "disk").fetched == len(DISK)
    assert (tmp_path / "disk").read_bytes() == DISK
    assert "bytes=70000-" in ranges(server)
    assert "bytes=120000-" in ranges(server)


def test_a_later_run_goes_on(server: Site, tmp_path: Path) -> None:
    to = tmp_path / "disk"
    part_of(to).write_bytes(DISK[:200_000])
    assert pulled(server, to).fetched == len(DISK) - 200_000
    assert ranges(server) == ["bytes=200000-"]
    assert to.read_bytes() == DISK


def test_what_has_arrived_stays_where_nothing_more_comes(server: Site, tmp_path: Path) -> None:
    to = tmp_path / "disk"
    server.faults["/disk"] = [cut_off(70_000), *[hang_up] * 30]
    with pytest.raises(CannotTell, match="cannot be read") as caught:
        pulled(server, to)
    assert "70,000 of 240,000 bytes have arrived" in caught.value.why
    assert not to.exists()
    assert part_of(to).read_bytes() == DISK[:70_000]


def test_a_server_that_always_begins_anew_is_not_asked_for_ever(
    server: Site, tmp_path: Path
) -> None:
    """More than the last time is not more than ever."""
    server.ranges = False
    server.faults["/disk"] = [cut_off(1 + at % 2) for at in range(1000)]
    with pytest.raises(CannotTell, match="cannot be read"):
        pulled(server, tmp_path / "disk")
    assert server.count("/disk") == pulling.TRIES


def test_a_server_that_sends_a_byte_each_time_is_not_asked_for_ever(
    server: Site, tmp_path: Path
) -> None:
    server.faults["/disk"] = [cut_off(1) for _ in range(1000)]
    with pytest.raises(CannotTell, match="cannot be read") as caught:
        pulled(server, tmp_path / "disk")
    assert "5 of 240,000 bytes have arrived" in caught.value.why
    assert server.count("/disk") == pulling.TRIES


def test_a_bad_line_is_put_up_with_as_long_as_it_gets_on(
    server: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "PROGRESS", 1000)
    server.faults["/disk"] = [cut_off(2000) for _ in range(100)]
    assert pulled(server, tmp_path / "disk").fetched == len(DISK)
    (tmp_path / "disk").unlink()

    server.asked.clear()
    monkeypatch.setattr(pulling, "ANSWERS", 20)
    server.faults["/disk"] = [cut_off(2000) for _ in range(100)]
    with pytest.raises(CannotTell, match="cannot be read"):
        pulled(server, tmp_path / "disk")
    assert server.count("/disk") == 20


def test_nobody_is_asked_again_at_once(
    server: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "PAUSE_SECONDS", 0.02)
    server.faults["/disk"] = [cut_off(1) for _ in range(1000)]
    began = time.monotonic()
    with pytest.raises(CannotTell):
        pulled(server, tmp_path / "disk")
    assert time.monotonic() - began >= 0.02 * (2 + 4 + 8 + 16)


def test_a_server_without_ranges_sends_it_all(server: Site, tmp_path: Path) -> None:
    to = tmp_path / "disk"
    part_of(to).write_bytes(DISK[:200_000])
    server.ranges = False
    assert pulled(server, to).fetched == len(DISK)
    assert to.read_bytes() == DISK


@pytest.mark.parametrize(
    "page",
    [
        Page(status=416),
        Page(DISK[:100], 206, {"Content-Range": "bytes 0-99/240000"}),
        Page(DISK[:100], 206),
    ],
)
def test_a_range_that_is_not_what_was_asked_for(server: Site, tmp_path: Path, page: Page) -> None:
    to = tmp_path / "disk"
    part_of(to).write_bytes(DISK[:200_000])
    server.faults["/disk"] = [answer(page)]
    pulled(server, to)
    assert to.read_bytes() == DISK


@pytest.mark.parametrize("left", [OTHER[:200_000], OTHER, DISK + b"more"])
def test_parts_of_another_file_are_fetched_once_more(
    server: Site, tmp_path: Path, left: bytes
) -> None:
    to = tmp_path / "disk"
    part_of(to).write_bytes(left)
    pulled(server, to)
    assert to.read_bytes() == DISK


def before_it_changed(body: bytes, cut: int) -> Fault:
    """The beginning of what the file was, before the connection ends."""
    return lambda handler, _page: handler.reply(Page(body), cut=cut)


def test_a_file_that_changes_in_the_middle(server: Site, tmp_path: Path) -> None:
    to = tmp_path / "disk"
    server.faults["/disk"] = [before_it_changed(OTHER, 150_000)]
    assert pulled(server, to).fetched == 150_000 + 90_000 + len(DISK)
    assert to.read_bytes() == DISK
    to.unlink()

    server.put("/disk", OTHER)
    server.faults["/disk"] = [before_it_changed(DISK, 150_000)]
    pulled(server, to)  # put together, it is what was published
    assert to.read_bytes() == DISK
    to.unlink()

    server.faults["/disk"] = [before_it_changed(DISK, 50_000)]
    with pytest.raises(Corrupt, match="is not what was published"):
        pulled(server, to)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    "page",
    [
        Page(OTHER),
        Page(OTHER, chunked=True),
        Page(DISK + b"x"),
        Page(DISK + b"x" * 100_000, chunked=True),
        Page(DISK[:-1]),
        Page(b""),
    ],
    ids=["other bytes", "in chunks", "longer", "longer, in chunks", "shorter", "nothing"],
)
def test_what_was_not_published_is_refused(server: Site, tmp_path: Path, page: Page) -> None:
    to = tmp_path / "disk"
    to.write_bytes(b"what was there before")
    server.pages["/disk"] = page
    with pytest.raises(Corrupt, match="is not what was published") as caught:
        pulled(server, to)
    assert caught.value.where == server.url("/disk")
    assert to.read_bytes() == b"what was there before"
    assert [*tmp_path.iterdir()] == [to]


def test_a_length_of_many_digits_says_nothing(server: Site, tmp_path: Path) -> None:
    def sent(handler: Handler, page: Page) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n")
        handler.wfile.write(page.body)
        handler.hang_up()

    server.faults["/disk"] = [sent]
    assert pulled(server, tmp_path / "disk").fetched == len(DISK)


def test_an_endless_answer_ends(server: Site, tmp_path: Path) -> None:
    server.pages["/disk"] = Page(DISK + bytes(50_000_000), chunked=True)
    told: list[int] = []
    source = WebSource(server.url("/disk"))
    with pytest.raises(Corrupt, match="is not what was published"):
        fetch(source, SHA256, len(DISK), tmp_path / "disk", lambda done, _: told.append(done))
    assert max(told) <= len(DISK)


def test_a_lying_length_is_told_from_the_file(server: Site, tmp_path: Path) -> None:
    """The answer ends before what it announces: what is missing is asked for."""
    server.faults["/disk"] = [cut_off(len(DISK) - 10)]
    pulled(server, tmp_path / "disk")
    assert (tmp_path / "disk").read_bytes() == DISK


@pytest.mark.parametrize(
    ("status", "kind"), [(404, CannotTell), (403, Denied), (503, CannotTell), (418, CannotTell)]
)
def test_a_server_that_says_no(
    server: Site, tmp_path: Path, status: int, kind: type[ImagectlError]
) -> None:
    server.pages["/disk"] = Page(b"no", status)
    with pytest.raises(kind) as caught:
        pulled(server, tmp_path / "disk")
    assert str(status) in caught.value.why
    assert caught.value.exit_code == 5
    assert [*tmp_path.iterdir()] == []


def test_what_is_left_of_other_artifacts_is_removed(server: Site, tmp_path: Path) -> None:
    to = tmp_path / "disk"
    old = to.with_name(f"disk.{'0' * 16}.part")
    busy = to.with_name(f"disk.{'1' * 16}.part")
    unlike = to.with_name("disk.part")
    for path in (old, busy, unlike):
        path.write_bytes(b"x")
    with busy.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        pulled(server, to)
    assert {*tmp_path.iterdir()} == {to, busy, unlike}


def a_link(part: Path, victim: Path) -> None:
    part.symlink_to(victim)


def a_second_name(part: Path, victim: Path) -> None:
    part.hardlink_to(victim)


def a_pipe(part: Path, victim: Path) -> None:
    os.mkfifo(part)


def a_file_of_another_user(part: Path, victim: Path) -> None:
    part.write_bytes(DISK[:100])
    os.chown(part, 12345, 12345)


@pytest.mark.parametrize(
    ("put", "why"),
    [
        (a_link, "symbolic link"),
        (a_second_name, "another name"),
        (a_pipe, "not a regular file"),
        pytest.param(
            a_file_of_another_user,
            "belongs to user 12345",
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away"),
        ),
    ],
)
def test_what_somebody_has_put_in_the_way_is_not_written_to(
    server: Site, tmp_path: Path, put: Callable[[Path, Path], None], why: str
) -> None:
    """Whose content they could change once it is verified; or another file of ours."""
    victim, folder = tmp_path / "victim", tmp_path / "shared"
    victim.write_bytes(b"precious")
    folder.mkdir()
    put(part_of(folder / "disk"), victim)
    with pytest.raises(Failed, match="was made by somebody else") as caught:
        pulled(server, folder / "disk")
    assert why in caught.value.why
    assert victim.read_bytes() == b"precious"
    assert not (folder / "disk").exists()
    assert server.asked == []


def test_pipes_in_the_way_of_tidying_up_stay(server: Site, tmp_path: Path) -> None:
    other = tmp_path / f"disk.{'0' * 16}.part"
    os.mkfifo(other)
    pulled(server, tmp_path / "disk")
    assert other.is_fifo()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_whoever_owns_the_folder_may_own_what_has_arrived(server: Site, tmp_path: Path) -> None:
    """As on file systems where all files are of one user."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    part = part_of(folder / "disk")
    part.write_bytes(DISK[:200_000])
    for path in (folder, part):
        os.chown(path, 12345, 12345)
    assert pulled(server, folder / "disk").fetched == len(DISK) - 200_000


def test_two_at_once_fetch_it_once(server: Site, tmp_path: Path) -> None:
    to = tmp_path / "disk"
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(pulled(server, to).fetched)) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [0] * 5 + [len(DISK)]
    assert to.read_bytes() == DISK
    assert server.count("/disk") == 1
    assert [*tmp_path.iterdir()] == [to]


def test_a_folder_or_a_device_is_no_file(server: Site, tmp_path: Path) -> None:
    for to in (tmp_path, Path("/dev/null")):
        with pytest.raises(BadUsage):
            pulled(server, to)
    with pytest.raises(Failed, match="cannot be written"):
        pulled(server, tmp_path / "missing" / "disk")
    assert server.asked == []


def test_a_folder_is_read_as_well(tmp_path: Path) -> None:
    held, to = tmp_path / "held", tmp_path / "disk"
    held.write_bytes(DISK)
    part_of(to).write_bytes(DISK[:1000])
    done = fetch(FileSource(held), SHA256, len(DISK), to, lambda _done, _total: None)
    assert (to.read_bytes(), done.fetched) == (DISK, len(DISK) - 1000)
    held.write_bytes(OTHER)
    to.unlink()
    with pytest.raises(Corrupt, match="held is not what was published"):
        fetch(FileSource(held), SHA256, len(DISK), to, lambda _done, _total: None)
    held.unlink()
    with pytest.raises(CannotTell, match="held is not there"):
        fetch(FileSource(held), SHA256, len(DISK), to, lambda _done, _total: None)
