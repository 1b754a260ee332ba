"""Everything that a build downloads, through one proxy that remembers it (P9).

Promises:

- One build, one answer: what was answered once is answered again the same, also while it is still
  being fetched for another client.
- What is locked is answered with exactly the locked bytes, from the store or from upstream, or not
  at all. A store file that is not what its name says is moved aside and had again (P10).
- The last piece of a file is held back until all of it was found right, so no client ever has a
  whole wrong file.
- What is refused, or cannot be had, is remembered with what was going on, and ends the build
  (``Supply.check``): a build never goes on with less than it asked for.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from pathlib import Path

from imagectl.adapters.inputs.answers import Answer, headers_of, location_of, type_of
from imagectl.adapters.inputs.authority import Authority
from imagectl.adapters.inputs.connections import Address
from imagectl.adapters.inputs.debian import Archived, Indexes, Mirrors, Place, Vouched
from imagectl.adapters.inputs.network import Network, check_clock
from imagectl.adapters.inputs.proxy import Proxy, Reply, Request
from imagectl.adapters.inputs.store import EMPTY, InputStore
from imagectl.adapters.inputs.troubles import STAGE, Troubles, listing
from imagectl.adapters.inputs.upstream import PAUSES, Response
from imagectl.errors import BuildFailed, CannotTell, Corrupt, ImagectlError, NotFound
from imagectl.model.lock import (
    Access,
    Archive,
    Download,
    Index,
    Inputs,
    Package,
    sorted_inputs,
)
from imagectl.model.names import Sha256


@contextlib.contextmanager
def open_supply(
    *,
    access: Access,
    locked: Inputs,
    mirrors: Mapping[Archive, str],
    upstream: Callable[[], Mapping[Archive, str]],
    store: InputStore,
    folder: Path,
    epoch: int,
    now: Callable[[], datetime],
    reachable: Collection[Address] = (),
    environment: Mapping[str, str] = os.environ,
    pauses: Sequence[float] = PAUSES,
) -> Iterator[Supply]:
    """A supply, for as long as the block runs.

    ``mirrors``: the addresses that will be asked for, which stand for the archives; ``upstream``:
    those to fetch from now, asked for only when something must be fetched. ``folder``: private,
    with room for uncompressed indexes. ``epoch``: seconds since 1970, when the guest's clock
    begins. ``reachable``: hosts that may be asked although they are this machine, or on its link.
    ``environment`` names proxies and authorities for upstream.

    Raises NotFound, with all that is missing, where OFFLINE and the store lacks something;
    CannotTell where the store, or the shared one behind it, cannot be read or written.
    """
    if access is Access.OFFLINE:
        _require_all(locked, store, Mirrors(mirrors))
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.ExitStack() as stack:
        indexes = Indexes(folder)
        stack.callback(indexes.close)
        network = Network(upstream, reachable, environment, pauses)
        authority = Authority(folder, epoch, now())
        supply = Supply(access, locked, Mirrors(mirrors), network, store, indexes, now)
        supply.authority = folder / "authority.pem"
        supply.authority.write_bytes(authority.pem)
        proxy = Proxy(supply, authority)
        supply.port = proxy.port
        stack.callback(proxy.close)
        stack.callback(network.close)
        yield supply
        network.close()
        proxy.close()
        store.share(supply.taken().digests)


class Supply:
    """What a build is given. Programs on this machine use ``proxy``, and trust ``authority``."""

    authority: Path
    """The certificate of this build's authority, in PEM."""
    port: int

    def __init__(
        self,
        access: Access,
        locked: Inputs,
        mirrors: Mirrors,
        network: Network,
        store: InputStore,
        indexes: Indexes,
        now: Callable[[], datetime],
    ) -> None:
        self._access = access
        self._only_locked = access in (Access.LOCKED, Access.OFFLINE)
        self._mirrors = mirrors
        self._network = network
        self._store = store
        self._indexes = indexes
        self._now = now
        known = () if access is Access.RECORD else locked.all
        self._locked = {_place(each, mirrors): each for each in known}
        self._given: dict[Place, Answer] = {}
        self._sound: set[Sha256] = set()
        self._troubles = Troubles()
        self._turns: defaultdict[Place, threading.Lock] = defaultdict(threading.Lock)
        self._lock = threading.Lock()

    @property
    def proxy(self) -> str:
        """The URL of the proxy, for programs on this machine."""
        return f"http://127.0.0.1:{self.port}"

    def during(self, what: str) -> None:
        """Say what is going on now, such as ``task 'Install nginx'``, for refusals."""
        self._troubles.during = what

    def check(self) -> None:
        """Raises BuildFailed, or CannotTell or NoSpace where that is why, if anything was refused
        or could not be had."""
        self._troubles.check()

    def taken(self) -> Inputs:
        """All that was answered so far."""
        with self._lock:
            given = dict(self._given)
        return sorted_inputs(self._input(place, answer) for place, answer in given.items())

    # What the proxy calls.

    def answer(self, request: Request, reply: Reply) -> None:
        """Implements ``proxy.Answering``."""
        try:
            place = self._mirrors.place(request.url)
        except ValueError as problem:
            self.refuse(request.url, str(problem), "correct the URL that the task uses")
            reply.fail(HTTPStatus.BAD_REQUEST, f"imagectl: {problem}")
            return
        url = self._mirrors.url(place)
        with self._lock:
            turn = self._turns[place]
        with turn:
            try:
                self._answer(place, request, reply)
            except ImagectlError as problem:
                self._fail(url, problem, reply)
            except OSError as problem:
                self._fail(url, _of_this_machine(problem), reply)

    def refuse(self, url: str, why: str, hint: str) -> None:
        """Implements ``proxy.Answering``."""
        refusal = BuildFailed("a download was refused", stage=STAGE, why=why, hint=hint)
        self._troubles.remember("request", url, refusal)

    def mistake(self, problem: BaseException) -> None:
        """Implements ``proxy.Answering``."""
        self._troubles.remember(
            "mistake",
            type(problem).__name__,
            BuildFailed(
                "the proxy for downloads could not answer",
                stage=STAGE,
                why=f"{type(problem).__name__}: {problem}",
                hint="this is a mistake in imagectl; please report it",
            ),
        )

    def _fail(self, url: str, problem: ImagectlError, reply: Reply) -> None:
        self._troubles.remember("answer", url, problem)
        refused = isinstance(problem, _Unlisted)
        status = HTTPStatus.FORBIDDEN if refused else HTTPStatus.BAD_GATEWAY
        reply.fail(status, f"imagectl: {problem.what}")

    # How an answer is found.

    def _answer(self, place: Place, request: Request, reply: Reply) -> None:
        answer = self._given.get(place) or self._locked_answer(place)
        if answer is not None:
            if self._bring(place, answer, request, reply):
                self._send(place, answer, reply)
            return
        if self._only_locked:
            raise _Unlisted(
                "a download was refused: the lock does not list it",
                stage=STAGE,
                hint="`imagectl lock IMAGE` adds what a changed definition needs",
            )
        vouched = self._indexes.says(place)
        if vouched is not None and self._store_has(vouched.sha256):
            answer = Answer(HTTPStatus.OK, vouched.sha256, vouched.size, type_of(place))
            self._give(place, answer)
            self._send(place, answer, reply)
            return
        self._fetch(place, request, reply, vouched, None)

    def _locked_answer(self, place: Place) -> Answer | None:
        """What the lock says, if anything."""
        match self._locked.get(place):
            case Download() as found:
                return Answer(
                    found.status, found.sha256, found.size, found.content_type, found.location
                )
            case Index() | Package() as found:
                return Answer(HTTPStatus.OK, found.sha256, found.size, type_of(place))
            case None:
                return None

    def _bring(self, place: Place, answer: Answer, request: Request, reply: Reply) -> bool:
        """See that the answer's body is in the store; False where it was sent while fetched."""
        if answer.sha256 == EMPTY or self._store_has(answer.sha256):
            self._give(place, answer)
            return True
        if self._access is Access.OFFLINE:
            raise NotFound(
                "an input is not in the input store, or is damaged",
                why=f"sha256 {answer.sha256}; upstream is not asked in an offline build",
                hint="build once without --offline, or bring the store of another machine",
            )
        vouched = Vouched(answer.sha256, answer.size, "the lock")
        self._fetch(place, request, reply, vouched, answer.content_type)
        return False

    def _store_has(self, sha256: Sha256) -> bool:
        """Whether the store has it, sound. What is damaged here is moved aside."""
        if sha256 in self._sound or sha256 == EMPTY:
            return True
        try:
            self._store.verify(sha256)
        except NotFound:
            return False
        except Corrupt:
            self._store.set_aside(sha256)
            return False
        self._sound.add(sha256)
        return True

    def _send(self, place: Place, answer: Answer, reply: Reply) -> None:
        """Send an answer whose body is in the store."""
        if answer.sha256 == EMPTY:
            reply.begin(answer.status, headers_of(answer), 0)
            reply.finish()
            return
        path = self._store.find(answer.sha256)
        with path.open("rb") as file:
            headers = headers_of(answer, self._mirrors.url(place), file.read(2))
        reply.begin(answer.status, headers, answer.size)
        reply.send_file(path)
        reply.finish()

    def _give(self, place: Place, answer: Answer) -> None:
        """From now on this is the answer, and whatever went wrong before did no harm."""
        self._troubles.forget("answer", self._mirrors.url(place))
        if place in self._given:
            return
        if answer.sha256 != EMPTY and not self._only_locked:
            # A lock names its packages itself.
            self._indexes.learn(place, self._store.find(answer.sha256))
        with self._lock:
            self._given[place] = answer

    # What comes from upstream.

    def _fetch(
        self,
        place: Place,
        request: Request,
        reply: Reply,
        vouched: Vouched | None,
        content_type: str | None,
    ) -> None:
        """Have it from upstream. ``content_type`` is what it was before, where that is known."""
        with self._network.get(place, request.headers) as response:
            head = response.head
            if not self._only_locked:
                check_clock(head, self._now(), response.url)
            if head.status == HTTPStatus.OK:
                if content_type is None:
                    content_type = type_of(place) or head.content_type
                self._take(place, response, reply, vouched, content_type)
                return
            if vouched is not None:
                raise BuildFailed(
                    "upstream has an input no more",
                    stage=STAGE,
                    where=response.url,
                    why=f"it answers {head.status}; sha256 {vouched.sha256} is what "
                    f"{vouched.by} says",
                    hint="bring the input store of a machine that has it; or `imagectl lock "
                    "--update IMAGE`, which takes what upstream has now",
                )
            if head.status < 200 or head.status == HTTPStatus.PARTIAL_CONTENT:
                raise CannotTell(
                    "upstream gave an answer that nobody asked for", why=f"status {head.status}"
                )
            answer = Answer(
                head.status, EMPTY, 0, head.content_type, location_of(response.url, head)
            )
        self._give(place, answer)
        self._send(place, answer, reply)

    def _take(
        self,
        place: Place,
        response: Response,
        reply: Reply,
        vouched: Vouched | None,
        content_type: str,
    ) -> None:
        """Keep the body, and send it on meanwhile; its last piece only when all was found right."""
        head = response.head
        if head.encoding not in ("", "identity", "gzip", "x-gzip"):
            raise CannotTell(
                "upstream compresses an answer in a way that nobody asked for",
                why=f"Content-Encoding: {head.encoding}",
            )
        url = self._mirrors.url(place)
        held = b""
        with self._store.incoming() as file:
            for piece in response.pieces():
                file.write(piece)
                if held and (reply.begun or head.length is not None or reply.can_stream):
                    if not reply.begun:
                        partial = Answer(head.status, EMPTY, 0, content_type)
                        reply.begin(head.status, headers_of(partial, url, held), head.length)
                    reply.send(held)
                held = piece
            if vouched is not None and file.sha256 != vouched.sha256:
                raise BuildFailed(
                    "upstream has other bytes under the name of an input; they were not kept",
                    stage=STAGE,
                    where=response.url,
                    why=f"their sha256 is {file.sha256}, and {vouched.by} says {vouched.sha256}",
                    hint="another mirror may have the right ones; a mirror that is just being "
                    "updated, in an hour; else `imagectl lock --update IMAGE`",
                )
            answer = Answer(head.status, file.sha256, file.size, content_type)
            if file.sha256 != EMPTY:
                file.keep()
                self._sound.add(file.sha256)
        self._give(place, answer)
        if reply.begun:
            reply.send(held)
            reply.finish()
        else:
            self._send(place, answer, reply)

    # What is told afterwards.

    def _input(self, place: Place, answer: Answer) -> Index | Package | Download:
        known = self._locked.get(place)
        if known is not None and known.sha256 == answer.sha256:
            return known
        if isinstance(place, Archived) and answer.status == HTTPStatus.OK:
            if place.is_index:
                return Index(place.archive, place.path, answer.sha256, answer.size)
            package = self._indexes.package(place)
            if package is not None and package.sha256 == answer.sha256:
                return package
        return Download(
            self._mirrors.url(place),
            answer.status,
            answer.sha256,
            answer.size,
            answer.content_type,
            answer.location,
        )


class _Unlisted(BuildFailed):
    """The lock does not list what was asked for."""


def _place(each: Index | Package | Download, mirrors: Mirrors) -> Place:
    if isinstance(each, Download):
        return mirrors.place(each.url)
    return Archived(each.archive, each.path)


def _of_this_machine(problem: OSError) -> CannotTell:
    return CannotTell(
        "a file of this machine could not be used",
        why=f"{problem.filename or 'a download'}: {problem.strerror or problem}",
        hint="`imagectl doctor` checks each folder that imagectl writes to",
    )


def _require_all(locked: Inputs, store: InputStore, mirrors: Mirrors) -> None:
    missing = store.missing(locked.digests)
    if not missing:
        return
    names = [mirrors.url(_place(each, mirrors)) for each in locked.all if each.sha256 in missing]
    raise NotFound(
        f"{len(names)} of {len(locked.all)} inputs are not in the input store",
        where=str(store.root),
        why=listing(names),
        hint="build once without --offline, which fetches and verifies them; or bring the input "
        "store of a machine that has them",
    )
