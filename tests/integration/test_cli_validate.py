"""``imagectl validate`` with the real ansible-playbook, pytest and Packer."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner, Result
from support.projects import new_project

from imagectl.cli.documents import schema
from imagectl.cli.main import root
from imagectl.cli.validate import Validated

pytestmark = pytest.mark.integration


def validate(project: Path, *arguments: str) -> Result:
    return CliRunner().invoke(root, ["-C", str(project), "validate", *arguments])


def test_accepts_what_init_writes(tmp_path: Path) -> None:
    new_project(tmp_path)
    said = json.loads(validate(tmp_path, "--json").stdout)
    jsonschema.validate(said, schema(Validated))
    assert said["images"] == ["debian-base"]
    assert (Path(said["schemas"]) / "image.schema.json").is_file()


def test_lets_the_tools_look_and_reports_all_that_they_find(tmp_path: Path) -> None:
    new_project(tmp_path)
    tasks = tmp_path / "playbooks" / "roles" / "baseline" / "tasks" / "main.yml"
    tasks.write_text("- name: x\n  no_such_module_at_all:\n")
    (tmp_path / "tests" / "images" / "test_debian_base.py").write_text("nothing = 1\n")
    result = validate(tmp_path)
    assert result.exit_code == 2
    assert "no_such_module_at_all" in result.stderr
    assert "has no tests" in result.stderr
