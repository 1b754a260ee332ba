"""Plan a cleanup: read all that it has to rest on, and let policy decide (P2, P3, P4).

Promises: every location of the scope and every published tree is read anew for each plan, all
locations at the same time; what cannot be read ends it. What nobody asked for is not read at all.
Nothing is changed here.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from imagectl.errors import BadUsage, CannotTell, ImagectlError, NotFound, summed_up
from imagectl.model.channel import ReleasePolicy
from imagectl.model.cleanup import CleanupPlan, CleanupRequest, Scope
from imagectl.model.lock import Lock
from imagectl.model.names import ImageName, LocationName
from imagectl.model.published import PublishedCatalog
from imagectl.model.version import VersionRef
from imagectl.model.view import View
from imagectl.policy.cleanup import plan_cleanup
from imagectl.policy.promotion import find_image
from imagectl.policy.wording import listed, nearest
from imagectl.services.abreast import abreast
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.published import PublishedTree
from imagectl.services.ports.stores import ArtifactStore, InputFiles, Receipts
from imagectl.services.releasing import Releasing
from imagectl.services.still_shown import still_shown

ATTEMPTS = 3
"""How often everything is read anew where the catalog changed while it was read: what a build has
just placed is in the catalog, and not in a view that began before."""


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What a cleanup needs of the outside world.

    ``trees`` are the published trees, by where they are, ``receipts_at`` where receipts are.
    ``undisturbed`` keeps builds of an image from beginning on this machine for as long as it is
    held, and raises Conflict where one is running: it may be about to need a file of the store that
    no version needs yet. See ``clear_store`` for what that leaves open. ``inputs`` are what builds
    were made from; ``read_lock`` reads a lock, which says which of them one needs, and raises
    BadInput.
    """

    releasing: Releasing
    store: ArtifactStore
    trees: Mapping[str, PublishedTree]
    receipts: Receipts
    undisturbed: Callable[[ImageName], AbstractContextManager[object]]
    inputs: InputFiles
    read_lock: Callable[[Path], Lock]
    receipts_at: str = ""


def scope_of(
    releasing: Releasing,
    images: Collection[ImageName] = (),
    locations: Collection[LocationName] = (),
) -> Scope:
    """The scope of a plan about these images and locations; where none are named, about all.

    Raises NotFound for what there is not, and BadUsage where the project has no location.
    """
    if not releasing.locations:
        raise BadUsage(
            "there is no location to look at", hint="imagectl.yaml names them under `locations`"
        )
    for name in locations:
        if name not in releasing.locations:
            raise NotFound(
                f"there is no location {name}",
                why=f"imagectl.yaml names {listed(releasing.locations)}",
                hint=nearest(name, releasing.locations),
            )
    if images:
        snapshot = releasing.catalog.snapshot(tuple(images))
        if not set(images) <= set(snapshot.images):
            snapshot = releasing.catalog.snapshot()  # the refusal names what there is
        for image in images:
            find_image(snapshot, image)
    return Scope(
        tuple(sorted(set(images))),
        tuple(sorted(set(locations or releasing.locations))),
        narrowed=bool(locations),
    )


@contextmanager
def planned(
    cleaning: Cleaning,
    policy: ReleasePolicy,
    scope: Scope,
    *,
    only: frozenset[VersionRef] | None = None,
    progress: Progress | None = None,
) -> Iterator[CleanupPlan]:
    """The plan of now, whose entries can be had for as long as the block runs. *only*: see
    ``CleanupRequest``.

    Raises what a location or a tree raises that cannot be read, and CannotTell where what was read
    is not everything (P3).
    """
    releasing = cleaning.releasing
    request = CleanupRequest(scope, releasing.actor, only)
    with _uncollected():
        for attempt in range(ATTEMPTS):
            # In this order: what is shown or placed before the catalog is read cannot be ahead of
            # it.
            began = releasing.catalog.snapshot(()).generation
            published = _published(cleaning.trees)
            shown = still_shown(cleaning.trees.values())
            views = _views(releasing, scope.locations, progress)
            if progress is not None:
                progress.step("reading the catalog")
            with releasing.catalog.stock() as stock:
                resolved = cleaning.receipts.latest()
                try:
                    plan = plan_cleanup(
                        stock,
                        policy,
                        _given_away(views),
                        published,
                        resolved,
                        replace(request, before=began, shown=shown),
                        releasing.clock.now(),
                    )
                except CannotTell:
                    if stock.generation == began or attempt + 1 == ATTEMPTS:
                        raise
                    continue
                yield replace(plan, resolved=len(resolved), receipts=cleaning.receipts_at)
                return


@contextmanager
def _uncollected() -> Iterator[None]:
    """Facts do not refer to one another in circles; looking for circles among millions of them
    again and again takes a third of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _published(trees: Mapping[str, PublishedTree]) -> Mapping[str, PublishedCatalog | None]:
    """What each tree shows, None where nothing is published."""
    shown: dict[str, PublishedCatalog | None] = {}
    for where, tree in trees.items():
        try:
            shown[where] = tree.catalog()
        except NotFound:
            shown[where] = None
    return shown


def _views(
    releasing: Releasing, names: Sequence[LocationName], progress: Progress | None
) -> list[View]:
    """A new view of each location. Raises where one cannot be read, after all were tried."""
    tasks: dict[LocationName, Callable[[], View]] = {}
    for name in names:
        location = releasing.locations.get(name)
        if location is None:
            raise CannotTell(
                f"{name} cannot be read: imagectl.yaml has no such location any more",
                where=name,
                hint="add it again, or make another plan",
            )
        tasks[name] = partial(location.view, releasing.clock.now)
    if progress is not None:
        progress.step(f"listing {listed(names)}")
    views: dict[LocationName, View] = {}
    failed: dict[str, ImagectlError] = {}
    with abreast(tasks, threading.Event()) as outcomes:
        for name, outcome in outcomes:
            if isinstance(outcome, ImagectlError):
                failed[name] = outcome
            elif isinstance(outcome, Exception):
                raise outcome
            else:
                views[name] = outcome
                if progress is not None and len(tasks) > 1:
                    progress.step(f"{name}: {len(outcome.found)} things seen")
    if len(failed) == 1:
        raise next(iter(failed.values()))
    if failed:
        raise summed_up(
            f"{listed(failed)} cannot be read; nothing was done",
            failed,
            counting=list(failed),
        )
    return [views[name] for name in names]


def _given_away(views: list[View]) -> Iterator[View]:
    """Each once, and held no longer: there may be a million things in one."""
    while views:
        yield views.pop()
