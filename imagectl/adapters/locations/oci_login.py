"""Who we are to a registry: what ``docker login`` has left, or the settings name, and the tokens
that are given for it.

oras finds what ``docker login`` has left; the requests to token servers are made here, so that each
is counted, limited, and tried again where that may help. A token server is shown the password only
where others cannot read it, unless the settings say `insecure`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from imagectl.adapters.locations.calls import Calls
from imagectl.adapters.locations.oci_answers import Answer, again
from imagectl.errors import Denial, Denied, Failed, NotFound
from imagectl.model.image import SecretRef
from imagectl.model.names import LocationName
from imagectl.model.place import OciLocation as Settings

if TYPE_CHECKING:
    import requests

    from imagectl.adapters.locations import Surroundings

TIMEOUT = (10.0, 60.0)
"""Seconds until a server has let us in, and until it says something (more)."""


class Login:
    """The login of one location, at *host*. ``header`` is what the registry is shown; None before
    it has asked."""

    def __init__(
        self, name: LocationName, settings: Settings, around: Surroundings, host: str, calls: Calls
    ) -> None:
        self._name = name
        self._settings = settings
        self._around = around
        self._host = host
        self._calls = calls
        self._auth: Any = None
        self.header: str | None = None
        self.identity = "nobody"

    def find(self, session: requests.Session) -> None:
        """Look for what there is to log in with. Raises Denied."""
        from oras.auth import get_auth_backend
        from oras.container import Container

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
        self._auth = auth

    def answer(self, session: requests.Session, challenge: str) -> bool:
        """See that ``header`` is what the challenge (``WWW-Authenticate``) wants; False where there
        is nothing for it."""
        from oras.auth.utils import parse_auth_header

        given = getattr(self._auth, "_basic_auth", None)
        if challenge.lower().startswith("basic"):
            self.header = f"Basic {given}" if given else None
        elif challenge.lower().startswith("bearer"):
            wanted = parse_auth_header(challenge)
            if not wanted.realm:
                return False
            self.require_encrypted("the token server", wanted.realm)
            token = self._token(session, wanted.realm, wanted.service, wanted.scope)
            self.header = f"Bearer {token}" if token else None
        return self.header is not None

    def require_encrypted(self, what: str, url: str) -> None:
        """Raises Failed where others could read what is sent to that URL of the registry's."""
        scheme = urlsplit(url).scheme
        if scheme != "https" and not (self._settings.insecure and scheme == "http"):
            raise Failed(
                f"{what} that the registry {self._host} names is not of https",
                where=f"location {self._name}",
                why=f"it is of {scheme or 'nothing'}: others could read what is sent there",
                hint="a registry behind a proxy must be told that clients reach it by https",
            )

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
                auth=as_it_is,
            )
            if said.status_code != 200:
                raise Answer(said)
            found = said.json()
            token = found.get("token") or found.get("access_token")
            return str(token) if token else None

        try:
            return self._calls.run(f"logging in to {self._host}", attempt, again)
        except (Answer, ValueError, AttributeError):
            return None  # the registry's own refusal says what that means

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


def as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """So that ``~/.netrc`` has no say: it is not one of the ways that are documented."""
    return request
