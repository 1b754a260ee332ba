"""What the errors of S3, and of botocore, mean: whether the same may work a little later, and which
of ours each is.

The codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; the quotas are
Ceph's and MinIO's.
"""

from __future__ import annotations

from typing import Any

from imagectl.adapters.locations.calls import Again
from imagectl.errors import CannotTell, Denial, Denied, Failed, ImagectlError, NoSpace, NotFound
from imagectl.model.names import LocationName

_MISSING = {"NoSuchKey", "404"}
_PATIENCE = {
    "SlowDown",
    "SlowDownRead",
    "SlowDownWrite",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "TooManyRequests",
}
_PASSING = {
    "InternalError",
    "ServiceUnavailable",
    "RequestTimeout",
    "OperationAborted",
    "ConditionalRequestConflict",
}
_WRONG = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidToken",
    "InvalidSecurity",
    "AuthorizationHeaderMalformed",
    "401",
}
_EXPIRED = {"ExpiredToken", "TokenRefreshRequired", "RequestExpired"}
_FULL = {
    "QuotaExceeded",
    "XMinioAdminBucketQuotaExceeded",
    "XMinioStorageFull",
    "InsufficientCapacity",
    "507",
}


class There(CannotTell):
    """Something has the name already; what, is found out by reading it."""


class UploadGone(NotFound):
    """An upload in parts that has ended, one way or the other."""


def again(error: Exception) -> Again | None:
    """For ``Calls.run``: answers that pass, and connections that break or are not made. A
    certificate that is not accepted stays so."""
    from botocore.exceptions import ClientError, ConnectionError, HTTPClientError, SSLError

    if isinstance(error, ClientError):
        code, status = _code(error), _status(error)
        if code in _PATIENCE or status == 429:
            return Again(_after(error), True, _line(error))
        if code in _PASSING or (status >= 500 and code not in _FULL and status != 501):
            return Again(_after(error), _after(error) is not None, _line(error))
        return None
    if isinstance(error, SSLError):
        return None
    if isinstance(error, (ConnectionError, HTTPClientError, *broken_streams())):
        return Again(None, False, f"the connection failed ({type(error).__name__})")
    return None


def broken_streams() -> tuple[type[Exception], ...]:
    from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError
    from urllib3.exceptions import HTTPError

    return (IncompleteReadError, ReadTimeoutError, ResponseStreamingError, HTTPError)


def meaning(error: Any, what: str, name: LocationName, identity: str) -> ImagectlError:
    """The error of ours that an answer (ClientError) is."""
    code, status, why = _code(error), _status(error), _line(error)
    where = f"location {name}"
    if code in {"PreconditionFailed", "412"}:
        return There(f"{what}: there is something of that name", where=where, why=why)
    if code in _FULL:
        return NoSpace(
            f"{what}: no space left",
            where=where,
            why=why,
            hint="make room, or raise the quota, and type the command again",
        )
    if code == "NoSuchUpload":
        return UploadGone(f"{what}: the upload is not there", where=where, why=why)
    if code in _MISSING:
        return NotFound(f"{what}: it is not there", where=where, why=why)
    if status == 404:
        return CannotTell(
            f"{what}: the bucket is not there",
            where=where,
            why=why,
            hint="`url` and `endpoint` in imagectl.yaml say what is meant",
        )
    if code == "RequestTimeTooSkewed":
        return CannotTell(
            f"{what}: its clock and ours differ by too much",
            where=where,
            why=why,
            hint="`timedatectl` shows whether this machine's is right",
        )
    if code in _EXPIRED:
        return _denied(what, name, identity, Denial.EXPIRED, why)
    if code in _WRONG or status == 401:
        return _denied(what, name, identity, Denial.WRONG, why)
    if status == 403:
        nobody = identity == "anonymous"
        return _denied(what, name, identity, Denial.MISSING if nobody else Denial.TOO_NARROW, why)
    return Failed(f"{what} did not work", where=where, why=why)


def unanswered(error: Exception, what: str, name: LocationName, identity: str) -> ImagectlError:
    """The error of ours that one of botocore's own is: there was no answer to be understood."""
    from botocore.exceptions import NoCredentialsError, PartialCredentialsError

    if isinstance(error, NoCredentialsError):
        return _denied(what, name, identity, Denial.MISSING, str(error))
    if isinstance(error, PartialCredentialsError):
        return _denied(what, name, identity, Denial.WRONG, str(error))
    return CannotTell(f"{what} did not work", where=f"location {name}", why=_line(error))


def _denied(what: str, name: LocationName, identity: str, denial: Denial, why: str) -> Denied:
    words = {
        Denial.MISSING: (
            "no credentials were found",
            "`access_key` and `secret_key` in "
            "imagectl.yaml name them, or the environment AWS_ACCESS_KEY_ID",
        ),
        Denial.WRONG: (f"{identity} is not accepted", "check both halves of the key"),
        Denial.EXPIRED: (f"the session of {identity} has expired", "log in again"),
        Denial.TOO_NARROW: (
            f"{identity} may not do that",
            "docs/how-to/buckets.md lists what it must be allowed",
        ),
    }
    said, hint = words[denial]
    return Denied(f"{what}: {said}", denial=denial, where=f"location {name}", why=why, hint=hint)


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _after(error: Any) -> float | None:
    said = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("retry-after", "")
    return float(said) if said.isdigit() else None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:400]
