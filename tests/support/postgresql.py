"""A PostgreSQL server of our own for the time of a test run, from Debian's package.

Reached through a Unix socket in a temporary folder, so no port can clash. PostgreSQL refuses to run
as root; then it runs as ``postgres`` or ``nobody``. It ends with the test run, however that ends.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

START_SECONDS = 30.0


class Server:
    """One server; its data stay when it is stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bin = _binaries()
        self._process: subprocess.Popen[bytes] | None = None
        self._schemas = itertools.count(1)
        folder.chmod(0o755)
        if os.geteuid() == 0:
            shutil.chown(folder, _unprivileged(), pwd.getpwnam(_unprivileged()).pw_gid)
        self._run(
            "initdb",
            *("--pgdata", str(folder / "data"), "--username", "postgres", "--auth", "trust"),
            *("--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"),
        )

    def start(self) -> None:
        command = [
            *("setpriv", "--pdeathsig", "INT", *_as_user(), "--"),
            *(str(self._bin / "postgres"), "-D", str(self._folder / "data")),
            *("-k", str(self._folder), "-c", "listen_addresses=", "-c", "fsync=off"),
        ]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self.dsn).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"PostgreSQL did not start:\n{self._log()}")
                time.sleep(0.05)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends it in order, SIGQUIT as a crash would."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_SECONDS)
            self._process = None

    @property
    def dsn(self) -> str:
        """What libpq takes."""
        return f"host={self._folder} user=postgres dbname=postgres"

    def schema(self) -> str:
        """The URL of a new, empty schema."""
        name = f"test_{next(self._schemas)}"
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        options = quote(f"-csearch_path={name}", safe="")
        return (
            f"postgresql+psycopg://postgres@/postgres?host={quote(str(self._folder), safe='')}"
            f"&options={options}"
        )

    def _run(self, program: str, *args: str) -> None:
        done = subprocess.run(
            ["setpriv", *_as_user(), "--", str(self._bin / program), *args],
            capture_output=True,
            check=False,
            cwd=self._folder,
        )
        if done.returncode != 0:
            pytest.fail(f"{program} failed:\n{(done.stdout + done.stderr).decode()}")

    def _log(self) -> str:
        return (self._folder / "server.log").read_text()


def _binaries() -> Path:
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4])
    )
    if not found:
        pytest.fail("PostgreSQL is not installed: `make setup` does it (Debian: postgresql)")
    return found[-1].parent


def _unprivileged() -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _as_user() -> list[str]:
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam(_unprivileged())
    return ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A running server."""
    with tempfile.TemporaryDirectory(prefix="imagectl-pg-") as folder:
        server = Server(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def postgresql_url(postgresql: Server) -> str:
    """The URL of a schema that is empty."""
    return postgresql.schema()
