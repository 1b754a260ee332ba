"""A package that is loaded when it is first used."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from imagectl.consumer.deferring import defer


def test_it_is_loaded_when_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deferred_package").mkdir()
    (tmp_path / "deferred_package" / "__init__.py").write_text(
        "from pathlib import Path\nPath(__file__).with_name('loaded').touch()\nanswer = 42\n"
    )
    (tmp_path / "deferred_package" / "part.py").write_text("other = 43\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    loaded = tmp_path / "deferred_package" / "loaded"

    defer("deferred_package")
    import deferred_package  # type: ignore[import-not-found]

    assert not loaded.exists()
    assert deferred_package.answer == 42
    assert loaded.exists()
    from deferred_package.part import other  # type: ignore[import-not-found]

    assert other == 43
    defer("deferred_package")
    assert sys.modules["deferred_package"].answer == 42
    for name in ("deferred_package", "deferred_package.part"):
        monkeypatch.delitem(sys.modules, name)


def test_what_is_not_installed_stays_so() -> None:
    defer("no_such_package_at_all")
    assert "no_such_package_at_all" not in sys.modules
