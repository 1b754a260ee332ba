"""Put a version where consumers pull it from, and show consumers the catalog.

Promises: what is recorded as placed was verified by the location itself; what is about to be made
is written down before (P7), once the location has let us in; all locations are filled at the same
time, and what one of them fails at keeps no other from being filled and recorded. Publishing again
renews when it was verified, and goes on where it was interrupted.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from imagectl.errors import (
    BadUsage,
    CannotTell,
    Failed,
    ImagectlError,
    Interrupted,
    NotFound,
    Refused,
    summed_up,
)
from imagectl.model.names import LocationName
from imagectl.model.retention import Stage
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Artifact, Intent, Placement, Version, VersionRef
from imagectl.policy.promotion import find_version
from imagectl.policy.readiness import taken_away
from imagectl.policy.wording import listed, nearest, span
from imagectl.services.abreast import abreast
from imagectl.services.credentials import RENEW, expiring
from imagectl.services.current import check_newest
from imagectl.services.ledger import SETTLED, Ledger
from imagectl.services.live import Key
from imagectl.services.ports.catalog import Catalog
from imagectl.services.ports.locations import Location
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.published import Publisher
from imagectl.services.ports.stores import ArtifactStore
from imagectl.services.releasing import Releasing
from imagectl.services.show import catch_up


@dataclass(frozen=True, slots=True)
class Placed:
    """A version's placements after publishing; ``new`` are those that were not recorded before,
    ``again`` those that were, and were gone.

    ``failed`` are the optional locations that it could not be put in, and why.
    """

    version: VersionRef
    placements: tuple[Placement, ...]
    new: tuple[Placement, ...]
    again: tuple[Placement, ...]
    failed: Mapping[LocationName, ImagectlError]


def place(
    releasing: Releasing,
    store: ArtifactStore,
    ref: VersionRef,
    to: Sequence[LocationName] = (),
    progress: Progress | None = None,
    *,
    optional: Collection[LocationName] = (),
    only: bool = False,
) -> Placed:
    """Put *ref* in the locations that it requires, those named and the *optional* ones.

    ``only``: in those named, and in no other. Each location gets the artifacts whose format it
    takes. What is there already is verified again, and put there anew where it is gone. Consumers
    are not shown it here: see ``enter`` and ``catch_up``.

    Raises NotFound for an unknown version, Refused for a deleted one, and NotFound or BadUsage
    where one of *to* is unknown or takes none of the artifacts; nothing is done then. After the
    fact, where locations failed that are not optional, raises what the location raised if it was
    the only one, else one error for all (see ``errors.summed_up``): the others are done and
    recorded.
    """
    check_newest(releasing.catalog, releasing.publishers)
    snapshot = releasing.catalog.snapshot((ref.image,))
    version = find_version(snapshot, ref)
    if snapshot.stage(ref) is Stage.DELETED:
        raise Refused(
            f"{ref} is put nowhere",
            reasons=taken_away(ref, snapshot),
            where=str(ref),
            hint=f"`imagectl cleanup undelete {ref}`",
        )
    for name in to:
        _fitting(releasing, version, name)
    must = tuple(dict.fromkeys(to if only else (*version.required_locations, *to)))
    may = () if only else tuple(each for each in dict.fromkeys(optional) if each not in must)
    filling = _Filling(releasing, store, version, snapshot, progress)
    done, failed = filling.fill((*must, *may))
    if any(name in failed for name in must):
        raise _failure(ref, (*must, *may), done, failed, must)
    placements = tuple(each for name in done for each in done[name])
    known = {each.key for each in snapshot.placed(ref)}
    new = tuple(each for each in placements if each.key not in known)
    again = tuple(each for each in placements if each.key in filling.again)
    return Placed(ref, placements, new, again, failed)


def give_up(
    releasing: Releasing, ref: VersionRef, at: Collection[LocationName] = ()
) -> tuple[Intent, ...]:
    """End what was begun for *ref* and never finished, in all locations or in those named.

    Each location is looked at first: what it holds of the version must be recorded or deleted, not
    forgotten (P2). Raises Refused where something of it is there, or was begun so lately that it
    may still be under way, CannotTell where not all of the location could be seen (P3), NotFound
    where nothing was begun; nothing is done then.
    """
    snapshot = releasing.catalog.snapshot((ref.image,))
    find_version(snapshot, ref)
    intents = [each for each in snapshot.intended(ref) if not at or each.location in at]
    if not intents:
        raise NotFound(
            f"nothing of {ref} is unfinished{f' in {listed(at)}' if at else ''}",
            hint=f"`imagectl show {ref}` says where it is",
        )
    now = releasing.clock.now()
    if young := [each for each in intents if now - each.since < SETTLED]:
        raise Refused(
            f"{ref} is not given up where somebody may be putting it there now",
            reasons=[
                f"{each.named} in {each.location}: begun by {each.by} at "
                f"{each.since:%Y-%m-%d %H:%M} UTC, less than {span(SETTLED)} ago"
                for each in young
            ],
            hint=f"wait until {max(each.since for each in young) + SETTLED:%H:%M} UTC, or let "
            f"`imagectl publish {ref}` finish it",
        )
    there: list[str] = []
    for name in sorted({each.location for each in intents}):
        there += _left(releasing, snapshot.catalog_id, ref, name, intents)
    if there:
        raise Refused(f"{ref} is not given up where something of it is", reasons=there)
    Ledger(releasing, ref).give_up(intents)
    return tuple(intents)


def publish_catalog(catalog: Catalog, publishers: Sequence[Publisher]) -> int:
    """Write every published tree anew, repairing what is missing or changed. The generation.

    Raises CannotTell, and writes none, where one shows a later generation than the catalog has, or
    another catalog: it would be left as it is without a word. Where some cannot be written, raises
    what the tree raised if it is the only one, else one error for all (see ``errors.summed_up``),
    after the others are written.
    """
    check_newest(catalog, publishers)
    snapshot = catalog.snapshot()
    failed: dict[str, ImagectlError] = {}
    for publisher in publishers:
        try:
            publisher.publish(snapshot)
            catch_up(catalog, [publisher])  # one that could not be read at first may be ahead
        except ImagectlError as error:
            failed[publisher.where] = error
    if failed and len(publishers) == 1:
        raise failed.popitem()[1]
    if failed:
        others = f"; the others show generation {snapshot.generation}"
        raise summed_up(
            f"{len(failed)} of {len(publishers)} published trees cannot be written"
            f"{others if len(failed) < len(publishers) else ''}",
            failed,
            counting=list(failed),
            hint="put that right, then `imagectl catalog publish`",
        )
    return snapshot.generation


class _Filling:
    """Puts one version in several locations at the same time."""

    def __init__(
        self,
        releasing: Releasing,
        store: ArtifactStore,
        version: Version,
        snapshot: Snapshot,
        progress: Progress | None,
    ) -> None:
        self._releasing = releasing
        self._store = store
        self._version = version
        self._known = {each.key: each for each in snapshot.placed(version.ref)}
        self._progress = progress
        self._ledger = Ledger(releasing, version.ref)
        self._stopped = threading.Event()
        self.again: set[Key] = set()
        """What was recorded, and had to be put there once more."""

    def fill(
        self, names: Sequence[LocationName]
    ) -> tuple[dict[LocationName, tuple[Placement, ...]], dict[LocationName, ImagectlError]]:
        """What is in which location now, and what the others failed at, in the order of *names*."""
        done: dict[LocationName, tuple[Placement, ...]] = {}
        failed: dict[LocationName, ImagectlError] = {}
        found: dict[LocationName, tuple[Location, list[Artifact]]] = {}
        for name in names:
            try:
                found[name] = self._look_up(name)
            except ImagectlError as error:
                failed[name] = error
        mistake: Exception | None = None
        tasks = {name: partial(self._fill_one, *found[name]) for name in found}
        with abreast(tasks, self._stopped) as outcomes:
            for name, outcome in outcomes:
                if isinstance(outcome, ImagectlError):
                    failed[name] = outcome
                elif isinstance(outcome, Exception):
                    mistake = mistake or outcome
                else:
                    done[name] = outcome
                if self._progress is not None and len(names) > 1:
                    # The last one may take an hour longer than this one.
                    self._progress.note(f"{name}: {_told(outcome)}")
        if mistake is not None:
            raise mistake
        return (
            {name: done[name] for name in names if name in done},
            {name: failed[name] for name in names if name in failed},
        )

    def _look_up(self, name: LocationName) -> tuple[Location, list[Artifact]]:
        """The location and what to put there. Raises before anything is begun for it."""
        location, artifacts = _fitting(self._releasing, self._version, name)
        for artifact in artifacts:
            if self._recorded(location, artifact) is None:
                self._source(artifact)
        return location, artifacts

    def _fill_one(self, location: Location, artifacts: Sequence[Artifact]) -> tuple[Placement, ...]:
        """All *artifacts*, one after the other; recorded when the last one is there.

        What is to be made is written down before, once the location has let us in.
        """
        new = [each for each in artifacts if self._recorded(location, each) is None]
        if new:
            self._check_stopped()
            self._log_in(location)
            self._ledger.begin([(location, each) for each in new])
        placed = [(each, self._placed(location, each)) for each in artifacts]
        self._ledger.finish(location, placed)
        return tuple(placement for _, placement in placed)

    def _log_in(self, location: Location) -> None:
        """Find out before gigabytes are uploaded that a credential does not do."""
        if self._progress is not None:
            self._progress.step(f"{location.name}: logging in")
        credential = location.probe()
        warning = expiring(credential, self._releasing.clock.now())
        if warning and self._progress is not None:
            self._progress.note(f"{location.name}: the credential {warning}; {RENEW}")

    def _placed(self, location: Location, artifact: Artifact) -> Placement:
        releasing = self._releasing
        self._check_stopped()
        known = self._recorded(location, artifact)
        if known is not None:
            if self._progress is not None:
                self._progress.step(f"{location.name}: verifying {artifact.format.value}")
            try:
                return location.verify(known, releasing.clock.now())
            except NotFound:  # it was there once: put it there again
                self.again.add(known.key)
                source = self._source(artifact)
                self._ledger.begin([(location, artifact)])
        else:
            source = self._source(artifact)
        what = f"{location.name}: {artifact.format.value}"

        def moved(count: int) -> None:
            self._check_stopped()
            if self._progress is not None:
                self._progress.moved(what, count, artifact.size)

        moved(0)
        try:
            return location.put(self._version.ref, artifact, source, releasing.clock.now(), moved)
        except NotFound as missing:
            # The version is there: it is the bucket, the folder or the project that is not.
            raise Failed(
                missing.what,
                where=missing.where or location.name,
                why=missing.why,
                hint=missing.hint,
            ) from missing

    def _source(self, artifact: Artifact) -> Path:
        """Where it is in the store. Raises NotFound with the way to have it again."""
        try:
            return self._store.path(artifact.sha256)
        except NotFound as missing:
            version = self._version
            can = version.origin is not None and version.tree is not None  # else a build refuses
            raise NotFound(
                f"the {artifact.format.value} of {version.ref} is not in the artifact store",
                where=missing.where or str(version.ref),
                why="what a location does not have is copied from there",
                hint=(f"`imagectl rebuild {version.ref}` makes it again; or " if can else "")
                + "bring the store back from a backup",
            ) from missing

    def _recorded(self, location: Location, artifact: Artifact) -> Placement | None:
        key = (self._version.ref, artifact.format, artifact.architecture, location.name)
        return self._known.get(key)

    def _check_stopped(self) -> None:
        if self._stopped.is_set():
            raise Interrupted("interrupted; what was begun is in the ledger")


def _told(outcome: object) -> str:
    return f"FAILED: {outcome}" if isinstance(outcome, Exception) else "done"


def _fitting(
    releasing: Releasing, version: Version, name: LocationName
) -> tuple[Location, list[Artifact]]:
    """The location, and the artifacts that it takes."""
    location = _find(releasing, name, version.ref)
    artifacts = [each for each in version.artifacts if each.format in location.takes]
    if not artifacts:
        formats = sorted({each.format.value for each in version.artifacts})
        takes = sorted(each.value for each in location.takes)
        raise BadUsage(
            f"{name} takes no artifact of {version.ref}",
            where=f"{version.ref} in {name}",
            why=f"it has {listed(formats)}, and {name} takes {listed(takes)}",
            hint=f"add one of these to `formats` of {version.image} and build it again",
        )
    return location, artifacts


def _find(releasing: Releasing, name: LocationName, ref: VersionRef) -> Location:
    location = releasing.locations.get(name)
    if location is None:
        raise NotFound(
            f"there is no location {name}",
            where=str(ref),
            why=f"imagectl.yaml names {listed(releasing.locations)}",
            hint=nearest(name, releasing.locations),
        )
    return location


def _failure(
    ref: VersionRef,
    tried: Sequence[LocationName],
    done: Collection[LocationName],
    failed: Mapping[LocationName, ImagectlError],
    must: Collection[LocationName],
) -> ImagectlError:
    """The error of all that failed. What optional locations failed at is told, and counts not."""
    if len(tried) == 1:
        (error,) = failed.values()
        return error
    needed = [name for name in must if name in failed]
    so_far = f"it is in {listed(done)}, which is recorded" if done else "it is nowhere yet"
    return summed_up(
        f"publishing {ref} failed in {listed(needed)}; {so_far}",
        {name: failed[name] for name in (*needed, *(each for each in failed if each not in must))},
        counting=needed,
        where=str(ref),
        hint=f"`imagectl publish {ref}{''.join(f' --to {name}' for name in needed)}` "
        "goes on where it stopped",
    )


def _left(
    releasing: Releasing,
    catalog: str,
    ref: VersionRef,
    name: LocationName,
    intents: Collection[Intent],
) -> Iterator[str]:
    """What the location holds of those intents that nobody has recorded."""
    view = _find(releasing, name, ref).view(releasing.clock.now)
    if not view.complete:
        raise CannotTell(
            f"not all of {name} could be seen, so it cannot be told whether {ref} is there",
            where=view.scope,
            why="; ".join(view.gaps),
            hint=f"`imagectl publish {ref} --to {name}` puts it there after all",
        )
    begun = {(each.format, each.architecture) for each in intents if each.location == name}
    recorded = {each.provider_id for each in releasing.catalog.snapshot((ref.image,)).placed(ref)}
    for found in view.found:
        owner = found.owner
        if owner is None or (owner.catalog, owner.version) != (catalog, ref):
            continue
        if (owner.format, owner.architecture) in begun and found.provider_id not in recorded:
            yield (
                f"{found.provider_id} is in {name}: `imagectl publish {ref} --to {name}` records it"
            )
