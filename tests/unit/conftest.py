"""Fixtures that many unit tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cli import Run, command_line


@pytest.fixture
def imagectl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs the real command line in this process; see ``support.cli``."""
    monkeypatch.setenv("IMAGECTL_CACHE", str(tmp_path / ".consumer-cache"))
    return command_line(monkeypatch)
