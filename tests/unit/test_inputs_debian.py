"""Which URLs are files of a Debian archive, and what apt's indexes say of them."""

from __future__ import annotations

import gzip
import hashlib
import lzma
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import lock

from imagectl.adapters.inputs.debian import Archived, Indexes, Mirrors, below, normal
from imagectl.formats.lock_text import parse_lock, write_lock
from imagectl.model.lock import Archive, Package
from imagectl.model.names import Sha256

MIRRORS = Mirrors(
    {
        Archive.DEBIAN: "http://mirror.example/debian/",
        Archive.SECURITY: "http://mirror.example/debian/security",
    }
)
DEBIAN = Archive.DEBIAN
RELEASE = "dists/bookworm/InRelease"
PACKAGES = "dists/bookworm/main/binary-amd64/Packages"
POOL = "pool/main/h/hello/hello_2.10-3_amd64.deb"


def packed(data: bytes) -> bytes:
    """Without the time: tests are named by what they are given, and must have one name."""
    return gzip.compress(data, mtime=0)


def sha256(data: bytes) -> Sha256:
    return Sha256(hashlib.sha256(data).hexdigest())


def stanza(name: str = "hello", path: str = POOL, **fields: str) -> str:
    found = {
        "Package": name,
        "Version": "2.10-3",
        "Architecture": "amd64",
        "Filename": path,
        "Size": "5",
        "SHA256": sha256(b"hello"),
        **fields,
    }
    return "".join(f"{key}: {value}\n" for key, value in found.items() if value) + "\n"


@pytest.fixture
def indexes(tmp_path: Path) -> Indexes:
    return Indexes(tmp_path)


def learn(indexes: Indexes, folder: Path, place: Archived | str, data: bytes) -> None:
    file = folder / "index"
    file.write_bytes(data)
    indexes.learn(place, file)
    if not isinstance(place, str):
        indexes.package(Archived(place.archive, "pool/wait.deb"))
    indexes.says("http://other.example/pool/wait.deb")


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://mirror.example/debian/" + RELEASE, Archived(DEBIAN, RELEASE)),
        ("HTTP://Mirror.Example:80/debian/" + RELEASE, Archived(DEBIAN, RELEASE)),
        ("https://mirror.example/debian/" + RELEASE, Archived(DEBIAN, RELEASE)),
        ("http://mirror.example/debian//" + RELEASE, Archived(DEBIAN, RELEASE)),
        (
            "http://mirror.example/debian/pool/main/g/gcc/g%2b%2b_1%7e2%2b3_amd64.deb",
            Archived(DEBIAN, "pool/main/g/gcc/g++_1~2+3_amd64.deb"),
        ),
        (
            "http://mirror.example/debian/security/" + RELEASE,
            Archived(Archive.SECURITY, RELEASE),
        ),
        ("http://mirror.example:8080/debian/x", "http://mirror.example:8080/debian/x"),
        ("http://mirror.example/debianx/x", "http://mirror.example/debianx/x"),
        ("http://mirror.example/debian", "http://mirror.example/debian"),
        ("http://mirror.example/debian/", "http://mirror.example/debian/"),
        ("http://mirror.example/debian/../x", "http://mirror.example/debian/../x"),
        ("http://mirror.example/debian/%2e%2e/x", "http://mirror.example/debian/%2e%2e/x"),
        ("http://mirror.example/debian/a%5Cb", "http://mirror.example/debian/a%5Cb"),
        ("http://mirror.example/debian/a%0Ab", "http://mirror.example/debian/a%0Ab"),
        ("http://mirror.example/debian/x?y", "http://mirror.example/debian/x?y"),
        ("https://Files.Example:443/A?b=C#part", "https://files.example/A?b=C"),
        ("http://files.example", "http://files.example/"),
        ("http://[2001:DB8::1]:80/x", "http://[2001:db8::1]/x"),
        ("http://files.example/\u00e4 b", "http://files.example/%C3%A4%20b"),
    ],
)
def test_what_an_answer_is_known_by(url: str, place: Archived | str) -> None:
    assert MIRRORS.place(url) == place


@pytest.mark.parametrize(
    "url", ["", "x", "ftp://a.example/", "http://", "http:///x", "http://a:b/", "http://[1/"]
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|Port|IPv6"):
        MIRRORS.place(url)


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=30))
def test_a_file_of_an_archive_has_one_url_there_and_back(name: str) -> None:
    """Whatever its name is: by its path, or by a URL that is a normal one."""
    place = MIRRORS.place(below("http://mirror.example/debian", f"pool/{name}"))
    assert MIRRORS.place(MIRRORS.url(place)) == place
    assert normal(MIRRORS.url(place)) == MIRRORS.url(place)


def test_a_release_vouches_for_its_indexes_by_name_and_by_digest(
    indexes: Indexes, tmp_path: Path
) -> None:
    text = (
        "-----BEGIN PGP SIGNED MESSAGE-----\n\nOrigin: Debian\nMD5Sum:\n"
        f" {'0' * 32} 7 main/binary-amd64/Packages.xz\nSHA256:\n"
        f" {sha256(b'index')} 5 main/binary-amd64/Packages.xz\n"
        "-----BEGIN PGP SIGNATURE-----\n\niQ==\n"
    )
    learn(indexes, tmp_path, Archived(DEBIAN, RELEASE), text.encode())
    by_hash = f"dists/bookworm/main/binary-amd64/by-hash/SHA256/{sha256(b'index')}"
    for path in (f"{PACKAGES}.xz", by_hash):
        vouched = indexes.says(Archived(DEBIAN, path))
        assert vouched is not None
        assert (vouched.sha256, vouched.size, vouched.by) == (sha256(b"index"), 5, RELEASE)
        assert indexes.says(Archived(Archive.SECURITY, path)) is None
    assert indexes.says(Archived(DEBIAN, f"{PACKAGES}.gz")) is None


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [("", bytes), (".gz", packed), (".xz", lzma.compress)],
)
def test_an_index_names_packages_however_it_is_compressed(
    indexes: Indexes, tmp_path: Path, suffix: str, compress: type[bytes]
) -> None:
    text = stanza("first", "pool/first.deb") + stanza() + stanza("last", "./pool/last.deb").strip()
    learn(indexes, tmp_path, Archived(DEBIAN, PACKAGES + suffix), compress(text.encode()))
    assert indexes.package(Archived(DEBIAN, POOL)) == Package(
        "hello", "2.10-3", "amd64", DEBIAN, POOL, sha256(b"hello"), 5
    )
    assert indexes.package(Archived(DEBIAN, "pool/first.deb")) is not None
    assert indexes.package(Archived(DEBIAN, "pool/last.deb")) is not None
    assert indexes.package(Archived(DEBIAN, "pool/none.deb")) is None
    assert indexes.package(Archived(Archive.SECURITY, POOL)) is None
    indexes.close()


def test_an_index_of_another_repository_vouches_for_its_packages(
    indexes: Indexes, tmp_path: Path
) -> None:
    url = f"https://apt.example/tool/{PACKAGES}.gz"
    learn(indexes, tmp_path, url, packed(stanza().encode()))
    vouched = indexes.says(f"https://apt.example/tool/{POOL}")
    assert vouched is not None
    assert vouched.sha256 == sha256(b"hello")
    assert indexes.says(f"https://apt.example/other/{POOL}") is None
    indexes.close()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not compressed",
        packed(stanza().encode())[:-20],
        packed(b""),
        packed(stanza(SHA256="").encode()),
        packed(stanza(SHA256="abc").encode()),
        packed(stanza(Size="many").encode()),
        packed(stanza(name="No Name").encode()),
        packed(stanza(Version="1;rm").encode()),
        packed(stanza(Architecture="").encode()),
        packed(b"\xff\xfe" * 100),
    ],
)
def test_a_bad_index_names_nothing(indexes: Indexes, tmp_path: Path, data: bytes) -> None:
    """Whether it is sound is apt's to tell."""
    learn(indexes, tmp_path, Archived(DEBIAN, f"{PACKAGES}.gz"), data)
    assert indexes.package(Archived(DEBIAN, POOL)) is None
    assert indexes.says(Archived(DEBIAN, POOL)) is None
    indexes.close()


@given(
    name=st.text(max_size=20),
    version=st.text(max_size=20),
    architecture=st.text(max_size=10),
)
def test_whatever_an_index_says_a_lock_can_hold(
    tmp_path_factory: pytest.TempPathFactory, name: str, version: str, architecture: str
) -> None:
    """A mirror must not be able to make a lock that nobody can read."""
    folder = tmp_path_factory.mktemp("index")
    indexes = Indexes(folder)
    text = stanza(name, Version=version, Architecture=architecture)
    data = text.encode("utf-8", "replace")
    learn(indexes, folder, Archived(DEBIAN, PACKAGES), data)
    package = indexes.package(Archived(DEBIAN, POOL))
    indexes.close()
    if package is not None:
        import dataclasses

        made = lock()
        inputs = dataclasses.replace(made.inputs, packages=(package,))
        made = dataclasses.replace(made, inputs=inputs)
        assert parse_lock(write_lock(made), "images/x/image.lock") == made


def test_nothing_stays_behind(indexes: Indexes, tmp_path: Path) -> None:
    learn(indexes, tmp_path, Archived(DEBIAN, f"{PACKAGES}.gz"), packed(stanza().encode()))
    indexes.close()
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
