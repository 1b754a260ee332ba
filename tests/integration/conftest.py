"""The slowest files first: `make test` hands out whole files, to three workers.

Begun last, a file of minutes keeps one worker busy while the others have nothing left to do.
"""

from __future__ import annotations

from pathlib import Path

import pytest

SLOWEST = (
    "test_readme.py",  # 450 s
    "test_build_faults.py",  # 400 s
    "test_rebuild.py",  # 380 s
    "test_equipment.py",  # 220 s
    "test_disk.py",  # 250 s
)
"""In this order, with the seconds that each took on two cores; see `make test`'s slowest durations.

A worker whose file has one or two tests is given the next file too, before it is done: so the first
three of these are begun at once, and the others follow the first and the third.
"""
HERE = Path(__file__).parent
FIRST = {HERE / name: place for place, name in enumerate(SLOWEST)}
assert all(path.is_file() for path in FIRST), "SLOWEST names a file that there is not"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: FIRST.get(item.path, len(FIRST)))
