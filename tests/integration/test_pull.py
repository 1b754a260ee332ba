"""Nothing but a plain web server: consumers resolve and pull, and one flipped byte is told (P10).

Every process of imagectl's has ended by then; ``python3 -m http.server`` shows the published tree.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
import urllib3
from peers.registry import PASSWORD, USER, docker_registry
from support.programs import running
from support.projects import new_project, release
from support.web import Handler, Page, site

from imagectl.bootstrap.project import open_project
from imagectl.consumer.pulling import fetch
from imagectl.consumer.registry import RegistrySource
from imagectl.consumer.sources import WebSource
from imagectl.errors import Denied
from imagectl.model.names import Sha256

pytestmark = pytest.mark.integration

VERSION = "debian-base@20261120.1"
SETTINGS = """\
catalog: {publish: [catalog/public]}
locations:
  local: {type: directory, path: catalog/public/artifacts, url: artifacts/}
"""


FETCH = """\
import sys
from pathlib import Path
from imagectl.consumer.pulling import fetch
from imagectl.consumer.sources import WebSource
url, sha256, size, to = sys.argv[1:]
fetch(WebSource(url), sha256, int(size), Path(to), lambda done, total: None)
"""


class Consumer:
    """A folder on another machine, with nothing but the root; and a web server it knows of."""

    def __init__(self, folder: Path, public: Path, url: str) -> None:
        self.folder = folder
        self.public = public
        self.url = url

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs ``imagectl`` there, as for the first time: nothing is cached."""
        cache = self.folder / f"cache{len([*self.folder.glob('cache*')])}"
        cache.mkdir()
        return subprocess.run(
            [
                *(sys.executable, "-m", "imagectl", *arguments),
                *("--catalog", self.url, "--root", "root.json"),
            ],
            cwd=self.folder,
            env={**os.environ, "IMAGECTL_CACHE": str(cache), "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def answer(self, *arguments: str) -> Any:
        done = self(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def consumer(tmp_path: Path) -> Iterator[Consumer]:
    root = tmp_path / "project"
    new_project(root).close()
    (root / "imagectl.yaml").write_text(SETTINGS)
    project = open_project(root)
    release(project, VERSION)
    project.close()
    home = tmp_path / "consumer"
    home.mkdir()
    (root / "catalog" / "root.json").rename(home / "root.json")
    public = tmp_path / "www"
    (root / "catalog" / "public").rename(public)
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    with running(command, cwd=public, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", server.stdout.readline())
        assert found
        yield Consumer(home, public, found[0])


def test_a_plain_web_server_is_enough(consumer: Consumer) -> None:
    resolved = consumer.answer("resolve", "debian-base:beta")
    sha256 = resolved["sha256"]
    assert resolved["url"] == f"{consumer.url}/artifacts/sha256/{sha256[:2]}/{sha256}"

    pulled = consumer.answer("pull", "debian-base:beta", "--to", "disk.qcow2")
    disk = consumer.folder / "disk.qcow2"
    assert hashlib.sha256(disk.read_bytes()).hexdigest() == sha256 == pulled["sha256"]
    assert (pulled["source"], pulled["fetched"]) == (resolved["url"], resolved["size"])

    again = consumer("pull", "debian-base:beta", "--to", "disk.qcow2")
    assert again.returncode == 0
    assert again.stdout == "disk.qcow2\n"
    assert f"disk.qcow2 is {VERSION} already" in again.stderr

    disk.write_bytes(b"another")
    assert consumer("pull", VERSION, "--to", "disk.qcow2").returncode == 0
    assert hashlib.sha256(disk.read_bytes()).hexdigest() == sha256


@pytest.mark.parametrize(
    "pattern",
    [
        "metadata/timestamp.json",
        "metadata/*.snapshot.json",
        "metadata/*.targets.json",
        "metadata/*.catalog.json",
        "metadata/*.channel-beta.json",
        "images/debian-base/channels/*.beta.json",
        "versions/sha256/*/*.json",
        "artifacts/sha256/*/*",
    ],
)
def test_one_flipped_byte_is_refused_and_named(consumer: Consumer, pattern: str) -> None:
    path = _flip(consumer.public, pattern)
    done = consumer("pull", "debian-base:beta", "--to", "disk.qcow2")
    assert done.returncode in (1, 5), done.stderr
    assert f"{consumer.url}/{path}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not [*consumer.folder.glob("disk*")]


@pytest.mark.parametrize("pattern", ["metadata/*.images.json", "images/debian-base/*.index.json"])
def test_one_flipped_byte_of_what_a_pin_needs_is_named(consumer: Consumer, pattern: str) -> None:
    path = _flip(consumer.public, pattern)
    done = consumer("pull", VERSION, "--to", "disk.qcow2")
    assert done.returncode in (1, 5), done.stderr
    assert f"{consumer.url}/{path}" in done.stderr
    assert not [*consumer.folder.glob("disk*")]


def _flip(public: Path, pattern: str) -> str:
    """Flip one bit in the middle of what is shown by that name now. Its path."""
    path = max(public.glob(pattern), key=lambda each: (len(each.name), each.name))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    return str(path.relative_to(public))


def test_it_is_durable_before_it_takes_its_name(consumer: Consumer) -> None:
    """As the kernel was asked, in order."""
    resolved = consumer.answer("resolve", "debian-base:beta")
    to = consumer.folder / "disk"
    log = consumer.folder / "log"
    calls = "trace=fsync,rename,renameat,renameat2"
    subprocess.run(
        [
            *("strace", "-f", "-y", "-o", str(log), "-e", calls),
            *(sys.executable, "-c", FETCH),
            *(resolved["url"], resolved["sha256"], str(resolved["size"]), str(to)),
        ],
        check=True,
    )
    part = f"{to}.{resolved['sha256'][:16]}.part"
    lines = log.read_text().splitlines()
    [synced] = [at for at, line in enumerate(lines) if "fsync(" in line and f"{part}>" in line]
    [named] = [at for at, line in enumerate(lines) if "rename" in line and part in line]
    [kept] = [
        at for at, line in enumerate(lines) if "fsync(" in line and f"{consumer.folder}>" in line
    ]
    assert synced < named < kept


def test_a_killed_pull_leaves_what_it_has_to_the_next(tmp_path: Path) -> None:
    data = b"a disk that takes a while" * 400_000
    sha256 = Sha256(hashlib.sha256(data).hexdigest())
    to, part = tmp_path / "disk", tmp_path / f"disk.{sha256[:16]}.part"
    killed = threading.Event()

    def wait() -> None:
        killed.wait(60)

    def stalls(handler: Handler, page: Page) -> None:
        handler.reply(page, cut=5_000_000, before_hanging_up=wait)

    with site() as server:
        url = server.put("/disk", data)
        server.faults["/disk"] = [stalls]
        with running(
            [sys.executable, "-c", FETCH, url, sha256, str(len(data)), str(to)]
        ) as pulling:
            until = time.monotonic() + 60
            while not (part.exists() and part.stat().st_size > 1_000_000):
                assert time.monotonic() < until, "nothing arrives"
                time.sleep(0.01)
            pulling.kill()
        killed.set()
        assert not to.exists()
        left = part.stat().st_size
        done = fetch(WebSource(url), sha256, len(data), to, lambda _done, _total: None)
    assert done.fetched == len(data) - left
    assert to.read_bytes() == data


def test_a_real_registry_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's docker-registry, which wants a login and answers with ranges."""
    data = b"a disk in a registry" * 100_000
    sha256 = Sha256(hashlib.sha256(data).hexdigest())
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    to = tmp_path / "disk"
    with docker_registry() as registry:
        host, port = registry.address
        _upload(f"http://{host}:{port}", "acme/disks", data, sha256)
        source = RegistrySource(f"{host}:{port}/acme/disks", sha256)
        with pytest.raises(Denied):
            fetch(source, sha256, len(data), to, lambda _done, _total: None)
        auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        auths = {"auths": {f"{host}:{port}": {"auth": auth}}}
        (tmp_path / "config.json").write_text(json.dumps(auths))
        to.with_name(f"disk.{sha256[:16]}.part").write_bytes(data[:12_345])
        done = fetch(source, sha256, len(data), to, lambda _done, _total: None)
    assert done.fetched == len(data) - 12_345
    assert to.read_bytes() == data


def _upload(registry: str, repository: str, data: bytes, sha256: str) -> None:
    headers = urllib3.make_headers(basic_auth=f"{USER}:{PASSWORD}")
    with urllib3.PoolManager(headers=headers) as pool:
        begun = pool.request("POST", f"{registry}/v2/{repository}/blobs/uploads/")
        where = urljoin(registry, begun.headers["Location"])
        query = "&" if "?" in where else "?"
        done = pool.request("PUT", f"{where}{query}digest=sha256:{sha256}", body=data)
        assert done.status == 201
