"""Measure what is there, for metrics: the catalog, the locations, the machines, the way back.

Promises: each number comes from a reading that was complete; what could not be read has no number,
neither 0 nor the last one (P8), and the time of its last success stays as it was. One source that
does not answer takes nothing from the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from threading import Event
from typing import Generic, Protocol, TypeVar

from imagectl.errors import CannotTell, ImagectlError
from imagectl.model.channel import ReleasePolicy
from imagectl.model.names import ChannelName, ImageName, LocationName
from imagectl.model.retention import Stage
from imagectl.model.view import View
from imagectl.policy.leases import Sorted
from imagectl.policy.wording import listed
from imagectl.services import janitor
from imagectl.services.abreast import abreast
from imagectl.services.current import check_newest
from imagectl.services.janitor import Janitoring
from imagectl.services.ports.catalog import Catalog
from imagectl.services.ports.clock import Clock
from imagectl.services.ports.locations import Credential, Location
from imagectl.services.ports.published import Publisher
from imagectl.services.releasing import Releasing
from imagectl.services.verify import State, Verified, verify

T = TypeVar("T")

RECORDED = timedelta(hours=1)
"""Where this is measured every few minutes, the catalog records no oftener what was seen: each time
is an event of half a kilobyte per placement, kept for ever."""

OF_PLACES = ("credential", "images", "janitor", "machines")
"""What ends by place, and is of no interest any more where the place is no more."""

DOCTOR = "`imagectl doctor` says why"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How something that runs again and again has ended: when last well, when last not, and how
    often each. Times are aware, in UTC; None: never, as far as is known."""

    last_success: datetime | None = None
    last_failure: datetime | None = None
    successes: int = 0
    failures: int = 0

    def after(self, at: datetime, *, ok: bool) -> Outcome:
        """With one more end."""
        if ok:
            return replace(self, last_success=at, successes=self.successes + 1)
        return replace(self, last_failure=at, failures=self.failures + 1)


class Outcomes(Protocol):
    """What remembers how things have ended, by what they are and where."""

    def note(self, what: str, place: str, at: datetime, *, ok: bool) -> None:
        """It has ended once more. Raises CannotTell, NoSpace or Failed."""
        ...

    def all(self) -> Mapping[tuple[str, str], Outcome]:
        """By (what, place). Raises CannotTell where that cannot be read: never fewer (P8)."""
        ...

    def forget(self, place: str) -> bool:
        """Drop all ``OF_PLACES`` that has ended in *place*; False where nothing has. Raises as
        ``note`` does."""
        ...


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """What one source said; None where it said nothing. ``trouble``: why that is not all."""

    value: T | None
    trouble: ImagectlError | None


@dataclass(frozen=True, slots=True)
class CatalogNumbers:
    """What the catalog has. ``made``: when the version that a channel points to was built."""

    stages: Mapping[tuple[ImageName, Stage], int]
    held: Mapping[ImageName, int]
    revoked: Mapping[ImageName, int]
    open_deletions: int
    made: Mapping[tuple[ImageName, ChannelName], datetime]
    moved: Mapping[tuple[ImageName, ChannelName], datetime]
    built: Mapping[ImageName, datetime]
    """When the image was built last."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """Everything that was found out at ``at``."""

    at: datetime
    catalog_id: str | None
    catalog: Reading[CatalogNumbers]
    credentials: Mapping[LocationName, Reading[Credential]]
    views: Mapping[LocationName, Reading[View]]
    machines: Reading[Mapping[str, Reading[Sorted]]]
    """What complete views of all places mean; None where the ledger could not be read."""
    failing: Mapping[str, int]
    """How many things could not be collected again and again, by place; where the ledger could be
    read."""
    verified: Reading[Verified] | None
    """None where that was not asked for."""
    outcomes: Mapping[tuple[str, str], Outcome]
    """How these and other things have ended here, of places and images that there are."""
    generation: int | None = None
    """The catalog's, also where it is not the newest; None where it cannot be read."""
    published: Mapping[str, Reading[int | None]] = field(default_factory=dict)
    """The generation that each published tree shows; None where nothing is published."""
    signed: Mapping[str, Reading[Mapping[str, datetime]]] = field(default_factory=dict)
    """Until when the signatures of each tree hold, by role."""
    lagging: Mapping[str, Reading[Mapping[str, bool]]] = field(default_factory=dict)
    """Of each tree's roles, whether what they say by now waits for signatures."""
    earlier: ImagectlError | None = None
    """Why it cannot be told how earlier runs ended; ``outcomes`` is empty then."""

    def sources(self) -> Mapping[tuple[str, str], ImagectlError | None]:
        """Each source that was asked, and what was wrong with it."""
        found: dict[tuple[str, str], ImagectlError | None] = {
            ("catalog", ""): self.catalog.trouble,
            ("ledger", ""): self.machines.trouble,
            ("outcomes", ""): self.earlier,
        }
        for where, shown in self.published.items():
            signed = self.signed.get(where)
            unsigned = None if signed is None else signed.trouble
            found["published", where] = shown.trouble or unsigned
        for name, credential in self.credentials.items():
            found["credential", name] = credential.trouble
        for name, view in self.views.items():
            found["images", name] = view.trouble
        for place, machines in (self.machines.value or {}).items():
            found["machines", place] = machines.trouble
        if self.verified is not None:
            found["verify", ""] = self.verified.trouble
        return found


def measure(
    catalog: Callable[[], Catalog],
    locations: Mapping[LocationName, Location],
    janitoring: Callable[[], Janitoring],
    outcomes: Outcomes,
    clock: Clock,
    verifying: tuple[Callable[[], Releasing], ReleasePolicy] | None = None,
    publishers: Sequence[Publisher] = (),
    images: Callable[[], Collection[ImageName]] = tuple,
) -> Measurement:
    """Ask everything, all places at the same time, and note of each source whether it answered.
    *images* tells those that can be built here.

    Where a published tree shows a later generation than the catalog has, or another catalog, what
    the catalog says is no answer.

    What goes wrong is in the answer. Raises CannotTell, NoSpace or Failed where how this ended
    cannot be noted.
    """
    earlier = _attempt(outcomes.all)
    published = {each.where: _attempt(partial(_generation, each)) for each in publishers}
    signed = {each.where: _attempt(each.signatures) for each in publishers}
    lagging = {each.where: _attempt(each.lags) for each in publishers}
    numbers = _attempt(lambda: _newest(catalog(), publishers))
    head = _attempt(lambda: catalog().snapshot(())).value
    credentials = _everywhere({name: each.probe for name, each in locations.items()})
    views = _everywhere({name: partial(_complete, each, clock) for name, each in locations.items()})
    plan = _attempt(lambda: janitor.plan(janitoring()))
    verified = None if verifying is None else _verified(*verifying)
    measured = Measurement(
        at=clock.now(),
        catalog_id=head.catalog_id if head is not None else None,
        catalog=numbers,
        credentials=credentials,
        views=views,
        machines=Reading(
            None if plan.value is None else {each.place: _seen(each) for each in plan.value.places},
            plan.trouble,
        ),
        failing={} if plan.value is None else Counter(place for place, _ in plan.value.stuck),
        verified=verified,
        outcomes={},
        generation=head.generation if head is not None else None,
        published=published,
        signed=signed,
        lagging=lagging,
        earlier=earlier.trouble,
    )
    if earlier.trouble is not None:
        return measured  # nothing is noted over what is lost
    for (what, place), trouble in measured.sources().items():
        outcomes.note(what, place, measured.at, ok=trouble is None)
    return replace(measured, outcomes=_of_today(outcomes.all(), measured, _attempt(images)))


def _of_today(
    outcomes: Mapping[tuple[str, str], Outcome],
    measured: Measurement,
    images: Reading[Collection[ImageName]],
) -> Mapping[tuple[str, str], Outcome]:
    """Those of what there still is: what was moved away or dropped never succeeds again, and would
    be an alert for ever. Where it is not known what there is, all stay."""
    asked = set(measured.sources())
    if (places := measured.machines.value) is None:
        asked |= {each for each in outcomes if each[0] in ("janitor", "machines")}
    else:
        asked |= {("janitor", place) for place in places}
    if images.value is None:
        asked |= {each for each in outcomes if each[0] == "build"}
    else:
        asked |= {("build", image) for image in images.value}
    return {
        (what, place): each
        for (what, place), each in outcomes.items()
        if (what, place) in asked or what not in (*OF_PLACES, "build", "published")
    }


def _generation(publisher: Publisher) -> int | None:
    shown = publisher.shown()
    return shown.generation if shown is not None else None


def _newest(catalog: Catalog, publishers: Sequence[Publisher]) -> CatalogNumbers:
    check_newest(catalog, publishers)
    return _catalog(catalog)


def _seen(looked: janitor.Looked) -> Reading[Sorted]:
    """What is in a place, where all of it was shown (P3)."""
    if looked.error is not None:
        return Reading(None, looked.error)
    assert looked.view is not None, "there is a view where there is no error"
    trouble = _gap(looked.place, looked.view.gaps)
    return Reading(looked.found if trouble is None else None, trouble)


def _attempt(read: Callable[[], T]) -> Reading[T]:
    try:
        return Reading(read(), None)
    except ImagectlError as trouble:
        return Reading(None, trouble)


K = TypeVar("K")


def _everywhere(tasks: Mapping[K, Callable[[], T]]) -> Mapping[K, Reading[T]]:
    """What each place says, all asked at the same time."""
    found: dict[K, Reading[T]] = {}
    if not tasks:
        return found
    with abreast(tasks, Event()) as outcomes:
        for name, outcome in outcomes:
            if isinstance(outcome, ImagectlError):
                found[name] = Reading(None, outcome)
            elif isinstance(outcome, Exception):
                raise outcome
            else:
                found[name] = Reading(outcome, None)
    return {name: found[name] for name in tasks}


def _complete(location: Location, clock: Clock) -> View:
    """All that a location has. Raises CannotTell where some of it was not shown (P3)."""
    view = location.view(clock.now)
    if (trouble := _gap(location.name, view.gaps)) is not None:
        raise trouble
    return view


def _gap(place: str, gaps: tuple[str, ...]) -> CannotTell | None:
    if not gaps:
        return None
    return CannotTell(
        f"not all of {place} was shown", where=place, why="; ".join(gaps), hint=DOCTOR
    )


def _verified(releasing: Callable[[], Releasing], policy: ReleasePolicy) -> Reading[Verified]:
    """What is known of the way back, also where that is not all."""
    try:
        verified = verify(releasing(), policy, fresh=RECORDED)
    except ImagectlError as trouble:
        return Reading(None, trouble)
    unknown = verified.having(State.UNKNOWN)
    if not unknown:
        return Reading(verified, None)
    where = sorted({each.location for each in unknown})
    return Reading(
        verified,
        CannotTell(
            f"it cannot be told what is in {listed(where)}",
            why=unknown[0].reasons[0] if unknown[0].reasons else "",
            hint=DOCTOR,
        ),
    )


def _catalog(catalog: Catalog) -> CatalogNumbers:
    stages: Counter[tuple[ImageName, Stage]] = Counter()
    held: Counter[ImageName] = Counter()
    revoked: Counter[ImageName] = Counter()
    open_deletions = 0
    made: dict[tuple[ImageName, ChannelName], datetime] = {}
    moved: dict[tuple[ImageName, ChannelName], datetime] = {}
    built: dict[ImageName, datetime] = {}
    with catalog.stock() as stock:
        for shelf in stock.shelves():
            created = {each.id: each.created for each in shelf.versions}
            if created:
                built[shelf.image] = max(created.values())
            for version in shelf.versions:
                stages[shelf.image, version.stage] += 1
            held[shelf.image] = sum(bool(each.held) for each in shelf.versions)
            revoked[shelf.image] = sum(each.revoked for each in shelf.versions)
            open_deletions += len(shelf.unfinished)
            for name, channel in shelf.channels.items():
                if channel.head.version not in created:
                    raise CannotTell(
                        "not all of the catalog was read",
                        why=f"{name} of {shelf.image} points to {channel.head.version}, which was "
                        "not among its versions",
                        hint="`imagectl catalog verify` names everything that is wrong",
                    )
                made[shelf.image, name] = created[channel.head.version]
                moved[shelf.image, name] = channel.head.at
    return CatalogNumbers(stages, held, revoked, open_deletions, made, moved, built)
