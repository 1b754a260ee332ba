"""Ansible's ``sh``, in which every task of the build VM has our environment.

A shell plugin, since what Ansible runs on a host all goes through it: tasks, handlers, roles,
included tasks, with ``become`` or without. It is the shell of the build VM alone, so what is
delegated to this machine does not get the VM's proxy. What ``environment:`` says in a play, a block
or a task wins.
"""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.plugins.shell.sh import ShellModule as PlainShell

DOCUMENTATION = """
name: imagectl_build
short_description: POSIX shell of a build VM
version_added: historical
description:
  - The shell C(sh), with the environment of imagectl's build VMs.
extends_documentation_fragment:
  - shell_common
"""


class ShellModule(PlainShell):  # type: ignore[misc]  # Ansible has no type hints
    """Reads the environment from ``IMAGECTL_GUEST_ENVIRONMENT``, a JSON object of texts."""

    def __init__(self) -> None:
        super().__init__()
        self._ours: dict[str, str] = json.loads(os.environ["IMAGECTL_GUEST_ENVIRONMENT"])

    def env_prefix(self, **said: Any) -> str:
        prefix: str = super().env_prefix(**{**self._ours, **said})
        return prefix
