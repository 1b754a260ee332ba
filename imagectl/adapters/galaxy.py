"""Installs the collections and roles of ``playbooks/requirements.yml`` for one build.

They come through the recording proxy, so a lock names them by digest like every other download
(P9), and go into the build's own folder: neither the user's nor the machine's are ever used.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import yaml

from imagectl.adapters import process
from imagectl.adapters.ansible import Installed
from imagectl.adapters.session import Session
from imagectl.errors import BadInput, BuildFailed, Problem, ToolFailed
from imagectl.services.ports.progress import Progress

REQUIREMENTS = "playbooks/requirements.yml"

INSTALL = (
    f"ansible-galaxy role install -r {REQUIREMENTS} -p playbooks/roles; "
    f"ansible-galaxy collection install -r {REQUIREMENTS} -p playbooks/collections"
)
"""How a person puts them where Ansible looks before all else."""

_NOT_INSTALLED = re.compile(
    r"couldn't resolve module/action '(?P<module>[^']+)'|the role '(?P<role>[^']+)' was not found"
)


def install(session: Session, folder: Path, progress: Progress) -> Installed | None:
    """Install them below *folder*; None where the project asks for none.

    Raises BadInput where the file is wrong, BuildFailed where something cannot be had.
    """
    project = session.conditions.project
    file = project / REQUIREMENTS
    if not file.is_file():
        return None
    kinds = kinds_of(file)
    installed = Installed(folder / "roles", folder / "collections")
    places = {"collection": installed.collections, "role": installed.roles}
    progress.step(f"installing what {REQUIREMENTS} asks for")
    with session.downloading(REQUIREMENTS):
        for kind in kinds:
            try:
                process.run(
                    [
                        str(Path(sys.executable).parent / "ansible-galaxy"),
                        *(kind, "install", "-r", str(file), "-p", str(places[kind])),
                    ],
                    what=f"installing the {kind}s of {REQUIREMENTS}",
                    cwd=file.parent,
                    env={**_environment(folder), **session.environment()},
                )
            except ToolFailed as failure:
                raise BuildFailed(
                    failure.what,
                    stage="provision",
                    where=REQUIREMENTS,
                    why=failure.tail.strip(),
                    hint="correct the file; what it asks for must be on the server that it names",
                ) from failure
    return installed


def check(project: Path) -> None:
    """Raises BadInput where the file is there and wrong."""
    file = project / REQUIREMENTS
    if file.is_file():
        kinds_of(file)


def not_installed(said: str) -> str | None:
    """The module or role that Ansible says it does not know; None where it says something else."""
    match = _NOT_INSTALLED.search(said)
    return (match["module"] or match["role"]) if match else None


def kinds_of(file: Path) -> tuple[str, ...]:
    """What a requirements file asks for: ``collection``, ``role`` or both. Raises BadInput.

    Only that is looked at; ``ansible-galaxy`` checks the rest.
    """
    try:
        asked = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as problem:
        mark = getattr(problem, "problem_mark", None)
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
        said = getattr(problem, "problem", None) or "it is no YAML"
        raise BadInput([Problem(REQUIREMENTS, line, column, str(said))]) from None
    match asked:
        case None:
            return ()
        case list():  # what ansible-galaxy knew before there were collections
            return ("role",) if asked else ()
        case dict():
            return tuple(kind for kind in ("collection", "role") if asked.get(f"{kind}s"))
        case _:
            raise BadInput([Problem(REQUIREMENTS, 1, 1, "it must have `collections:` or `roles:`")])


def _environment(folder: Path) -> dict[str, str]:
    """ansible-galaxy's configuration, whole, and with nothing kept from earlier."""
    (folder / "ansible.cfg").write_text("[defaults]\n")
    return {
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
        "ANSIBLE_NOCOLOR": "True",
        "ANSIBLE_GALAXY_CACHE_DIR": str(folder / "cache"),
        "ANSIBLE_GALAXY_DISPLAY_PROGRESS": "False",
        "HOME": str(folder),  # no ~/.gitconfig, no token
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }
