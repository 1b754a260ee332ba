"""What a project of Compute Engine and a bucket of Cloud Storage have in common, as places."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Generic, TypeVar
from unittest import mock

from peers.google.calls import Call, Effect, Refuse, Trouble, Wait, second_page
from peers.google.peer import Google

from imagectl.services.ports.locations import Location
from support.places.place import Fault

L = TypeVar("L", bound=Location)

DOWN = Refuse(503, "backendError", "Backend Error")
LIMIT = Refuse(403, "rateLimitExceeded", "Rate Limit Exceeded")


class Faulty(ABC, Generic[L]):
    """A location whose *peer* does wrong things for a while. Each has to have happened by then."""

    def __init__(self, peer: Google, folder: Path) -> None:
        self.peer = peer
        self.folder = folder
        self.key = peer.accounts.add(folder)
        self.location = self.reopened()

    @abstractmethod
    def reopened(self) -> L:
        """A location as a new process has it."""

    def requests(self) -> int:
        return self.peer.count()

    def unreadable(self) -> AbstractContextManager[None]:
        return self.during((DOWN, ("*",), None))

    def fault(self, fault: Fault) -> AbstractContextManager[None] | str:
        match fault:
            case Fault.QUOTA:
                return self.during((LIMIT, ("*",), None))
            case Fault.UNAVAILABLE_ONCE:
                return self.during((DOWN, ("*",), 1))
            case Fault.UNAVAILABLE_ALWAYS:
                return self.unreadable()
            case Fault.SESSION_ENDED:
                return self.session_ended()
            case Fault.CREDENTIAL_MISSING:
                return self._other_key(None)
            case Fault.CREDENTIAL_WRONG:
                key = self.peer.accounts.add(self.folder, "forgotten")
                self.peer.accounts.forget("forgotten")
                return self._other_key(key.read_text())
            case Fault.CREDENTIAL_EXPIRED:
                return self.expired()
            case Fault.CREDENTIAL_NARROW:
                return self.peer.accounts.only("*.get", "*.list")
            case _:
                raise AssertionError(fault)

    @contextmanager
    def during(self, *rules: tuple[Effect, tuple[str, ...], int | None]) -> Iterator[None]:
        """Each effect on calls of those names, so often; None for always."""
        with ExitStack() as stack:
            happened = [
                stack.enter_context(self.peer.during(effect, *on, times=times))
                for effect, on, times in rules
            ]
            yield
            assert all(rule.hits for rule in happened), "the fault has not happened"

    @contextmanager
    def page_2_down(self, call: str) -> Iterator[None]:
        with self.peer.during(DOWN, call, when=second_page) as rule:
            yield
            assert rule.hits

    @contextmanager
    def session_ended(self) -> Iterator[None]:
        """All tokens, when the upload is about to begin. They were good for what came before."""
        ended: list[str] = []

        def once(call: Call) -> bool:
            if not ended:
                self.peer.accounts.end_tokens()
                ended.append(call.id)
            return True

        with self.peer.during(Wait(0), "storage.objects.insert/start", when=once):
            yield
        assert ended

    @contextmanager
    def _other_key(self, text: str | None) -> Iterator[None]:
        before, whole = self.location, self.key.read_text()
        if text is None:
            self.key.unlink()
        else:
            self.key.write_text(text)
        self.location = self.reopened()
        yield
        self.key.write_text(whole)
        self.location = before

    @contextmanager
    def expired(self) -> Iterator[None]:
        said = Trouble(400, "invalid_grant", "Token has been expired or revoked.")
        with mock.patch.object(self.peer.accounts, "token", side_effect=said):
            yield
