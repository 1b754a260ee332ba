"""The peers that are written in Go: built once, from Debian's packages, and started.

A program is kept in the user's cache under the digest of its source. It prints what it has to say
of itself as one line of JSON, and ends when its standard input does: with the process that started
it, however that ends.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

LIBRARIES = "/usr/share/gocode"
END_SECONDS = 60.0
BUILD_SECONDS = 600.0


@contextmanager
def running(source: Path, folder: Path) -> Iterator[Mapping[str, Any]]:
    """The program of the Go files in *source* for as long as the block runs, and what it says of
    itself. Its log and its files are in *folder*, which it removes at its end."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(build(source)), f"-folder={folder}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for the tests, which stop it then
        )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                pytest.fail(f"{source.name} did not start:\n{(folder / 'log').read_text()}")
            yield json.loads(line)
        finally:
            process.stdin.close()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()  # leaving the block waits for it, however long that takes
                raise


def build(source: Path) -> Path:
    """The program, made where it is not there yet."""
    go = shutil.which("go")
    if go is None or not Path(LIBRARIES).exists():
        pytest.fail("Go is not installed: `make setup` does it (see requirements/debian.txt)")
    digest = hashlib.sha256(subprocess.check_output([go, "version"]))
    for file in sorted(source.glob("*.go")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "imagectl-tests")
    cache.mkdir(parents=True, exist_ok=True)
    program = cache / f"{source.name}-{digest.hexdigest()[:16]}"
    with FileLock(cache / f"{source.name}.lock"):
        if not program.exists():
            _compile(go, source, program)
    return program


def _compile(go: str, source: Path, program: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="build-", dir=program.parent) as folder:
        made = Path(folder, source.name)
        done = subprocess.run(
            [go, "build", "-o", str(made), "."],
            cwd=source,
            env={**os.environ, "GO111MODULE": "off", "GOPATH": LIBRARIES, "GOFLAGS": ""},
            capture_output=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            pytest.fail(f"{source.name} does not compile:\n{done.stderr.decode()}")
        for old in program.parent.glob(f"{source.name}-*"):
            old.unlink()
        made.rename(program)
