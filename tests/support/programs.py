"""Programs that run while a test does something with them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def running(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """It, until the block is left; killed then if it still runs. Leaving a block of ``Popen`` would
    wait for it, for ever where a test fails before it stops what it has begun."""
    with subprocess.Popen(command, cwd=cwd, stdout=stdout, stderr=stderr, text=True) as process:
        try:
            yield process
        finally:
            process.kill()
