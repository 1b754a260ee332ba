"""An SSH server for tests, in place of the one in a guest that a provider would run.

It lets any user in who has one of the keys that were authorised, and runs commands here, as the
user who runs the tests. So give it harmless ones only.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from peers.golang import running


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    user: str
    command: str
    """Empty for a shell."""
    status: int


class SshServer:
    """One that runs, on 127.0.0.1."""

    host = "127.0.0.1"

    def __init__(self, port: int, host_key: str, folder: Path) -> None:
        self.port = port
        self.host_key = host_key
        """Its type and key, as in ``known_hosts`` after the host's name."""
        self.authorized = folder / "authorized_keys"
        """The keys that may log in, read anew at each login. May be written to at any time."""
        self.home = folder / "home"
        self._host_key = folder / "host_key"
        self._record = folder / "record"

    def authorize(self, *keys: str) -> None:
        """Let those public keys in too (the text of a ``.pub`` file)."""
        with self.authorized.open("a") as file:
            file.writelines(f"{key.strip()}\n" for key in keys)

    def become(self, host_key: str) -> None:
        """Have that ed25519 private key from now on, as a guest does that is given its own."""
        self._host_key.write_text(host_key)

    def known_hosts(self, path: Path) -> Path:
        """Write the file that has ssh trust this server."""
        path.write_text(f"[{self.host}]:{self.port} {self.host_key}\n")
        return path

    def ran(self) -> list[Ran]:
        """The commands that have ended, in their order."""
        if not self._record.exists():
            return []
        return [Ran(**json.loads(line)) for line in self._record.read_text().splitlines()]


@contextmanager
def ssh_server() -> Iterator[SshServer]:
    """One for as long as the block runs. Nobody may log in yet."""
    with tempfile.TemporaryDirectory(prefix="imagectl-sshd-") as name:
        folder = Path(name)
        (folder / "home").mkdir()
        with running(Path(__file__).parent, folder) as said:
            yield SshServer(said["port"], said["host_key"], folder)
