"""The distribution protocol of OCI registries, as far as artifacts need it.

https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md. oras finds what ``docker
login`` has left; the requests are made here, those to token servers too, so that each is counted,
limited, tried again where that may help, and refused in words of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin, urlsplit

from imagectl.adapters.durable import make_folder, write
from imagectl.adapters.locations.calls import Again, Calls
from imagectl.errors import (
    CannotTell,
    Corrupt,
    Denial,
    Denied,
    Failed,
    ImagectlError,
    NoSpace,
    NotFound,
)
from imagectl.model.image import SecretRef
from imagectl.model.names import LocationName, Sha256
from imagectl.model.place import OciLocation as Settings
from imagectl.services.ports.locations import Moved

if TYPE_CHECKING:
    import requests

    from imagectl.adapters.locations import Surroundings

T = TypeVar("T")

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
_ACCEPT = f"{MANIFEST}, {INDEX}, {DOCKER_MANIFEST}, {DOCKER_LIST}, */*"
"""All that a tag may name: what is not asked for is answered as if it were not there, and would be
overwritten (P2)."""
BYTES = "application/octet-stream"
READ = 1 << 20
IN_VAIN = 3
"""How often a connection may break in a row with nothing new read."""
CHUNK = 16 << 20
"""Bytes of one piece of an upload; in memory meanwhile."""
CALLS_PER_SECOND = 50.0
TIMEOUT = (10.0, 60.0)
"""Seconds until a server has let us in, and until it says something (more)."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or an index as the registry has it. ``digest`` is that of ``data``."""

    digest: str
    data: bytes
    document: dict[str, Any]


class Answer(Exception):
    """An answer that is an error. Its words are the registry's, never a header."""

    def __init__(self, response: requests.Response) -> None:
        self.status = response.status_code
        self.codes: frozenset[str] = frozenset()
        said = ""
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            errors = response.json()["errors"]
            self.codes = frozenset(str(each.get("code", "")) for each in errors)
            said = "; ".join(f"{each.get('code')}: {each.get('message', '')}" for each in errors)
        after = response.headers.get("Retry-After", "")
        self.after = float(after) if after.isdigit() else None
        challenge = response.headers.get("WWW-Authenticate", "")
        self.narrow = "insufficient_scope" in challenge
        super().__init__(f"{self.status}: {' '.join(said.split())[:400] or response.reason}")


class Registry:
    """One registry. Every method raises Denied, Throttled and CannotTell."""

    def __init__(self, name: LocationName, settings: Settings, around: Surroundings) -> None:
        self._name = name
        self._settings = settings
        self._host = settings.url.split("/", 1)[0]
        self._base = f"{'http' if settings.insecure else 'https'}://{self._host}/v2/"
        self._around = around
        self.calls = Calls(
            name, around.state, per_second=CALLS_PER_SECOND, deadline=around.patience
        )
        self._opening = threading.Lock()
        self._session: requests.Session | None = None
        self._auth: Any = None
        self._header: str | None = None
        self.identity = "nobody"

    def manifest(self, repository: str, reference: str) -> Manifest:
        """By tag or digest, of whatever type, checked against the digest. Raises NotFound,
        Corrupt."""
        accept = {"Accept": _ACCEPT}
        url = f"{repository}/manifests/{reference}"
        by_digest = reference.startswith("sha256:")
        # The first tag makes the repository; what has a digest has been in one.
        with self._call(
            "GET", url, f"reading {reference}", {200}, accept, may_be_new=not by_digest
        ) as said:
            data = said.content
        digest = _digest(data)
        if by_digest and digest != reference:
            raise Corrupt(
                f"{repository}@{reference} is not what its name says",
                where=f"location {self._name}",
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
        with self._call("PUT", url, f"tagging {reference}", {201, 202}, headers, data):
            return Manifest(_digest(data), data, document)

    def delete_manifest(self, repository: str, digest: str) -> None:
        """Idempotent. Raises Failed where the registry deletes nothing."""
        with contextlib.suppress(NotFound):
            self._call("DELETE", f"{repository}/manifests/{digest}", f"deleting {digest}", {202})

    def repositories(self) -> Iterator[str]:
        """All of them, in every page."""
        try:
            yield from self._pages("_catalog?n=1000", "repositories")
        except NotFound as error:
            raise CannotTell(
                f"{self._host} does not say which repositories it has",
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
            with self._call("GET", url, what, {200, 206}, headers) as said:
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
            where=f"location {self._name}",
            why=f"the connection broke at byte {at:,} of {size:,}, {in_vain} times in a row with "
            f"nothing new read ({why})",
            hint="type the command again later",
        )

    def put_blob(self, repository: str, digest: str, data: bytes) -> None:
        """A small one. Idempotent."""
        if self._has_blob(repository, digest):
            return
        url = f"{repository}/blobs/uploads/"
        with self._call("POST", url, "beginning an upload", {202}) as said:
            where = self._location(said)
        self._finish(repository, digest, where, "uploading", data)

    def upload(self, repository: str, sha256: Sha256, source: Path, moved: Moved) -> None:
        """A large one, in pieces, on where the last upload of it broke off. Idempotent. Raises
        Corrupt where *source* is not that."""
        digest, size = f"sha256:{sha256}", source.stat().st_size
        if self._has_blob(repository, digest):
            moved(size)
            return
        what = f"uploading {source.name}"
        note = self._around.state / "uploads" / f"{self._name}-{sha256}.json"
        at, where = self._resumed(repository, note)
        with source.open("rb") as file:
            while where is None or at < size:
                if where is None:
                    url = f"{repository}/blobs/uploads/"
                    with self._call("POST", url, what, {202}) as said:
                        at, where = 0, self._location(said)
                    make_folder(note.parent)
                file.seek(at)
                data = file.read(CHUNK)
                # Where it is may hold a secret of the registry's: the folder is private.
                write(note.parent, note, json.dumps({"where": where}).encode(), 0o600)
                try:
                    at, where = self._piece(where, at, data, what)
                except (CannotTell, NotFound):
                    found, again_at = self._resumed(repository, note)
                    if again_at is None or found <= at:
                        raise
                    at, where = found, again_at
                moved(at)
        self._finish(repository, digest, where, what, b"")
        note.unlink(missing_ok=True)

    def probe(self, repository: str) -> None:
        """Log in, begin an upload and give it up."""
        url = f"{repository}/blobs/uploads/"
        with self._call("POST", url, "beginning an upload", {202}) as said:
            where = self._location(said)
        with contextlib.suppress(NotFound, Failed):  # not all registries can give one up
            self._call("DELETE", where, "giving it up", {204})

    def _piece(self, where: str, at: int, data: bytes, what: str) -> tuple[int, str]:
        """One piece of an upload; where the next begins. What came of a piece whose connection
        broke, the registry knows."""
        session = self._open()
        first = True

        def attempt() -> tuple[int, str]:
            nonlocal where, first
            done = 0
            if not first:
                status = self._send(session, "GET", where, {}, None)
                if status.status_code not in (200, 204):
                    raise Answer(status)
                done, where = _received(status) - at, self._location(status)
            first = False
            if done < len(data):
                rest = data[done:]
                span = f"{at + done}-{at + len(data) - 1}"
                headers = {"Content-Type": BYTES, "Content-Range": span}
                said = self._send(session, "PATCH", where, headers, rest)
                if said.status_code not in (202, 201, 204):
                    raise Answer(said)
                where = self._location(said)
            return at + len(data), where

        return self._run(f"{what} at byte {at:,}", attempt)

    def _resumed(self, repository: str, note: Path) -> tuple[int, str | None]:
        """How far the upload got that was broken off, and where it goes on."""
        try:
            where = str(json.loads(note.read_bytes())["where"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0, None
        if urlsplit(where).netloc != self._host or f"/{repository}/" not in where:
            return 0, None
        try:
            with self._call("GET", where, "looking for what was uploaded", {200, 204}) as said:
                return _received(said), self._location(said)
        except (NotFound, Failed):
            return 0, None

    def _finish(self, repository: str, digest: str, where: str, what: str, data: bytes) -> None:
        url = f"{where}{'&' if '?' in where else '?'}digest={digest}"
        try:
            self._call("PUT", url, what, {201, 204}, {"Content-Type": BYTES}, data)
        except NotFound:
            # It was finished, and the answer lost; or somebody ended it.
            if not self._has_blob(repository, digest):
                raise CannotTell(
                    f"{what}: the upload is gone",
                    where=f"location {self._name}",
                    hint="type the command again",
                ) from None

    def _has_blob(self, repository: str, digest: str) -> bool:
        try:
            self._call("HEAD", f"{repository}/blobs/{digest}", f"looking for {digest}", {200})
        except NotFound:
            return False
        return True

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
        session = self._open()

        def attempt() -> tuple[list[str], str]:
            said = self._send(session, "GET", url, {}, None)
            if said.status_code != 200:
                raise Answer(said)
            try:
                names = [str(each) for each in said.json().get(key) or ()]
            except (ValueError, AttributeError, TypeError):
                kind = said.headers.get("Content-Type", "nothing known")
                raise CannotTell(
                    f"listing {key} in {self._settings.url} did not work",
                    where=f"location {self._name}",
                    why=f"{self._host} answers with what is no list of them, of the type {kind}",
                    hint="`url` in imagectl.yaml says which registry is meant",
                ) from None
            after = re.search(r'<([^>]*)>;\s*rel="?next"?', said.headers.get("Link", ""))
            return names, self._next(said, after[1]) if after else ""

        return self._run(f"listing {key}", attempt, may_be_new=key == "tags")

    def _call(
        self,
        method: str,
        url: str,
        what: str,
        fine: set[int],
        headers: dict[str, str] | None = None,
        data: bytes | None = None,
        *,
        may_be_new: bool = False,
    ) -> requests.Response:
        session = self._open()

        def attempt() -> requests.Response:
            said = self._send(session, method, url, headers or {}, data)
            if said.status_code not in fine:
                with said:
                    raise Answer(said)
            return said

        return self._run(what, attempt, may_be_new=may_be_new)

    def _send(
        self,
        session: requests.Session,
        method: str,
        url: str,
        headers: dict[str, str],
        data: bytes | None,
    ) -> requests.Response:
        target = urljoin(self._base, url)
        for again_after_login in (True, False):
            # An upload or a page may be on another host, which is not who the login is for.
            known = self._header is not None and self._is_own(target)
            own = {"Authorization": self._header} if known else {}
            said = session.request(
                method,
                target,
                headers={**headers, **own},
                data=data,
                stream="/blobs/sha256:" in url,
                timeout=TIMEOUT,
                auth=_as_it_is,
            )
            # Tokens are for one repository, and for minutes: each 401 says what it wants.
            if said.status_code != 401 or not again_after_login or not self._is_own(said.url):
                return said
            if not self._log_in(session, said.headers.get("WWW-Authenticate", "")):
                return said
            said.close()
        raise AssertionError("the second answer is returned")

    def _log_in(self, session: requests.Session, challenge: str) -> bool:
        from oras.auth.utils import parse_auth_header

        given = getattr(self._auth, "_basic_auth", None)
        if challenge.lower().startswith("basic"):
            self._header = f"Basic {given}" if given else None
        elif challenge.lower().startswith("bearer"):
            wanted = parse_auth_header(challenge)
            if not wanted.realm:
                return False
            self._require_encrypted("the token server", wanted.realm)
            token = self._token(session, wanted.realm, wanted.service, wanted.scope)
            self._header = f"Bearer {token}" if token else None
        return self._header is not None

    def _token(
        self, session: requests.Session, realm: str, service: str | None, scope: str | None
    ) -> str | None:
        """What its token server gives us for this; None where it gives us nothing.

        https://distribution.github.io/distribution/spec/auth/token/
        """
        given = getattr(self._auth, "_basic_auth", None)

        def attempt() -> str | None:
            said = session.get(
                realm,
                params={"service": service, "scope": scope},
                headers={"Authorization": f"Basic {given}"} if given else {},
                timeout=TIMEOUT,
                auth=_as_it_is,
            )
            if said.status_code != 200:
                raise Answer(said)
            found = said.json()
            token = found.get("token") or found.get("access_token")
            return str(token) if token else None

        try:
            return self.calls.run(f"logging in to {self._host}", attempt, again)
        except (Answer, ValueError, AttributeError):
            return None  # the registry's own refusal says what that means

    def _run(self, what: str, attempt: Callable[[], T], *, may_be_new: bool = False) -> T:
        """``may_be_new``: that there is no such repository says that there is nothing in it yet."""
        what = f"{what} in {self._settings.url}"
        import requests

        try:
            return self.calls.run(what, attempt, again)
        except Answer as error:
            raise self._meaning(what, error, may_be_new) from None
        except requests.RequestException as error:
            # Not its own words: they may hold a URL that is a secret.
            raise CannotTell(
                f"{what} did not work",
                where=f"location {self._name}",
                why=f"{type(error).__name__} while talking to {self._host}",
            ) from None

    def _meaning(self, what: str, error: Answer, may_be_new: bool) -> ImagectlError:
        where, why = f"location {self._name}", str(error)
        nobody = self.identity == "nobody"
        if error.status == 401 and not error.narrow:
            said = "it wants a login" if nobody else f"it does not accept {self.identity}"
            return Denied(
                f"{what}: {said}",
                denial=Denial.MISSING if nobody else Denial.WRONG,
                where=where,
                why=why,
                hint=f"`docker login {self._host}`, or `username` and `password` in imagectl.yaml",
            )
        if error.status in (401, 403) and not error.codes & {"QUOTA_EXCEEDED"}:
            return Denied(
                f"{what}: {self.identity} may not do that",
                denial=Denial.TOO_NARROW,
                where=where,
                why=why,
                hint="docs/how-to/oci.md lists what it must be allowed",
            )
        if error.status in (403, 413, 507):
            return NoSpace(
                f"{what}: no space left",
                where=where,
                why=why,
                hint="make room, or raise the quota, and type the command again",
            )
        if error.status == 404 and "NAME_UNKNOWN" in error.codes and not may_be_new:
            return CannotTell(
                f"{what}: the repository is not there",
                where=where,
                why=why,
                hint="`url` in imagectl.yaml says what is meant",
            )
        if error.status == 404:
            return NotFound(f"{what}: it is not there", where=where, why=why)
        if error.status == 405:
            return Failed(
                f"{what}: the registry does not do that",
                where=where,
                why=why,
                hint="deleting is switched on in the registry's own configuration"
                if what.startswith("deleting")
                else "",
            )
        if "DIGEST_INVALID" in error.codes:
            return Corrupt(
                f"{what}: other bytes arrived than were sent",
                where=where,
                why=why,
                hint="type the command again",
            )
        return Failed(f"{what} did not work", where=where, why=why)

    def _location(self, said: requests.Response) -> str:
        return self._next(said, said.headers.get("Location", ""))

    def _next(self, said: requests.Response, where: str) -> str:
        """Where an answer says that it goes on. Raises Failed."""
        try:
            target = urljoin(said.url, where) if where else ""
        except ValueError:
            target = ""
        if not target:
            raise Failed(
                f"the registry {self._host} does not say where it goes on",
                where=f"location {self._name}",
                why=f"the address that it names is {where.partition('?')[0][:200]!r}",
            )
        self._require_encrypted("the next address", target)
        return target

    def _require_encrypted(self, what: str, url: str) -> None:
        scheme = urlsplit(url).scheme
        if scheme != "https" and not (self._settings.insecure and scheme == "http"):
            raise Failed(
                f"{what} that the registry {self._host} names is not of https",
                where=f"location {self._name}",
                why=f"it is of {scheme or 'nothing'}: others could read what is sent there",
                hint="a registry behind a proxy must be told that clients reach it by https",
            )

    def _is_own(self, url: str) -> bool:
        """Whether it is the registry itself that is asked there: it alone is given the login."""
        return _server(url) == _server(self._base)

    def _open(self) -> requests.Session:
        with self._opening:
            if self._session is None:
                import requests
                from oras.auth import get_auth_backend
                from oras.container import Container

                session = requests.Session()
                settings = self._settings
                auth = get_auth_backend("token", session, settings.insecure)
                if settings.username is not None and settings.password is not None:
                    user = self._secret(settings.username)
                    auth.set_basic_auth(user, self._secret(settings.password))
                    self.identity = f"user {user}"
                else:
                    auth.load_configs(Container(settings.url))
                    if getattr(auth, "_basic_auth", None):
                        self.identity = "who `docker login` was typed for"
                self._auth, self._session = auth, session
                weakref.finalize(self, session.close)
            return self._session

    def _secret(self, ref: SecretRef) -> str:
        try:
            return self._around.secret(ref)
        except NotFound as error:
            raise Denied(
                f"there is no login for {self._host}",
                denial=Denial.MISSING,
                where=f"location {self._name}: {ref}",
                why=error.why or error.what,
                hint=error.hint,
            ) from None


def again(error: Exception) -> Again | None:
    """For ``Calls.run``: answers that pass, and connections that break."""
    if isinstance(error, Answer):
        if error.status == 429 or "TOOMANYREQUESTS" in error.codes:
            return Again(error.after, True, str(error))
        if error.status == 408 or (error.status >= 500 and error.status not in (501, 507)):
            return Again(error.after, error.after is not None, str(error))
        return None
    if isinstance(error, _broken()):
        return Again(None, False, f"the connection failed ({type(error).__name__})")
    return None


def _broken() -> tuple[type[Exception], ...]:
    from requests.exceptions import ChunkedEncodingError, ConnectionError, Timeout

    return (ConnectionError, Timeout, ChunkedEncodingError)


def _received(said: requests.Response) -> int:
    """How many bytes of an upload have arrived: ``Range: 0-N`` names the last one."""
    end = int(said.headers.get("Range", "0-0").removeprefix("bytes=").partition("-")[2] or 0)
    return end + 1 if end else 0


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


def _server(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    usual = {"http": ":80", "https": ":443"}.get(parts.scheme, "")
    return parts.scheme, parts.netloc.lower().removesuffix(usual)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """So that ``~/.netrc`` has no say: it is not one of the ways that are documented."""
    return request


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
