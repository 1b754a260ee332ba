"""How settings become services."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.projects import new_project

from imagectl.adapters import mirrors
from imagectl.adapters.mirrors import Mirror
from imagectl.adapters.qemu import Accelerator
from imagectl.bootstrap.catalog import catalog_url
from imagectl.bootstrap.consumer import open_published
from imagectl.bootstrap.identity import actor
from imagectl.bootstrap.project import Project, open_project
from imagectl.errors import BadInput, BadUsage, NotFound
from imagectl.model.names import ImageName
from imagectl.testing.build import RecordingProgress

Make = Callable[[str], Project]


@pytest.fixture
def project(tmp_path: Path) -> Make:
    """A project with more in its ``imagectl.yaml``."""

    def make(settings: str) -> Project:
        new_project(tmp_path).close()
        file = tmp_path / "imagectl.yaml"
        file.write_text(f"{file.read_text()}\n{settings}")
        return open_project(tmp_path)

    return make


def test_a_project_is_found_from_any_folder_in_it(project: Make) -> None:
    root = project("").root
    assert open_project(root / "images" / "debian-base").root == root


def test_outside_of_a_project_the_way_to_one_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="not in a project"):
        open_project(tmp_path)
    with pytest.raises(BadUsage) as problem:
        open_published(tmp_path)
    assert "--catalog" in problem.value.hint


def test_the_actor_is_said_or_is_user_and_host() -> None:
    assert actor({"IMAGECTL_ACTOR": " release bot "}) == "release bot"
    user, at, host = actor({}).partition("@")
    assert user
    assert at
    assert host


def test_a_catalog_password_gets_into_the_connection_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_project(tmp_path)
    (tmp_path / "imagectl.yaml").write_text(
        "catalog:\n"
        "  url: postgresql+psycopg://images@db.example/catalog\n"
        "  password: {env: CATALOG_PASSWORD}\n"
    )
    monkeypatch.setenv("CATALOG_PASSWORD", "p@ss/word")
    made = open_project(tmp_path)
    assert "p%40ss%2Fword@db.example" in catalog_url(made)
    assert "word" not in made.settings.catalog_url


def test_the_mirror_is_that_of_the_machine_where_nothing_is_said(
    project: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Mirror("http://host.example/debian", "http://host.example/security")
    monkeypatch.setattr(mirrors, "host_mirror", lambda: host)
    assert project("").mirror() == host


def test_settings_may_name_one_mirror_or_both(
    project: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Mirror("http://host.example/debian", "http://host.example/security")
    monkeypatch.setattr(mirrors, "host_mirror", lambda: host)
    made = project("mirror: {security: 'http://mirror.example/sec'}\n")
    assert made.mirror() == Mirror("http://host.example/debian", "http://mirror.example/sec")


def test_a_mirror_of_its_own_does_not_ask_the_machine(
    project: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrors, "host_mirror", None)
    made = project("mirror: {debian: 'http://mirror.example/debian'}\n")
    assert made.mirror() == Mirror("http://mirror.example/debian", None)


@pytest.mark.parametrize("word", ["kvm", "tcg"])
def test_the_accelerator_of_the_settings_wins(project: Make, word: str) -> None:
    from imagectl.bootstrap.accelerators import Accelerators

    made = project(f"build: {{accelerator: {word}}}\n")
    found = Accelerators(made, RecordingProgress()).find(None, made.root)
    assert found is Accelerator(word)


def test_all_problems_of_all_definitions_that_were_named_are_reported(project: Make) -> None:
    made = project("")
    for name in ("one", "two"):
        (made.root / "images" / name).mkdir()
        (made.root / "images" / name / "image.yaml").write_text("sumary: x\n")
    with pytest.raises(BadInput) as bad:
        made.definitions.load([ImageName("one"), ImageName("two")])
    assert {each.file for each in bad.value.problems} == {
        "images/one/image.yaml",
        "images/two/image.yaml",
    }
