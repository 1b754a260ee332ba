"""Debian's docker-registry (CNCF distribution 2.8), on a folder of its own."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

USER, PASSWORD = "images", "not-to-be-shown"
_HTPASSWD = "{user}:{hash}\n"
_PASSWORD_HASH = "$2b$04$7XaHA0xE.2BCal/Ka.XzcOX0jcvoitR0EuXuVgW53ysJEnpZmW.zi"
"""bcrypt of :data:`PASSWORD`, the only kind that it takes."""

_CONFIG = """\
version: 0.1
log: {{level: info, formatter: text}}
storage:
  filesystem: {{rootdirectory: {root}}}
  delete: {{enabled: true}}
http: {{addr: 127.0.0.1:0, secret: of-the-tests}}
auth: {{htpasswd: {{realm: tests, path: {passwords}}}}}
"""


@dataclass(frozen=True, slots=True)
class DockerRegistry:
    """``address`` is the host and the port, ``root`` the folder that it keeps all in."""

    address: tuple[str, int]
    root: Path

    def blob(self, digest: str) -> Path:
        """Where it keeps a blob."""
        sha256 = digest.removeprefix("sha256:")
        return self.root / "docker/registry/v2/blobs/sha256" / sha256[:2] / sha256 / "data"


@contextmanager
def docker_registry() -> Iterator[DockerRegistry]:
    """A new, empty registry with one user."""
    program = shutil.which("docker-registry")
    assert program, "docker-registry is not installed: `make setup`"
    with tempfile.TemporaryDirectory() as folder:
        root, config, passwords = (Path(folder, each) for each in ("root", "config", "passwords"))
        root.mkdir()
        passwords.write_text(_HTPASSWD.format(user=USER, hash=_PASSWORD_HASH))
        config.write_text(_CONFIG.format(root=root, passwords=passwords))
        # Its log goes to a file: a pipe that nobody reads would stop it when it is full.
        with Path(folder, "log").open("wb") as log:
            command = [program, "serve", str(config)]
            server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield DockerRegistry(("127.0.0.1", _port(server, Path(folder, "log"))), root)
        finally:
            server.kill()
            server.wait()


def _port(server: subprocess.Popen[bytes], log: Path) -> int:
    for _ in range(600):
        if found := re.search(r"listening on 127\.0\.0\.1:(\d+)", log.read_text()):
            return int(found[1])
        assert server.poll() is None, log.read_text()
        time.sleep(0.05)
    raise AssertionError(f"docker-registry did not start: {log.read_text()}")
