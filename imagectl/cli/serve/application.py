"""What one worker of the server answers: files of the tree, and the API over it.

Promises: the API says what is verified and shown now, nothing else; errors are the documents that
``--json`` answers with. Ages are those of the second in which it is asked.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagectl import errors
from imagectl.adapters.clock import SystemClock
from imagectl.adapters.web.counts import ROUTES, Counts
from imagectl.adapters.web.exchange import METHODS, OPEN, Body, Reply, Request
from imagectl.adapters.web.server import told
from imagectl.adapters.web.tree_files import ANEW, TreeFiles
from imagectl.bootstrap.serving import CurrentTree, Served
from imagectl.cli.crash import InternalError
from imagectl.cli.output import Output, failure
from imagectl.cli.resolved import Given
from imagectl.cli.resolved import document as resolved
from imagectl.cli.serve.asking import IMAGE, VERSIONS, read_query, read_request
from imagectl.cli.serve.documents import (
    ChannelHead,
    Health,
    Images,
    ListedVersion,
    PublishedImage,
    Versions,
    VersionWarning,
)
from imagectl.cli.serve.metrics import exposition
from imagectl.cli.serve.openapi import document as openapi
from imagectl.cli.text import stamp
from imagectl.consumer.resolving import resolve
from imagectl.formats.tuf_roles import version_path
from imagectl.policy.resolution import no_image

if TYPE_CHECKING:
    from imagectl.consumer.tree import SignedTree

REMEMBERED = 32 << 20
"""In bytes: how much is kept of the API's answers by each worker; past that all is forgotten."""

OVERHEAD = 4096
"""In bytes, about what is kept of an answer beside its bodies."""

STATUSES: Mapping[int, HTTPStatus] = {
    1: HTTPStatus.INTERNAL_SERVER_ERROR,
    2: HTTPStatus.BAD_REQUEST,
    3: HTTPStatus.FORBIDDEN,
    4: HTTPStatus.CONFLICT,
    5: HTTPStatus.SERVICE_UNAVAILABLE,
    6: HTTPStatus.NOT_FOUND,
}
"""By exit code."""

ROUTE_OF = {
    "/v1/resolve": "resolve",
    "/v1/images": "images",
    "/v1/versions": "versions",
    "/v1/openapi.json": "openapi",
    "/metrics": "metrics",
    "/healthz": "healthz",
}
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Serving:
    """All that a worker needs. ``cache`` is a folder of the server's own; ``started`` is said by
    the last of so many workers."""

    served: Served
    cache: Path
    counts: Counts
    out: Output
    workers: int
    started: str


class Worker:
    """``adapters.web.server.Application``."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._files = TreeFiles(serving.served.folder)
        self._current = CurrentTree(serving.served, serving.cache)
        self._clock = SystemClock()
        self._known: dict[tuple[str, str], tuple[SignedTree | None, int, Body]] = {}
        self._weight = 0
        self._alone = threading.Lock()
        self._numbers = {path: ROUTES.index(name) for path, name in ROUTE_OF.items()}
        self._answers: Mapping[str, Callable[[str], Body]] = {
            "/v1/resolve": self._resolve,
            "/v1/images": self._images,
            "/v1/versions": self._versions,
            "/v1/openapi.json": self._openapi,
            "/metrics": self._metrics,
            "/healthz": self._healthz,
        }

    def ready(self) -> None:
        begun = self._serving.counts.begin()
        if begun == self._serving.workers:
            self._serving.out.say(self._serving.started)
        elif begun > self._serving.workers:
            self._serving.out.warn("a worker had ended, and was replaced")

    def warm_up(self) -> None:
        request = Request("GET", "/v1/images", "", {})
        try:
            self.answer(request)
        except Exception as problem:
            self.mistake(request, problem)

    def at_once(self, request: Request) -> Reply | None:
        if request.method not in ("GET", "HEAD"):
            return _other_method(request)
        if request.path in self._answers:
            return self._as_before(request)
        try:
            return self._files.reply(request)
        except errors.ImagectlError as problem:
            return refusal(problem)

    def _as_before(self, request: Request) -> Reply | None:
        known = self._known.get((request.path, request.query))
        if known is None:
            return None
        tree, second, body = known
        if tree is not None and (
            tree is not self._current.at_hand()
            or (second and second != int(self._clock.now().timestamp()))
        ):
            return None
        return body.reply(request)

    def takes_long(self, request: Request) -> bool:
        return request.path in ("/v1/images", "/v1/versions")

    def answer(self, request: Request) -> Reply:
        found = self._as_before(request)  # by now, of one who asked the same
        if found is not None:
            return found
        answer = self._answers[request.path]
        try:
            try:
                body = answer(request.query)
            except (errors.Corrupt, errors.CannotTell):
                if self._current.at_hand() is not None:
                    raise
                body = answer(request.query)  # it was published anew meanwhile
        except errors.ImagectlError as problem:
            return refusal(problem)
        return body.reply(request)

    def mistake(self, request: Request, problem: Exception) -> Reply:
        text = told(problem)
        self._serving.out.warn(f"a mistake of imagectl, at {request.path}:\n{text}")
        return refusal(
            InternalError(
                f"internal error: {type(problem).__name__}",
                log="",
                why="this is a mistake in imagectl; the server's log has the details",
                hint="please report it with the lines of the server's log",
            )
        )

    def answered(self, request: Request, client: str, status: int, seconds: float) -> None:
        self._serving.counts.add(self._numbers.get(request.path, 0), status)
        out = self._serving.out
        if out.verbose or status >= 500:
            query = f"?{request.query}" if request.query else ""
            line = (
                f"{stamp(self._clock.now())} {client} {request.method} {request.path}{query} "
                f"{status} {seconds * 1000:.1f} ms".replace("\n", "\\n")
            )
            (out.warn if status >= 500 else out.say)(line)

    def _resolve(self, query: str) -> Body:
        request = read_request(query)
        now = self._clock.now()
        tree = self._current.get()
        try:
            found = resolve(tree, request, now)
        except errors.BadUsage as problem:
            raise _Several(problem) from problem
        answer = resolved(Given(found))
        answer["notices"] += tree.notices
        answer["url"] = self._address(answer["url"])
        # The same artifact for the same reasons, but for its age.
        essence = {**answer, "age_seconds": 0, "reasons": answer["reasons"][:-1]}
        body = _body(answer, etag=_digest(_encoded(essence)), weak=True)
        return self._keep("/v1/resolve", query, tree, body, int(now.timestamp()))

    def _address(self, url: str | None) -> str | None:
        """A file of the tree is below this server; another one is of this machine, which the asker
        is not on."""
        if url is None or not url.startswith("file:"):
            return url
        tree = f"{self._serving.served.folder.as_uri()}/"
        return url.removeprefix(tree[:-1]) if url.startswith(tree) else None

    def _images(self, query: str) -> Body:
        read_query(query, ())
        tree = self._current.get()
        generation = tree.catalog().generation
        images = []
        for image in sorted(tree.images()):
            heads = (tree.head(image, channel) for channel in sorted(tree.channels(image)))
            channels = [
                ChannelHead(
                    channel=head.channel,
                    version=str(head.version),
                    since=stamp(head.at),
                    kind=head.kind.value,
                )
                for head in heads
                if head is not None
            ]
            images.append(PublishedImage(image=image, channels=channels))
        answer = Images(generation=generation, images=images)
        return self._keep("/v1/images", query, tree, _body(answer))

    def _versions(self, query: str) -> Body:
        image = read_query(query, VERSIONS)[IMAGE.name]
        tree = self._current.get()
        index = tree.index(image)
        if index is None:
            raise no_image(image, tree.images())
        channels: dict[object, list[str]] = {}
        for channel in sorted(tree.channels(image)):
            head = tree.head(image, channel)
            if head is not None:
                channels.setdefault(head.version, []).append(channel)
        warnings = {**index.deleted, **tree.warnings(image)}
        versions = []
        for version in sorted({*index.versions, *index.deleted}, reverse=True):
            digest = index.versions.get(version)
            warning = warnings.get(version)
            versions.append(
                ListedVersion(
                    version=str(version),
                    document=digest,
                    path=f"/{version_path(digest)}" if digest else None,
                    channels=channels.get(version, []),
                    warning=None
                    if warning is None
                    else VersionWarning(
                        warned=warning.warned.value,
                        at=stamp(warning.at),
                        by=warning.by,
                        reason=warning.reason,
                    ),
                )
            )
        answer = Versions(generation=tree.catalog().generation, image=image, versions=versions)
        return self._keep("/v1/versions", query, tree, _body(answer))

    def _openapi(self, query: str) -> Body:
        read_query(query, ())
        return self._keep("/v1/openapi.json", query, None, _body(openapi()))

    def _healthz(self, query: str) -> Body:
        read_query(query, ())
        tree = self._current.get()
        return _body(
            Health(
                ok=True,
                generation=tree.catalog().generation,
                expires=stamp(tree.expires),
                notices=list(tree.notices),
            )
        )

    def _metrics(self, query: str) -> Body:
        read_query(query, ())
        generation = expires = None
        try:
            tree = self._current.get()
            generation, expires = tree.catalog().generation, tree.expires
        except errors.ImagectlError:
            pass  # what is not known has no number (P8)
        text = exposition(self._serving.counts, generation, expires)
        return Body(text, _digest(text), "text/plain; version=0.0.4; charset=utf-8", "no-store")

    def _keep(
        self, path: str, query: str, tree: SignedTree | None, body: Body, second: int = 0
    ) -> Body:
        with self._alone:
            before = self._known.pop((path, query), None)
            if before is not None:
                self._weight -= before[2].weight + OVERHEAD
            self._weight += body.weight + OVERHEAD
            if self._weight > REMEMBERED:
                self._known.clear()
                self._weight = body.weight + OVERHEAD
            self._known[path, query] = (tree, second, body)
        return body


class _Several(errors.BadUsage):
    """The request is right, and there are several answers."""

    def __init__(self, problem: errors.BadUsage) -> None:
        hint = re.sub(r"--(\w+) ", r"\1=", problem.hint).replace(" or ", "|")
        super().__init__(problem.what, where=problem.where, why=problem.why, hint=hint)


def refusal(problem: errors.ImagectlError) -> Reply:
    """An error as an answer: the document that ``--json`` has, with a fitting status."""
    status = STATUSES.get(problem.exit_code, HTTPStatus.INTERNAL_SERVER_ERROR)
    if isinstance(problem, _Several):
        status = HTTPStatus.CONFLICT
    data = _encoded(failure(problem))
    headers = [
        ("content-type", JSON),
        ("content-length", str(len(data))),
        ("cache-control", ANEW),
        *OPEN,
    ]
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append(("retry-after", "5"))
    return Reply(status, headers, data)


def _other_method(request: Request) -> Reply:
    if request.method == "OPTIONS":
        allowed = [
            ("allow", METHODS),
            ("access-control-allow-methods", METHODS),
            ("access-control-allow-headers", "If-None-Match, If-Range, Range"),
            ("access-control-max-age", "86400"),
        ]
        return Reply(HTTPStatus.NO_CONTENT, [*allowed, *OPEN])
    reply = refusal(
        errors.BadUsage(f"{request.method[:20]} is not answered here", hint=f"there are {METHODS}")
    )
    return Reply(HTTPStatus.METHOD_NOT_ALLOWED, [*reply.headers, ("allow", METHODS)], reply.body)


def _body(answer: Mapping[str, Any], etag: str = "", weak: bool = False) -> Body:
    data = _encoded(answer)
    return Body(data, etag or _digest(data), JSON, ANEW, weak)


def _encoded(answer: Mapping[str, Any]) -> bytes:
    return json.dumps(answer, indent=2).encode() + b"\n"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
