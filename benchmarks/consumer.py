"""What resolving costs a consumer: 1,000 images of 1,000 versions each, signed.

In one process: the same again, which has to stay below 1 ms at the 99th percentile. As a process of
its own, against a bare interpreter: with an empty cache and with one, from a web server on this
machine; these have to stay below 0.4 s and 0.25 s. The time of a processor is measured too: the
machine may have other work.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from support.published_documents import head_document, index_document, version_document
from support.tuf_trees import TufTree

from imagectl.consumer.resolving import resolve
from imagectl.consumer.tree import SignedTree, open_catalog
from imagectl.model.names import ChannelName, ImageName, parse_version_id
from imagectl.policy.resolution import ResolutionRequest

IMAGES = 1_000
VERSIONS = 1_000
LOOKS = 20_000
PROGRAM = str(Path(sys.executable).parent / "imagectl")


def main() -> None:
    """In one process, then as processes."""
    now = datetime.now(UTC).replace(microsecond=0)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        root = _large(Path(folder, "tree"), now)
        Path(folder, "root.json").write_bytes(root)
        began = time.perf_counter()
        tree = open_catalog(
            str(Path(folder, "tree")), root=root, cache=Path(folder, "cache"), now=now
        )
        _resolve(tree, 0, now)
        print(f"first resolve, empty cache   {(time.perf_counter() - began) * 1000:7.1f} ms")
        for what, request in (("a channel", _channel), ("a pinned version", _pinned)):
            _report(what, tree, request, now)
        with _served(Path(folder, "tree")) as url:
            _processes(Path(folder), url)


def _report(
    what: str, tree: SignedTree, request: Callable[[int], ResolutionRequest], now: datetime
) -> None:
    for number in range(IMAGES):
        resolve(tree, request(number), now)
    numbers = random.Random(1).choices(range(IMAGES), k=LOOKS)
    taken = []
    for number in numbers:
        asked = request(number)
        began = time.perf_counter()
        resolve(tree, asked, now)
        taken.append(time.perf_counter() - began)
    taken.sort()
    print(
        f"{what:20} median {statistics.median(taken) * 1e6:6.0f} us, "
        f"p99 {taken[LOOKS * 99 // 100] * 1e6:6.0f} us, most {taken[-1] * 1e6:6.0f} us"
    )


def _processes(folder: Path, url: str) -> None:
    resolving = f"{PROGRAM} resolve image-7 --catalog {url} --root {folder / 'root.json'}"
    cache = folder / "process-cache"
    commands = {
        "a bare interpreter": ["--warmup", "3", f"{sys.executable} -c pass"],
        "cold": ["--prepare", f"rm -rf {cache}", resolving],
        "warm": ["--warmup", "3", resolving],
    }
    for name, command in commands.items():
        report = folder / "report.json"
        subprocess.run(
            ["hyperfine", "-N", "--export-json", str(report), *command],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "IMAGECTL_CACHE": str(cache)},
        )
        [result] = json.loads(report.read_text())["results"]
        print(
            f"{name:20} median {result['median'] * 1000:6.0f} ms, "
            f"of a processor's time {(result['user'] + result['system']) * 1000:6.0f} ms"
        )


def _channel(number: int) -> ResolutionRequest:
    return ResolutionRequest(ImageName(f"image-{number}"), ChannelName("stable"))


def _pinned(number: int) -> ResolutionRequest:
    version = parse_version_id(_version(VERSIONS - 1))
    return ResolutionRequest(ImageName(f"image-{number}"), version=version)


def _resolve(tree: SignedTree, number: int, now: datetime) -> None:
    resolve(tree, _channel(number), now)


def _version(number: int) -> str:
    day = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=number // 2)
    return f"{day:%Y%m%d}.{number % 2 + 1}"


def _large(folder: Path, now: datetime) -> bytes:
    tree = TufTree(now=now)
    for number in range(IMAGES):
        image = f"image-{number}"
        newest = tree.version(version_document(image, _version(VERSIONS - 1)))
        versions = {
            _version(each): hashlib.sha256(f"{image} {each}".encode()).hexdigest()
            for each in range(VERSIONS - 1)
        }
        versions[_version(VERSIONS - 1)] = newest
        tree.put("images", f"images/{image}/index.json", index_document(image, versions))
        head = head_document(image, "stable", _version(VERSIONS - 1), newest, now.isoformat())
        tree.put("channel-stable", f"images/{image}/channels/stable.json", head)
    tree.publish("images", "channel-stable")
    tree.write(folder)
    return tree.files["metadata/1.root.json"]


@contextlib.contextmanager
def _served(folder: Path) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass
