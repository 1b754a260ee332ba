"""A published tree in a bucket: of S3, of whatever speaks it, or of Google Cloud Storage.

A bucket has no locks, and nothing here pretends to have one. What keeps publishers apart are three
conditions that the bucket itself checks:

- ``timestamp.json`` is replaced only where it is still the one that was read (``If-Match``, or the
  object's generation): of two publishers that read the same state one wins, and the other is told.
- Metadata, which has a number and no digest in its name, is created and never replaced
  (``If-None-Match: *``): no publisher can change what another one is about to name.
- Who removes old files says so in a mark first, and lists what is there after that. Who claims
  files, and then wants to name an old one again, looks for that mark. So of two that meet at least
  one sees the other.

Credentials, region and endpoint are those of the environment, in the words of the provider's own
tools: ``AWS_ACCESS_KEY_ID``, ``GOOGLE_APPLICATION_CREDENTIALS``, ...
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagectl.adapters.published.place import side_by_side
from imagectl.errors import CannotTell, Conflict, Denial, Denied, ImagectlError
from imagectl.formats.tuf_roles import METADATA, TIMESTAMP_PATH

if TYPE_CHECKING:
    from obstore import PutMode, UpdateVersion
    from obstore.store import ObjectStore

    from imagectl.model.place import Bucket

FOR_EVER = "public, max-age=31536000, immutable"
"""What browsers and CDNs are told of a file that never changes: RFC 9111 and RFC 8246. S3 and Cloud
Storage send it as they were given it."""
NEVER = "no-cache"
"""Of the one that does: they may keep it, and ask each time whether it is still that."""

MARK = ".thinning"
"""There, and empty, while somebody removes old files."""
MARK_HOLDS = timedelta(minutes=10)
"""After that long whoever made a mark was killed. Nobody removes anything after half of it."""
SURPLUS = 10
"""How many states too many are worth looking for what may go: that takes some hundred requests."""

MANY = 200
"""For more files than that a listing of all of them is cheaper than a question for each."""

RETRY_SECONDS = 60.0
"""For how long a bucket that does not answer is asked again: it is given 30 s for an answer."""
SILENT = timedelta(seconds=20)
"""What has taken that long and failed is not asked again for another RETRY_SECONDS: a rollback asks
three times, and those whose trees answer wait for it."""
TURN_SECONDS = 120.0
"""How long to wait for another process of this machine that is publishing."""


class BucketPlace:
    """``place.Place`` on a bucket. Processes of one machine take *turns*, by a lock on that file,
    so that keys are made once; those of others learn it from the bucket. *clock*: the time now."""

    def __init__(self, bucket: Bucket, turns: Path, clock: Callable[[], datetime]) -> None:
        self._bucket = bucket
        self._turns = turns
        self._clock = clock
        self._opening = threading.Lock()
        self._opened: ObjectStore | None = None
        self._seen: tuple[bytes, UpdateVersion] | None = None
        self._until: datetime | None = None
        self._silent: tuple[datetime, CannotTell] | None = None
        """When it last kept silent, and how that was told."""

    @property
    def where(self) -> str:
        return str(self._bucket)

    @property
    def url(self) -> str:
        return str(self._bucket)

    def read(self, path: str) -> bytes | None:
        import obstore

        data: bytes | None = None
        with self._naming(path, "read"), contextlib.suppress(FileNotFoundError):
            found = obstore.get(self._store(), path)
            data = bytes(found.bytes())
            if path == TIMESTAMP_PATH:
                self._seen = (data, _version(found.meta))
        if data is None and path == TIMESTAMP_PATH:
            # A bucket that is not there is not an empty tree (P2): only a listing tells.
            self.names(METADATA)
        return data

    def sizes(self, paths: Collection[str]) -> Mapping[str, int]:
        import obstore

        if len(paths) > MANY:
            with self._naming("", "listed"):
                return {
                    each["path"]: each["size"]
                    for page in obstore.list(self._store())
                    for each in page
                }
        found = side_by_side(lambda path: (path, self._facts(path)), paths)
        return {path: facts["size"] for path, facts in found if facts is not None}

    def write(self, path: str, data: bytes) -> None:
        with self._naming(path, "written"):
            self._put(path, data, "overwrite")

    def claim(self, path: str, data: bytes) -> None:
        from obstore.exceptions import AlreadyExistsError

        with self._naming(path, "written"):
            try:
                self._put(path, data, "create")
            except AlreadyExistsError:
                pass  # maybe it is this very one: the answer to it was lost
            else:
                return
        if self.read(path) != data:
            raise Conflict(
                f"another process publishes to {self.where}, or was killed there",
                where=f"{self.where}/{path}",
                why="it has written that file for a state of its own",
                hint="`imagectl catalog publish` again; where it stays so and nobody publishes, "
                "remove that file first",
            )

    def replace(self, path: str, data: bytes, before: bytes | None) -> None:
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode: PutMode = "create"
        if before is not None:
            if self._seen is None or self._seen[0] != before:
                self.read(path)
            if self._seen is None or self._seen[0] != before:
                raise self._replaced(path)
            mode = self._seen[1]
        trouble: ImagectlError | None = None
        try:
            with self._naming(path, "written"):
                try:
                    self._put(path, data, mode)
                except (AlreadyExistsError, PreconditionError):
                    trouble = self._replaced(path)
        except CannotTell as error:
            trouble = error
        # An answer that was lost, or a request that was sent again: what is there now decides.
        if trouble is not None and self.read(path) != data:
            raise trouble

    def names(self, folder: str) -> Collection[str]:
        import obstore

        with self._naming(folder, "listed"):
            found = obstore.list_with_delimiter(self._store(), folder)
            return [each["path"].rpartition("/")[2] for each in found["objects"]]

    def remove(self, path: str) -> None:
        import obstore

        if self._until is not None and self._clock() > self._until:
            raise Conflict(f"removing old files of {self.where} takes too long; it goes on later")
        with self._naming(path, "removed"), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store(), path)

    @contextlib.contextmanager
    def locked(self, needed: int) -> Iterator[None]:
        from filelock import FileLock, Timeout

        from imagectl.adapters.durable import make_folder, naming_failures

        turn = contextlib.ExitStack()
        with naming_failures("publishing the catalog", self._turns.parent):
            make_folder(self._turns.parent)
            try:
                turn.enter_context(FileLock(self._turns, timeout=TURN_SECONDS))
            except Timeout:
                raise Conflict(
                    f"another process of this machine has been publishing for {TURN_SECONDS:g} s",
                    where=str(self._turns),
                    hint="`imagectl catalog publish` once it has ended",
                ) from None
        with turn:
            yield

    @contextlib.contextmanager
    def thinning(self, surplus: int) -> Iterator[bool]:
        """Nothing is removed without the permission to, and nobody is harmed by what stays."""
        may = False
        try:
            may = surplus >= SURPLUS and self._mark()
            self._until = self._clock() + MARK_HOLDS / 2
            with contextlib.suppress(CannotTell, Conflict):
                yield may
        finally:
            self._until = None
            if may:
                self._unmark()

    def settled(self) -> None:
        if self._holds(self._facts(MARK)):
            raise Conflict(
                f"another process removes old files of {self.where} just now",
                where=f"{self.where}/{MARK}",
                why="one of them would be needed again",
                hint=f"`imagectl catalog publish` in a minute; where that one was killed, in "
                f"{MARK_HOLDS.seconds // 60} minutes",
            )

    def _mark(self) -> bool:
        """Make the mark; False where there is another's, or none can be made."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode: PutMode = "create"
        try:
            known = self._facts(MARK)
            if self._holds(known):
                return False
            if known is not None:
                mode = _version(known)
            with self._naming(MARK, "written"):
                try:
                    self._put(MARK, b"", mode)
                except (AlreadyExistsError, PreconditionError):
                    return False
        except CannotTell:
            return False
        return True

    def _unmark(self) -> None:
        try:
            self.remove(MARK)
        except CannotTell:  # who may not remove files may not remove that one either
            with contextlib.suppress(CannotTell), self._naming(MARK, "written"):
                self._put(MARK, b"over", "overwrite")

    def _holds(self, mark: Any) -> bool:
        return (
            mark is not None
            and mark["size"] == 0
            and self._clock() - mark["last_modified"] < MARK_HOLDS
        )

    def _facts(self, path: str) -> Any:
        """What there is to know of an object without reading it; None where it is not there."""
        import obstore

        with self._naming(path, "read"):
            try:
                return obstore.head(self._store(), path)
            except FileNotFoundError:
                return None

    def _put(self, path: str, data: bytes, mode: PutMode) -> None:
        import obstore

        obstore.put(
            self._store(),
            path,
            data,
            mode=mode,
            attributes={
                "Content-Type": "application/json",
                "Cache-Control": NEVER if path in (TIMESTAMP_PATH, MARK) else FOR_EVER,
            },
            use_multipart=False,
        )

    def _replaced(self, path: str) -> Conflict:
        return Conflict(
            f"somebody else has published to {self.where} meanwhile",
            where=f"{self.where}/{path}",
            why="it is not what it was when this began; what they published stays",
            hint="`imagectl catalog publish`",
        )

    def _store(self) -> ObjectStore:
        from obstore.store import from_url

        with self._opening:
            if self._opened is None:
                self._opened = from_url(
                    str(self._bucket),
                    retry_config={
                        "max_retries": 5,
                        "retry_timeout": timedelta(seconds=RETRY_SECONDS),
                    },
                )
            return self._opened

    @contextlib.contextmanager
    def _naming(self, path: str, done: str) -> Iterator[None]:
        """Turn what the bucket says into an error that names it."""
        from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

        where = f"{self.where}/{path}" if path else self.where
        began = self._clock()
        if self._silent is not None and began - self._silent[0] < timedelta(seconds=RETRY_SECONDS):
            raise self._silent[1]
        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError) as error:
            wrong = isinstance(error, UnauthenticatedError)
            raise Denied(
                f"the published catalog in {self.where} cannot be {done}: it is not allowed",
                denial=Denial.WRONG if wrong else Denial.TOO_NARROW,
                where=where,
                why=_said(error),
                hint="see the credentials in the environment; docs/how-to/publish-to-a-bucket.md "
                "lists what they must be allowed",
            ) from error
        except (BaseError, OSError) as error:
            trouble = CannotTell(
                f"the published catalog in {self.where} cannot be {done}",
                where=where,
                why=_said(error),
                hint="check the network, the bucket's name and region, and the credentials in the "
                "environment",
            )
            if (now := self._clock()) - began >= SILENT:
                self._silent = now, trouble
            raise trouble from error


def _version(facts: Any) -> UpdateVersion:
    """What the bucket calls the state of an object that it told these facts of."""
    found: UpdateVersion = {}
    if facts["e_tag"] is not None:
        found["e_tag"] = facts["e_tag"]
    if facts["version"] is not None:
        found["version"] = facts["version"]
    return found


def _said(error: Exception) -> str:
    """The bucket's own words, without what the library puts around them."""
    text = str(error).partition("Debug source:")[0]
    status = re.search(r"status code: (\d{3}[A-Za-z ]*)", text)
    if status is None:
        return " ".join(text.split())[:300]
    code = re.search(r"<Code>(\w+)</Code>", text)
    return f"it answers {status[1].strip()}" + (f" ({code[1]})" if code else "")
