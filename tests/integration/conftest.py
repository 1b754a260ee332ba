"""The slowest files first: `make test` hands out whole files, to three workers.

Begun last, a file of minutes keeps one worker busy while the others have nothing left to do.
"""

from __future__ import annotations

from pathlib import Path

import pytest

SLOWEST = (
    "integration/test_readme.py",  # 450 s
    "integration/test_build_faults.py",  # 400 s
    "integration/test_equipment.py",  # 220 s
    "integration/test_disk.py",  # 250 s
    "unit/test_exhaustive.py",  # 120 s
    "unit/test_upheaval.py",  # 90 s
    "integration/test_release_everywhere.py",  # 60 s
    "incidents/test_gce_images_2016.py",  # 60 s
)
"""In this order, with the seconds that each took on two cores; see `make test`'s slowest durations.

A worker whose file has one or two tests is given the next file too, before it is done: so the first
three of these are begun at once, and the next two follow the first and the third.
"""
TESTS = Path(__file__).parents[1]
FIRST = {TESTS / name: place for place, name in enumerate(SLOWEST)}
assert all(path.is_file() for path in FIRST), "SLOWEST names a file that there is not"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: FIRST.get(item.path, len(FIRST)))
