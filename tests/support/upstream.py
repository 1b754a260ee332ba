"""A build's supply with an upstream of its own, on sockets of this machine.

Its fixture is that of tests that name this file as a plugin.

PYTEST_DONT_REWRITE: these import names from here too, before pytest loads it as a plugin.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagectl.adapters.inputs.store import InputStore
from imagectl.adapters.inputs.supply import Supply, open_supply
from imagectl.errors import BuildFailed, CannotTell, ImagectlError
from imagectl.model.lock import Access, Archive, Inputs
from imagectl.model.names import Sha256
from support.web import Site, get, site

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


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with site() as web:
        yield Shop(tmp_path, web, InputStore(tmp_path / "inputs"))


def mirror(path: str) -> str:
    return f"{MIRRORS[Archive.DEBIAN]}/{path.replace('+', '%2b')}"


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
