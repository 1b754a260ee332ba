"""One toolchain for all tests of a run, whichever worker runs them.

Making it takes a quarter of a minute, and it is known by its digest: it is the same for everybody,
and nobody writes to it. Two processes that want it at once make it once, and any number may use one
input store, as with the projects of one user; so nothing is copied. Not for tests that are about
making it, nor for those that begin from nothing, as a user does.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imagectl.adapters.inputs.store import InputStore
from imagectl.adapters.toolchain import Toolchain
from imagectl.bootstrap.project import STATE
from support.supplies import newest_toolchain


def shared_toolchain(factory: pytest.TempPathFactory) -> Toolchain:
    """It, made by whoever asks first."""
    folder = _shared(factory)
    return newest_toolchain(folder / "toolchain", InputStore(folder / "inputs"))


def share_toolchain(factory: pytest.TempPathFactory, root: Path) -> None:
    """Let the new project in *root* take it from there, and put its inputs there."""
    folder = _shared(factory)
    for name in ("toolchain", "inputs"):
        (folder / name).mkdir(exist_ok=True)
        (root / STATE).mkdir(exist_ok=True)
        (root / STATE / name).symlink_to(folder / name)


def _shared(factory: pytest.TempPathFactory) -> Path:
    """A folder of this run. Each worker's own temporary folder is in one that they share."""
    own = factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "of-all"
    folder.mkdir(exist_ok=True)
    return folder
