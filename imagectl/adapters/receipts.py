"""Who has resolved what, in a folder: one small file for each version and consumer.

Promises: a receipt is whole or not there (P7); and a folder that ought to be there and is not, or a
receipt that cannot be read, is "cannot tell", never "nobody" (P8): a cleanup would take away what
is in use. Consumers on other machines write to the same folder where it is shared.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from imagectl.adapters.durable import PARTIAL, naming_failures, write
from imagectl.errors import CannotTell
from imagectl.formats.receipt_v1 import SUFFIX, parse_receipt, receipt_path, write_receipt
from imagectl.model.retention import Receipt
from imagectl.model.version import VersionRef

MARKER = "RECEIPTS"
"""A file that says that this is the folder: a file system that is not mounted leaves an empty one,
which looks like a folder that nobody has written to."""

_MARKER_TEXT = b"Receipts of imagectl's consumers. A cleanup stops where this file is missing.\n"


class FileReceipts:
    """``services.ports.Receipts`` on a folder. *expected*: it has to be there already; else it is
    made with the first receipt, and before that there is none."""

    def __init__(self, root: Path, *, expected: bool = False) -> None:
        self._root = root
        self._expected = expected

    def add(self, receipt: Receipt) -> None:
        with naming_failures("noting who has resolved what", self._root):
            if not (self._root / MARKER).exists():
                if self._expected:
                    raise self._not_the_folder()
                write(self._root, self._root / MARKER, _MARKER_TEXT)
            write(self._root, self._root / receipt_path(receipt), write_receipt(receipt))

    def latest(self) -> Mapping[VersionRef, datetime]:
        latest: dict[VersionRef, datetime] = {}
        for path in self._files():
            try:
                data = (self._root / path).read_bytes()
                receipt = parse_receipt(data, path)
            except OSError as error:
                raise self._unreadable(path, error.strerror or str(error)) from error
            except ValueError as error:
                raise self._unreadable(path, str(error)) from error
            known = latest.get(receipt.version)
            latest[receipt.version] = max(receipt.at, known) if known else receipt.at
        return latest

    def _files(self) -> Iterator[str]:
        """Every receipt's path below the folder."""
        if not (self._root / MARKER).exists():
            if self._expected or self._root.exists():
                raise self._not_the_folder()
            return
        for image in self._inside(""):
            for version in self._inside(image):
                for name in self._inside(version):
                    if name.endswith(SUFFIX):
                        yield name

    def _inside(self, folder: str) -> Iterator[str]:
        """What is in a folder of ours: folders on the way, files at the end."""
        try:
            with os.scandir(self._root / folder) as entries:
                names = sorted(each.name for each in entries)
        except NotADirectoryError:
            return
        except OSError as error:
            raise self._unreadable(folder, error.strerror or str(error)) from error
        for name in names:
            if name not in (PARTIAL, MARKER):
                yield f"{folder}/{name}" if folder else name

    def _not_the_folder(self) -> CannotTell:
        return CannotTell(
            f"{self._root} is not the folder of receipts",
            where=str(self._root / MARKER),
            why=f"its file {MARKER} is not there: is a file system not mounted?",
            hint="mount it; where nobody has resolved anything yet, make the folder and an empty "
            f"file {MARKER} in it",
        )

    def _unreadable(self, path: str, why: str) -> CannotTell:
        return CannotTell(
            "it cannot be told who has resolved what",
            where=str(self._root / path),
            why=why,
            hint="make it readable; a receipt that is damaged may be removed once it is known that "
            "its version is not needed",
        )
