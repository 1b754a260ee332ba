"""Adopt what stays where it is and is described: what others made, and what a builder made.

Promises: it becomes a version that is held from the moment that the catalog knows it; it is written
down before its marks are set, and what was marked is recorded, whatever stops it (P7). It is
neither copied nor made again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from imagectl.errors import Corrupt, ImagectlError, Refused
from imagectl.model.change import (
    EndIntent,
    HoldVersion,
    Operation,
    RecordIntent,
    RecordPlacement,
    RecordVersion,
)
from imagectl.model.names import Architecture, Format, ImageName, Sha256, VersionId
from imagectl.model.retention import Stage
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Artifact, Intent, Placement, VersionRef
from imagectl.model.view import Found
from imagectl.policy.adoption import been_deleted
from imagectl.services.adopting import Adopting, Taken, ignore
from imagectl.services.ledger import write_down
from imagectl.services.pipeline import digest_of_file
from imagectl.services.ports.locations import Workshop

BATCH = 50
"""How many are written down at once, before their marks are set, and again afterwards."""


@dataclass(frozen=True, slots=True)
class _Item:
    """A thing that is described, and not copied. ``said`` is the version that its marks name."""

    found: Found
    image: ImageName
    architecture: Architecture
    said: VersionRef | None = None
    sha256: Sha256 | None = None
    """What its marks say that its description has."""


def would_take_described(run: Adopting) -> None:
    """What ``take_described`` would take, and what would fail, as far as can be told without
    describing each: what fails gets no number."""
    numbers = _Numbers(run.spoken_for)
    for item in _items(run):
        if run.would_fail(item.found):
            continue
        ref = item.said or numbers.next(run.snapshot, item)
        run.taken.append(Taken(item.found, ref, item.said is not None, run.is_new(ref)))


def take_described(run: Adopting) -> None:
    """All of it, what says itself what it is first. What could not be taken is in *run* then."""
    for image, items in groupby(
        sorted(_items(run), key=lambda each: each.image), key=lambda each: each.image
    ):
        of_image = tuple(items)
        for start in range(0, len(of_image), BATCH):
            _take(run, image, of_image[start : start + BATCH])


def _items(run: Adopting) -> tuple[_Item, ...]:
    """What is described, those that say what they are first: they keep their numbers."""
    return (
        *(
            _Item(found, ref.image, owner.architecture, ref, owner.sha256)
            for ref, those in run.sort.lost.items()
            for found, owner in those
            if owner.format is Format.NATIVE
        ),
        *(
            _Item(
                each.found,
                each.version.image,
                each.artifact.architecture,
                each.version,
                each.artifact.sha256,
            )
            for each in run.sort.unrecorded
            if each.artifact.format is Format.NATIVE
        ),
        *(_Item(each.found, each.image, each.architecture) for each in run.sort.strange),
    )


def _take(run: Adopting, image: ImageName, items: Sequence[_Item]) -> None:
    """A batch: written down, then marked, then recorded where it is, whatever stops it."""
    described = [pair for each in items if (pair := _described(run, each)) is not None]
    refs = _write_down(run, image, described)
    placed: list[tuple[_Item, Placement]] = []
    try:
        for item, artifact in described:
            ref = refs.get(item.found.provider_id)
            if ref is None:
                continue
            run.progress.step(f"{item.found.name} as {ref}")
            try:
                placed.append((item, _put(run, ref, artifact)))
            except ImagectlError as error:
                run.failed.append((item.found, error))
    finally:
        _finish(run, image, placed)
    run.taken += (
        Taken(item.found, each.version, item.said is not None, run.is_new(each.version))
        for item, each in placed
    )


def _described(run: Adopting, item: _Item) -> tuple[_Item, Artifact] | None:
    assert isinstance(run.location, Workshop)
    file = run.request.folder / f"{run.releasing.new_key()}.json"
    try:
        run.location.describe(item.found.name, file)
        sha256, size = digest_of_file(file), file.stat().st_size
        if item.sha256 not in (None, sha256):
            raise Corrupt(
                f"{item.found.name} is another one than its marks say",
                where=item.found.provider_id,
                why=f"its description has the sha256 {sha256}; they say {item.sha256}",
            )
        run.store.adopt(file)
    except ImagectlError as error:
        run.failed.append((item.found, error))
        return None
    finally:
        file.unlink(missing_ok=True)
    return item, Artifact(Format.NATIVE, item.architecture, sha256, size)


def _write_down(
    run: Adopting, image: ImageName, described: Sequence[tuple[_Item, Artifact]]
) -> Mapping[str, VersionRef]:
    """Record the versions, held, and that they are about to be marked (P7). Which is which, by
    provider id. What is of a version that is deleted has failed."""
    refs: dict[str, VersionRef] = {}
    gone: list[tuple[Found, VersionRef]] = []

    def operations(snapshot: Snapshot) -> list[Operation]:
        refs.clear()
        gone.clear()
        numbers, now = _Numbers(run.spoken_for), run.releasing.clock.now()
        known = {
            artifact.sha256: version.ref
            for version in snapshot.of(image)
            for artifact in version.artifacts
            if artifact.format is Format.NATIVE
        }
        said: list[Operation] = []
        for item, artifact in described:
            ref = known.get(artifact.sha256)
            if ref is None:
                ref = item.said or numbers.next(snapshot, item)
                version = run.version(ref, item.found, (artifact,), (run.location.name,))
                said += [RecordVersion(version), HoldVersion(ref)]
            elif snapshot.stage(ref) is Stage.DELETED:
                gone.append((item.found, ref))
                continue
            refs[item.found.provider_id] = ref
            intent = Intent(
                ref,
                Format.NATIVE,
                artifact.architecture,
                run.location.name,
                item.found.name,
                now,
                run.releasing.actor,
            )
            if not any(
                (each.key, each.named) == (intent.key, intent.named)
                for each in snapshot.intended(ref)
            ):
                said.append(RecordIntent(intent))
        return said

    write_down(run.releasing, image, "adopt", run.reason, operations)
    for found, ref in gone:
        why, hint = been_deleted(ref)
        refused = Refused(
            f"{found.name} was not adopted", reasons=[why], where=found.provider_id, hint=hint
        )
        run.failed.append((found, refused))
    return refs


def _put(run: Adopting, ref: VersionRef, artifact: Artifact) -> Placement:
    return run.location.put(
        ref, artifact, run.store.path(artifact.sha256), run.releasing.clock.now(), ignore
    )


def _finish(run: Adopting, image: ImageName, placed: Sequence[tuple[_Item, Placement]]) -> None:
    if not placed:
        return
    named = {(each.key, item.found.name) for item, each in placed}

    def operations(snapshot: Snapshot) -> list[Operation]:
        return [
            *(RecordPlacement(each) for _, each in placed),
            *(
                EndIntent(intent)
                for _, each in placed
                for intent in snapshot.intended(each.version)
                if (intent.key, intent.named) in named
            ),
        ]

    write_down(run.releasing, image, "adopt", run.reason, operations)


class _Numbers:
    """Gives each version the next free number of the day that it was made on."""

    def __init__(self, spoken_for: Callable[[ImageName], Collection[VersionId]]) -> None:
        self._spoken_for = spoken_for
        self._last: dict[tuple[ImageName, str], int] = {}

    def next(self, snapshot: Snapshot, item: _Item) -> VersionRef:
        """For the *item*. Those of one day get theirs in the order in which they are asked for."""
        assert item.found.created is not None
        day = item.found.created.strftime("%Y%m%d")
        if (item.image, day) not in self._last:
            taken = {each.id for each in snapshot.of(item.image)} | set(
                self._spoken_for(item.image)
            )
            serials = [each.serial for each in taken if each.day == day]
            self._last[item.image, day] = max(serials, default=0)
        self._last[item.image, day] += 1
        return VersionRef(item.image, VersionId(day, self._last[item.image, day]))
