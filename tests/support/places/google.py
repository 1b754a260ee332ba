"""What a project of Compute Engine and a bucket of Cloud Storage have in common, as places."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from unittest import mock

from peers.google.calls import Call, Effect, Refuse, Trouble, Wait, second_page
from peers.google.peer import Google

DOWN = Refuse(503, "backendError", "Backend Error")
LIMIT = Refuse(403, "rateLimitExceeded", "Rate Limit Exceeded")


class Faulty:
    """Has the *peer* do wrong things for a while. Each has to have happened by then."""

    def __init__(self, peer: Google) -> None:
        self.peer = peer

    def requests(self) -> int:
        return self.peer.count()

    def unreadable(self) -> AbstractContextManager[None]:
        return self.during((DOWN, ("*",), None))

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
    def expired(self) -> Iterator[None]:
        said = Trouble(400, "invalid_grant", "Token has been expired or revoked.")
        with mock.patch.object(self.peer.accounts, "token", side_effect=said):
            yield
