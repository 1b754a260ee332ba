"""Ansible: the playbook that a definition means, its settings, and the check of its syntax.

Packer's ansible provisioner is given ``ansible_entry`` as its command, which runs the playbook
through ansible-runner. This module writes what that entry reads.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path

import yaml

from imagectl.adapters import process
from imagectl.adapters.guest import in_ssh
from imagectl.errors import BadInput, Problem, ToolFailed
from imagectl.model.image import JsonValue, Provision

HOST_KEY_ALIAS = "imagectl-build"
"""The name that the build VM's host key is known by, whatever port it is behind."""

HOST = "default"
"""What Packer's ansible provisioner calls the build VM (``host_alias``)."""

SHELL = "imagectl_build"
"""The shell plugin of the build VM."""

SHIPPED_ROLES = Path(__file__).parent / "roles"
"""Roles that come with imagectl: they move to the first boot what no image may hold. A project's
own of the same name wins. A version records the tool's version, which says which they were."""

SETTINGS = "IMAGECTL_ANSIBLE"
"""The environment variable that names the settings file of :mod:`ansible_entry`."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What :mod:`ansible_entry` needs to know. Paths are absolute.

    ``variables`` and ``secrets`` become extra variables; the values of ``secrets`` are replaced by
    ``***`` in everything that is printed or kept. ``failure`` is a file that it writes where a task
    fails. ``inventory`` adds to what Packer's own says of the build VM.
    """

    folder: str
    failure: str
    inventory: str
    environment: Mapping[str, str]
    variables: Mapping[str, JsonValue]
    secrets: Mapping[str, str]

    def write(self, path: Path) -> None:
        """Write it to *path*, readable by the owner alone."""
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            json.dump(asdict(self), file)


@dataclass(frozen=True, slots=True)
class Installed:
    """Folders with what ``playbooks/requirements.yml`` asks for."""

    roles: Path
    collections: Path


@dataclass(frozen=True, slots=True)
class TaskFailure:
    """The task that ended a build: its name, its number from 1, ``file:line``, what it said."""

    task: str
    number: int
    where: str
    message: str


def read_failure(path: Path) -> TaskFailure | None:
    """What :mod:`ansible_entry` wrote about the failed task; None where no task failed."""
    try:
        return TaskFailure(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None


def playbook_text(provision: Provision, project: Path) -> str:
    """The playbook that a definition means: its roles in order, then its own playbook."""
    plays: list[dict[str, object]] = []
    if provision.roles:
        plays.append({"name": "Roles", "hosts": "all", "roles": list(provision.roles)})
    if provision.playbook is not None:
        plays.append({"import_playbook": str(project / provision.playbook)})
    if not plays:
        plays.append({"name": "Nothing", "hosts": "all", "gather_facts": False, "tasks": []})
    return yaml.safe_dump(plays, sort_keys=False)


def prepare_shell(folder: Path, guest: Mapping[str, str]) -> tuple[Path, dict[str, str]]:
    """Give each task in the build VM the environment *guest*; see ``imagectl_build.py``.

    ``folder``: the one that the playbook is in. Returns an inventory and what Ansible's own
    environment must have.
    """
    source = resources.files(__package__) / "ansible_plugins" / "shell_plugins"
    plugins = folder / "shell_plugins"
    plugins.mkdir()
    (plugins / f"{SHELL}.py").write_bytes((source / f"{SHELL}.py").read_bytes())
    inventory = folder / "inventory"
    inventory.write_text(f"{HOST} ansible_shell_type={SHELL}\n")
    return inventory, {"IMAGECTL_GUEST_ENVIRONMENT": json.dumps(guest)}


def environment(
    project: Path, work: Path, sockets: Path, installed: Installed | None = None
) -> dict[str, str]:
    """Ansible's configuration, whole: no ansible.cfg of the user's or the machine's is read."""
    (work / "ansible.cfg").write_text("[defaults]\n")
    roles, collections = [project / "playbooks/roles"], [project / "playbooks/collections"]
    if installed is not None:
        roles.append(installed.roles)
        collections.append(installed.collections)
    roles.append(SHIPPED_ROLES)
    return {
        "ANSIBLE_CONFIG": str(work / "ansible.cfg"),
        "ANSIBLE_HOME": str(work / "ansible-home"),
        "ANSIBLE_LOCAL_TEMP": str(work / "ansible-tmp"),
        "ANSIBLE_ROLES_PATH": os.pathsep.join(map(str, roles)),
        "ANSIBLE_COLLECTIONS_PATH": os.pathsep.join(map(str, collections)),
        # Under emulation a Python start in the guest costs seconds: one SSH connection, no
        # temporary files (pipelining), facts gathered once for all plays (smart).
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_GATHERING": "smart",
        "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(sockets),
        "ANSIBLE_SSH_CONTROL_PATH": "%(directory)s/a-%%C",
        "ANSIBLE_SSH_ARGS": (
            "-F /dev/null -o ControlMaster=auto -o ControlPersist=120s -o IdentitiesOnly=yes "
            f"-o HostKeyAlias={HOST_KEY_ALIAS} -o StrictHostKeyChecking=yes "
            # Ansible splits its arguments as a shell does.
            f"-o {shlex.quote('UserKnownHostsFile=' + in_ssh(work / 'known_hosts'))} "
            "-o ServerAliveInterval=15"
        ),
        "ANSIBLE_TIMEOUT": "120",
        "ANSIBLE_NOCOLOR": "True",
        "ANSIBLE_NOCOWS": "True",
        "ANSIBLE_RETRY_FILES_ENABLED": "False",
        "ANSIBLE_DEPRECATION_WARNINGS": "False",
        # ansible-playbook is in the same virtual environment as imagectl, activated or not.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }


def write_command(path: Path) -> Path:
    """An executable that Packer can call in place of ansible-playbook."""
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m imagectl.adapters.ansible_entry "$@"\n')
    path.chmod(0o700)
    return path


def check_syntax(provision: Provision, project: Path, work: Path, where: str) -> None:
    """``ansible-playbook --syntax-check`` of what *provision* means. Raises BadInput."""
    playbook = work / "syntax-check.yml"
    playbook.write_text(playbook_text(provision, project))
    try:
        process.run(
            [
                str(Path(sys.executable).parent / "ansible-playbook"),
                *("--syntax-check", "-i", "localhost,", str(playbook)),
            ],
            env=environment(project, work, work),
            cwd=project,
        )
    except ToolFailed as failure:
        lines = [line for line in failure.tail.splitlines() if line.strip()]
        said = " ".join(line.strip() for line in lines if not line.startswith("[WARNING]"))
        raise BadInput(
            [Problem(where, 0, 0, f"ansible-playbook --syntax-check: {said}")],
            hint=f"see it whole: {failure.command}",
        ) from failure
