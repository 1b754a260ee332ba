"""Requests to a registry, logged in where it wants that: counted, limited, tried again where that
may help, and refused in words of its own.

Where an answer says that it goes on elsewhere, that is followed, but no login goes there.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urljoin, urlsplit

from imagectl.adapters.locations.calls import calls_of
from imagectl.adapters.locations.oci_answers import Answer, again, meaning
from imagectl.adapters.locations.oci_login import TIMEOUT, Login, as_it_is
from imagectl.errors import CannotTell, Failed
from imagectl.model.names import LocationName
from imagectl.model.place import OciLocation as Settings

if TYPE_CHECKING:
    import requests

    from imagectl.adapters.locations import Surroundings

T = TypeVar("T")

CALLS_PER_SECOND = 50.0


class Session:
    """With one registry. What makes requests raises Denied, Throttled and CannotTell."""

    def __init__(self, name: LocationName, settings: Settings, around: Surroundings) -> None:
        self.name = name
        self.url = settings.url
        self.host = settings.url.split("/", 1)[0]
        self._base = f"{'http' if settings.insecure else 'https'}://{self.host}/v2/"
        self._calls = calls_of(name, around, CALLS_PER_SECOND)
        self._login = Login(name, settings, around, self.host, self._calls)
        self._opening = threading.Lock()
        self._opened: requests.Session | None = None

    @property
    def requests_made(self) -> int:
        """How many, in this process."""
        return self._calls.requests

    @property
    def identity(self) -> str:
        """Who the registry is told that we are."""
        return self._login.identity

    def call(
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
        """The answer to a request, whose status is one of *fine*. ``may_be_new``: see ``run``.
        Raises what any other status means: NotFound, NoSpace, Corrupt and Failed too."""

        def attempt() -> requests.Response:
            said = self.send(method, url, headers or {}, data)
            if said.status_code not in fine:
                with said:
                    raise Answer(said)
            return said

        return self.run(what, attempt, may_be_new=may_be_new)

    def send(
        self, method: str, url: str, headers: dict[str, str], data: bytes | None
    ) -> requests.Response:
        """One request, and another where the first is answered by what login is wanted."""
        session = self._open()
        target = urljoin(self._base, url)
        for again_after_login in (True, False):
            # An upload or a page may be on another host, which is not who the login is for.
            known = self._login.header is not None and self._is_own(target)
            own = {"Authorization": self._login.header} if known else {}
            said = session.request(
                method,
                target,
                headers={**headers, **own},
                data=data,
                stream="/blobs/sha256:" in url,
                timeout=TIMEOUT,
                auth=as_it_is,
            )
            # Tokens are for one repository, and for minutes: each 401 says what it wants.
            if said.status_code != 401 or not again_after_login or not self._is_own(said.url):
                return said
            if not self._login.answer(session, said.headers.get("WWW-Authenticate", "")):
                return said
            said.close()
        raise AssertionError("the second answer is returned")

    def run(self, what: str, attempt: Callable[[], T], *, may_be_new: bool = False) -> T:
        """What *attempt* returns, which sends. ``may_be_new``: that there is no such repository
        says that there is nothing in it yet."""
        what = f"{what} in {self.url}"
        self._open()
        import requests

        try:
            return self._calls.run(what, attempt, again)
        except Answer as error:
            raise meaning(error, what, self.name, self.host, self.identity, may_be_new) from None
        except requests.RequestException as error:
            # Not its own words: they may hold a URL that is a secret.
            raise CannotTell(
                f"{what} did not work",
                where=f"location {self.name}",
                why=f"{type(error).__name__} while talking to {self.host}",
            ) from None

    def location(self, said: requests.Response) -> str:
        """Where an upload goes on. Raises Failed."""
        return self.next(said, said.headers.get("Location", ""))

    def next(self, said: requests.Response, where: str) -> str:
        """Where an answer says that it goes on. Raises Failed."""
        try:
            target = urljoin(said.url, where) if where else ""
        except ValueError:
            target = ""
        if not target:
            raise Failed(
                f"the registry {self.host} does not say where it goes on",
                where=f"location {self.name}",
                why=f"the address that it names is {where.partition('?')[0][:200]!r}",
            )
        self._login.require_encrypted("the next address", target)
        return target

    def _is_own(self, url: str) -> bool:
        """Whether it is the registry itself that is asked there: it alone is given the login."""
        return _server(url) == _server(self._base)

    def _open(self) -> requests.Session:
        with self._opening:
            if self._opened is None:
                import requests

                session = requests.Session()
                self._login.find(session)
                self._opened = session
                weakref.finalize(self, session.close)
            return self._opened


def _server(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    usual = {"http": ":80", "https": ":443"}.get(parts.scheme, "")
    return parts.scheme, parts.netloc.lower().removesuffix(usual)
