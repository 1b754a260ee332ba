"""The distribution protocol of OCI registries, as far as artifacts need it: what is there, read and
listed; manifests, written and deleted. Blobs are brought by ``oci_upload.py``.

https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imagectl.adapters.locations.oci_answers import Answer
from imagectl.adapters.locations.oci_session import Session
from imagectl.errors import CannotTell, Corrupt, Failed, NotFound

if TYPE_CHECKING:
    import requests

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
_ACCEPT = f"{MANIFEST}, {INDEX}, {DOCKER_MANIFEST}, {DOCKER_LIST}, */*"
"""All that a tag may name: what is not asked for is answered as if it were not there, and would be
overwritten (P2)."""
READ = 1 << 20
IN_VAIN = 3
"""How often a connection may break in a row with nothing new read."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or an index as the registry has it. ``digest`` is that of ``data``."""

    digest: str
    data: bytes
    document: dict[str, Any]


class Registry:
    """One registry. Every method raises Denied, Throttled and CannotTell."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def manifest(self, repository: str, reference: str) -> Manifest:
        """By tag or digest, of whatever type, checked against the digest. Raises NotFound,
        Corrupt."""
        accept = {"Accept": _ACCEPT}
        url = f"{repository}/manifests/{reference}"
        by_digest = reference.startswith("sha256:")
        # The first tag makes the repository; what has a digest has been in one.
        with self._session.call(
            "GET", url, f"reading {reference}", {200}, accept, may_be_new=not by_digest
        ) as said:
            data = said.content
        digest = _digest(data)
        if by_digest and digest != reference:
            raise Corrupt(
                f"{repository}@{reference} is not what its name says",
                where=f"location {self._session.name}",
                why=f"the digest of what the registry gave is {digest}",
            )
        try:
            document = json.loads(data)
        except ValueError:
            document = None
        return Manifest(digest, data, document if isinstance(document, dict) else {})

    def put_manifest(self, repository: str, reference: str, document: dict[str, Any]) -> Manifest:
        """Equal documents, equal digests."""
        data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
        headers = {"Content-Type": document["mediaType"]}
        url = f"{repository}/manifests/{reference}"
        with self._session.call("PUT", url, f"tagging {reference}", {201, 202}, headers, data):
            return Manifest(_digest(data), data, document)

    def delete_manifest(self, repository: str, digest: str) -> None:
        """Idempotent. Raises Failed where the registry deletes nothing."""
        with contextlib.suppress(NotFound):
            self._session.call(
                "DELETE", f"{repository}/manifests/{digest}", f"deleting {digest}", {202}
            )

    def repositories(self) -> Iterator[str]:
        """All of them, in every page."""
        try:
            yield from self._pages("_catalog?n=1000", "repositories")
        except NotFound as error:
            raise CannotTell(
                f"{self._session.host} does not say which repositories it has",
                where=error.where,
                why=error.why,
                hint="docs/how-to/oci.md says what works without that",
            ) from error

    def tags(self, repository: str) -> Iterator[str]:
        """All tags; none where there is no such repository."""
        with contextlib.suppress(NotFound):
            yield from self._pages(f"{repository}/tags/list?n=1000", "tags")

    def blob(self, repository: str, digest: str, size: int) -> Iterator[bytes]:
        """A blob piece by piece; a connection that breaks is taken up where it broke. Raises
        NotFound. Whoever reads hashes: *size* only tells an end from a connection that broke, where
        the registry does not say how long its answer is."""
        url, what = f"{repository}/blobs/{digest}", f"reading {digest}"
        at, in_vain, why = 0, 0, ""
        while in_vain < IN_VAIN:
            before = at
            # Not compressed on the way: ranges and lengths would be of something else.
            headers = {"Accept-Encoding": "identity"}
            if at:
                headers["Range"] = f"bytes={at}-"
            with self._session.call("GET", url, what, {200, 206}, headers) as said:
                position = at if said.status_code == 206 else 0  # not all registries know ranges
                try:
                    for data in _arriving(said):
                        new = data[max(0, at - position) :]
                        position += len(data)
                        at += len(new)
                        if new:
                            yield new
                    if at >= size or _says_its_length(said):
                        return
                    why = "it ended early"
                except _Broken as error:
                    if at >= size:
                        return
                    why = str(error)
            in_vain = 0 if at > before else in_vain + 1
        raise CannotTell(
            f"{digest} could not be read to its end",
            where=f"location {self._session.name}",
            why=f"the connection broke at byte {at:,} of {size:,}, {in_vain} times in a row with "
            f"nothing new read ({why})",
            hint="type the command again later",
        )

    def _pages(self, url: str, key: str) -> Iterator[str]:
        """Raises NotFound where the first page is not there: one that is missing later is part of a
        list that cannot be read (P3)."""
        first = True
        while url:
            try:
                names, url = self._page(url, key)
            except (NotFound, Failed) as error:
                if first and isinstance(error, NotFound):
                    raise
                raise CannotTell(
                    f"{'no' if first else 'not all'} {key} could be listed",
                    where=error.where,
                    why=f"{error.what}: {error.why}",
                    hint=error.hint,
                ) from error
            yield from names
            first = False

    def _page(self, url: str, key: str) -> tuple[list[str], str]:
        """The names of a page, and where the next one is: nowhere where this is the last."""

        def attempt() -> tuple[list[str], str]:
            said = self._session.send("GET", url, {}, None)
            if said.status_code != 200:
                raise Answer(said)
            try:
                names = [str(each) for each in said.json().get(key) or ()]
            except (ValueError, AttributeError, TypeError):
                kind = said.headers.get("Content-Type", "nothing known")
                raise CannotTell(
                    f"listing {key} in {self._session.url} did not work",
                    where=f"location {self._session.name}",
                    why=f"{self._session.host} answers with what is no list of them, of the "
                    f"type {kind}",
                    hint="`url` in imagectl.yaml says which registry is meant",
                ) from None
            after = re.search(r'<([^>]*)>;\s*rel="?next"?', said.headers.get("Link", ""))
            return names, self._session.next(said, after[1]) if after else ""

        return self._session.run(f"listing {key}", attempt, may_be_new=key == "tags")


def _says_its_length(said: requests.Response) -> bool:
    return "Content-Length" in said.headers or "Transfer-Encoding" in said.headers


class _Broken(Exception):
    """The connection broke before the end of what an answer holds."""


def _arriving(said: requests.Response) -> Iterator[bytes]:
    """What an answer holds, as it arrives: what came before the connection broke is not lost.
    Raises _Broken."""
    from urllib3.exceptions import HTTPError

    try:
        while data := said.raw.read1(READ, decode_content=True):
            yield data
    except (HTTPError, OSError) as error:
        raise _Broken(type(error).__name__) from None


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
