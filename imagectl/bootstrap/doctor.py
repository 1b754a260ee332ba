"""Looks at this machine and its project for ``imagectl doctor``; ``services.doctor`` judges."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from imagectl.adapters.clock import SystemClock
from imagectl.bootstrap.accelerators import ACCELERATOR_CACHE
from imagectl.bootstrap.identity import tool_version
from imagectl.bootstrap.project import STATE, Project, open_project
from imagectl.errors import ImagectlError, NotFound

if TYPE_CHECKING:
    from imagectl.adapters.mirrors import Mirror
    from imagectl.model.names import LocationName
    from imagectl.services.doctor import Finding, SeenAccelerator, SeenCatalog, SeenLocation


def examine(start: Path) -> tuple[Finding, ...]:
    """What this machine and the project around *start* have and lack.

    Changes nothing but what it remembers of the accelerator.
    """
    from imagectl.adapters import host, namespaces
    from imagectl.model.place import Bucket, DirectoryLocation
    from imagectl.services import doctor

    project, project_trouble = None, ""
    with contextlib.suppress(NotFound):
        project = open_project(start)
        project_trouble = _trouble(lambda: (project.settings, project.policy))[0]
    usable = project if project is not None and not project_trouble else None
    mirror: list[str] = []
    mirror_trouble, mirror_fix = _trouble(lambda: mirror.append(_mirror(usable).archive))
    namespaces_trouble, namespaces_fix = _trouble(namespaces.check_namespaces)
    state = (project.root if project else start) / STATE
    directories: dict[str, LocationName] = {}
    folders = [("builds", state, doctor.BUILD_SPACE)]
    if usable is not None:
        settings = usable.settings
        folders.append(("store", usable.root / settings.store, doctor.KEEP_SPACE))
        for name, each in settings.locations.items():
            if isinstance(each, DirectoryLocation):
                directories[f"location {name}"] = name
                folders.append((f"location {name}", usable.root / each.path, doctor.KEEP_SPACE))
        for tree in settings.publish:
            if not isinstance(tree, Bucket):
                folders.append(("published catalog", usable.root / tree, doctor.SMALL_SPACE))
    seen = host.see_folders(folders)
    empty = {
        each.name: directories[each.name]
        for each in seen
        if each.empty and each.name in directories
    }
    catalog, placed = _catalog(usable, empty.values())
    return doctor.judge(
        doctor.Seen(
            imagectl=f"{tool_version()} on Python {host.python()}",
            user=host.user(),
            project=project.root if project else None,
            project_trouble=project_trouble,
            tools=host.see_tools(),
            namespaces_trouble=namespaces_trouble,
            namespaces_fix=namespaces_fix,
            mirror="".join(mirror),
            mirror_trouble=mirror_trouble,
            mirror_fix=mirror_fix,
            accelerator=_accelerator(usable, state),
            folders=[
                replace(each, placed=placed.get(empty[each.name], 0))
                if each.name in empty
                else each
                for each in seen
            ],
            memory=host.memory(),
            catalog=catalog,
            locations=_locations(usable),
            now=SystemClock().now(),
            trees=doctor.see_trees(usable.publishers) if usable is not None else (),
        )
    )


def _trouble(attempt: Callable[[], object]) -> tuple[str, str]:
    """What *attempt* fails with, in one line, and its hint; both empty where it works."""
    try:
        attempt()
    except ImagectlError as problem:
        return problem.said, problem.hint
    return "", ""


def _mirror(project: Project | None) -> Mirror:
    from imagectl.adapters.mirrors import host_mirror

    return project.mirror() if project is not None else host_mirror()


def _catalog(
    project: Project | None, empty: Collection[LocationName]
) -> tuple[SeenCatalog | None, Mapping[LocationName, int]]:
    """What can be said of the catalog, and how many placements it has in those locations."""
    from imagectl.services import doctor

    if project is None:
        return None, {}
    try:
        with project.existing_catalog() as catalog:
            seen = doctor.see_catalog(catalog, project.publishers)
            return seen, doctor.count_placed(catalog, empty)
    except NotFound:
        return doctor.SeenCatalog(None), {}
    except ImagectlError as trouble:
        return doctor.SeenCatalog(None, trouble), {}


def _locations(project: Project | None) -> tuple[SeenLocation, ...]:
    from imagectl.bootstrap.locations import open_locations
    from imagectl.services import doctor

    if project is None:
        return ()
    return doctor.probe_locations(open_locations(project, doctor.PROBE_PATIENCE))


def _accelerator(project: Project | None, state: Path) -> SeenAccelerator:
    """What executes guests here: as settings say or a build found out, else tried out now."""
    import tempfile

    from imagectl.adapters import host, qemu
    from imagectl.services.doctor import SeenAccelerator

    if project is not None and project.settings.build.accelerator.value != "auto":
        return SeenAccelerator(project.settings.build.accelerator.value, "as imagectl.yaml says")
    try:
        known = qemu.cached_accelerator(state / ACCELERATOR_CACHE)
        if known is None:
            kernel = host.boot_kernel()
            if kernel is None and host.has_kvm():
                return SeenAccelerator("", "no kernel in /boot to try /dev/kvm with; a build will")
            with tempfile.TemporaryDirectory() as work:
                cache = state if os.access(state, os.W_OK) else Path(work)
                known = qemu.find_accelerator(
                    kernel or Path(os.devnull), cache / ACCELERATOR_CACHE, Path(work)
                )
    except ImagectlError as problem:
        return SeenAccelerator("", problem.what)
    return SeenAccelerator(known.accelerator.value, known.reason)
