"""Fixtures that many unit tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cli import Run, command_line
from support.projects import new_project
from support.workbenches import Tools, tools_in_memory

from imagectl.bootstrap.project import Project


@pytest.fixture
def imagectl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs the real command line in this process; see ``support.cli``."""
    monkeypatch.setenv("IMAGECTL_CACHE", str(tmp_path / ".consumer-cache"))
    return command_line(monkeypatch)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A new one, which has built nothing; the current folder."""
    made = new_project(tmp_path / "images")
    monkeypatch.chdir(made.root)
    yield made
    made.close()


@pytest.fixture
def tools(project: Project, monkeypatch: pytest.MonkeyPatch) -> Tools:
    """The slow tools, in memory, for that project."""
    return tools_in_memory(project, monkeypatch)
