"""The installed command, as people run it: a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

IMAGECTL = str(Path(sys.executable).parent / "imagectl")


def imagectl(root: Path, *arguments: str, before: tuple[str, ...] = ()) -> str:
    """What it says in the project at *root*; it succeeds. *before*: what runs it."""
    done = subprocess.run(
        [*before, IMAGECTL, *arguments],
        cwd=root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def answered(root: Path, *arguments: str) -> Any:
    """What it answers with ``--json``."""
    return json.loads(imagectl(root, *arguments, "--json"))
