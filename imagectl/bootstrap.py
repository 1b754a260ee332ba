"""The composition root: settings become wired services. Nothing else knows every adapter.

Everything is imported and made when it is first asked for, so that a verb pays for what it uses:
resolving a channel must not load SQLAlchemy.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imagectl.services.doctor import Finding, SeenAccelerator

PROJECT_FILE = "imagectl.yaml"
STATE = ".imagectl"
"""The folder of a project that holds what imagectl makes: catalog, store, logs, runs."""

ACCELERATOR_CACHE = "accelerator.json"


def find_root(start: Path) -> Path | None:
    """The folder with the project file: *start* or the nearest parent of it; None where none."""
    return next((each for each in (start, *start.parents) if (each / PROJECT_FILE).is_file()), None)


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
    from imagectl.adapters import host, mirrors, namespaces
    from imagectl.errors import ImagectlError
    from imagectl.services import doctor

    root = find_root(start.resolve())
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
            project_trouble="",
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
