"""What events of all versions have in common: their JSON, and the parts that never changed.

- Durations are text, the shortest decimal that reads back as the same number (``"12.5"``).
- Times are RFC 3339 in UTC with six decimals; as text they sort by age.
- Whole numbers are between 0 and 2**53 - 1, which every JSON reader keeps exactly.

A part that changes is no longer in common: its old form moves to the module of its version.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from typing import TypeVar

from imagectl.model.change import MoveChannel
from imagectl.model.channel import MoveKind
from imagectl.model.names import (
    Architecture,
    Format,
    parse_channel_name,
    parse_image_name,
    parse_location_name,
    parse_sha256,
    parse_version_id,
)
from imagectl.model.version import (
    Artifact,
    Inside,
    Origin,
    Placement,
    TestSummary,
    Tree,
    Version,
    VersionRef,
)

MAX_INTEGER = 2**53 - 1

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""What no database and no UTF-8 can hold."""

T = TypeVar("T")
E = TypeVar("E", bound=Enum)


class BadEvent(ValueError):
    """Text is not an event. The message is for people."""


class NewerEvent(BadEvent):
    """Text says something that this release has no word for."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}: written by a newer imagectl")


_CANONICAL = json.JSONEncoder(
    check_circular=False,
    sort_keys=True,
    separators=(",", ":"),
    ensure_ascii=False,
    allow_nan=False,
)


def canonical(value: object) -> str:
    """JSON in its one form: keys sorted, no spaces, no floats, text as it is."""
    return _CANONICAL.encode(value)


# --- writing ---


def write_time(at: datetime) -> str:
    """RFC 3339 in UTC with six decimals. Raises ValueError for a time without a zone."""
    if at.tzinfo is None:
        raise ValueError(f"the time {at} has no zone")
    return f"{at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def write_seconds(seconds: float) -> str:
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"{seconds} is not a duration")
    return repr(float(seconds))


def write_ref(ref: VersionRef) -> dict[str, object]:
    return {"image": ref.image, "version": str(ref.version)}


def write_tree(tree: Tree) -> dict[str, object]:
    return {"sha256": tree.sha256, "size": tree.size, "stored": tree.stored}


def write_artifact(artifact: Artifact) -> dict[str, object]:
    return {
        "format": artifact.format.value,
        "architecture": artifact.architecture.value,
        "sha256": artifact.sha256,
        "size": artifact.size,
    }


def write_tests(tests: TestSummary) -> dict[str, object]:
    return {
        "passed": tests.passed,
        "failed": tests.failed,
        "seconds": write_seconds(tests.seconds),
        "report": tests.report,
        "console": tests.console,
    }


def write_version(version: Version) -> dict[str, object]:
    """All but how it was made: its tree, its origin and what is inside."""
    return {
        "ref": write_ref(version.ref),
        "created": write_time(version.created),
        "created_by": version.created_by,
        "summary": version.summary,
        "fingerprint": version.fingerprint,
        "parent": write_ref(version.parent) if version.parent else None,
        "artifacts": [write_artifact(artifact) for artifact in version.artifacts],
        "tests": write_tests(version.tests),
        "required_locations": list(version.required_locations),
        "tool": version.tool,
        "build_log": version.build_log,
        "seconds": write_seconds(version.seconds),
    }


def write_placement(placement: Placement) -> dict[str, object]:
    return {
        "version": write_ref(placement.version),
        "format": placement.format.value,
        "architecture": placement.architecture.value,
        "location": placement.location,
        "provider_id": placement.provider_id,
        "reference": placement.reference,
        "sha256": placement.sha256,
        "size": placement.size,
        "verified": write_time(placement.verified),
    }


def write_move(move: MoveChannel) -> dict[str, object]:
    return {
        "image": move.image,
        "channel": move.channel,
        "to": str(move.to),
        "kind": move.kind.value,
    }


# --- reading ---


class Fields:
    """A JSON object, each of whose fields is taken exactly once. *where* names it in messages."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise BadEvent(f"{where}: an object is expected")
        self._rest: dict[str, object] = dict(value)
        self._where = where

    def take(self, key: str) -> object:
        if key not in self._rest:
            raise BadEvent(f"{self._where}: {key} is missing")
        return self._rest.pop(key)

    def done(self) -> None:
        if self._rest:
            raise BadEvent(f"{self._where}: unknown {', '.join(sorted(self._rest))}")

    def whole(self, key: str) -> int:
        value = self.take(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_INTEGER:
            raise BadEvent(f"{self._where}: {key} is not a whole number from 0 to 2**53-1")
        return value

    def text(self, key: str) -> str:
        return self._storable(self.take(key), key)

    def _storable(self, value: object, key: str) -> str:
        if not isinstance(value, str):
            raise BadEvent(f"{self._where}: {key} is not text")
        if _UNSTORABLE.search(value):
            raise BadEvent(f"{self._where}: {key} holds a character that cannot be stored")
        return value

    def named(self, key: str, parse: Callable[[str], T]) -> T:
        return self._named(self.take(key), key, parse)

    def _named(self, value: object, key: str, parse: Callable[[str], T]) -> T:
        text = self._storable(value, key)
        try:
            return parse(text)
        except ValueError as error:
            raise BadEvent(f"{self._where}: {key}: {error}") from None

    def seconds(self, key: str) -> float:
        value = self.named(key, float)
        if not (math.isfinite(value) and value >= 0):
            raise BadEvent(f"{self._where}: {key} is not a duration")
        return value

    def word(self, key: str, words: type[E]) -> E:
        text = self.text(key)
        try:
            return words(text)
        except ValueError:
            raise NewerEvent(f"{self._where}: {key} {text[:40]!r}") from None

    def time(self, key: str) -> datetime:
        return self.named(key, datetime.fromisoformat)

    def maybe_time(self, key: str) -> datetime | None:
        value = self.take(key)
        return None if value is None else self._named(value, key, datetime.fromisoformat)

    def maybe_named(self, key: str, parse: Callable[[str], T]) -> T | None:
        value = self.take(key)
        return None if value is None else self._named(value, key, parse)

    def inner(self, key: str) -> Fields:
        return Fields(self.take(key), f"{self._where}.{key}")

    def maybe(self, key: str, read: Callable[[Fields], T]) -> T | None:
        """What *read* makes of the object there; None where there is null."""
        value = self.take(key)
        return None if value is None else read(Fields(value, f"{self._where}.{key}"))

    def each(self, key: str) -> list[Fields]:
        return [Fields(value, f"{self._where}.{key}[{at}]") for at, value in self._list(key)]

    def names(self, key: str, parse: Callable[[str], T]) -> tuple[T, ...]:
        return tuple(parse(self._storable(value, key)) for _, value in self._list(key))

    def _list(self, key: str) -> list[tuple[int, object]]:
        value = self.take(key)
        if not isinstance(value, list):
            raise BadEvent(f"{self._where}: {key} is not a list")
        return list(enumerate(value))


def read_ref(fields: Fields) -> VersionRef:
    ref = VersionRef(
        fields.named("image", parse_image_name), fields.named("version", parse_version_id)
    )
    fields.done()
    return ref


def read_tree(fields: Fields) -> Tree:
    tree = Tree(
        sha256=fields.named("sha256", parse_sha256),
        size=fields.whole("size"),
        stored=fields.named("stored", parse_sha256),
    )
    fields.done()
    return tree


def read_artifact(fields: Fields) -> Artifact:
    artifact = Artifact(
        format=fields.word("format", Format),
        architecture=fields.word("architecture", Architecture),
        sha256=fields.named("sha256", parse_sha256),
        size=fields.whole("size"),
    )
    fields.done()
    return artifact


def read_tests(fields: Fields) -> TestSummary:
    tests = TestSummary(
        passed=fields.whole("passed"),
        failed=fields.whole("failed"),
        seconds=fields.seconds("seconds"),
        report=fields.named("report", parse_sha256),
        console=fields.named("console", parse_sha256),
    )
    fields.done()
    return tests


def read_version(
    fields: Fields, *, tree: Tree | None, origin: Origin | None = None, inside: Inside | None = None
) -> Version:
    """What is left of *fields* when how it was made has been taken out."""
    version = Version(
        ref=read_ref(fields.inner("ref")),
        created=fields.time("created"),
        created_by=fields.text("created_by"),
        summary=fields.text("summary"),
        fingerprint=fields.named("fingerprint", parse_sha256),
        parent=fields.maybe("parent", read_ref),
        tree=tree,
        artifacts=tuple(read_artifact(each) for each in fields.each("artifacts")),
        tests=read_tests(fields.inner("tests")),
        required_locations=fields.names("required_locations", parse_location_name),
        tool=fields.text("tool"),
        build_log=fields.named("build_log", parse_sha256),
        seconds=fields.seconds("seconds"),
        origin=origin,
        inside=inside,
    )
    fields.done()
    return version


def read_placement(fields: Fields) -> Placement:
    placement = Placement(
        version=read_ref(fields.inner("version")),
        format=fields.word("format", Format),
        architecture=fields.word("architecture", Architecture),
        location=fields.named("location", parse_location_name),
        provider_id=fields.text("provider_id"),
        reference=fields.text("reference"),
        sha256=fields.named("sha256", parse_sha256),
        size=fields.whole("size"),
        verified=fields.time("verified"),
    )
    fields.done()
    return placement


def read_move(fields: Fields) -> MoveChannel:
    return MoveChannel(
        image=fields.named("image", parse_image_name),
        channel=fields.named("channel", parse_channel_name),
        to=fields.named("to", parse_version_id),
        kind=fields.word("kind", MoveKind),
    )
