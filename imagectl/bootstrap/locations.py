"""The locations of a project as they are wired, and who may make something in them to be thrown
away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imagectl.adapters.leasing import LedgerLeasing
    from imagectl.bootstrap.project import Project
    from imagectl.model.names import LocationName
    from imagectl.services.ports.locations import Location


def open_locations(project: Project, patience: float | None) -> Mapping[LocationName, Location]:
    """Every location of ``imagectl.yaml``, opened anew; none is asked anything. *patience*, in
    seconds: how long a call is tried again; None: as long as an upload is worth."""
    from imagectl.adapters.locations import Surroundings, open_location
    from imagectl.services.placed_in import is_used, placed_in

    around = Surroundings(
        project.root,
        project.state / "locations",
        project.catalog_id,
        lambda name: placed_in(project.catalog, name),
        lambda name: is_used(project.catalog, name),
        lambda: project.leasing,
        remark=project.remark,
    )
    if patience is not None:
        around = replace(around, patience=patience)
    return {
        name: open_location(name, each, around) for name, each in project.settings.locations.items()
    }


def leasing(project: Project) -> LedgerLeasing:
    """Gives leases, as long as there is room for another machine."""
    from imagectl.adapters.leasing import LedgerLeasing
    from imagectl.bootstrap.identity import actor
    from imagectl.services.room import Ceilings

    ceilings = Ceilings(
        _limits(project),
        lambda place: project.machines()[place],
        project.resources,
        project.clock.now,
    )
    return LedgerLeasing(
        project.resources, project.catalog_id, actor(), project.clock.now, ceilings.check
    )


def _limits(project: Project) -> Mapping[str, int]:
    """How many machines there may be in each place that has a limit."""
    from imagectl.adapters.host_machines import place_of
    from imagectl.model.place import GceLocation, VsphereLocation

    limits: dict[str, int | None] = {
        place_of(project.state): project.settings.build.max_build_vms,
        **{
            name: each.max_build_vms
            for name, each in project.settings.locations.items()
            if isinstance(each, GceLocation | VsphereLocation)
        },
    }
    return {place: limit for place, limit in limits.items() if limit is not None}
