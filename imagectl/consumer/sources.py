"""Where an artifact is read from: a web server, a folder, a bucket, or a registry.

Promises: reading can begin in the middle, where the other end knows how; it is said where it really
began; no answer keeps silent for longer than it may. What arrives is not trusted here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlsplit

from imagectl.consumer.signed_tree import shown
from imagectl.errors import BadUsage, CannotTell, Denial, Denied

if TYPE_CHECKING:
    import urllib3
    from urllib3.exceptions import HTTPError

    from imagectl.consumer.connecting import Connections
    from imagectl.policy.resolution import Resolution

CHUNK = 1 << 20
"""Bytes that are read at a time."""

CHUNK_SECONDS = 120.0
"""How long a web server may take for so many: slower than 8 kB/s is not waited for."""


class BrokenOff(Exception):
    """It ended in the middle, or did not begin; asking again may help. Says why."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What comes from ``start`` on. ``total``: how long all of it is said to be, if it is."""

    start: int
    total: int | None
    chunks: Iterator[bytes]


class Source(Protocol):
    """A place that has the artifact. ``where`` is its address, for people."""

    @property
    def where(self) -> str: ...

    def read(self, start: int) -> Reading:
        """Read from *start* on, or from the beginning where that cannot be done.

        Raises BrokenOff, and what asking again does not mend. The chunks raise BrokenOff too.
        """
        ...


def source_of(found: Resolution) -> Source:
    """Where what was resolved is read from.

    Raises BadUsage, with what to type instead, where no plain download gets it.
    """
    if found.url is not None:
        return _at(found.url)
    reference = found.reference
    if reference.startswith(("s3://", "gs://")):
        return BucketSource(reference)
    if reference.startswith("/") and reference.endswith(
        f"/sha256/{found.sha256[:2]}/{found.sha256}"
    ):
        path = Path(reference)
        if not path.exists():
            raise CannotTell(
                f"{found.ref} cannot be read on this machine",
                where=reference,
                why=f"location {found.location} is a folder, and that file is not here",
                hint="mount the folder here; or whoever publishes the catalog sets `url` of "
                f"location {found.location} in imagectl.yaml to where a web server shows it",
            )
        return FileSource(path)
    if registry := re.fullmatch(r"([^@\s/]+/[^@\s]+)@sha256:[0-9a-f]{64}", reference):
        from imagectl.consumer.registry import RegistrySource

        return RegistrySource(registry[1], found.sha256)
    raise BadUsage(
        f"{found.ref} in location {found.location} is no file that can be pulled",
        where=reference,
        why=f"{found.format.value} in {found.location} is got at by its provider's own means",
        hint=_instead(found),
    )


def _instead(found: Resolution) -> str:
    reference = found.reference
    if reference.startswith("projects/"):
        return (
            f"use it where it is: `gcloud compute instances create NAME --image={reference}`; "
            "or pull another format, such as --format qcow2"
        )
    return (
        f"use it where it is: `govc vm.clone -vm {reference} NAME`; or pull another format, such "
        "as --format qcow2"
    )


def _at(url: str) -> Source:
    parts = urlsplit(url)
    if parts.scheme == "file":
        return FileSource(Path(unquote(parts.path)))
    if parts.scheme in ("s3", "gs"):
        return BucketSource(url)
    return WebSource(url)


class FileSource:
    """A file that can be read here."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def where(self) -> str:
        return str(self._path)

    def read(self, start: int) -> Reading:
        try:
            file = self._path.open("rb")
        except (FileNotFoundError, NotADirectoryError) as error:
            raise _missing(self.where, "there is no such file") from error
        except OSError as error:
            raise CannotTell(
                f"{self.where} cannot be read", where=self.where, why=error.strerror or str(error)
            ) from error
        file.seek(0, 2)
        total = file.tell()
        start = start if start <= total else 0

        def chunks() -> Iterator[bytes]:
            with file:
                file.seek(start)
                try:
                    while data := file.read(CHUNK):
                        yield data
                except OSError as error:
                    raise BrokenOff(error.strerror or str(error)) from error

        return Reading(start, total, chunks())


class WebSource:
    """A file of a web server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connections: Connections | None = None

    @property
    def where(self) -> str:
        return shown(self._url)

    @property
    def hint(self) -> str:
        """What to do where it is not given to us."""
        return "its server has to let everybody read it: what is signed needs no secret"

    def read(self, start: int) -> Reading:
        headers = {"Accept-Encoding": "identity", "User-Agent": "imagectl"}
        if start:
            headers["Range"] = f"bytes={start}-"
        response = self._ask(headers)
        match response.status:
            case 200:
                length = response.headers.get("Content-Length", "")
                total = int(length) if re.fullmatch(r"\d{1,18}", length) else None
                return Reading(0, total, self._stream(response))
            case 206:
                span = re.fullmatch(
                    r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)",
                    response.headers.get("Content-Range", ""),
                )
                if span is not None and int(span[1]) == start:
                    total = int(span[2]) if span[2] != "*" else None
                    return Reading(start, total, self._stream(response))
            case _:
                pass
        response.close()
        if start and response.status in (206, 416):  # it does not have that part, or says nonsense
            return self.read(0)
        raise self._refusal(response)

    def _ask(self, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        """What the server answers, before its body is read."""
        from urllib3.exceptions import HTTPError

        from imagectl.consumer.connecting import Connections
        from imagectl.consumer.fetching import BadProxy

        if self._connections is None:
            self._connections = Connections()
        try:
            return self._connections.get(self._url, headers, CHUNK_SECONDS)
        except BadProxy as error:
            raise CannotTell(
                f"{self.where} cannot be read", where=self.where, why=str(error), hint=error.hint
            ) from error
        except HTTPError as error:
            raise self._broken_off(error) from error

    def _stream(self, response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        from urllib3.exceptions import HTTPError, ProtocolError

        assert self._connections is not None
        try:
            came = 0
            for chunk in response.stream(CHUNK, decode_content=False):
                yield chunk
                came += len(chunk)
                if came >= CHUNK:
                    came = 0
                    self._connections.allow(CHUNK_SECONDS)
        except ProtocolError as error:
            raise BrokenOff("the connection ends in the middle of the answer") from error
        except HTTPError as error:
            raise self._broken_off(error) from error
        finally:
            response.close()

    def _broken_off(self, error: HTTPError) -> BrokenOff:
        assert self._connections is not None
        late = f"less than {CHUNK:,} bytes came in {CHUNK_SECONDS:g} s"
        return BrokenOff(str(self._connections.failure(error, late)))

    def _refusal(self, response: urllib3.BaseHTTPResponse) -> Exception:
        why = f"the server answers {response.status} {response.reason or ''}".rstrip()
        if response.status in (404, 410):
            return _missing(self.where, why)
        if response.status in (401, 403):
            return Denied(
                f"{self.where} is not given to us",
                denial=Denial.TOO_NARROW if response.status == 403 else Denial.MISSING,
                where=self.where,
                why=why,
                hint=self.hint,
            )
        if response.status >= 500 or response.status == 429:
            return BrokenOff(why)
        return CannotTell(f"{self.where} cannot be read", where=self.where, why=why)


class BucketSource:
    """An object of a bucket, with whatever credentials the environment has."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._store: Any = None

    @property
    def where(self) -> str:
        return self._url

    def read(self, start: int) -> Reading:
        try:
            import obstore
            from obstore.exceptions import (
                BaseError,
                NotFoundError,
                PermissionDeniedError,
                UnauthenticatedError,
            )
        except ImportError as error:
            raise CannotTell(
                f"{self._url} cannot be read",
                where=self._url,
                why="buckets are read by the package obstore",
                hint="`pip install obstore`",
            ) from error
        from imagectl.consumer.fetching import bucket_store

        parts = urlsplit(self._url)
        try:
            if self._store is None:
                self._store = bucket_store(f"{parts.scheme}://{parts.netloc}")
            path = unquote(parts.path).lstrip("/")
            if start and start >= obstore.head(self._store, path)["size"]:
                start = 0
            found = obstore.get(
                self._store, path, options={"range": {"offset": start}} if start else None
            )
        except (NotFoundError, FileNotFoundError) as error:
            raise _missing(self._url, "it is not in the bucket") from error
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise Denied(
                f"{self._url} is not given to us",
                denial=Denial.TOO_NARROW,
                where=self._url,
                why=_first_line(error),
                hint="export the credentials that the bucket asks for, as for its own tools",
            ) from error
        except BaseError as error:
            raise BrokenOff(_first_line(error)) from error

        def chunks() -> Iterator[bytes]:
            try:
                for chunk in found.stream(min_chunk_size=CHUNK):
                    yield bytes(chunk)
            except BaseError as error:
                raise BrokenOff(_first_line(error)) from error

        return Reading(start, found.meta["size"], chunks())


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _missing(where: str, why: str) -> CannotTell:
    return CannotTell(
        f"{where} is not there",
        where=where,
        why=f"{why}; the published catalog says that it has to be",
        hint="try again in a minute; if it stays so, whoever releases the image types "
        "`imagectl verify` there",
    )
