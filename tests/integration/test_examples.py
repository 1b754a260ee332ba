"""The two example images of this repository, built, proven and released for real."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(3600)]

REPOSITORY = Path(__file__).parents[2]
IMAGECTL = str(Path(sys.executable).parent / "imagectl")


def imagectl(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        [IMAGECTL, *arguments], cwd=root, stdout=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("images", "playbooks", "catalog", "tests/images", "imagectl.yaml", "examples"):
        source, target = REPOSITORY / name, tmp_path / name
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("public", "__pycache__"))
        else:
            shutil.copy(source, target)
    return tmp_path


def test_both_examples_are_built_from_nothing_and_released(root: Path) -> None:
    imagectl(root, "validate")
    built = json.loads(imagectl(root, "build", "--json"))["builds"]
    assert [(each["image"], each["outcome"]) for each in built] == [
        ("debian-base", "built"),
        ("debian-ci", "built"),
    ]
    imagectl(root, "promote", "stable", "--reason", "a test")
    for image in ("debian-base", "debian-ci"):
        reference = imagectl(root, "resolve", image).strip()
        assert Path(reference).stat().st_size > 100_000_000
    beta = imagectl(root, "resolve", "--config", "examples/consumer/.imagectl.yaml").strip()
    assert beta == imagectl(root, "resolve", "debian-base:beta").strip()
    again = json.loads(imagectl(root, "build", "--json"))["builds"]
    assert {each["outcome"] for each in again} == {"unchanged"}
    imagectl(root, "catalog", "verify")
