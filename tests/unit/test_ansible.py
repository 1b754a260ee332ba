from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path, PurePosixPath

import pytest
import yaml

from imagectl.adapters import ansible
from imagectl.adapters.ansible_entry import Events, main
from imagectl.errors import BadInput
from imagectl.model.image import Provision

PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Say the word
      ansible.builtin.debug:
        msg: "the word is {{ word }}, the number {{ number + 1 }}"
    - name: Name the key
      ansible.builtin.debug:
        var: ansible_ssh_private_key_file
    - name: Break
      ansible.builtin.fail:
        msg: "no luck with {{ word }}"
      when: broken
"""


def project(folder: Path) -> Path:
    (folder / "playbooks" / "roles" / "greet" / "tasks").mkdir(parents=True)
    (folder / "playbooks" / "roles" / "greet" / "tasks" / "main.yml").write_text(
        "- name: Greet\n  ansible.builtin.debug: {msg: hello}\n"
    )
    (folder / "playbooks" / "main.yml").write_text(PLAYBOOK)
    return folder


def run(folder: Path, capsys: pytest.CaptureFixture[str], *, broken: bool) -> tuple[int, str]:
    root = project(folder / "project")
    work = folder / "work"
    (work / "ansible").mkdir(parents=True)
    inventory, shell = ansible.prepare_shell(work, {"FROM": "the build VM"})
    settings = ansible.Settings(
        folder=str(work / "ansible"),
        failure=str(work / "failure.json"),
        inventory=str(inventory),
        environment={**ansible.environment(root, work, work), **shell},
        variables={"broken": broken, "number": 41},
        secrets={"word": "swordfish"},
    )
    settings.write(work / "settings.json")
    os.environ[ansible.SETTINGS] = str(work / "settings.json")
    playbook = work / "play.yml"
    playbook.write_text(
        ansible.playbook_text(
            Provision(playbook=PurePosixPath("playbooks/main.yml"), roles=()), root
        )
    )
    inventory = work / "inventory"
    inventory.write_text("default ansible_connection=local\n")
    try:
        key = "ansible_ssh_private_key_file=/a fleet, 100% ours/key"  # as Packer writes it
        status = main(["-e", key, "-i", str(inventory), str(playbook)])
    finally:
        del os.environ[ansible.SETTINGS]
    return status, capsys.readouterr().out


def test_a_playbook_runs_and_its_secrets_stay_hidden(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = run(tmp_path, capsys, broken=False)
    assert status == 0
    assert "TASK [Say the word]" in said
    assert "the word is ***, the number 42" in said
    assert '"ansible_ssh_private_key_file": "/a fleet, 100%% ours/key"' in said
    assert "swordfish" not in said
    assert ansible.read_failure(tmp_path / "work" / "failure.json") is None
    assert (tmp_path / "work/ansible/variables.json").stat().st_mode & 0o077 == 0


def test_the_failed_task_is_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _ = run(tmp_path, capsys, broken=True)
    failure = ansible.read_failure(tmp_path / "work" / "failure.json")
    assert status == 2
    assert failure is not None
    assert failure.task == "Break"
    assert failure.number == 3
    assert failure.where.endswith("playbooks/main.yml:11")
    assert failure.message == "no luck with ***"


def test_the_roles_come_before_the_playbook(tmp_path: Path) -> None:
    provision = Provision(playbook=PurePosixPath("playbooks/x.yml"), roles=("a", "b"))
    plays = yaml.safe_load(ansible.playbook_text(provision, tmp_path))
    assert plays[0]["roles"] == ["a", "b"]
    assert plays[1] == {"import_playbook": f"{tmp_path}/playbooks/x.yml"}


def test_a_playbook_that_is_no_playbook_is_told(tmp_path: Path) -> None:
    root = project(tmp_path / "project")
    (root / "playbooks" / "main.yml").write_text("- hosts: all\n  tusks: []\n")
    provision = Provision(playbook=PurePosixPath("playbooks/main.yml"))
    with pytest.raises(BadInput) as caught:
        ansible.check_syntax(provision, root, tmp_path, "images/x/image.yaml")
    assert "tusks" in str(caught.value.problems[0])
    assert caught.value.problems[0].file == "images/x/image.yaml"


def test_a_good_playbook_passes_the_check(tmp_path: Path) -> None:
    root = project(tmp_path / "project")
    provision = Provision(playbook=PurePosixPath("playbooks/main.yml"), roles=("greet",))
    ansible.check_syntax(provision, root, tmp_path, "images/x/image.yaml")


def test_an_unknown_role_is_told(tmp_path: Path) -> None:
    root = project(tmp_path / "project")
    with pytest.raises(BadInput, match=r"image\.yaml"):
        ansible.check_syntax(Provision(roles=("gret",)), root, tmp_path, "images/x/image.yaml")


def test_a_secret_inside_another_is_hidden_too(tmp_path: Path) -> None:
    events = Events(tmp_path / "failure.json", ["pass", "passphrase", ""])
    assert events.hide("a passphrase and a pass") == "a *** and a ***"


def test_a_failure_that_the_playbook_ignores_is_none(tmp_path: Path) -> None:
    events = Events(tmp_path / "failure.json", [])
    data = {"ignore_errors": True, "res": {"msg": "never mind"}, "task": "t"}
    events({"event": "runner_on_failed", "event_data": data})
    assert not (tmp_path / "failure.json").exists()
    events({"event": "runner_on_failed", "event_data": {**data, "ignore_errors": None}})
    assert json.loads((tmp_path / "failure.json").read_text())["message"] == "never mind"


def test_ssh_is_given_one_file_of_host_keys_whatever_its_folder_is_called(tmp_path: Path) -> None:
    work = tmp_path / "a fleet, 100% ours" / "run"
    work.mkdir(parents=True)
    arguments = shlex.split(ansible.environment(tmp_path, work, tmp_path)["ANSIBLE_SSH_ARGS"])
    (option,) = [each for each in arguments if each.startswith("UserKnownHostsFile=")]
    assert option == f'UserKnownHostsFile="{tmp_path}/a fleet, 100%% ours/run/known_hosts"'
    said = subprocess.run(
        ["ssh", "-G", *arguments, "host.example"], check=True, capture_output=True, text=True
    ).stdout
    assert f"userknownhostsfile {tmp_path}/a fleet, 100" in said
