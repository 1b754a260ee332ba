"""What the verbs that build share: the ports they need, and how long their stages take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from imagectl.model.names import ImageName
from imagectl.services.ports.building import Equipper, Templates
from imagectl.services.ports.catalog import Catalog
from imagectl.services.ports.clock import Clock
from imagectl.services.ports.definitions import Checks, Definitions
from imagectl.services.ports.looking_inside import Comparer, Inspector
from imagectl.services.ports.progress import Progress, Timings
from imagectl.services.ports.proving import Prover
from imagectl.services.ports.stores import ArtifactStore
from imagectl.services.ports.workspaces import Workspaces


@dataclass(frozen=True, slots=True)
class Workbench:
    """The ports that building, locking and rebuilding need."""

    catalog: Catalog
    store: ArtifactStore
    definitions: Definitions
    checks: Checks
    workspaces: Workspaces
    equipper: Equipper
    prover: Prover
    comparer: Comparer
    inspector: Inspector
    templates: Templates
    timings: Timings
    clock: Clock


class Stages:
    """Announces each stage with the time it took before, and keeps the time it takes now."""

    def __init__(
        self, image: ImageName, timings: Timings, clock: Clock, progress: Progress
    ) -> None:
        self._image = image
        self._timings = timings
        self._clock = clock
        self._progress = progress

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self._progress.stage(name, self._timings.expected(self._image, name))
        began = self._clock.monotonic()
        yield
        self._timings.record(self._image, name, self._clock.monotonic() - began)


def stages_of(bench: Workbench, image: ImageName, progress: Progress) -> Stages:
    """The stages of work on *image*."""
    return Stages(image, bench.timings, bench.clock, progress)
