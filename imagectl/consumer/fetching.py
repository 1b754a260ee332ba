"""Gets the files of a published tree: from a folder, a web server or a bucket (P10).

Promises: no answer takes longer or is longer than it may; a file that is not there is told from a
server that does not answer; ``timestamp.json``, which is asked for each time, is only sent again
where it has changed, if the server knows ETags. What arrives is not trusted here: whoever asked
checks it.
"""

from __future__ import annotations

import contextlib
import math
import re
import tempfile
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    SlowRetrievalError,
)
from tuf.ngclient.fetcher import FetcherInterface

if TYPE_CHECKING:
    import urllib3

    from imagectl.consumer.connecting import Connections

from imagectl.errors import BadUsage

CHUNK = 64 << 10
"""Bytes that are read at a time: an endless answer is noticed that soon."""

MEMORY = 1 << 20
"""Bytes of a file that are held in memory before it is put on disk."""

FILE_SECONDS = 120.0
"""How long one file may take: a server that sends a byte now and then does not hold up a build."""

BUCKET_SECONDS = 10.0
"""For how long a bucket that does not answer is asked again."""

_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]{0,200}"')
"""What is repeated of what a server says: RFC 9110, 8.8.3, and not longer than servers take. Above
all no ``*``, which stands for whatever there is: the answer to that never has anything new."""


def usable_etag(text: object) -> str | None:
    """The ETag, where it can be shown to the server again."""
    return text if isinstance(text, str) and _ETAG.fullmatch(text) else None


@dataclass(frozen=True, slots=True)
class Known:
    """A file as it was when it was last fetched, and the server's word for that state."""

    url: str
    etag: str
    body: bytes


def without_login(url: str) -> str:
    """The address without the user and the password in it."""
    scheme, found, rest = url.partition("://")
    if not found:
        return url
    server, slash, path = rest.partition("/")
    return f"{scheme}://{server.rpartition('@')[2]}{slash}{path}"


def tree_url(catalog: str) -> str:
    """The address of a tree, without a slash at its end; a path becomes ``file:``."""
    parts = urlsplit(catalog)
    if "://" in catalog and "@" in parts.netloc:
        raise BadUsage(
            f"the address {without_login(catalog)} has a user or a password in it",
            why="addresses are printed and kept, and it would not be shown to the server",
            hint="let everybody read it, for what is signed needs no secret; or name a bucket, "
            "s3:// or gs://, which is read with the credentials of the environment",
        )
    if parts.scheme in ("http", "https", "s3", "gs"):
        if not parts.netloc:
            raise BadUsage(f"{catalog} names no server", hint="as in https://images.example/public")
        if parts.query or parts.fragment:
            raise BadUsage(
                f"{catalog} is not the address of a catalog",
                why="files are below it, so it cannot have a ? or a #",
            )
        return catalog.rstrip("/")
    if parts.scheme == "file":
        return "file://" + quote(unquote(parts.path)).rstrip("/")
    if "://" in catalog:
        raise BadUsage(
            f"{catalog} is of a kind that is not known",
            why=f"there is no way to read {parts.scheme}:",
            hint="a folder, https://, http://, s3:// or gs://",
        )
    return "file://" + quote(str(Path(catalog).absolute()))


class BrokenOff(DownloadError):
    """The connection ended in the middle of an answer."""


class BadProxy(DownloadError):
    """The environment names a proxy that is none we know of."""

    hint = "as in https_proxy=http://proxy.example:3128; without it, no proxy is used"


class _Fetcher(FetcherInterface):
    """Asks once more where an answer breaks off; closes one that is too long at once."""

    @contextlib.contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        with tempfile.SpooledTemporaryFile(max_size=MEMORY) as file:
            try:
                self._copy(url, max_length, file)
            except BrokenOff:
                self._copy(url, max_length, file)
            file.seek(0)
            yield file

    def _copy(self, url: str, max_length: int, file: IO[bytes]) -> None:
        file.seek(0)
        file.truncate()
        length = 0
        with contextlib.closing(self._chunks(url)) as chunks:
            for chunk in chunks:
                length += len(chunk)
                if length > max_length:
                    raise DownloadLengthMismatchError(f"it has more than {max_length:,} bytes")
                file.write(chunk)

    def _chunks(self, url: str) -> Generator[bytes, None, None]:
        yield from self.fetch(url)


class TreeFetcher(_Fetcher):
    """Fetches by address. ``asked`` is the newest address that was asked for.

    *known* is given where its address was asked for before; ``etag`` is what the server now calls
    that file's state, None where it does not say. ``server_time`` is the server's clock at its
    newest answer, None where it has none. ``unchanged``: the server said that of what is *known*.
    """

    def __init__(self, watched: str = "", known: Known | None = None) -> None:
        self.asked = ""
        self.etag: str | None = None
        self.server_time: datetime | None = None
        self.unchanged = False
        self.requests = 0
        self._watched = watched
        self._known = known
        self._ends = math.inf
        self._connections: Connections | None = None
        self._stores: dict[str, Any] = {}

    def _fetch(self, url: str) -> Iterator[bytes]:
        self.asked = url
        self.requests += 1
        scheme = urlsplit(url).scheme
        if scheme == "file":
            return _read(Path(unquote(urlsplit(url).path)))
        if scheme in ("s3", "gs"):
            return self._from_bucket(url)
        return self._from_server(url)

    def hurry(self, seconds: float) -> None:
        """Let all that is asked for from now on take no longer than that, together."""
        self._ends = time.monotonic() + seconds

    def forget(self) -> None:
        """Ask from now on as if nothing was known."""
        self._known = None
        self.unchanged = False

    def close(self) -> None:
        """Close connections that are kept open."""
        if self._connections is not None:
            self._connections.close()

    def _from_server(self, url: str) -> Iterator[bytes]:
        from urllib3.exceptions import HTTPError

        from imagectl.consumer.connecting import Connections

        headers = {"Accept-Encoding": "identity", "User-Agent": "imagectl"}
        known = self._known if self._known is not None and self._known.url == url else None
        if known is not None:
            headers["If-None-Match"] = known.etag
        if self._connections is None:
            self._connections = Connections()
        left = self._ends - time.monotonic()
        if left <= 0:
            raise SlowRetrievalError("there is no time left for it")
        seconds = min(FILE_SECONDS, left)
        late = f"it took more than {seconds:.3g} s"
        try:
            response = self._connections.get(url, headers, seconds)
        except HTTPError as error:
            raise self._connections.failure(error, late) from error
        self.server_time = _http_time(response.headers.get("Date"))
        if response.status == 304 and known is not None:
            response.drain_conn()
            response.release_conn()
            return self._same(known)
        if response.status != 200:
            response.drain_conn()
            response.release_conn()
            if known is not None and response.status < 500:
                # Perhaps because of what we said that we know.
                self._known = None
                return self._from_server(url)
            raise DownloadHTTPError(
                f"the server answers {response.status} {response.reason or ''}".rstrip(),
                response.status,
            )
        if url == self._watched:
            self.etag = usable_etag(response.headers.get("ETag"))
        return _stream(response, self._connections, late)

    def _same(self, known: Known) -> Iterator[bytes]:
        self.etag = known.etag
        self.unchanged = True
        return iter((known.body,))

    def _from_bucket(self, url: str) -> Iterator[bytes]:
        try:
            import obstore
            from obstore.exceptions import (
                BaseError,
                NotFoundError,
                NotModifiedError,
                PermissionDeniedError,
            )
        except ImportError as error:
            raise DownloadError("buckets are read by the package obstore: `pip install`") from error
        parts = urlsplit(url)
        bucket = f"{parts.scheme}://{parts.netloc}"
        known = self._known if self._known is not None and self._known.url == url else None
        try:
            if bucket not in self._stores:
                self._stores[bucket] = bucket_store(bucket)
            found = obstore.get(
                self._stores[bucket],
                unquote(parts.path).lstrip("/"),
                options={"if_none_match": known.etag} if known is not None else None,
            )
        except NotModifiedError:
            assert known is not None
            return self._same(known)
        except (NotFoundError, FileNotFoundError) as error:
            raise DownloadHTTPError("it is not in the bucket", 404) from error
        except PermissionDeniedError as error:
            # What a bucket says of what is not there to those who may not list it.
            raise DownloadHTTPError("the bucket does not let us read it", 403) from error
        except BaseError as error:
            raise DownloadError(str(error).strip().splitlines()[0]) from error
        if url == self._watched:
            self.etag = usable_etag(found.meta["e_tag"])
        return _from_stream(found.stream(min_chunk_size=CHUNK), BaseError)


def bucket_store(bucket: str) -> Any:
    """The bucket at that address, which is not asked for long. Needs obstore."""
    from obstore.store import from_url

    return from_url(
        bucket,
        retry_config={
            "max_retries": 2,
            "retry_timeout": timedelta(seconds=BUCKET_SECONDS),
            "backoff": {
                "init_backoff": timedelta(milliseconds=200),
                "max_backoff": timedelta(seconds=2),
                "base": 2,
            },
        },
    )


class CachedOnly(_Fetcher):
    """Answers what a server would that has nothing new: the tree as it was last seen."""

    def __init__(self, timestamp_url: str, timestamp: Path) -> None:
        self._timestamp_url = timestamp_url
        self._timestamp = timestamp

    def _fetch(self, url: str) -> Iterator[bytes]:
        if url == self._timestamp_url:
            return _read(self._timestamp)
        raise DownloadHTTPError("it was not fetched before", 404)


def _read(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while data := file.read(CHUNK):
                yield data
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DownloadHTTPError("there is no such file", 404) from error
    except OSError as error:
        raise DownloadError(error.strerror or str(error)) from error


def _stream(
    response: urllib3.BaseHTTPResponse, connections: Connections, late: str
) -> Iterator[bytes]:
    from urllib3.exceptions import HTTPError, ProtocolError

    try:
        yield from response.stream(CHUNK, decode_content=False)
    except ProtocolError as error:
        raise BrokenOff("the connection ends in the middle of the answer") from error
    except HTTPError as error:
        raise connections.failure(error, late) from error
    finally:
        # What is left of an answer that was too long is not read: the connection is given up.
        response.close()


def _from_stream(stream: Iterator[Any], failures: type[Exception]) -> Iterator[bytes]:
    try:
        for chunk in stream:
            yield bytes(chunk)
    except failures as error:
        raise DownloadError(str(error).strip().splitlines()[0]) from error


def _http_time(text: str | None) -> datetime | None:
    from email.utils import parsedate_to_datetime

    if text is not None:
        with contextlib.suppress(ValueError):
            found = parsedate_to_datetime(text)
            return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    return None
