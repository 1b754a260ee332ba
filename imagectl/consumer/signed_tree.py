"""A published tree as a consumer reads it: nothing is believed that is not signed (P10).

Promises: what is read belongs together and is not older than what this cache has seen before; each
document has the bytes that were signed for; a server that does not answer is told from one that
lies. Where it does not answer, what was seen last holds until its signatures run out, and a notice
says so: consumers work while every server of ours is down.

Whose signatures count is in the root that the consumer brings along; there is no trust on first
use. The layout is ``formats.tuf_roles``.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import threading
from collections.abc import Callable, Collection, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from tuf.api.exceptions import (
    DownloadError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    RepositoryError,
)
from tuf.api.metadata import Root, TargetFile, Targets

from imagectl.consumer.cache import Cache, State
from imagectl.consumer.fetching import (
    CachedOnly,
    Known,
    TreeFetcher,
    tree_url,
    usable_etag,
    without_login,
)
from imagectl.consumer.troubles import CLOCK_SLACK, refusal
from imagectl.consumer.updating import DurableUpdater
from imagectl.errors import CannotTell, Corrupt, ImagectlError
from imagectl.formats.tuf_roles import METADATA, TIMESTAMP_PATH, target_path, version_path
from imagectl.model.names import Sha256
from imagectl.policy.wording import moment, span

T = TypeVar("T")

DOCUMENT_BYTES = 4 << 20
"""Longest document of a version. That of one with a hundred placements has 30 kB."""

LIST_SECONDS = 100.0
"""How long the signed lists may take, all together: less than others wait for the cache."""

REMEMBERED = 128 << 20
"""How many bytes of documents are kept in memory, as parsed, which takes some three times as much;
past that all are forgotten. The indexes of a million versions have 90 MB."""


class SignedFiles:
    """The files of one state of a tree, verified. ``notices``: what people should know of it.

    Made by ``open_files``. Safe to use from several threads.
    """

    def __init__(
        self,
        url: str,
        updater: DurableUpdater,
        cache: Cache,
        fetcher: TreeFetcher | None,
        now: datetime,
        notices: tuple[str, ...],
    ) -> None:
        self.url = url
        self.notices = notices
        self._updater = updater
        self._cache = cache
        self._fetcher = fetcher
        self._now = now
        self._alone = threading.RLock()
        self._found: dict[str, TargetFile | None] = {}
        self._parsed: dict[tuple[str, str], object] = {}
        self._remembered = 0

    @property
    def expires(self) -> datetime:
        """When the first of the signatures runs out that were needed so far."""
        return self._updater.expires

    @property
    def said(self) -> object:
        """What the tree says of itself beside its lists: see ``formats.tuf_roles.SHOWN``."""
        return self._updater.said

    @property
    def offline(self) -> bool:
        """Whether this is what was seen last, because the tree cannot be reached."""
        return self._fetcher is None

    @property
    def requests(self) -> int:
        """How many files were asked for so far."""
        return self._fetcher.requests if self._fetcher is not None else 0

    def roles(self) -> Collection[str]:
        """Who has signed documents, in the order in which they are asked."""
        return self._updater.delegated

    def signed(self, name: str) -> bool:
        """Whether there is a document of that name."""
        return self._find(name) is not None

    def names(self, role: str) -> Collection[str]:
        """The names of all the documents that a role has signed."""
        with self._changing():
            return self._updater.documents_of(role)

    def signed_by(self, role: str) -> Root | Targets | None:
        """What a role says; None where nothing was ever published of it."""
        with self._changing():
            return self._updater.signed_by(role)

    def target(self, name: str, parse: Callable[[bytes, str], T]) -> T | None:
        """The document of that name, read by *parse*; None where nobody has signed one.

        *parse* gets its bytes, which were checked, and its address for messages.
        """
        found = self._find(name)
        if found is None:
            return None
        digest = found.hashes.get("sha256")
        if digest is None:
            where = f"{shown(self.url)}/{name}"
            raise _changed(where, "whoever signed it did not say which sha256 it has")
        path = target_path(name, Sha256(digest))
        return self._once(name, path, Sha256(digest), found.length, parse)

    def document(self, digest: Sha256, parse: Callable[[bytes, str], T]) -> T:
        """The version's document with that digest, which another document names."""
        return self._once("", version_path(digest), digest, DOCUMENT_BYTES, parse)

    def named(self, path: str, digest: Sha256, size: int) -> bytes:
        """The file of that size which a signed document names by its digest."""
        return self._read(path, digest, size)

    def _find(self, name: str) -> TargetFile | None:
        if name not in self._found:
            with self._changing():
                self._found[name] = self._updater.find(name)
        return self._found[name]

    def _once(
        self, name: str, path: str, digest: Sha256, limit: int, parse: Callable[[bytes, str], T]
    ) -> T:
        """What *parse* makes of the file; each name has one parser, and each digest one result."""
        known = self._parsed.get((name, digest))
        if known is not None:
            return known  # type: ignore[return-value]
        data = self._read(path, digest, limit)
        made = parse(data, f"{shown(self.url)}/{path}")
        with self._alone:
            self._remembered += len(data)
            if self._remembered > REMEMBERED:
                self._parsed.clear()
                self._remembered = len(data)
            self._parsed[name, digest] = made
        return made

    def close(self) -> None:
        """Close connections. What was read can still be asked for."""
        if self._fetcher is not None:
            self._fetcher.close()

    def _read(self, path: str, digest: Sha256, limit: int) -> bytes:
        kept = self._cache.document(digest) if self._cache.documents else None
        if kept is not None:
            return kept
        where = f"{shown(self.url)}/{path}"
        if self._fetcher is None:
            raise CannotTell(
                f"{where} is not among what was fetched before",
                where=where,
                why="the catalog cannot be reached, and this document is needed for the first time",
                hint="try again once it can be reached",
            )
        with self._alone:
            try:
                data = self._fetcher.download_bytes(f"{self.url}/{path}", limit)
            except DownloadLengthMismatchError as error:
                raise _changed(where, str(error)) from error
            except DownloadError as error:
                raise refusal(error, where, self._now) from error
            found = hashlib.sha256(data).hexdigest()
            if found != digest:
                raise _changed(where, f"its sha256 is {found}, and {digest} was signed")
            if self._cache.documents:
                with self._cache.locked():
                    self._cache.keep(digest, data)
        return data

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Signed lists may be fetched here: alone with the cache, and refusals in our words."""
        with self._alone, contextlib.ExitStack() as stack:
            if not self._updater.has_all_lists:
                stack.enter_context(self._cache.locked())
            try:
                yield
            except (DownloadError, RepositoryError) as error:
                if self._fetcher is None:
                    raise _not_seen(self.url, error) from error
                raise refusal(
                    error, shown(self._fetcher.asked), self._now, self._fetcher.server_time
                ) from error


def open_files(
    catalog: str,
    *,
    root: bytes,
    cache: Path,
    now: datetime,
    max_stale: timedelta | None = None,
    keep_documents: bool = True,
) -> SignedFiles:
    """Look at the tree anew and verify its signed lists.

    *catalog* is a folder or an address; *root* says whose signatures count; *cache* is a folder for
    this catalog alone, where documents are kept as well if *keep_documents*. Raises CannotTell
    where it cannot be verified, or not be reached and what was seen before is older than
    *max_stale*, was never seen or has run out.
    """
    url = tree_url(catalog)
    kept = Cache(cache, documents=keep_documents)
    metadata_url = f"{url}/{METADATA}/"
    timestamp_url = f"{url}/{TIMESTAMP_PATH}"
    with kept.locked():
        state = kept.state()
        fetcher = TreeFetcher(timestamp_url, _known(kept, state, timestamp_url))
        fetcher.hurry(LIST_SECONDS)
        try:
            updater = _refreshed(kept.metadata, metadata_url, fetcher, now, root)
        except DownloadLengthMismatchError as error:
            raise refusal(error, shown(fetcher.asked), now) from error
        except DownloadError as error:
            trouble = refusal(error, shown(fetcher.asked), now)
            return _as_seen_last(url, kept, state, root, now, max_stale, trouble)
        except RepositoryError as error:
            raise refusal(error, shown(fetcher.asked), now, fetcher.server_time) from error
        body = (kept.metadata / "timestamp.json").read_bytes()
        kept.note(State(url, now, fetcher.etag, Sha256(hashlib.sha256(body).hexdigest())))
        kept.thin_out(now)
    fetcher.hurry(math.inf)
    return SignedFiles(url, updater, kept, fetcher, now, _clock_notices(state, now))


def _clock_notices(state: State | None, now: datetime) -> tuple[str, ...]:
    """What to say of a clock that went back, by which nobody can tell how old anything is."""
    if state is None or state.refreshed - now <= CLOCK_SLACK:
        return ()
    return (
        f"the clock of this machine says {moment(now)}, and the catalog was last looked at on "
        f"{moment(state.refreshed)}: a clock that goes back believes signatures that have run "
        "out; see `timedatectl`",
    )


def _refreshed(
    folder: Path, metadata_url: str, fetcher: TreeFetcher, now: datetime, root: bytes
) -> DurableUpdater:
    """The signed lists, verified anew. Raises what python-tuf does, and CannotTell for the root."""
    try:
        updater = DurableUpdater(folder, metadata_url, fetcher, now, root=root)
    except RepositoryError as error:
        raise _bad_root(error) from error
    try:
        updater.refresh()
    except ExpiredMetadataError:
        # An ETag may stand for more than one state: what has run out is not believed to be newest.
        if not fetcher.unchanged:
            raise
        fetcher.forget()
        updater = DurableUpdater(folder, metadata_url, fetcher, now, root=root)
        updater.refresh()
    return updater


def _as_seen_last(
    url: str,
    cache: Cache,
    state: State | None,
    root: bytes,
    now: datetime,
    max_stale: timedelta | None,
    trouble: ImagectlError,
) -> SignedFiles:
    """What the cache has, verified again, as if the server had nothing new."""
    timestamp = cache.metadata / "timestamp.json"
    offline = CachedOnly(f"{url}/{TIMESTAMP_PATH}", timestamp)
    updater = DurableUpdater(cache.metadata, f"{url}/{METADATA}/", offline, now, root=root)
    try:
        updater.refresh()
    except (DownloadError, RepositoryError) as error:
        if not timestamp.exists():
            raise trouble from error
        raise CannotTell(
            f"{shown(url)} cannot be reached, and what was seen before does not hold any more",
            where=trouble.where,
            why=f"{trouble.why}; of what was seen before, {_why_not(error)}",
            hint="try again once it can be reached",
        ) from error
    clock = _clock_notices(state, now)
    age = now - state.refreshed if state is not None and not clock else None
    if max_stale is not None and (age is None or age > max_stale):
        ago = f"{span(age)} ago" if age is not None else "nobody knows when"
        allowed = f"max_stale allows {span(max_stale)}"
        raise CannotTell(
            f"{shown(url)} cannot be reached, and what was seen of it is too old",
            where=trouble.where,
            why="; ".join((trouble.why, f"it was last reached {ago}, and {allowed}", *clock)),
            hint="try again once it can be reached, or allow a longer max_stale",
        )
    ago = f"{span(age)} ago" if age is not None else "some time ago"
    notice = (
        f"{shown(url)} cannot be reached ({trouble.why}): this is what it said {ago}; "
        f"that holds until {moment(updater.expires)}"
    )
    return SignedFiles(url, updater, cache, None, now, (notice, *clock))


def _known(cache: Cache, state: State | None, timestamp_url: str) -> Known | None:
    etag = usable_etag(state.etag) if state is not None else None
    if state is None or etag is None or not timestamp_url.startswith(f"{state.url}/"):
        return None
    try:
        body = (cache.metadata / "timestamp.json").read_bytes()
    except OSError:
        return None
    if hashlib.sha256(body).hexdigest() != state.timestamp:
        return None
    return Known(timestamp_url, etag, body)


def shown(url: str) -> str:
    """An address as people write it: a folder without ``file:``, and no password."""
    from urllib.parse import unquote

    if url.startswith("file://"):
        return unquote(url.removeprefix("file://"))
    return without_login(url)


def _why_not(error: Exception) -> str:
    if isinstance(error, DownloadError):
        return "not all of it was fetched"
    return f"the signatures do not hold any more ({error})"


def _not_seen(url: str, error: Exception) -> CannotTell:
    return CannotTell(
        f"{shown(url)} cannot be reached, and what was seen before is not enough",
        where=shown(url),
        why=_why_not(error),
        hint="try again once it can be reached",
    )


def _changed(where: str, why: str) -> Corrupt:
    return Corrupt(
        f"{where} was changed after it was published",
        where=where,
        why=why,
        hint="nothing of it is used; whoever publishes the catalog types "
        "`imagectl catalog publish`, which writes it again",
    )


def _bad_root(error: Exception) -> CannotTell:
    return CannotTell(
        "that root says nothing that can be trusted",
        why=str(error),
        hint="take catalog/root.json from the repository of whoever publishes the catalog",
    )
