"""Which places a janitor is to look at: ``--location``, ``--here`` and ``--not-here``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from imagectl.cli.arguments import LOCATION
from imagectl.errors import BadUsage, NotFound, Unsupported
from imagectl.policy.wording import listed

if TYPE_CHECKING:
    from imagectl.bootstrap.project import Project
    from imagectl.model.names import LocationName
    from imagectl.services.ports.janitor import Machines

LOCATIONS = click.option(
    "--location",
    "locations",
    metavar="LOCATION",
    type=LOCATION,
    multiple=True,
    help="Only this location; may be given several times. Else all of them, and this host.",
)
HERE = click.option("--here", is_flag=True, help="This host, alone or beside --location.")
NOT_HERE = click.option(
    "--not-here",
    is_flag=True,
    help="Everything but this host, as in a container, which cannot see the host's processes.",
)


def host_asked_for(*, here: bool, not_here: bool) -> bool | None:
    """Whether this host is asked for; None where nothing is said of it."""
    if here and not_here:
        raise BadUsage("both --here and --not-here", hint="leave out one of them")
    return here or (False if not_here else None)


def places_asked_for(
    project: Project, locations: Sequence[LocationName], here: bool | None
) -> tuple[Machines, ...]:
    """What was asked for. Raises NotFound, and Unsupported for a location without machines."""
    known = project.machines()
    host = project.host_machines
    if not locations and not here:
        return tuple(each for each in known.values() if here is None or each is not host)
    for each in locations:
        if each not in project.settings.locations:
            raise NotFound(
                f"there is no location {each}",
                where="imagectl.yaml",
                hint=f"it has {listed(sorted(project.settings.locations))}",
            )
        if each not in known:
            raise Unsupported(
                f"nothing is made in {each} to be thrown away",
                why=f"locations of type {project.settings.locations[each].type} run no machines",
            )
    chosen = [known[each] for each in dict.fromkeys(locations)]
    return (*((host,) if here else ()), *chosen)
