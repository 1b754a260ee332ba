"""The roles that come with imagectl: what they put into images, and that definitions find them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from support.projects import new_project

from imagectl.adapters.ansible import SHIPPED_ROLES, check_syntax
from imagectl.adapters.disk.compare import ROLES
from imagectl.adapters.disk.first_boot import BUILD_CREDENTIAL, UNFINISHED
from imagectl.bootstrap.project import open_project
from imagectl.errors import BadInput
from imagectl.model.image import Provision
from imagectl.model.names import ImageName

NAMES = sorted(path.name for path in SHIPPED_ROLES.iterdir())


def test_those_that_are_advised_are_those_that_there_are() -> None:
    assert sorted(role for _, role in ROLES) == NAMES


@pytest.mark.parametrize("role", NAMES)
def test_a_role_puts_in_a_program_and_its_unit(role: str) -> None:
    name = role.replace("_", "-")
    files = {path.name: path.read_text() for path in (SHIPPED_ROLES / role / "files").iterdir()}
    assert set(files) == {name, f"{name}.service"}
    unit, program = files[f"{name}.service"], files[name]
    assert f"ConditionCredential=!{BUILD_CREDENTIAL}\n" in unit
    assert f"ConditionPathExists=|{UNFINISHED}/{name}\n" in unit
    assert re.search(r"ConditionPathExists(Glob)?=\|!/", unit)
    assert f"ExecStart=/usr/lib/imagectl/{name}\n" in unit
    assert f"unfinished={UNFINISHED}/{name}\n" in program
    # P7: begun is written down before anything is made, ended after all of it is on the disk.
    assert re.search(
        r': >"\$unfinished"\nsync "\$unfinished"\n(.*\n)+sync\nrm "\$unfinished"\n', program
    )
    subprocess.run(["sh", "-n"], input=program, text=True, check=True)
    tasks = yaml.safe_load((SHIPPED_ROLES / role / "tasks/main.yml").read_text())
    assert {item["src"] for item in tasks[-2]["loop"]} == set(files)
    assert tasks[-1]["ansible.builtin.systemd_service"]["name"] == f"{name}.service"


@pytest.mark.parametrize("role", NAMES)
def test_systemd_understands_the_unit(role: str, tmp_path: Path) -> None:
    name = role.replace("_", "-")
    text = (SHIPPED_ROLES / role / "files" / f"{name}.service").read_text()
    unit = tmp_path / f"{name}.service"
    unit.write_text(re.sub("ExecStart=.*", "ExecStart=/bin/true", text))
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert str(unit) not in said.stderr, said.stderr


def test_ansible_understands_the_roles(tmp_path: Path) -> None:
    check_syntax(Provision(roles=tuple(NAMES)), tmp_path, tmp_path, "images/a/image.yaml")


def test_a_definition_may_name_one(tmp_path: Path) -> None:
    new_project(tmp_path)
    definition = next((tmp_path / "images").glob("*/image.yaml"))
    text = definition.read_text()

    def load(role: str) -> tuple[str, ...]:
        own = yaml.safe_load(text)
        own["provision"] = {"roles": [role]}
        definition.write_text(yaml.safe_dump(own))
        name = ImageName(definition.parent.name)
        return open_project(tmp_path).definitions.load([name])[0].provision.roles

    assert load("first_boot_postgresql") == ("first_boot_postgresql",)
    with pytest.raises(BadInput, match="1 problem") as caught:
        load("first_boot_oracle")
    assert "playbooks/roles/first_boot_oracle" in caught.value.problems[0].what
