"""The files of a folder over HTTP, such as a published tree.

Promises: nothing outside of the folder is ever read, whatever the path or a link says, and nothing
whose name begins with a dot (locks, files being written). What is answered is what is on the disk
now: each request looks whether the file was replaced. Small files stay in memory, with their
compressed forms.
"""

from __future__ import annotations

import hashlib
import mimetypes
import os
import re
import stat
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imagectl.adapters.web.exchange import (
    OPEN,
    Body,
    Part,
    Reply,
    Request,
    in_part,
    matches,
    part_wanted,
    without,
)
from imagectl.errors import Failed, NotFound

SMALL = 4 << 20
"""In bytes: what is larger is sent from the disk each time."""

REMEMBERED = 64 << 20
"""In bytes, of each worker: what was not asked for longest is forgotten first."""

FOREVER = "public, max-age=31536000, immutable"
"""For names with a digest or a number: what has such a name is never replaced by another."""

ANEW = "no-cache"
"""Ask each time whether it has changed: that is one small answer (304) where it has not."""

_NAME = r"(?!\.)[A-Za-z0-9._%+@:~-]{1,255}"
_PATH = re.compile(rf"/(?:{_NAME}/){{0,16}}{_NAME}\Z")
_FIXED = re.compile(r"(?:.*/)?(?:[0-9a-f]{64}\.[^/]+|metadata/[0-9]+\.[^/]+\.json)\Z")

State = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Small:
    state: State
    body: Body


class TreeFiles:
    """The files below *root*. *remembered*: how many bytes of them are kept in memory."""

    def __init__(self, root: Path, remembered: int = REMEMBERED) -> None:
        self._root = str(root.resolve())
        self._limit = remembered
        self._kept: OrderedDict[str, _Small] = OrderedDict()
        self._weight = 0

    def reply(self, request: Request) -> Reply:
        """The answer to a GET or HEAD. Raises NotFound, and Failed where it cannot be read."""
        path = request.path
        kept = self._kept.get(path)
        if kept is not None:
            try:
                found = os.stat(self._root + path)
            except OSError:
                found = None
            if found is not None and _state(found) == kept.state:
                self._kept.move_to_end(path)
                return kept.body.reply(request)
            self._forget(path)
        return self._read(request)

    def _read(self, request: Request) -> Reply:
        path = request.path
        if not _PATH.match(path):
            raise _nothing(path)
        with _opened(self._root, path) as (fd, found):
            cache_control = FOREVER if _FIXED.match(path) else ANEW
            if found.st_size > SMALL:
                return _large(request, self._root + path, found, cache_control)
            data = _all(fd, found.st_size)
        body = Body(data, hashlib.sha256(data).hexdigest(), _type(path), cache_control)
        self._keep(path, _Small(_state(found), body))
        return body.reply(request)

    def _keep(self, path: str, small: _Small) -> None:
        if small.body.weight > self._limit:
            return
        self._kept[path] = small
        self._weight += small.body.weight
        while self._weight > self._limit:
            self._forget(next(iter(self._kept)))

    def _forget(self, path: str) -> None:
        self._weight -= self._kept.pop(path).body.weight


@contextmanager
def _opened(root: str, path: str) -> Iterator[tuple[int, os.stat_result]]:
    """The file, open; only where it is a plain one that is really below *root*."""
    try:
        fd = os.open(root + path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise _nothing(path) from None
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        found = os.fstat(fd)
        # Of what is open, and not of the path again: that may be another file by now.
        real = os.readlink(f"/proc/self/fd/{fd}")
        if not stat.S_ISREG(found.st_mode) or real != root + path:
            raise _nothing(path)
        yield fd, found
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(fd)


def _all(fd: int, size: int) -> bytes:
    parts = []
    while part := os.read(fd, max(1, size)):
        parts.append(part)
    return b"".join(parts)


def _large(request: Request, path: str, found: os.stat_result, cache_control: str) -> Reply:
    size = found.st_size
    tag = f'"{found.st_mtime_ns:x}-{found.st_ino:x}-{size:x}"'
    headers = [
        ("content-type", _type(path)),
        ("content-length", str(size)),
        ("etag", tag),
        ("cache-control", cache_control),
        ("accept-ranges", "bytes"),
        *OPEN,
    ]
    known = request.headers.get("if-none-match")
    if known is not None and matches(known, tag):
        return Reply(304, without(headers, "content-length", "content-type"))
    if request.method == "HEAD":
        return Reply(200, headers)
    span = part_wanted(request, request.headers.get("range"), tag, size)
    if span is None:
        return Reply(200, headers, Part(Path(path), 0, size))
    status, headers = in_part(headers, size, span)
    return Reply(status, headers, Part(Path(path), *span) if status == 206 else b"")


def _state(found: os.stat_result) -> State:
    return found.st_mtime_ns, found.st_size, found.st_ino


def _type(path: str) -> str:
    if path.endswith(".json"):
        return "application/json"
    guessed, packed = mimetypes.guess_type(path)
    return guessed if guessed and not packed else "application/octet-stream"


def _nothing(path: str) -> NotFound:
    return NotFound(
        f"there is no {path[:200]}",
        hint="/v1/openapi.json says what can be asked; files have the paths of the published tree",
    )


def _unreadable(path: str, error: OSError) -> Failed:
    return Failed(
        f"{path} cannot be read",
        why=error.strerror or str(error),
        hint="check who may read the published tree",
    )
