"""Files over HTTP: which may be had, which part and form of them, and what need not be sent."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from imagectl.adapters.web import tree_files
from imagectl.adapters.web.counts import ROUTES, Counts
from imagectl.adapters.web.exchange import Body, Part, Reply, Request, read_range
from imagectl.adapters.web.server import Address, reserve
from imagectl.adapters.web.tree_files import TreeFiles
from imagectl.errors import Failed, NotFound

TEXT = b'{"some": "text"}\n' * 100
DIGEST = "a" * 64


def asked(path: str, method: str = "GET", **headers: str) -> Request:
    return Request(
        method, path, "", {name.replace("_", "-"): value for name, value in headers.items()}
    )


def header(reply: Reply, name: str) -> str | None:
    return dict(reply.headers).get(name)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    made = tmp_path / "tree"
    (made / "metadata").mkdir(parents=True)
    (made / "metadata" / "timestamp.json").write_bytes(TEXT)
    (made / "metadata" / "1.root.json").write_bytes(TEXT)
    (made / f"{DIGEST}.catalog.json").write_bytes(b"{}")
    (made / ".lock").write_bytes(b"secret")
    (made / ".partial").mkdir()
    (made / ".partial" / "new").write_bytes(b"secret")
    (tmp_path / "secret").write_bytes(b"secret")
    return made


@pytest.fixture
def files(tree: Path) -> TreeFiles:
    return TreeFiles(tree)


def test_a_file_is_answered_with_what_it_is(files: TreeFiles) -> None:
    reply = files.reply(asked("/metadata/timestamp.json"))
    assert (reply.status, reply.body) == (200, TEXT)
    assert header(reply, "content-type") == "application/json"
    assert header(reply, "content-length") == str(len(TEXT))


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/metadata/timestamp.json", "no-cache"),
        ("/metadata/1.root.json", "public, max-age=31536000, immutable"),
        (f"/{DIGEST}.catalog.json", "public, max-age=31536000, immutable"),
    ],
)
def test_what_is_never_replaced_may_be_kept(files: TreeFiles, path: str, kept: str) -> None:
    assert header(files.reply(asked(path)), "cache-control") == kept


@pytest.mark.parametrize(
    "path",
    [
        "/../secret",
        "/metadata/../../secret",
        "/metadata/..",
        "//etc/passwd",
        "/./metadata/1.root.json",
        "/metadata//1.root.json",
        "/metadata/1.root.json/",
        "/metadata/1.root.json\0",
        "/metadata/1.root.json\n",
        "/.lock",
        "/.partial/new",
        "/metadata",
        "/",
        "",
        "secret",
        "/link",
        "/folder/secret",
        "/pipe",
        "/inner",
        "/" + "a" * 300,
    ],
)
def test_nothing_else_is_ever_read(files: TreeFiles, tree: Path, path: str) -> None:
    (tree / "link").symlink_to(tree.parent / "secret")
    (tree / "folder").symlink_to(tree.parent)
    (tree / "inner").symlink_to(tree / ".lock")
    os.mkfifo(tree / "pipe")
    with pytest.raises(NotFound):
        files.reply(asked(path))


@settings(deadline=None)
@given(st.text(alphabet="./ab\\%\0\ne", max_size=12))
def test_no_path_leads_out(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "out"
    (folder / "tree" / "a").mkdir(parents=True, exist_ok=True)
    for each in (folder / "a.b", folder / "tree" / ".a", folder / "tree" / "a" / ".b"):
        each.write_bytes(b"secret")
    with pytest.raises(NotFound):
        TreeFiles(folder / "tree").reply(asked("/" + text))


def test_a_tree_behind_a_link_is_served(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(tree)
    assert TreeFiles(tmp_path / "current").reply(asked("/metadata/1.root.json")).status == 200


def test_what_was_replaced_is_served_anew(files: TreeFiles, tree: Path) -> None:
    path = tree / "metadata" / "timestamp.json"
    before = header(files.reply(asked("/metadata/timestamp.json")), "etag")
    new = tree / "metadata" / "new"
    new.write_bytes(b"[]")
    new.replace(path)
    reply = files.reply(asked("/metadata/timestamp.json"))
    assert reply.body == b"[]"
    assert header(reply, "etag") != before
    path.unlink()
    with pytest.raises(NotFound):
        files.reply(asked("/metadata/timestamp.json"))


def test_no_more_is_remembered_than_may_be(tree: Path) -> None:
    for number in range(20):
        (tree / f"{number}.json").write_bytes(b"x" * 800)
    small = TreeFiles(tree, remembered=4000)
    for number in range(20):
        small.reply(asked(f"/{number}.json"))
    assert small._weight <= 4000
    assert len(small._kept) == 5
    assert small.reply(asked("/0.json")).body == b"x" * 800


def test_a_file_that_may_not_be_read_is_told_from_none(
    files: TreeFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(Failed) as problem:
        files.reply(asked("/metadata/1.root.json"))
    assert problem.value.why == "Permission denied"


@pytest.mark.parametrize("known", ['"{}"', 'W/"{}"', '"other", "{}"', "*"])
def test_what_is_known_is_not_sent_again(files: TreeFiles, known: str) -> None:
    tag = header(files.reply(asked("/metadata/timestamp.json")), "etag")
    assert tag is not None
    asks = asked("/metadata/timestamp.json", if_none_match=known.format(tag.strip('"')))
    reply = files.reply(asks)
    assert (reply.status, reply.body) == (304, b"")
    assert header(reply, "etag") == tag
    other = files.reply(asked("/metadata/timestamp.json", if_none_match='"other"'))
    assert other.status == 200


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ("bytes=0-3", (0, 4)),
        ("bytes=5-", (5, 1700)),
        ("bytes=-7", (1693, 1700)),
        ("bytes=1699-9999", (1699, 1700)),
        ("bytes=-9999", (0, 1700)),
    ],
)
@pytest.mark.parametrize("large", [False, True])
def test_a_part_is_sent_where_it_is_asked_for(
    tree: Path, monkeypatch: pytest.MonkeyPatch, wanted: str, part: tuple[int, int], large: bool
) -> None:
    if large:
        monkeypatch.setattr(tree_files, "SMALL", 100)
    reply = TreeFiles(tree).reply(asked("/metadata/1.root.json", range=wanted))
    assert reply.status == 206
    assert header(reply, "content-range") == f"bytes {part[0]}-{part[1] - 1}/1700"
    assert header(reply, "content-length") == str(part[1] - part[0])
    assert reply.body == (
        Part(tree.resolve() / "metadata" / "1.root.json", *part)
        if large
        else TEXT[part[0] : part[1]]
    )


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("wanted", ["bytes=1700-", "bytes=5000-6000", "bytes=-0"])
def test_a_part_that_is_not_there_is_refused(
    tree: Path, monkeypatch: pytest.MonkeyPatch, wanted: str, large: bool
) -> None:
    if large:
        monkeypatch.setattr(tree_files, "SMALL", 100)
    reply = TreeFiles(tree).reply(asked("/metadata/1.root.json", range=wanted))
    assert (reply.status, reply.body) == (416, b"")
    assert header(reply, "content-range") == "bytes */1700"


@pytest.mark.parametrize("wanted", ["bytes=0-1,4-5", "lines=1-2", "bytes=5-2", "bytes=", "x"])
def test_all_is_sent_where_a_range_is_not_understood(files: TreeFiles, wanted: str) -> None:
    assert files.reply(asked("/metadata/1.root.json", range=wanted)).body == TEXT


def test_a_part_of_something_else_is_not_sent(files: TreeFiles) -> None:
    tag = header(files.reply(asked("/metadata/1.root.json")), "etag")
    assert tag is not None

    def with_if_range(of: str) -> Reply:
        return files.reply(asked("/metadata/1.root.json", range="bytes=0-3", if_range=of))

    assert with_if_range(tag).status == 206
    assert with_if_range('"other"').body == TEXT


def test_a_large_file_is_sent_from_the_disk(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_files, "SMALL", 100)
    files = TreeFiles(tree)
    reply = files.reply(asked("/metadata/1.root.json"))
    path = tree.resolve() / "metadata" / "1.root.json"
    assert (reply.status, reply.body) == (200, Part(path, 0, 1700))
    tag = header(reply, "etag")
    assert tag is not None
    assert files.reply(asked("/metadata/1.root.json", if_none_match=tag)).status == 304
    assert files.reply(asked("/metadata/1.root.json", "HEAD")).body == b""


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("gzip, deflate, br", "gzip"),
        ("gzip, zstd", "zstd"),
        ("GZIP;q=0.5, zstd;q=0", "gzip"),
        ("*", "zstd"),
        ("*, zstd;q=0.0", "gzip"),
        ("identity", None),
        ("", None),
        ("gzip;q=0", None),
        ("br", None),
    ],
)
def test_the_smallest_form_that_is_understood_is_sent(
    files: TreeFiles, accepted: str, encoding: str | None
) -> None:
    reply = files.reply(asked("/metadata/1.root.json", accept_encoding=accepted))
    assert header(reply, "content-encoding") == encoding
    assert header(reply, "vary") == "accept-encoding"
    assert isinstance(reply.body, bytes)
    assert header(reply, "content-length") == str(len(reply.body))
    assert plain(reply.body, encoding) == TEXT


def plain(data: bytes, encoding: str | None) -> bytes:
    match encoding:
        case "gzip":
            return gzip.decompress(data)
        case "zstd":
            return zstandard.ZstdDecompressor().decompress(data)
        case _:
            return data


def test_two_forms_are_told_apart(files: TreeFiles) -> None:
    forms = [
        files.reply(asked("/metadata/1.root.json", accept_encoding=each))
        for each in ("identity", "gzip", "zstd")
    ]
    assert len({header(each, "etag") for each in forms}) == 3
    tag = header(forms[1], "etag")
    assert tag is not None
    same = asked("/metadata/1.root.json", accept_encoding="gzip", if_none_match=tag)
    other = asked("/metadata/1.root.json", accept_encoding="zstd", if_none_match=tag)
    assert files.reply(same).status == 304
    assert files.reply(other).status == 200


def test_a_part_is_one_of_the_plain_form(files: TreeFiles) -> None:
    reply = files.reply(asked("/metadata/1.root.json", range="bytes=0-3", accept_encoding="gzip"))
    assert (reply.body, header(reply, "content-encoding")) == (TEXT[:4], None)


def test_what_is_small_or_does_not_shrink_has_one_form() -> None:
    for data in (b"{}", os.urandom(5000)):
        body = Body(data, "tag", "application/json", "no-cache")
        assert list(body.forms) == [""]
        reply = body.reply(asked("/", accept_encoding="gzip, zstd"))
        assert (reply.body, header(reply, "vary")) == (data, None)


def test_head_is_answered_as_get_but_for_the_body(files: TreeFiles) -> None:
    get = files.reply(asked("/metadata/1.root.json", accept_encoding="gzip"))
    head = files.reply(asked("/metadata/1.root.json", "HEAD", accept_encoding="gzip"))
    assert (head.headers, head.body) == (get.headers, b"")
    assert files.reply(asked("/metadata/1.root.json", "HEAD", range="bytes=0-3")).status == 200


def test_of_what_only_means_the_same_no_part_is_sent() -> None:
    body = Body(TEXT, "tag", "application/json", "no-cache", weak=True)
    reply = body.reply(asked("/", range="bytes=0-3"))
    assert (reply.status, header(reply, "etag")) == (200, 'W/"tag"')
    assert body.reply(asked("/", if_none_match='W/"tag"')).status == 304


@given(st.text(alphabet="bytes=0123456789-, ", max_size=30), st.integers(0, 1000))
def test_a_range_is_within_the_body_or_none(text: str, size: int) -> None:
    span = read_range(text, size)
    if span is not None:
        start, end = span
        assert 0 <= start <= end <= size


def test_workers_count_together() -> None:
    counts = Counts(2)
    counts.begin()
    counts.add(ROUTES.index("file"), 200)
    counts.begin()  # another worker
    counts.add(ROUTES.index("file"), 206)
    counts.add(ROUTES.index("resolve"), 404)
    assert [*counts.totals()] == [("file", "2xx", 2), ("resolve", "4xx", 1)]


def test_an_address_that_is_taken_is_refused() -> None:
    import socket

    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(Failed, match="cannot be listened on") as problem:
            reserve(Address("127.0.0.1", port))
    assert "another program" in problem.value.why
    assert reserve(Address("127.0.0.1", 0)).port
    with pytest.raises(Failed):
        reserve(Address("203.0.113.1", 80))
