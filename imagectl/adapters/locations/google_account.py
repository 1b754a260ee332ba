"""Credentials for Google's services, and what the errors of those services mean.

Google's libraries raise their own errors for an answer, those of requests for a connection and of
google-auth for a login. Here each becomes one of ours, or a reason to try again; the words are the
service's own, never a URL (it may hold the key of an upload) and never a header.
"""

from __future__ import annotations

import contextlib
import email.utils
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagectl.adapters.clock import SystemClock
from imagectl.adapters.locations.calls import Again
from imagectl.errors import (
    CannotTell,
    Conflict,
    Denial,
    Denied,
    Failed,
    ImagectlError,
    NoSpace,
    NotFound,
)
from imagectl.model.image import SecretKind, SecretRef
from imagectl.model.names import LocationName
from imagectl.model.place import Ambient, GoogleCredentials

if TYPE_CHECKING:
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.credentials import Credentials

    from imagectl.adapters.locations import Surroundings

CLOCK_SECONDS = 300.0
"""How far clocks may differ: logins are signed with a time."""

SCOPE = "https://www.googleapis.com/auth/cloud-platform"

_PATIENCE = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED"})
"""Reasons of a 403 that ask for patience (cloud.google.com/compute/docs/api/rate-limits)."""
_FULL = frozenset({"quotaExceeded", "QUOTA_EXCEEDED", "limitExceeded"})
_SWITCHED_OFF = frozenset({"accessNotConfigured", "SERVICE_DISABLED"})


@dataclass(frozen=True, slots=True)
class Account:
    """Who we are. ``credentials`` is google-auth's; it never shows in a repr."""

    credentials: Credentials
    identity: str

    def __repr__(self) -> str:
        return f"Account({self.identity!r})"


def log_in(
    name: LocationName, wanted: GoogleCredentials, around: Surroundings, *, private: bool
) -> Account:
    """The account that the settings of location *name* ask for. Asks nobody yet. Raises Denied.

    *private*: it is for an endpoint of our own, and nothing may be asked of Google's. Of the
    Application Default Credentials only a service account's key can do without.
    """
    import google.auth
    from google.auth.credentials import AnonymousCredentials
    from google.auth.exceptions import GoogleAuthError
    from google.oauth2 import service_account

    if wanted is Ambient.ANONYMOUS:
        return Account(AnonymousCredentials(), "anonymous")  # type: ignore[no-untyped-call]  # its own
    if isinstance(wanted, Ambient) and private:
        wanted = _key_of_the_environment(name)
    if isinstance(wanted, Ambient):
        try:
            found, _ = google.auth.default(scopes=[SCOPE])
        except GoogleAuthError as error:
            raise Denied(
                "Google's Application Default Credentials are not there",
                denial=Denial.MISSING,
                where=f"location {name}",
                why=str(error).splitlines()[0],
                hint="`gcloud auth application-default login`, or name a service account's file "
                "under `credentials`",
            ) from None
        return Account(found, _identity(found))
    try:
        text = around.secret(wanted)
    except NotFound as error:
        raise Denied(
            "the credentials for Google are not there",
            denial=Denial.MISSING,
            where=f"location {name}: {wanted}",
            why=error.why or error.what,
            hint=error.hint,
        ) from None
    try:
        kind: Any = _private_key() if private else service_account.Credentials
        key = kind.from_service_account_info(json.loads(text), scopes=[SCOPE])
    except (ValueError, TypeError, AttributeError, KeyError, GoogleAuthError):
        # Not the error's own words: they may quote the key.
        raise Denied(
            "the credentials for Google are none",
            denial=Denial.WRONG,
            where=f"location {name}: {wanted}",
            why="it is not the JSON of a service account, or not all of it",
            hint="`gcloud iam service-accounts keys create FILE --iam-account=...` makes one",
        ) from None
    return Account(key, _identity(key))


def _key_of_the_environment(name: LocationName) -> SecretRef:
    """Where google-auth looks first. All that it looks for then would ask Google for a login."""
    from google.auth.environment_vars import CREDENTIALS

    path = os.environ.get(CREDENTIALS)
    if not path:
        raise Denied(
            "with an `endpoint`, Application Default Credentials are a service account's file",
            denial=Denial.MISSING,
            where=f"location {name}",
            why=f"the environment variable {CREDENTIALS} does not name one, and all others need "
            "Google's public addresses",
            hint=f"set {CREDENTIALS}, or name the file under `credentials`",
        )
    return SecretRef(SecretKind.FILE, str(Path(path).absolute()))


def _private_key() -> Any:
    """A service account's key that asks nobody where it may be used: google-auth 2.62 does, at
    Google's public address whatever the endpoint is, and has no setting for it."""
    from google.oauth2 import service_account

    class Key(service_account.Credentials):
        def _is_regional_access_boundary_lookup_required(self) -> bool:
            return False

    return Key


def _identity(credentials: Credentials) -> str:
    for each in ("service_account_email", "account"):
        if found := getattr(credentials, each, None):
            return str(found)
    return "Application Default Credentials"


@dataclass(frozen=True, slots=True)
class Answer:
    """An error as a service gave it. ``reasons`` are its machine-readable words."""

    status: int
    reasons: frozenset[str]
    message: str
    after: float | None
    ahead: float = 0.0
    """Seconds that the service's clock is ahead of ours; 0 where it does not tell."""

    def __str__(self) -> str:
        words = ", ".join(sorted(self.reasons))
        return f"{self.status}{f' {words}' if words else ''}: {self.message}"


def answer_of(error: GoogleAPICallError) -> Answer:
    """What the service said."""
    response = error.response
    body = getattr(response, "text", "") if response is not None else ""
    return read_answer(
        int(error.code or 0), body, dict(response.headers) if response is not None else {}
    )


def read_answer(status: int, body: str, headers: dict[str, str]) -> Answer:
    """An error's parts, from its status, body (cloud.google.com/apis/design/errors) and headers."""
    try:
        said = json.loads(body)["error"]
        message = str(said.get("message", ""))
        listed = [*said.get("errors", ()), *said.get("details", ())]
        reasons = frozenset(str(each["reason"]) for each in listed if "reason" in each)
    except (ValueError, KeyError, TypeError, AttributeError):
        message, reasons = body.strip(), frozenset()
    known = {key.lower(): value for key, value in headers.items()}
    return Answer(
        status, reasons, _line(message), _patience(known), _until(known.get("date", "")) or 0.0
    )


def _line(message: str) -> str:
    return " ".join(message.split())[:400] or "without a word"


def _patience(headers: dict[str, str]) -> float | None:
    """Retry-After in seconds: a number, or a date (RFC 9110, 10.2.3)."""
    said = headers.get("retry-after", "")
    with contextlib.suppress(ValueError):
        return max(0.0, float(said))
    until = _until(said)
    return None if until is None else max(0.0, until)


def _until(date: str) -> float | None:
    """Seconds from now to a date of HTTP; None where it is none."""
    with contextlib.suppress(ValueError, TypeError):
        then: datetime = email.utils.parsedate_to_datetime(date)
        return (then.astimezone(UTC) - SystemClock().now()).total_seconds()
    return None


def passing(answer: Answer) -> Again | None:
    """Whether the same may work a little later."""
    if answer.status == 429 or answer.reasons & _PATIENCE:
        return Again(answer.after, True, str(answer))
    if answer.status == 408 or (answer.status >= 500 and answer.status != 501):
        # 503 with Retry-After asks for patience; without, it is down.
        return Again(answer.after, answer.after is not None, str(answer))
    return None


def again(error: Exception) -> Again | None:
    """For ``Calls.run``: answers that pass, and connections that break."""
    import requests
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import RefreshError, TransportError

    if isinstance(error, GoogleAPICallError):
        return passing(answer_of(error))
    if isinstance(error, requests.exceptions.ConnectionError | requests.exceptions.Timeout):
        return Again(None, False, _broken(error))
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return Again(None, False, "the connection broke in the middle of the answer")
    if isinstance(error, TransportError) and not isinstance(error, RefreshError):
        return Again(None, False, "Google's login server does not answer")
    return None


def _broken(error: Exception) -> str:
    """requests' words hold the URL; the innermost error's do not."""
    inner: BaseException = error
    while inner.__cause__ is not None or inner.__context__ is not None:
        inner = inner.__cause__ or inner.__context__ or inner
    return f"the connection failed ({type(inner).__name__})"


@contextlib.contextmanager
def translated(what: str, name: LocationName, account: str) -> Iterator[None]:
    """Errors of Google's libraries become ours. ``what`` says what was being done."""
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except GoogleAPICallError as error:
        raise meaning(answer_of(error), what, name, account) from None
    except GoogleAuthError as error:
        raise _not_logged_in(error, what, name, account) from None


def meaning(answer: Answer, what: str, name: LocationName, account: str) -> ImagectlError:
    """The error of ours that an answer is, where nobody knows better."""
    where = f"location {name}"
    why = str(answer)
    if answer.status == 401:
        return _unknown(answer, what, where, account)
    if answer.reasons & _FULL:
        return NoSpace(
            f"{what}: a quota of the project is used up",
            where=where,
            why=why,
            hint="remove what is not needed there, or ask Google for more, and type it again",
        )
    if answer.reasons & _SWITCHED_OFF:
        return Failed(
            f"{what}: the service is switched off in the project",
            where=where,
            why=why,
            hint="`gcloud services enable compute.googleapis.com storage.googleapis.com "
            "cloudresourcemanager.googleapis.com`",
        )
    if answer.status == 403:
        return Denied(
            f"{what}: {account} may not do that",
            denial=Denial.TOO_NARROW,
            where=where,
            why=why,
            hint="docs/how-to/gce.md lists the roles that it needs",
        )
    if answer.status == 404:
        return CannotTell(
            f"{what}: the project or the bucket is not there, or not to be seen by {account}",
            where=where,
            why=why,
            hint="`project` and `bucket` in imagectl.yaml say what is meant",
        )
    if answer.status in (409, 412):
        return Conflict(f"{what}: somebody else changed it meanwhile", where=where, why=why)
    if answer.status >= 500:
        return CannotTell(f"{what} did not work", where=where, why=why)
    return Failed(f"{what} did not work", where=where, why=why)


def _unknown(answer: Answer, what: str, where: str, account: str) -> Denied:
    """401 has one number for three cases; the service's words tell them apart."""
    said = answer.message.lower()
    if abs(answer.ahead) > CLOCK_SECONDS:
        return Denied(
            f"{what}: the credentials of {account} are not accepted",
            denial=Denial.WRONG,
            where=where,
            why=f"this machine's clock is {abs(answer.ahead) / 60:.0f} minutes "
            f"{'behind' if answer.ahead > 0 else 'ahead of'} Google's; {answer}",
            hint="set the clock of this machine: a login is good for minutes only",
        )
    if "expired" in said:
        return _denied(Denial.EXPIRED, what, where, str(answer), account)
    if account == "anonymous" or "required" in answer.reasons or "login required" in said:
        return _denied(Denial.MISSING, what, where, str(answer), account)
    return _denied(Denial.WRONG, what, where, str(answer), account)


def _not_logged_in(error: Exception, what: str, name: LocationName, account: str) -> ImagectlError:
    from google.auth.exceptions import DefaultCredentialsError

    # A token server's words: 'invalid_grant: Invalid JWT Signature.' and the like.
    why = _line(str(error.args[0]) if error.args else str(error))
    where, said = f"location {name}", why.lower()
    if isinstance(error, DefaultCredentialsError):
        return _denied(Denial.MISSING, what, where, why, account)
    if "expired" in said or "revoked" in said or "reauth" in said or "rapt" in said:
        return _denied(Denial.EXPIRED, what, where, why, account)
    if "scope" in said or "unauthorized_client" in said:
        return _denied(Denial.TOO_NARROW, what, where, why, account)
    return _denied(Denial.WRONG, what, where, why, account)


def _denied(denial: Denial, what: str, where: str, why: str, account: str) -> Denied:
    words, hint = {
        Denial.MISSING: ("no credentials were given", "`credentials` in imagectl.yaml names them"),
        Denial.WRONG: (
            f"the credentials of {account} are not accepted",
            "make a new key for the service account; the old one may have been deleted",
        ),
        Denial.EXPIRED: (
            f"the credentials of {account} have expired",
            "`gcloud auth application-default login`, or a new key for the service account",
        ),
        Denial.TOO_NARROW: (
            f"the credentials of {account} are too narrow",
            f"they need the scope {SCOPE}",
        ),
    }[denial]
    return Denied(f"{what}: {words}", denial=denial, where=where, why=why, hint=hint)
