"""``imagectl serve`` beside nginx: the same files on the same processors, and ``/v1/resolve``.

Both have a worker for each processor, keep connections, and write no access log; wrk asks both in
turn, several times, and the medians count. It needs Debian's ``nginx-light`` and ``wrk``::

    apt-get install --no-install-recommends nginx-light wrk

Files have to be at least half as fast as nginx's; resolving 3,000 times a second. *Anew* is
resolving with nothing remembered: each request asks for something else. The list of 1,000 images is
asked for as soon as a server answers, and again: the first has to be there within a second.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from support.served import a_tree

SECONDS = 3
ROUNDS = 5
CONNECTIONS = 32
FILES_RATIO = 0.5
RESOLVES = 3_000
IMAGES = 20
MANY_IMAGES = 1_000
FIRST_LIST_SECONDS = 1.0
PROGRAM = str(Path(sys.executable).parent / "imagectl")

NGINX = """
worker_processes {workers}; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  types {{ application/json json; }}
  server {{ listen 127.0.0.1:{port}; root {tree}; }}
}}
"""

ANEW = """
local count = 0
request = function()
  count = count + 1
  local age = 90000000 + count % 900000
  local query = "?format=qcow2&image=image-" .. count % {images} .. "&max_age=" .. age .. "s"
  return wrk.format("GET", "/v1/resolve" .. query)
end
"""


def main() -> None:
    """Files by both, then the API."""
    missing = [each for each in ("nginx", "wrk") if shutil.which(each) is None]
    if missing:
        print(f"needs {' and '.join(missing)}: apt-get install nginx-light wrk")
        return
    with tempfile.TemporaryDirectory(dir="/var/tmp") as made:
        folder = Path(made)
        folder.chmod(0o755)  # nginx's workers are another user's
        tree = folder / "tree"
        (folder / "root.json").write_bytes(a_tree(tree, datetime.now(UTC), images=IMAGES))
        small = "/metadata/timestamp.json"
        large = "/" + str(next(tree.rglob("*.index.json")).relative_to(tree))
        with _nginx(folder, tree) as nginx, _imagectl(folder, tree) as ours:
            for what, path in (("timestamp.json", small), ("an index", large)):
                _compare(what, tree / path[1:], nginx + path, ours + path)
            query = "/v1/resolve?image=image-7"
            known = statistics.median(_wrk(ours + query) for _ in range(ROUNDS))
            script = folder / "anew.lua"
            script.write_text(ANEW.replace("{images}", str(IMAGES)))
            anew = statistics.median(_wrk(ours, script) for _ in range(ROUNDS))
            print(f"resolve        {known:7.0f}/s the same, {anew:7.0f}/s anew")
            assert known >= RESOLVES
            assert anew >= RESOLVES
        many = folder / "many"
        many.mkdir()
        root = a_tree(many / "tree", datetime.now(UTC), images=MANY_IMAGES, days=1)
        (many / "root.json").write_bytes(root)
        with _imagectl(many, many / "tree") as ours:
            first, again = (_seconds(f"{ours}/v1/images") for _ in range(2))
        print(
            f"{MANY_IMAGES} images  {first * 1000:7.0f} ms at first, {again * 1000:7.1f} ms again"
        )
        assert first <= FIRST_LIST_SECONDS


def _seconds(url: str) -> float:
    began = time.perf_counter()
    with urllib.request.urlopen(url) as answer:
        assert len(json.load(answer)["images"]) == MANY_IMAGES
    return time.perf_counter() - began


def _compare(what: str, file: Path, nginx: str, ours: str) -> None:
    theirs, mine = [], []
    for _ in range(ROUNDS):
        theirs.append(_wrk(nginx))
        mine.append(_wrk(ours))
    there, here = statistics.median(theirs), statistics.median(mine)
    ratio = statistics.median(a / b for a, b in zip(mine, theirs, strict=True))
    print(
        f"{what:14} {here:7.0f}/s, nginx {there:7.0f}/s: {ratio:.2f} of it "
        f"({file.stat().st_size} bytes)"
    )
    assert ratio >= FILES_RATIO


def _wrk(url: str, script: Path | None = None) -> float:
    """Requests a second. All of them have to be answered with 200."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s"]
    if script is not None:
        command += ["-s", str(script)]
    said = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in said, said
    assert "Socket errors" not in said, said
    found = re.search(r"Requests/sec:\s+([0-9.]+)", said)
    assert found is not None, said
    return float(found[1])


@contextlib.contextmanager
def _nginx(folder: Path, tree: Path) -> Iterator[str]:
    port = _free_port()
    config = folder / "nginx.conf"
    workers = len(os.sched_getaffinity(0))
    config.write_text(NGINX.format(workers=workers, folder=folder, tree=tree, port=port))
    url = f"http://127.0.0.1:{port}"
    with _running(["nginx", "-c", str(config)], f"{url}/metadata/timestamp.json"):
        yield url


@contextlib.contextmanager
def _imagectl(folder: Path, tree: Path) -> Iterator[str]:
    port = _free_port()
    command = [PROGRAM, "serve", "-q", "--listen", f"127.0.0.1:{port}", "--catalog", str(tree)]
    url = f"http://127.0.0.1:{port}"
    with _running([*command, "--root", str(folder / "root.json")], f"{url}/healthz"):
        with urllib.request.urlopen(f"{url}/healthz") as answer:
            assert json.load(answer)["ok"]
        yield url


@contextlib.contextmanager
def _running(command: list[str], url: str) -> Iterator[None]:
    server = subprocess.Popen(command)
    try:
        for _ in range(200):
            with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(url):
                break
            time.sleep(0.05)
        yield
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
