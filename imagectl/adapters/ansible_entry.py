"""What Packer's ansible provisioner runs in place of ansible-playbook: ansible-runner.

Packer calls it with ansible-playbook's arguments. It prints what Ansible prints, an event at a
time, so that Packer hands each task on as it begins; where a task fails it writes which one and why
to the settings' ``failure`` file; it never shows the value of a secret. Its exit status is
ansible-playbook's.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ansible_runner

from imagectl.adapters.ansible import SETTINGS

HIDDEN = "***"
_KEY_FILE = "ansible_ssh_private_key_file="


class Events:
    """Takes ansible-runner's events: prints them, counts tasks, keeps the failure."""

    def __init__(self, failure: Path, secrets: Sequence[str]) -> None:
        self._failure = failure
        # The longest first: a secret may contain another.
        self._secrets = sorted((each for each in secrets if each), key=len, reverse=True)
        self._tasks = 0

    def __call__(self, event: Mapping[str, Any]) -> bool:
        kind = event.get("event")
        if kind == "playbook_on_task_start":
            self._tasks += 1
        if text := str(event.get("stdout", "")):
            sys.stdout.write(self.hide(text) + "\n")
            sys.stdout.flush()
        data = event.get("event_data", {})
        if kind in ("runner_on_failed", "runner_on_unreachable") and not data.get("ignore_errors"):
            self._keep(data)
        return False  # the event need not be kept in a file

    def _keep(self, data: Mapping[str, Any]) -> None:
        result = data.get("res", {})
        said = [str(result.get(key, "")).strip() for key in ("msg", "stderr", "stdout")]
        if command := result.get("cmd"):
            text = command if isinstance(command, str) else shlex.join(map(str, command))
            said.append(f"the command was: {text}")
        failure = {
            "task": data.get("task", "?"),
            "number": self._tasks,
            "where": data.get("task_path", ""),
            "message": self.hide("\n".join(dict.fromkeys(each for each in said if each))),
        }
        self._failure.write_text(json.dumps(failure))

    def hide(self, text: str) -> str:
        """*text* without the value of any secret."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text


def whole(options: Sequence[str]) -> list[str]:
    """Packer's options, with the path of the key as JSON: Ansible would end it at a space. Ansible
    quotes it for ssh then, but for percent signs, which ssh expands."""
    return [
        json.dumps({_KEY_FILE[:-1]: each.removeprefix(_KEY_FILE).replace("%", "%%")})
        if each.startswith(_KEY_FILE)
        else each
        for each in options
    ]


def main(arguments: Sequence[str]) -> int:
    """Run the playbook that Packer names, as the settings file says."""
    settings = json.loads(Path(os.environ[SETTINGS]).read_text())
    *options, playbook = arguments
    secrets = settings["secrets"]
    # Not ansible-runner's `extravars`: those end up on a command line that every user can read.
    variables = Path(settings["folder"]) / "variables.json"
    variables.touch(mode=0o600)
    variables.write_text(json.dumps({**settings["variables"], **secrets}))
    result = ansible_runner.run(
        private_data_dir=settings["folder"],
        playbook=playbook,
        cmdline=shlex.join([*whole(options), "-i", settings["inventory"], "-e", f"@{variables}"]),
        envvars=settings["environment"],
        event_handler=Events(Path(settings["failure"]), [str(each) for each in secrets.values()]),
        quiet=True,
    )
    return int(result.rc)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
