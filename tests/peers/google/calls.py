"""One request to the peer, what can be answered to it, and what can go wrong with it on purpose."""

from __future__ import annotations

import base64
import fnmatch
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.client import HTTPMessage
from typing import BinaryIO, TypeVar

from peers.google.discovery import Json

E = TypeVar("E", bound="Effect")


@dataclass(frozen=True)
class Call:
    """A request that came in. ``id`` is the discovery document's (``compute.images.insert``); the
    parts of a resumable upload have a step after it: ``storage.objects.insert/start``,
    ``/bytes``, ``/status`` and ``/cancel``."""

    id: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    queries: Mapping[str, list[str]]
    """The query with all values of parameters that are repeated."""
    body: Json
    headers: HTTPMessage
    stream: BinaryIO
    """The bytes that are sent, where they are no JSON."""
    base: str
    """How the client addresses the peer: ``http://127.0.0.1:PORT`` or ``https://HOST``."""
    effects: tuple[Effect, ...] = ()

    def with_effects(self, effects: tuple[Effect, ...]) -> Call:
        return replace(self, effects=effects)

    def effect(self, kind: type[E]) -> E | None:
        """The first fault of that kind that happens to this call."""
        return next((each for each in self.effects if isinstance(each, kind)), None)


class Trouble(Exception):
    """An error answer, in Google's form."""

    def __init__(
        self, status: int, reason: str, message: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.headers = dict(headers or {})

    def json(self) -> Json:
        return {
            "error": {
                "code": self.status,
                "message": self.message,
                "errors": [{"message": self.message, "domain": "global", "reason": self.reason}],
            }
        }


def not_modelled(what: str) -> Trouble:
    """What is not kept here is never guessed."""
    return Trouble(501, "notImplemented", f"The peer does not model {what}")


def to_token(last: str) -> str:
    """The token of the page after the one that ends with that key."""
    return base64.urlsafe_b64encode(last.encode()).decode()


def from_token(token: str) -> str:
    """The key after which a page begins."""
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise invalid(f"Invalid value for field 'pageToken': '{token}'.") from None


def invalid(message: str) -> Trouble:
    return Trouble(400, "invalid", message)


def missing(what: str) -> Trouble:
    return Trouble(404, "notFound", f"The resource '{what}' was not found")


class Effect:
    """Something that goes wrong."""


@dataclass(frozen=True)
class Refuse(Effect):
    """An error instead of doing it, such as 403 ``rateLimitExceeded``. ``retry_after`` in
    seconds."""

    status: int
    reason: str
    message: str = "Injected"
    retry_after: float | None = None


@dataclass(frozen=True)
class HangUp(Effect):
    """The connection ends before anything is done."""


@dataclass(frozen=True)
class LoseAnswer(Effect):
    """It is done, and the connection ends without an answer."""


@dataclass(frozen=True)
class Stale(Effect):
    """A read shows each thing as it was before the last write to it."""


@dataclass(frozen=True)
class FailOperation(Effect):
    """An operation is accepted, comes to DONE, and has failed. ``leaves``: an image in that
    status, such as FAILED, else nothing."""

    code: str = "INTERNAL_ERROR"
    message: str = "Internal error. Please try again or contact Google Support."
    status: int = 500
    leaves: str | None = None


@dataclass(frozen=True)
class Cut(Effect):
    """The connection breaks when that share of an upload's bytes, or of a download's, has
    passed."""

    share: float = 0.7


@dataclass(frozen=True)
class OtherBytes(Effect):
    """What is stored is not what was sent; its own checksums are those of what is stored."""


@dataclass(frozen=True)
class Warn(Effect):
    """A listing says that it is not complete, and leaves out what is in ``scope`` (all, where that
    is empty and the listing has no scopes: of a listing without scopes, every second thing)."""

    code: str = "UNREACHABLE"
    message: str = "A scope could not be reached"
    scope: str = ""


@dataclass(frozen=True)
class Shorten(Effect):
    """A listing ends after so many things, as if there were no more: no token, and no warning."""

    count: int


@dataclass(frozen=True)
class SmallPages(Effect):
    """A listing has pages of at most so many things, whatever was asked for."""

    count: int


@dataclass(frozen=True)
class Wait(Effect):
    """It takes that many seconds."""

    seconds: float


@dataclass
class Rule:
    """When something goes wrong. ``on``: ids of calls as shell patterns; ``skip``: how many of
    those go well first; ``times``: how many go wrong, None for all."""

    on: tuple[str, ...]
    effect: Effect
    times: int | None = None
    skip: int = 0
    when: Callable[[Call], bool] = lambda call: True
    hits: int = 0

    def takes(self, call: Call) -> bool:
        if not any(fnmatch.fnmatchcase(call.id, each) for each in self.on) or not self.when(call):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.hits += 1
        return True


@dataclass
class Faults:
    """The rules that hold now."""

    rules: list[Rule] = field(default_factory=list)

    @contextmanager
    def during(
        self,
        effect: Effect,
        *on: str,
        times: int | None = None,
        skip: int = 0,
        when: Callable[[Call], bool] = lambda call: True,
    ) -> Iterator[Rule]:
        """The effect happens to calls of those ids while the block runs. The rule's ``hits`` says
        how often it did: a test of a fault that never happened proves nothing."""
        rule = Rule(on, effect, times, skip, when)
        self.rules.append(rule)
        try:
            yield rule
        finally:
            self.rules.remove(rule)

    def of(self, call: Call) -> tuple[Effect, ...]:
        return tuple(rule.effect for rule in list(self.rules) if rule.takes(call))


def second_page(call: Call) -> bool:
    """For ``when``: every page of a listing but the first."""
    return "pageToken" in call.query
