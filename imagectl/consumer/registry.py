"""Reads an artifact from a registry of OCI artifacts, where it is a blob with its own digest.

Promises: the login that ``docker login`` has left is shown to the registry that it is for, and to
the token server that this one names, and only where others cannot read it; where there is none, we
are nobody. A registry on this machine is asked by plain http, as by docker itself.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from imagectl.consumer.sources import BrokenOff, WebSource
from imagectl.model.names import Sha256

if TYPE_CHECKING:
    import urllib3

_TOKEN_BYTES = 1 << 20
"""A longer answer of a token server is not read."""

_TOKEN_SECONDS = 60.0


class RegistrySource(WebSource):
    """The blob with that digest in a repository: ``HOST[:PORT]/PATH``."""

    def __init__(self, repository: str, sha256: Sha256) -> None:
        host, _, path = repository.partition("/")
        self._host = host
        self._scheme = "http" if _is_here(host) else "https"
        self._header: str | None = None
        self._name = f"{repository}@sha256:{sha256}"
        server = "registry-1.docker.io" if host == "docker.io" else host
        super().__init__(f"{self._scheme}://{server}/v2/{path}/blobs/sha256:{sha256}")

    @property
    def where(self) -> str:
        return self._name

    @property
    def hint(self) -> str:
        return (
            f"`docker login {self._host}`, without a credential helper; or `oras blob fetch "
            f"--output FILE {self._name}`, which checks the digest too"
        )

    def _ask(self, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        # A blob may be on another host: no login goes there, as urllib3 drops it.
        said = super()._ask({**headers, **self._login()})
        if said.status != 401:
            return said
        challenge = said.headers.get("WWW-Authenticate", "")
        self._header = self._answer(challenge)
        if self._header is None:
            return said
        said.close()
        return super()._ask({**headers, **self._login()})

    def _login(self) -> dict[str, str]:
        return {"Authorization": self._header} if self._header is not None else {}

    def _answer(self, challenge: str) -> str | None:
        """What the registry wants to be shown; None where we have nothing for it."""
        given = _left_by_docker(self._host)
        kind, _, rest = challenge.partition(" ")
        if kind.lower() == "basic":
            return given
        wanted = dict(re.findall(r'([a-z]+)="([^"]*)"', rest))
        realm = wanted.pop("realm", "")
        if kind.lower() != "bearer" or urlsplit(realm).scheme not in ("https", self._scheme):
            return None
        asked = {each: wanted[each] for each in ("service", "scope") if each in wanted}
        token = self._token(f"{realm}?{urlencode(asked)}", given)
        return f"Bearer {token}" if token else None

    def _token(self, url: str, given: str | None) -> str | None:
        """https://distribution.github.io/distribution/spec/auth/token/"""
        from urllib3.exceptions import HTTPError

        from imagectl.consumer.connecting import Connections
        from imagectl.consumer.fetching import BadProxy

        headers = {"User-Agent": "imagectl"} | ({"Authorization": given} if given else {})
        connections = Connections()
        try:
            said = connections.get(url, headers, _TOKEN_SECONDS)
            data = said.read(_TOKEN_BYTES) if said.status == 200 else b""
            said.close()
        except HTTPError as error:
            late = f"it took more than {_TOKEN_SECONDS:g} s"
            raise BrokenOff(f"its token server: {connections.failure(error, late)}") from error
        except BadProxy as error:
            raise BrokenOff(f"its token server: {error}") from error
        finally:
            connections.close()
        try:
            found = json.loads(data)
            token = found.get("token") or found.get("access_token")
        except (ValueError, AttributeError, RecursionError):
            return None
        return token if isinstance(token, str) and token.isascii() and token.isprintable() else None


def _is_here(host: str) -> bool:
    name = host.rpartition(":")[0] or host
    return name == "localhost" or re.fullmatch(r"127(\.\d{1,3}){3}", name) is not None


def _left_by_docker(host: str) -> str | None:
    """The header of the login that ``docker login`` has left for the host in its file; None where
    there is none, or a helper keeps it."""
    folder = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    name = "https://index.docker.io/v1/" if host == "docker.io" else host
    try:
        auth = json.loads(Path(folder, "config.json").read_bytes())["auths"][name]["auth"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    good = isinstance(auth, str) and re.fullmatch(r"[A-Za-z0-9+/=]+", auth)
    return f"Basic {auth}" if good else None
