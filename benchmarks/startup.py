"""How long a verb takes from nothing, against a bare interpreter (hyperfine)."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from support.projects import new_project, release


def main() -> None:
    """``--help``, ``resolve`` and ``list`` in a project with one released version."""
    program = str(Path(sys.executable).parent / "imagectl")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "project"
        release(new_project(root), "debian-base@20261120.1")
        commands = {
            "a bare interpreter": f"{sys.executable} -c pass",
            "imagectl --help": f"{program} --help",
            "imagectl resolve": f"{program} -C {root} resolve debian-base:beta",
            "imagectl list": f"{program} -C {root} list",
        }
        report = Path(folder) / "report.json"
        subprocess.run(
            ["hyperfine", "-N", "--warmup", "3", "--export-json", report, *commands.values()],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        results = json.loads(report.read_text())["results"]
    bare = results[0]["median"]
    for name, result in zip(commands, results, strict=True):
        print(f"{name:20} {result['median'] * 1000:7.1f} ms  {result['median'] / bare:5.1f}x")
