"""What a database's errors mean to people, in the words of :mod:`imagectl.errors`.

A lock that somebody else holds for too long is CannotTell, never Conflict: nothing is known to have
changed. So is a database that cannot be reached or read. Only what nobody foresaw ends as Failed.
What is said is about the catalog alone: a command may have done things elsewhere before.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.exc import DBAPIError, TimeoutError

from imagectl.errors import CannotTell, Failed, ImagectlError, NoSpace

RESTORE = (
    "restore the database from a backup; or move it aside, and `imagectl catalog rebuild --from "
    "TREE` makes it again from a published tree with its history. Then run `imagectl catalog "
    "verify`; published trees keep working meanwhile"
)
SPACE = "`imagectl doctor` shows the free space of each folder that imagectl writes to"


@contextlib.contextmanager
def explained(where: str) -> Iterator[None]:
    """Turn the errors of the database at *where* (and of its files) into those of imagectl."""
    try:
        yield
    except DBAPIError as error:
        cause = error.orig
        if isinstance(cause, sqlite3.Error):
            raise _sqlite(cause, where) from error
        raise _postgresql(cause, where) from error
    except sqlite3.Error as error:
        raise _sqlite(error, where) from error
    except TimeoutError as error:
        raise _busy(where, "all connections of this process are in use") from error
    except OSError as error:
        raise _file(error, where) from error


def _first_line(error: BaseException | None) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")


def _busy(where: str, why: str) -> ImagectlError:
    return CannotTell(
        "the catalog is busy; it is as it was",
        where=where,
        why=why,
        hint="another imagectl is writing to it; try again when it has ended",
    )


def _full(where: str, why: str) -> ImagectlError:
    return NoSpace(
        "the catalog could not be written: no space left; it is as it was",
        where=where,
        why=why,
        hint=SPACE,
    )


def _denied(where: str, why: str, hint: str) -> ImagectlError:
    return Failed(
        "the catalog may not be written by this user; it is as it was",
        where=where,
        why=why,
        hint=hint,
    )


def _sqlite(error: sqlite3.Error, where: str) -> ImagectlError:
    # Named by SQLite itself (sqlite.org/rescode.html); absent where Python's module raised it.
    name = getattr(error, "sqlite_errorname", "")
    why = _first_line(error)
    match name.split("_")[1:2]:
        case ["BUSY" | "LOCKED"]:
            return _busy(where, why)
        case ["FULL"]:
            return _full(where, why)
        case ["NOTADB"]:
            return CannotTell(
                "the catalog's file is not a SQLite database", where=where, why=why, hint=RESTORE
            )
        case ["CORRUPT"] | []:  # nameless: text in it is no UTF-8
            return CannotTell("the catalog's file is damaged", where=where, why=why, hint=RESTORE)
        case ["READONLY"] if name == "SQLITE_READONLY":
            return _denied(where, why, "let this user write to the file, or ask its owner")
        case ["IOERR"] if _no_room(Path(where)):
            return _full(where, why)
        case ["IOERR"]:
            # Seen: a change whose fsync failed, and which the next process found in the WAL.
            return CannotTell(
                "the catalog's file cannot be read or written",
                where=where,
                why=f"{why} ({name})",
                hint="check the disk; if this was a change, it may have been recorded: "
                "`imagectl history` tells",
            )
        case ["CANTOPEN" | "PROTOCOL" | "PERM" | "READONLY"]:
            return CannotTell(
                "the catalog's file cannot be read or written",
                where=where,
                why=f"{why} ({name})",
                hint="check the disk, and who may write to the file and its folder: SQLite keeps "
                "two more files there, even to read",
            )
        case _:
            return _unforeseen(where, why)


def _no_room(path: Path) -> bool:
    """SQLite reports a full disk as an I/O error where it maps a file into memory."""
    with contextlib.suppress(OSError):
        room = os.statvfs(path.parent)
        return room.f_bavail * room.f_frsize < 1 << 16
    return False


def _postgresql(error: BaseException | None, where: str) -> ImagectlError:
    # postgresql.org/docs/current/errcodes-appendix.html; absent where no connection was made.
    state = getattr(error, "sqlstate", None) or ""
    why = _first_line(error)
    match state[:2], state:
        case _, "55P03":
            return _busy(where, why)
        case _, "53100":
            return _full(where, why)
        case _, "42501" | "25006":
            return _denied(
                where, why, "check what the role is granted, and that this is not a standby"
            )
        case (("" | "08" | "28" | "3D" | "53" | "57"), _):
            return CannotTell(
                "the catalog's database cannot be reached",
                where=where,
                why=why,
                hint="if this was a change, it may have been recorded: "
                "`imagectl history` tells when the database is back",
            )
        case (("XX" | "58"), _):
            return CannotTell(
                "the catalog's database is damaged", where=where, why=why, hint=RESTORE
            )
        case _:
            return _unforeseen(where, why)


def _unforeseen(where: str, why: str) -> ImagectlError:
    return Failed(
        "the catalog's database refused a statement; it is as it was",
        where=where,
        why=why,
        hint="`imagectl catalog verify` tells whether it is sound",
    )


def _file(error: OSError, where: str) -> ImagectlError:
    why = f"{error.filename or where}: {error.strerror}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _full(where, why)
    return Failed(
        "the catalog's file could not be made",
        where=where,
        why=why,
        hint="choose another place with `catalog.url` in imagectl.yaml, or make this one writable",
    )
