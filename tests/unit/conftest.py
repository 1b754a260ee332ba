"""Fixtures that many unit tests share."""

from __future__ import annotations

import pytest
from support.cli import Run, command_line


@pytest.fixture
def imagectl(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the real command line in this process; see ``support.cli``."""
    return command_line(monkeypatch)
