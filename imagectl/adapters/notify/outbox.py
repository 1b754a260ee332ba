"""The outbox of notices: one small JSON file in the project's state."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from imagectl.adapters import durable
from imagectl.errors import CannotTell
from imagectl.model.notice import Happened, Notice, Subject
from imagectl.services.notify import Box, Sent, Waiting

FORMAT = "imagectl-outbox-1"


class FileOutbox:
    """Implements ``services.notify.Outbox`` with the file *path*."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextlib.contextmanager
    def alone(self) -> Iterator[bool]:
        with durable.naming_failures("the outbox of notices", self._path.parent):
            durable.make_folder(self._path.parent)
            lock = self._path.with_suffix(".lock")
            handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(handle)

    def read(self) -> Box | None:
        try:
            content = json.loads(self._path.read_bytes())
            if content["format"] != FORMAT:
                raise ValueError(f"it says {content['format']!r:.80}")
            return Box(
                str(content["catalog"]),
                int(content["told"]),
                tuple(_read_waiting(each) for each in content["waiting"]),
                tuple(
                    Sent(each["target"], each["notice"], datetime.fromisoformat(each["at"]))
                    for each in content["sent"]
                ),
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as problem:
            raise CannotTell(
                "the outbox of notices cannot be read",
                where=str(self._path),
                why=str(problem),
                hint="remove it: what was not sent yet is not sent any more then",
            ) from problem

    def write(self, box: Box) -> None:
        content = {
            "format": FORMAT,
            "catalog": box.catalog,
            "told": box.told,
            "waiting": [_written(each) for each in box.waiting],
            "sent": [
                {"target": each.target, "notice": each.notice, "at": each.at.isoformat()}
                for each in box.sent
            ],
        }
        data = json.dumps(content, indent=1).encode() + b"\n"
        with durable.naming_failures("the outbox of notices", self._path.parent, len(data)):
            durable.write(self._path.parent, self._path, data, mode=0o600)


def _written(waiting: Waiting) -> dict[str, Any]:
    return {
        "target": waiting.target,
        "notice": notice_document(waiting.notice),
        "since": waiting.since.isoformat(),
        "tries": waiting.tries,
        "after": None if waiting.after is None else waiting.after.isoformat(),
        "trouble": waiting.trouble,
    }


def _read_waiting(content: Any) -> Waiting:
    after = content["after"]
    return Waiting(
        content["target"],
        _read_notice(content["notice"]),
        datetime.fromisoformat(content["since"]),
        int(content["tries"]),
        None if after is None else datetime.fromisoformat(after),
        content["trouble"],
    )


def notice_document(notice: Notice) -> dict[str, Any]:
    """The notice as JSON has it, here and in what webhooks get."""
    return {
        "id": notice.id,
        "event": notice.event.value,
        "generation": notice.generation,
        "at": notice.at.isoformat(),
        "by": notice.by,
        "reason": notice.reason,
        "subjects": [
            {
                "image": each.image,
                "channel": each.channel,
                "version": each.version,
                "of": each.of,
                "what": each.what,
            }
            for each in notice.subjects
        ],
    }


def _read_notice(content: Any) -> Notice:
    return Notice(
        content["id"],
        Happened(content["event"]),
        int(content["generation"]),
        datetime.fromisoformat(content["at"]),
        content["by"],
        content["reason"],
        tuple(Subject(**each) for each in content["subjects"]),
    )
