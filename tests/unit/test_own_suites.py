"""The suites of this repository's own images are collected as users' are: by ``imagectl``, with the
project as it is and nothing of what these tests have in their path."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_they_are_collected_without_what_is_for_other_tests() -> None:
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    imagectl = Path(sys.executable).parent / "imagectl"
    done = subprocess.run(
        [imagectl, "validate"], cwd=REPOSITORY, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
