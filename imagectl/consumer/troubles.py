"""What python-tuf refuses, in words for whoever is waiting for a build."""

from __future__ import annotations

from datetime import datetime, timedelta

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    UnsignedMetadataError,
)
from tuf.api.serialization import DeserializationError

from imagectl.consumer.fetching import BadProxy
from imagectl.errors import CannotTell, Corrupt, ImagectlError, NotFound

CLOCK_SLACK = timedelta(minutes=5)
"""By how much two clocks may differ before it is worth a word."""


def refusal(
    error: Exception,
    file: str,
    now: datetime,
    server_time: datetime | None = None,
) -> ImagectlError:
    """The error of ours for one of python-tuf's. *file* is the address of what was read last."""
    why = str(error) or type(error).__name__
    match error:
        case ExpiredMetadataError():
            return _expired(why, file, now, server_time)
        case UnsignedMetadataError():
            return CannotTell(
                f"{file} is not signed by those whose keys count",
                where=file,
                why=f"it was changed after it was signed, or signed by somebody else ({why})",
                hint="nothing of it is used; whoever publishes the catalog has to look: "
                "`imagectl catalog publish` signs it again",
            )
        case BadVersionNumberError():
            return CannotTell(
                f"{file} is older than what was seen before, or is not what the others name",
                where=file,
                why=f"somebody plays back an old state, or half of a new one is there ({why})",
                hint="nothing of it is used; try again in a minute, and if it stays so, whoever "
                "serves the catalog has to look",
            )
        case LengthOrHashMismatchError() | DeserializationError():
            return Corrupt(
                f"{file} was changed after it was published",
                where=file,
                why=why,
                hint="nothing of it is used; whoever publishes the catalog types "
                "`imagectl catalog publish`, which writes it again",
            )
        case DownloadLengthMismatchError():
            return CannotTell(
                f"{file} is longer than it may be",
                where=file,
                why=why,
                hint="nothing of it is used; is that the address of a catalog?",
            )
        case DownloadHTTPError(status_code=404) if file.endswith("/timestamp.json"):
            return NotFound(
                f"there is no published catalog at {file.removesuffix('/metadata/timestamp.json')}",
                where=file,
                why=why,
                hint="`imagectl catalog publish` makes one; `--catalog` says where it is",
            )
        case DownloadHTTPError(status_code=404):
            return CannotTell(
                f"{file} is not there",
                where=file,
                why=f"{why}; what was read before it says that it has to be",
                hint="somebody may be copying the catalog there just now: try again in a minute",
            )
        case BadProxy():
            return CannotTell(f"{file} cannot be read", where=file, why=why, hint=error.hint)
        case DownloadError():
            return CannotTell(
                f"{file} cannot be read",
                where=file,
                why=why,
                hint="try again once the server of the catalog answers",
            )
        case _:
            return CannotTell(
                f"{file} cannot be verified",
                where=file,
                why=why,
                hint="nothing of it is used; whoever publishes the catalog has to look",
            )


def _expired(why: str, file: str, now: datetime, server_time: datetime | None) -> ImagectlError:
    if server_time is not None and abs(server_time - now) > CLOCK_SLACK:
        return CannotTell(
            "the clock of this machine, or that of the catalog's server, is wrong",
            where=file,
            why=f"it is {_stamp(now)} here and {_stamp(server_time)} there, and by the clock here "
            f"a signature has run out ({why})",
            hint="set the clock (`timedatectl`), and try again",
        )
    return CannotTell(
        "a signature of the catalog has run out",
        where=file,
        why=f"{why}, and it is {_stamp(now)}: nobody signed anew, or an old state is played back",
        hint="whoever publishes it types `imagectl catalog refresh`; is the clock right here?",
    )


def _stamp(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
