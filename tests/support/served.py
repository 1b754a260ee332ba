"""A small signed tree to serve, and a server of it that runs as people run it."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from imagectl.formats.published_v1.layout import FORMAT
from support.published_documents import (
    encoded,
    head_document,
    index_document,
    version_document,
)
from support.tuf_trees import TufTree

PROGRAM = str(Path(sys.executable).parent / "imagectl")
STARTED = re.compile(r"serving .* at (http://\S+) with")


def a_tree(
    folder: Path, now: datetime, *, images: int = 2, generation: int = 7, days: int = 20
) -> bytes:
    """Write one of *images* named image-0, image-1, ... with five versions of each of so many
    *days*, the newest in stable, the one before in beta; that one is deprecated, the next older
    ones revoked and deleted. Its root."""
    tree = TufTree(now=now.replace(microsecond=0))
    fill(tree, now, images, generation, days)
    tree.write(folder)
    return tree.files["metadata/1.root.json"]


def fill(tree: TufTree, now: datetime, images: int, generation: int, days: int = 20) -> None:
    """Put all that into *tree*, and sign it."""
    at = f"{now:%Y-%m-%dT%H:%M:%SZ}"
    shown = {"format": FORMAT, "catalog": "id", "generation": generation, "event": "0" * 64}
    tree.put("catalog", "catalog.json", encoded({**shown, "at": at}))
    for number in range(images):
        _image(tree, f"image-{number}", at, days)
    tree.publish("catalog", "images", "channel-stable", "channel-beta")


def _image(tree: TufTree, image: str, at: str, days: int) -> None:
    names = [f"202611{day:02}.{n}" for day in range(21 - days, 21) for n in range(1, 6)]
    formats = ("qcow2", "raw") if image == "image-1" else ("qcow2",)
    versions = {each: tree.version(version_document(image, each, formats)) for each in names}
    deleted = {names[-4]: {"warned": "deleted", "at": at, "by": "ana", "reason": "old"}}
    kept = {name: each for name, each in versions.items() if name not in deleted}
    tree.put("images", f"images/{image}/index.json", index_document(image, kept, deleted))
    warnings = {
        names[-2]: {"warned": "deprecated", "at": at, "by": "ana", "reason": "<b>old</b>"},
        names[-3]: {"warned": "revoked", "at": at, "by": "ana", "reason": "broken"},
    }
    tree.put(
        "catalog",
        f"images/{image}/warnings.json",
        encoded({"format": FORMAT, "image": image, "warnings": warnings}),
    )
    for channel, version in (("stable", names[-1]), ("beta", names[-2])):
        head = head_document(image, channel, version, versions[version], at)
        tree.put(f"channel-{channel}", f"images/{image}/channels/{channel}.json", head)


@dataclass(frozen=True, slots=True)
class Running:
    """A server that runs: its address and its process; its log is in the file ``log``."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path


@contextlib.contextmanager
def serving(tree: Path, root: Path, log: Path, *options: str) -> Iterator[Running]:
    """``imagectl serve`` of *tree*, on a port of its own, with a log line for each request."""
    command = [PROGRAM, "serve", "-v", "--listen", "127.0.0.1:0", "--workers", "2"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--catalog", str(tree), "--root", str(root), *options],
            stderr=output,
            cwd=log.parent,
            env={**os.environ, "TMPDIR": str(log.parent)},  # some tests kill it
        )
    try:
        yield Running(_address(process, log), process, log)
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    for _ in range(600):
        found = STARTED.search(log.read_text())
        if found:
            return found[1]
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise AssertionError(f"no server: {log.read_text()}")
