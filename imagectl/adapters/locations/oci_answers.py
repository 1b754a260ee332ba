"""What a registry's errors mean: whether the same may work a little later, and which of ours it is.

https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#error-codes
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from imagectl.adapters.locations.calls import Again
from imagectl.errors import (
    CannotTell,
    Corrupt,
    Denial,
    Denied,
    Failed,
    ImagectlError,
    NoSpace,
    NotFound,
)
from imagectl.model.names import LocationName

if TYPE_CHECKING:
    import requests


class Answer(Exception):
    """An answer that is an error. Its words are the registry's, never a header."""

    def __init__(self, response: requests.Response) -> None:
        self.status = response.status_code
        self.codes: frozenset[str] = frozenset()
        said = ""
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            errors = response.json()["errors"]
            self.codes = frozenset(str(each.get("code", "")) for each in errors)
            said = "; ".join(f"{each.get('code')}: {each.get('message', '')}" for each in errors)
        after = response.headers.get("Retry-After", "")
        self.after = float(after) if after.isdigit() else None
        challenge = response.headers.get("WWW-Authenticate", "")
        self.narrow = "insufficient_scope" in challenge
        super().__init__(f"{self.status}: {' '.join(said.split())[:400] or response.reason}")


def again(error: Exception) -> Again | None:
    """For ``Calls.run``: answers that pass, and connections that break."""
    if isinstance(error, Answer):
        if error.status == 429 or "TOOMANYREQUESTS" in error.codes:
            return Again(error.after, True, str(error))
        if error.status == 408 or (error.status >= 500 and error.status not in (501, 507)):
            return Again(error.after, error.after is not None, str(error))
        return None
    if isinstance(error, _broken()):
        return Again(None, False, f"the connection failed ({type(error).__name__})")
    return None


def _broken() -> tuple[type[Exception], ...]:
    from requests.exceptions import ChunkedEncodingError, ConnectionError, Timeout

    return (ConnectionError, Timeout, ChunkedEncodingError)


def meaning(
    error: Answer, what: str, name: LocationName, host: str, identity: str, may_be_new: bool
) -> ImagectlError:
    """The error of ours that an answer is. ``may_be_new``: that there is no such repository says
    that there is nothing in it yet."""
    where, why = f"location {name}", str(error)
    nobody = identity == "nobody"
    if error.status == 401 and not error.narrow:
        said = "it wants a login" if nobody else f"it does not accept {identity}"
        return Denied(
            f"{what}: {said}",
            denial=Denial.MISSING if nobody else Denial.WRONG,
            where=where,
            why=why,
            hint=f"`docker login {host}`, or `username` and `password` in imagectl.yaml",
        )
    if error.status in (401, 403) and not error.codes & {"QUOTA_EXCEEDED"}:
        return Denied(
            f"{what}: {identity} may not do that",
            denial=Denial.TOO_NARROW,
            where=where,
            why=why,
            hint="docs/how-to/oci.md lists what it must be allowed",
        )
    if error.status in (403, 413, 507):
        return NoSpace(
            f"{what}: no space left",
            where=where,
            why=why,
            hint="make room, or raise the quota, and type the command again",
        )
    if error.status == 404 and "NAME_UNKNOWN" in error.codes and not may_be_new:
        return CannotTell(
            f"{what}: the repository is not there",
            where=where,
            why=why,
            hint="`url` in imagectl.yaml says what is meant",
        )
    if error.status == 404:
        return NotFound(f"{what}: it is not there", where=where, why=why)
    if error.status == 405:
        return Failed(
            f"{what}: the registry does not do that",
            where=where,
            why=why,
            hint="deleting is switched on in the registry's own configuration"
            if what.startswith("deleting")
            else "",
        )
    if "DIGEST_INVALID" in error.codes:
        return Corrupt(
            f"{what}: other bytes arrived than were sent",
            where=where,
            why=why,
            hint="type the command again",
        )
    return Failed(f"{what} did not work", where=where, why=why)
