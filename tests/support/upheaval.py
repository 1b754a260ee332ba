"""Lives of a catalog: whatever people, cleanups, clocks and failures can do to it, at random.

The real services on a real catalog and on locations in memory. At any call to a port, something may
happen in between: somebody else does another thing, the process is killed, a location or the
catalog cannot be read or shows only a part of itself, the clock jumps.

What must never happen is watched from outside of all that decides (``Watch``): the rules of P1 are
written here once more, as plainly as they can be.
"""

from __future__ import annotations

import hashlib
import random
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

from imagectl.adapters.inputs.store import InputStore
from imagectl.errors import CannotTell, ImagectlError
from imagectl.model.change import (
    BeginDeletion,
    Change,
    MoveChannel,
    Operation,
    RecordPlacement,
    RecordVersion,
    StepVersion,
)
from imagectl.model.channel import ChannelRule, MoveKind, ReleasePolicy
from imagectl.model.cleanup import CleanupPlan
from imagectl.model.event import Event
from imagectl.model.excerpt import Excerpt
from imagectl.model.fold import apply_change
from imagectl.model.names import (
    Architecture,
    ChannelName,
    Format,
    ImageName,
    LocationName,
    Sha256,
    VersionId,
)
from imagectl.model.release import PromotionRequest, RollbackRequest
from imagectl.model.retention import Receipt, RetentionPolicy, RetentionRule, Stage
from imagectl.model.signature import Role, Signature, SignedPlan, oldest_first
from imagectl.model.snapshot import Snapshot
from imagectl.model.stock import Shelf, Stock
from imagectl.model.version import Artifact, Placement, Version, VersionRef
from imagectl.model.view import Ownership, View
from imagectl.policy.standing import standing
from imagectl.services import protect, publish, release, undelete, undo
from imagectl.services.apply_cleanup import apply
from imagectl.services.cleanup import Cleaning, planned, scope_of
from imagectl.services.ports.catalog import Catalog, Committed
from imagectl.services.ports.locations import Begin, Mark, Moved
from imagectl.services.releasing import Releasing
from imagectl.testing.locations import MemoryLocation
from imagectl.testing.store import MemoryStore
from support.examples import BASE, BETA, CI, NOW, STABLE, locked
from support.locks import keep_inputs, lock_of, read_lock

LOCAL, DC1 = LocationName("local"), LocationName("dc1")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

POLICY = ReleasePolicy(
    (
        ChannelRule(BETA, entry=True, rollback_window=1),
        ChannelRule(STABLE, source=BETA, rollback_window=1),
    ),
    retention=RetentionPolicy(
        RetentionRule(keep_last=1, min_age=2 * DAY, unused=DAY, grace=DAY),
        max_count=4,
        max_share=1.0,
        expires=2 * DAY,
    ),
)
"""Short times and small windows, so that much goes down in a few steps."""


class Killed(BaseException):
    """The process ended here."""


class Violation(AssertionError):
    """What must never happen, has."""


Interrupt = Callable[[str], None]
"""Called at each call to a port, with its name: something may happen there."""


def sign(plan: CleanupPlan, name: str) -> SignedPlan:
    """As its file would have it; nobody looks at the signature itself. Other names make other
    plans."""
    author = Signature(Role.AUTHOR, plan.author, "0" * 64, plan.made, "0" * 128)
    digest = Sha256(hashlib.sha256(name.encode()).hexdigest())
    return SignedPlan(plan, oldest_first(plan.entries), digest, (author,))


class Time:
    """A clock that anybody can set, also back."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return (self.at - NOW).total_seconds()


class Receipts:
    """What consumers have resolved, and when last."""

    def __init__(self, interrupt: Interrupt) -> None:
        self.known: dict[VersionRef, datetime] = {}
        self._interrupt = interrupt

    def add(self, receipt: Receipt) -> None:
        self.known[receipt.version] = receipt.at

    def latest(self) -> Mapping[VersionRef, datetime]:
        self._interrupt("receipts")
        return dict(self.known)


def protected(
    now: Snapshot, resolved: Mapping[VersionRef, datetime], at: datetime
) -> Mapping[VersionRef, str]:
    """P1, word for word: every version that nothing may take away, and by what."""
    found: dict[VersionRef, str] = {}
    for (image, name), channel in now.channels.items():
        found[VersionRef(image, channel.head.version)] = f"{name} points to it"
        usable = 0
        for earlier in standing(channel).earlier:
            ref = VersionRef(image, earlier)
            if usable < 1:
                found[ref] = f"in {name}'s window"
            usable += now.stage(ref) is Stage.ACTIVE and ref not in now.revoked
    for ref, version in now.versions.items():
        if now.holds.get(ref):
            found[ref] = "held"
        if any(each.until > at for each in now.leases.get(ref, ())):
            found[ref] = "leased"
        if ref in resolved and resolved[ref] + DAY > at:
            found[ref] = "resolved"
        if version.created + 2 * DAY > at:
            found[ref] = "young"
    for child in list(found):
        while child in now.versions:
            parent = now.versions[child].parent
            if parent is None:
                break
            found.setdefault(parent, f"parent of {child}")
            child = parent
    return {ref: why for ref, why in found.items() if now.stage(ref) is not Stage.DELETED}


class Watched(MemoryLocation):
    """A location that somebody watches: whatever goes from it has to be buried."""

    def __init__(self, name: LocationName, life: Life) -> None:
        super().__init__(name, catalog=life.id)
        self._life = life
        self._chance = random.Random(f"{life.seed} {name}")

    def view(self, now: Callable[[], datetime]) -> View:
        # Locations are listed at the same time: what goes wrong with each is its own chance.
        seen = super().view(now)
        match self._life.trouble(self._chance, "view"):
            case "gap":
                return replace(seen, found=seen.found[::2], gaps=("page 2: 503",))
            case "part":
                self._life.count["views cut short"] += 1
                return replace(seen, found=seen.found[: len(seen.found) // 2])
            case "error":
                raise CannotTell(f"{self.name} does not answer")
            case _:
                return seen

    def verify(self, placement: Placement, now: datetime) -> Placement:
        self._life.interrupt("verify")
        return super().verify(placement, now)

    def put(
        self, version: VersionRef, artifact: Artifact, source: Path, now: datetime, moved: Moved
    ) -> Placement:
        self._life.interrupt("put")
        placement = super().put(version, artifact, source, now, moved)
        self._life.interrupt("put it")
        return placement

    def mark(self, placement: Placement, mark: Mark) -> None:
        self._life.interrupt("mark")
        super().mark(placement, mark)

    def delete(self, placement: Placement, begin: Begin) -> None:
        self._life.interrupt("delete")
        before: list[bytes | None] = []

        def begun() -> None:
            begin()  # meanwhile, another process may have deleted it, and that was looked at
            before.append(self.held(placement.provider_id))

        super().delete(placement, begun)
        if any(each is not None for each in before) and self.held(placement.provider_id) is None:
            self._life.check_deleted(placement)
        self._life.interrupt("deleted")


class WatchedCatalog:
    """The catalog of one process, which can be interrupted or cut short at each call."""

    def __init__(self, inner: Catalog, life: Life) -> None:
        self._inner = inner
        self._life = life

    def snapshot(self, images: Collection[ImageName] | None = None) -> Snapshot:
        self._life.interrupt("snapshot")
        return self._inner.snapshot(images)

    def commit(self, change: Change) -> Committed:
        self._life.interrupt("commit")
        committed = self._life.commit(change)
        self._life.interrupt("committed")
        return committed

    def events(self, after: int = 0) -> Iterator[Event]:
        return self._inner.events(after)

    def changed(self, since: int, most: int) -> Excerpt | None:
        self._life.interrupt("changed")
        return self._inner.changed(since, most)

    @contextmanager
    def stock(self) -> Iterator[Stock]:
        self._life.interrupt("stock")
        with self._inner.stock() as stock:
            if self._life.trouble(self._life.chance, "stock") == "part":
                self._life.count["catalogs cut short"] += 1
                stock = _cut_short(stock, self._life.chance)
            yield stock

    def verify(self) -> tuple[str, ...]:
        return self._inner.verify()


def _cut_short(stock: Stock, chance: random.Random) -> Stock:
    """Either of its two readings shows less than there is."""
    if chance.random() < 0.5:
        return replace(stock, shelves=lambda: map(_without_the_last, stock.shelves()))
    less = max(0, stock.counted.versions - 1)
    return replace(stock, whereabouts=lambda: islice(stock.whereabouts(), less))


def _without_the_last(shelf: Shelf) -> Shelf:
    return replace(shelf, versions=shelf.versions[:-1])


class Life:
    """One history. ``count`` says what has happened in it, ``log`` what was done, in order."""

    def __init__(
        self,
        catalog: Catalog,
        folder: Path,
        inputs: InputStore,
        seed: int,
        *,
        calm: bool = False,
    ) -> None:
        """*inputs* may be those of other lives, too: none takes anything from them."""
        self.seed = seed
        self.chance = random.Random(seed)
        self.id = catalog.snapshot(()).catalog_id
        self.count: Counter[str] = Counter()
        self.log: list[str] = []
        self.time = Time()
        self._latest = NOW
        self.catalog = catalog
        self.now = catalog.snapshot()
        self._calm = calm
        self._depth = 0
        self._serials: Counter[ImageName] = Counter()
        self._keys = 0
        self._lost: set[tuple[LocationName, str]] = set()
        self._jumps = 0
        self._begun: dict[tuple[LocationName, str], int] = {}
        """How often the clock had been set when a deletion was begun last."""
        self._foreign: list[tuple[Watched, str]] = []
        self._plans: list[SignedPlan] = []
        self._main = threading.get_ident()
        self._resting = True
        self.receipts = Receipts(self.interrupt)
        # Two locations are listed by two threads, which takes its time.
        names = (LOCAL, DC1) if seed % 3 == 0 else (LOCAL,)
        self.places = {name: Watched(name, self) for name in names}
        self.store = MemoryStore(folder)
        self.inputs = inputs
        self._locks = {each: self._lock(each) for each in (BASE, CI)}
        self._cleanings = {name: self._cleaning(name) for name in ("alice", "bob")}
        self._begin()

    def _cleaning(self, actor: str) -> Cleaning:
        releasing = Releasing(
            WatchedCatalog(self.catalog, self), self.places, (), self.time, actor, self._new_key
        )
        return Cleaning(
            releasing, self.store, {}, self.receipts, undisturbed, self.inputs, read_lock
        )

    def _lock(self, image: ImageName) -> Sha256:
        """One for all versions of the image, which is their sources too."""
        text = f"{image}@20261101.1"
        keep_inputs(self.inputs, text)
        return self.store.add_bytes(lock_of(text).encode())

    def _new_key(self) -> str:
        self._keys += 1
        return f"key-{self.seed}-{self._keys}"

    # --- what happens in between ---

    def interrupt(self, where: str) -> None:
        """Something may happen here."""
        if self._resting or self._calm or threading.get_ident() != self._main:
            return
        drawn = self.chance.random()
        if drawn > 0.05:
            return
        if drawn < 0.006:
            self.log.append(f"  killed at {where}")
            self.count["kills"] += 1
            raise Killed
        if drawn < 0.012:
            self.log.append(f"  {where} fails")
            self.count["failures"] += 1
            raise CannotTell(f"{where} fails")
        if drawn < 0.020:
            self._jump()
        elif self._depth == 0:
            self._depth += 1
            try:
                self.log.append(f"  at {where}:")
                self._deed("bob")
            finally:
                self._depth -= 1

    def trouble(self, chance: random.Random, _where: str) -> str:
        """How a reading goes wrong, if it does."""
        if self._resting or self._calm:
            return ""
        return {0: "gap", 1: "part", 2: "error"}.get(chance.randrange(100), "")

    def _jump(self) -> None:
        by = self.chance.choice([-3 * DAY, -HOUR, HOUR, DAY, 2 * DAY, 40 * DAY])
        self.time.at += by
        self._jumps += 1
        self._latest = max(self._latest, self.time.at)
        self.log.append(f"  the clock goes by {by}")

    # --- what must never happen ---

    def commit(self, change: Change) -> Committed:
        """Every change goes through here, and is known here without reading the catalog."""
        committed = self.catalog.commit(change)
        if not committed.replayed:
            before, self.now = self.now, apply_change(self.now, change)
            self.check_steps(before, change)
        return committed

    def check_steps(self, before: Snapshot, change: Change) -> None:
        for each in change.operations:
            if isinstance(each, BeginDeletion):
                placement = each.tombstone.placement
                self._begun[placement.location, placement.provider_id] = self._jumps
            if not isinstance(each, StepVersion):
                continue
            ref, was = each.version, before.stage(each.version)
            if each.stage is Stage.ACTIVE or was is Stage.DELETED:
                continue
            self.count[f"to {each.stage.value}"] += 1
            # What is resolved between a judgement and a commit is in no catalog. What is deleted
            # was in quarantine by then, and nobody has been given it.
            resolved = self.receipts.known if each.stage is Stage.DELETED else {}
            why = protected(before, resolved, self._latest).get(ref)
            if why is not None:
                raise Violation(f"{ref} goes to {each.stage.value}, and is protected: {why}")

    def check_deleted(self, placement: Placement) -> None:
        """Something has just gone from a location. Between the beginning of a deletion, which the
        catalog knows, and its end, nobody may have brought the version back; but for one whose
        clock was set wrong just then, since it is time that tells a killed deletion from a slow
        one."""
        self.count["deleted from locations"] += 1
        ref, where = placement.version, (placement.location, placement.provider_id)
        if where not in self._begun:
            raise Violation(f"{ref} went from {placement.location}, and that was not begun")
        if self.now.stage(ref) is not Stage.DELETED:
            if self._begun[where] == self._jumps:
                stage = self.now.stage(ref).value
                raise Violation(f"{ref} went from {placement.location}, and was {stage}")
            self.count["brought back by a wrong clock while it was deleted"] += 1
            self._lost.add(where)
            return
        if not any(
            (each.placement.location, each.placement.provider_id) == where
            and each.open
            and each.begun is not None
            for each in self.now.buried(ref)
        ):
            raise Violation(f"{ref} went from {placement.location} without a tombstone")

    def check_end(self) -> None:
        """Nothing that is not deleted has gone, nor anything that nobody knows."""
        self._resting = True
        if self.catalog.snapshot() != self.now:
            raise Violation("the catalog is not what its changes have made of it")
        for place, provider_id in self._foreign:
            if place.held(provider_id) is None:
                raise Violation(f"{provider_id} in {place.name} was nobody's, and has gone")
        now = self.now
        for placed in now.placements.values():
            for each in placed:
                if (each.location, each.provider_id) in self._lost:
                    continue
                if self.places[each.location].held(each.provider_id) is None:
                    raise Violation(f"{each.version} has gone from {each.location}")
        for (image, name), channel in now.channels.items():
            head = VersionRef(image, channel.head.version)
            if now.stage(head) is not Stage.ACTIVE:
                raise Violation(f"{image}:{name} points to {head}: {now.stage(head).value}")

    # --- what is done ---

    def live(self, steps: int) -> None:
        """That many deeds. Raises Violation."""
        self._resting = False
        for _ in range(steps):
            # What was judged before the clock was set back, was judged by the time before.
            self._latest = self.time.at
            try:
                self._deed("alice")
            except Killed:
                continue
            finally:
                self._depth = 0
        self.check_end()

    def _deed(self, actor: str) -> None:
        deeds = (self._tick, self._tick, self._clean, self._clean, self._clean, *self._deeds())
        deed = self.chance.choice(deeds)
        if self._depth:
            deed = self.chance.choice(self._deeds())
        self.log.append(f"{'    ' if self._depth else ''}{actor}: {deed.__name__.strip('_')}")
        try:
            deed(self._cleanings[actor])
        except (ImagectlError, _NothingToDo) as error:
            self.log.append(f"    {type(error).__name__}: {error}")
            self.count[type(error).__name__] += 1

    def _deeds(self) -> tuple[Callable[[Cleaning], None], ...]:
        return (
            *(self._build, self._promote, self._rollback, self._hold, self._unhold),
            *(self._lease, self._end_lease, self._revoke, self._restore, self._publish),
            *(self._resolve, self._apply_an_old_plan, self._undo, self._undelete),
            *(self._lose, self._repair, self._find_something_foreign),
        )

    def _any(self, *stages: Stage) -> VersionRef:
        """Any version, at one of these stages where some are named."""
        now = self.now
        refs = [ref for ref in sorted(now.versions) if not stages or now.stage(ref) in stages]
        if not refs:
            raise _NothingToDo
        return self.chance.choice(refs)

    def _begin(self) -> None:
        """Eight versions of each of two images, of different ages, some of them children, in
        channels; some in both locations."""
        operations: list[Operation] = []
        bases: list[Version] = []
        for number in range(8):
            for image in (BASE, CI):
                parent = self.chance.choice(bases) if image == CI and number % 3 == 0 else None
                made = self._new(image, parent, NOW - (9 - number) * DAY)
                if image == BASE:
                    bases.append(made)
                operations.append(RecordVersion(made))
                operations += [RecordPlacement(each) for each in self._placed(made)]
                if number in (1, 4, 6):
                    operations.append(MoveChannel(image, BETA, made.id, MoveKind.ENTRY))
                if number in (1, 4):
                    operations.append(MoveChannel(image, STABLE, made.id, MoveKind.PROMOTE))
        self._commit(operations)
        stages = list(Stage)
        going = {1: 3, 3: 2, 4: 1, 6: 3}
        now = self.now
        kept = protected(now, {}, NOW)
        for days in (3, 2, 1):
            self._commit(
                [
                    StepVersion(ref, stages[4 - days])
                    for ref in now.versions
                    if ref not in kept and going.get(ref.version.serial, 0) > 3 - days
                ],
                NOW - days * DAY,
            )
        self._find_something_foreign()

    def _new(self, image: ImageName, parent: Version | None, created: datetime) -> Version:
        self._serials[image] += 1
        text = f"{image}@20261101.{self._serials[image]}"
        data = f"the disk of {text}".encode()
        artifact = Artifact(Format.QCOW2, Architecture.AMD64, self.store.add_bytes(data), len(data))
        like = locked(text)
        lock = self._locks[image]
        assert like.origin is not None
        return replace(
            like,
            origin=replace(like.origin, lock=lock, source=lock),
            created=created,
            parent=parent.ref if parent else None,
            required_locations=(LOCAL,),
            artifacts=(artifact,),
        )

    def _placed(self, made: Version) -> Iterator[Placement]:
        for name in self.places if made.id.serial % 2 else (LOCAL,):
            (artifact,) = made.artifacts
            place = self.places[name]
            yield place.put(
                made.ref, artifact, self.store.path(artifact.sha256), NOW, lambda _: None
            )

    def _commit(self, operations: list[Operation], at: datetime | None = None) -> None:
        if not operations:
            return
        self.commit(
            Change(
                self._new_key(),
                self.now.generation,
                "alice",
                "build",
                "",
                at or self.time.now(),
                tuple(operations),
            )
        )

    def _tick(self, _: Cleaning) -> None:
        self.time.at += self.chance.choice([HOUR, DAY, DAY, 2 * DAY])
        self._latest = max(self._latest, self.time.at)

    def _build(self, cleaning: Cleaning) -> None:
        if sum(self._serials.values()) > 24:
            raise _NothingToDo
        image = self.chance.choice([BASE, CI])
        parent = None
        if image == CI and self.chance.random() < 0.5:
            parent = self.now.versions[self._any()]
        made = self._new(image, parent, self.time.now())
        with suppress(ImagectlError):
            self._commit([RecordVersion(made)])
            publish.place(cleaning.releasing, self.store, made.ref)
            release.enter(cleaning.releasing, POLICY, made.ref)

    def _promote(self, cleaning: Cleaning) -> None:
        release.promote(cleaning.releasing, POLICY, PromotionRequest(STABLE))

    def _rollback(self, cleaning: Cleaning) -> None:
        channel: ChannelName = self.chance.choice([BETA, STABLE])
        to: VersionId | None = None
        image = self.chance.choice([BASE, CI])
        if self.chance.random() < 0.3:
            to = self._any().version
        release.rollback(cleaning.releasing, POLICY, RollbackRequest(channel, (image,), to))

    def _hold(self, cleaning: Cleaning) -> None:
        protect.hold(cleaning.releasing, self._any(), "because")

    def _unhold(self, cleaning: Cleaning) -> None:
        held = sorted(self.now.holds)
        if not held:
            raise _NothingToDo
        protect.unhold(cleaning.releasing, self.chance.choice(held), "because")

    def _lease(self, cleaning: Cleaning) -> None:
        length = self.chance.choice([HOUR, DAY, 3 * DAY])
        protect.take_lease(cleaning.releasing, self._any(), "ci-7", length)

    def _end_lease(self, cleaning: Cleaning) -> None:
        leased = sorted(self.now.leases)
        if not leased:
            raise _NothingToDo
        protect.end_lease(cleaning.releasing, self.chance.choice(leased), "ci-7")

    def _revoke(self, cleaning: Cleaning) -> None:
        anyway = self.chance.random() < 0.3
        protect.revoke(cleaning.releasing, self._any(), "CVE", even_if_released=anyway)

    def _restore(self, cleaning: Cleaning) -> None:
        revoked = sorted(self.now.revoked)
        if not revoked:
            raise _NothingToDo
        protect.restore(cleaning.releasing, self.chance.choice(revoked), "fine")

    def _publish(self, cleaning: Cleaning) -> None:
        publish.place(cleaning.releasing, self.store, self._any(), tuple(self.places))

    def _resolve(self, _: Cleaning) -> None:
        """A consumer is given what can be had."""
        ref = self._any(Stage.ACTIVE, Stage.DEPRECATED, Stage.OBSOLETE)
        self.receipts.add(Receipt(ref, "ci-7", self.time.now()))

    def _clean(self, cleaning: Cleaning) -> None:
        """Plan, perhaps wait, and apply."""
        plan = self._plan(cleaning)
        if self.chance.random() < 0.2:
            self._tick(cleaning)
        self._apply(cleaning, plan)

    def _apply_an_old_plan(self, cleaning: Cleaning) -> None:
        if not self._plans:
            raise _NothingToDo
        self._apply(cleaning, self.chance.choice(self._plans))

    def _plan(self, cleaning: Cleaning) -> SignedPlan:
        releasing = cleaning.releasing
        images = self.chance.choice([(), (), (CI,)])
        locations = self.chance.choice([(), (), (LOCAL,)])
        with planned(cleaning, POLICY, scope_of(releasing, images, locations)) as plan:
            entries = tuple(plan.entries)
        if len(entries) != len({each.version for each in entries}):
            raise Violation("a version is in the plan twice")
        self._keys += 1
        signed = sign(replace(plan, entries=entries), f"{self.seed} {self._keys}")
        self._plans = [*self._plans[-2:], signed]
        return signed

    def _apply(self, cleaning: Cleaning, plan: SignedPlan) -> None:
        applied = apply(cleaning, POLICY, plan)
        self.count["plans applied"] += 1
        if applied.surprise is not None:
            self.count[f"surprise: {type(applied.surprise).__name__}"] += 1
            self.log.append(f"    surprise: {applied.surprise}")

    def _undo(self, cleaning: Cleaning) -> None:
        ref = self._any(Stage.DEPRECATED, Stage.OBSOLETE, Stage.QUARANTINED)
        undo.undo(cleaning.releasing, [ref], "because")
        self.count["undone"] += 1

    def _undelete(self, cleaning: Cleaning) -> None:
        ref = self._any(Stage.DELETED)
        scratch = Path(self.store.path(next(iter(self.store.digests()))[0])).parent
        undelete.undelete(
            cleaning.releasing,
            self.store,
            ref,
            "because",
            scratch,
            self._remake,
            cleaning.undisturbed,
        )
        self.count["undeleted"] += 1

    def _remake(self, ref: VersionRef) -> None:
        self.store.add_bytes(f"the disk of {ref}".encode())

    def _lose(self, _: Cleaning) -> None:
        """Somebody removes something that is placed, behind everybody's back."""
        if self.chance.random() < 0.7:
            raise _NothingToDo
        placed = [each for those in self.now.placements.values() for each in those]
        each = self.chance.choice(sorted(placed, key=lambda one: (one.version, one.location)))
        place = self.places[each.location]
        if place.held(each.provider_id) is not None:
            place.lose(each)
            self._lost.add((each.location, each.provider_id))

    def _repair(self, cleaning: Cleaning) -> None:
        """What was lost is put there again."""
        for ref, placed in self.now.placements.items():
            for each in placed:
                if (each.location, each.provider_id) in self._lost:
                    publish.place(cleaning.releasing, self.store, ref, (each.location,), only=True)
                    self._lost.discard((each.location, each.provider_id))

    def _find_something_foreign(self, _: Cleaning | None = None) -> None:
        place = self.chance.choice(list(self.places.values()))
        name = f"foreign-{len(self._foreign)}"
        owner = None
        if self.chance.random() < 0.5:
            ref = VersionRef(CI, VersionId("20261101", self.chance.randint(1, 9)))
            sha256 = Sha256(hashlib.sha256(name.encode()).hexdigest())
            owner = Ownership("another", ref, Format.QCOW2, Architecture.AMD64, sha256)
        place.keep(name, name.encode(), owner)
        self._foreign.append((place, name))


class _NothingToDo(Exception):
    """There is nothing of the kind that a deed needs."""


def undisturbed(_: ImageName) -> AbstractContextManager[object]:
    return nullcontext()
