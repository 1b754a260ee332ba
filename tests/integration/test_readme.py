"""The README's tour, typed as it stands: real Packer, QEMU, Ansible and Testinfra."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(3600)]

README = Path(__file__).parents[2] / "README.md"
BUILT = re.compile(r"@(20\d{6}\.\d+)  built in ")
VERSION = re.compile(r"\b20\d{6}\.\d+\b")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True, slots=True)
class Command:
    """A line that is typed, and what the README says that it prints."""

    line: str
    wanted: str


def commands(markdown: str) -> list[Command]:
    """The commands of the tour, in order."""
    tour = markdown.partition("## A tour")[2].partition("\n## ")[0]
    found: list[Command] = []
    for block in re.findall(r"^```console\n(.*?)^```", tour, re.DOTALL | re.MULTILINE):
        for typed in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, wanted = typed.partition("\n")
            found.append(Command(line, wanted))
    return found


def test_the_tour_is_what_happens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "IMAGECTL_ACTOR": "alice@example",
        "NO_COLOR": "1",
        "COLUMNS": "100",
    }
    tour = commands(README.read_text())
    assert len(tour) > 10
    checker = doctest.OutputChecker()
    # The days are those of the builds, whatever day the README was written on.
    as_built: dict[str, str] = {}
    as_written: dict[str, str] = {}
    for command in tour:
        if command.line.startswith("cd "):
            folder = folder / command.line.removeprefix("cd ")
            continue
        line = VERSION.sub(lambda found: as_built.get(found[0], found[0]), command.line)
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        with capsys.disabled():
            sys.stdout.write(f"\n$ {line}\n{done.stdout}")
        for written, built in zip(
            BUILT.findall(command.wanted), BUILT.findall(done.stdout), strict=True
        ):
            as_built[written], as_written[built] = built, written
        got = VERSION.sub(lambda found: as_written.get(found[0], found[0]), done.stdout)
        assert checker.check_output(command.wanted, got, FLAGS), f"$ {line}\n{done.stdout}"
    left = [path.name for path in (folder / ".imagectl" / "runs").iterdir()]
    assert left == [], "a build leaves nothing behind"
