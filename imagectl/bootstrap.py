"""The composition root: settings become wired services. Nothing else knows every adapter.

Everything is imported and made when it is first asked for, so that a verb pays for what it uses:
resolving a channel must not load SQLAlchemy.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from imagectl.adapters.clock import SystemClock
from imagectl.errors import BadUsage, NotFound

if TYPE_CHECKING:
    from imagectl.adapters.catalog_sql import SqlCatalog
    from imagectl.model.channel import ReleasePolicy
    from imagectl.model.names import ImageName, LocationName
    from imagectl.model.project import Project as Settings
    from imagectl.services.doctor import Finding, SeenAccelerator
    from imagectl.services.ports import ArtifactStore, Location, PublishedTree, Publisher
    from imagectl.services.release import Releasing

STATE = ".imagectl"
"""The folder of a project that holds what imagectl makes: catalog, store, logs, runs."""

ACCELERATOR_CACHE = "accelerator.json"


class Project:
    """One project and its services, each wired when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = SystemClock()

    @property
    def state(self) -> Path:
        """The folder of what imagectl makes here, but for what settings put elsewhere."""
        return self.root / STATE

    @cached_property
    def settings(self) -> Settings:
        """``imagectl.yaml``. Raises BadInput."""
        from imagectl.adapters import project_files

        return project_files.load_project(self.root)

    @cached_property
    def policy(self) -> ReleasePolicy:
        """``catalog/channels.yaml``. Raises BadInput, and NotFound where it is not there."""
        from imagectl.adapters import project_files

        return project_files.load_policy(self.root)

    @cached_property
    def image_names(self) -> tuple[ImageName, ...]:
        """The images that are defined, sorted; whether their definitions are right is not asked."""
        from imagectl.adapters import project_files

        return project_files.image_names(self.root)

    @cached_property
    def catalog(self) -> SqlCatalog:
        """The truth, open until ``close``; an empty catalog is made where there is none."""
        import uuid

        from imagectl.adapters.catalog_sql import SqlCatalog

        return SqlCatalog(self._catalog_url(), root=self.root, new_id=lambda: str(uuid.uuid4()))

    def close(self) -> None:
        """Give back what was opened."""
        if "catalog" in self.__dict__:
            self.catalog.close()

    def _catalog_url(self) -> str:
        secret = self.settings.catalog_password
        if secret is None:
            return self.settings.catalog_url
        from sqlalchemy import make_url

        from imagectl.adapters.secrets import read_secret

        url = make_url(self.settings.catalog_url).set(password=read_secret(secret, self.root))
        return url.render_as_string(hide_password=False)

    @cached_property
    def store(self) -> ArtifactStore:
        """Artifacts, trees, reports and logs."""
        from imagectl.adapters.store import FileStore

        return FileStore(self.root / self.settings.store)

    @cached_property
    def locations(self) -> Mapping[LocationName, Location]:
        """Every location of ``imagectl.yaml``."""
        from imagectl.adapters.locations import open_location

        return {
            name: open_location(name, {"type": each.type, "path": str(self.root / each.path)})
            for name, each in self.settings.locations.items()
        }

    @cached_property
    def publishers(self) -> tuple[Publisher, ...]:
        """The writers of the trees for consumers."""
        from imagectl.adapters.published import DirectoryPublisher

        return tuple(DirectoryPublisher(self.root / path) for path in self.settings.publish)

    @cached_property
    def releasing(self) -> Releasing:
        """What promoting, rolling back and publishing need."""
        import uuid

        from imagectl.services.release import Releasing

        return Releasing(
            self.catalog,
            self.locations,
            self.publishers,
            self.clock,
            actor(),
            lambda: str(uuid.uuid4()),
        )


def open_project(start: Path) -> Project:
    """The project around *start*. Raises NotFound."""
    from imagectl.adapters.project_files import find_project

    return Project(find_project(start))


def open_published(start: Path, catalog: Path | None = None) -> PublishedTree:
    """The published tree in the folder *catalog*, or else that of the project around *start*."""
    from imagectl.adapters.published import open_tree

    if catalog is not None:
        return open_tree(catalog)
    from imagectl.adapters import project_files

    try:
        root = project_files.find_project(start)
    except NotFound as problem:
        raise BadUsage(
            "it is not known where the catalog is",
            why=f"{problem.where} is not in a project",
            hint="say it with --catalog DIR, or export IMAGECTL_CATALOG=DIR",
        ) from problem
    return open_tree(root / project_files.load_project(root).publish[0])


def tool_version() -> str:
    """imagectl's own version."""
    from importlib.metadata import version

    return version("imagectl")


def actor(environment: Mapping[str, str] = os.environ) -> str:
    """Who changes are recorded to be made by: ``IMAGECTL_ACTOR``, else ``user@host``."""
    from imagectl.adapters.host import user

    return environment.get("IMAGECTL_ACTOR", "").strip() or f"{user()}@{socket.gethostname()}"


def examine(start: Path) -> tuple[Finding, ...]:
    """What this machine and the project around *start* have and lack. Changes nothing."""
    from imagectl.adapters import host, mirrors, namespaces, project_files
    from imagectl.errors import ImagectlError
    from imagectl.services import doctor

    root: Path | None = None
    project_trouble = ""
    with contextlib.suppress(NotFound):
        root = project_files.find_project(start)
    state = (root or start) / STATE
    try:
        namespaces.check_namespaces()
        namespaces_trouble, namespaces_fix = "", ""
    except ImagectlError as problem:
        why = f": {problem.why}" if problem.why else ""
        namespaces_trouble, namespaces_fix = f"{problem.what}{why}", problem.hint
    try:
        mirror, mirror_trouble = mirrors.host_mirror().archive, ""
    except ImagectlError as problem:
        mirror, mirror_trouble = "", f"{problem.what}: {problem.why}"
    folders = [("state", state, doctor.BUILD_SPACE)]
    return doctor.judge(
        doctor.Seen(
            imagectl=f"{tool_version()} on Python {host.python()}",
            user=host.user(),
            project=root,
            project_trouble=project_trouble,
            tools=host.see_tools(),
            namespaces_trouble=namespaces_trouble,
            namespaces_fix=namespaces_fix,
            mirror=mirror,
            mirror_trouble=mirror_trouble,
            accelerator=_accelerator(state),
            folders=host.see_folders(folders),
            memory=host.memory(),
        )
    )


def _accelerator(state: Path) -> SeenAccelerator:
    """What executes guests here: as an earlier build found out, else by booting a kernel now."""
    import tempfile

    from imagectl.adapters import host, qemu
    from imagectl.errors import ImagectlError
    from imagectl.services.doctor import SeenAccelerator

    try:
        known = qemu.cached_accelerator(state / ACCELERATOR_CACHE)
        if known is None:
            kernel = host.boot_kernel()
            if kernel is None and host.has_kvm():
                return SeenAccelerator("", "no kernel in /boot to try /dev/kvm with; a build will")
            with tempfile.TemporaryDirectory() as work:
                cache = state if state.is_dir() else Path(work)
                known = qemu.find_accelerator(
                    kernel or Path(os.devnull), cache / ACCELERATOR_CACHE, Path(work)
                )
    except ImagectlError as problem:
        return SeenAccelerator("", problem.what)
    return SeenAccelerator(known.accelerator.value, known.reason)
