"""A bucket for tests: moto's S3 server, in a process of its own, on a port of its own choice."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import urllib.request
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
}


@contextmanager
def s3_server() -> Iterator[str]:
    """The endpoint of an S3 server that has no buckets yet."""
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    draining: threading.Thread | None = None
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        for line in server.stderr:
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            if found:
                break
        else:
            raise AssertionError("moto's server did not start")
        # It logs each request: a pipe that nobody reads would stop it when it is full.
        draining = threading.Thread(target=deque, args=(server.stderr, 0))
        draining.start()
        yield found[0]
    finally:
        server.kill()
        server.wait()
        if draining is not None:
            draining.join()
        if server.stderr is not None:
            server.stderr.close()


def make_bucket(endpoint: str, name: str) -> None:
    request = urllib.request.Request(f"{endpoint}/{name}", method="PUT")
    with urllib.request.urlopen(request, timeout=30):
        pass
