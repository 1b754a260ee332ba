"""The slowest files first: `make test` hands out whole files, to two workers.

Begun last, a file of minutes keeps one worker busy while the other has nothing left to do.
"""

from __future__ import annotations

from pathlib import Path

import pytest

SLOWEST = (
    "test_rebuild.py",  # 480 s
    "test_readme.py",  # 450 s
    "test_build_faults.py",  # 250 s
    "test_equipment.py",  # 170 s
    "test_disk.py",  # 130 s
)
"""In this order, with the seconds that each took on two cores; see `make test`'s slowest durations.

A worker whose file has one or two tests is given the next file too, before it is done: so the first
two of these are begun at once, and the third follows the second.
"""
HERE = Path(__file__).parent
FIRST = {HERE / name: place for place, name in enumerate(SLOWEST)}
assert all(path.is_file() for path in FIRST), "SLOWEST names a file that there is not"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: FIRST.get(item.path, len(FIRST)))
