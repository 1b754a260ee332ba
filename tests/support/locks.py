"""Small locks of versions that can be made again, and the inputs that they name."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from imagectl.adapters.inputs.store import InputStore
from imagectl.formats.lock_text import parse_lock, write_lock
from imagectl.model.lock import (
    Archive,
    Download,
    Inputs,
    Lock,
    LockedToolchain,
    Package,
    sorted_inputs,
)
from support.examples import digest, lock, ref

TOOL = "a tool of every build"
TOOLCHAIN = "the tree of the tools"


def lock_of(text: str) -> str:
    """The lock of ``IMAGE@VERSION``: one input of its own, and the tools, as one package."""
    own = input_of(text)
    download = Download(f"https://mirror.example/{text}", 200, digest(own), len(own))
    path = "pool/main/t/tool/tool_1_amd64.deb"
    tool = Package("tool", "1", "amd64", Archive.DEBIAN, path, digest(TOOL), len(TOOL))
    return write_lock(
        replace(
            lock(ref(text).image),
            inputs=Inputs(downloads=(download,)),
            toolchain=LockedToolchain("trixie", digest(TOOLCHAIN), sorted_inputs([tool])),
        )
    )


def input_of(text: str) -> str:
    """What the input of ``IMAGE@VERSION`` holds."""
    return f"input of {text}"


def keep_inputs(inputs: InputStore, text: str) -> None:
    """Have in the store what the lock of ``IMAGE@VERSION`` names, but for the tools' tree."""
    for content in (input_of(text), TOOL):
        if not inputs.has(digest(content)):
            keep_input(inputs, content)


def keep_input(inputs: InputStore, content: str) -> None:
    """Have that in the store."""
    source = Path(inputs.root.parent, "incoming")
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(content)
    inputs.add(source)


def lose_input(inputs: InputStore, content: str) -> None:
    """Somebody removed it."""
    inputs.check(digest(content)).unlink()


@cache
def read_lock(path: Path) -> Lock:
    """What ``Cleaning.read_lock`` is. In a store, a name always has the same bytes."""
    return parse_lock(path.read_bytes(), str(path))
