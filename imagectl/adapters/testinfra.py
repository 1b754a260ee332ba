"""Testinfra suites against a booted guest, in a process of their own.

A suite is a pytest file that uses testinfra's ``host``. It must hold at least one test that runs:
a suite without one proves nothing, and is refused.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from imagectl.adapters import process
from imagectl.adapters.definition_files import suites_folder
from imagectl.adapters.guest import Guest
from imagectl.errors import BadInput, Failed, Problem, ToolFailed
from imagectl.model.proof import Outcome, TestReport, TestResult

_NO_TESTS = 5
"""pytest's exit status where nothing was collected."""

_OPTIONS = (
    *("-c", "/dev/null", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:randomly"),
    *(
        "--import-mode=importlib",
        "-o",
        "junit_family=xunit2",
        "-o",
        "junit_logging=all",
        "--color=no",
        "--tb=short",
    ),
)
"""The project's own pytest configuration is for its code, not for its images."""


def _pytest(suites: Sequence[PurePosixPath], project: Path) -> tuple[str | Path, ...]:
    """The command that runs pytest for these suites of one image."""
    top = project / suites_folder(suites)
    return (sys.executable, "-m", "pytest", *_OPTIONS, f"--confcutdir={top}")


def collect(suites: Sequence[PurePosixPath], project: Path, where: str) -> None:
    """Check that each suite can be imported and holds a test. Raises BadInput."""
    problems = []
    for suite in suites:
        done = process.run(
            [*_pytest(suites, project), "--collect-only", "-q", project / suite],
            cwd=project,
            env={"PYTHONDONTWRITEBYTECODE": "1"},
            check=False,
        )
        if done.status == _NO_TESTS:
            problems.append(
                Problem(str(suite), 0, 0, "has no tests", "a suite without a test proves nothing")
            )
        elif done.status != 0:
            said = [line for line in done.output.splitlines() if line.startswith("E ")]
            what = said[-1][1:].strip() if said else done.tail.strip()[-300:]
            problems.append(Problem(str(suite), 0, 0, f"cannot be collected: {what}"))
    if problems:
        raise BadInput(problems, what=f"the Testinfra suites of {where} cannot be used")


def run_suites(
    suites: Sequence[PurePosixPath],
    project: Path,
    guest: Guest,
    work: Path,
    on_test: Callable[[str], None],
    *,
    sudo: bool = False,
) -> TestReport:
    """Run the suites against *guest*. A failing test is a result, not an error.

    ``sudo``: its user is not root, and may become it.

    Raises Failed where pytest itself could not run them or a suite ran no test.
    """
    xml = work / "testinfra.xml"
    command = [
        *_pytest(suites, project),
        *("-v", f"--junitxml={xml}"),
        *("--hosts=ssh://guest", f"--ssh-config={guest.ssh_config}"),
        *(["--sudo"] if sudo else []),
        *(str(project / suite) for suite in suites),
    ]

    def follow(line: str) -> None:
        name, _, rest = _on_guest(line).partition(" ")
        if "::" in name and rest.startswith(("PASSED", "FAILED", "ERROR", "SKIPPED")):
            on_test(f"{name.rpartition('/')[2]} {rest.split()[0].lower()}")

    done = process.run(
        command, cwd=project, env={"PYTHONDONTWRITEBYTECODE": "1"}, check=False, on_line=follow
    )
    if not xml.exists() or done.status not in (0, 1, _NO_TESTS):
        raise ToolFailed(
            "pytest could not run the suites",
            command=process.pasteable([str(part) for part in command], project),
            status=done.status,
            tail=done.tail,
            why=f"it ended with status {done.status}",
        )
    report = TestReport(tuple(_results(xml)))
    silent = [suite for suite in suites if not report.ran(suite.stem)]
    if silent:
        raise Failed(
            f"{', '.join(map(str, silent))} ran no test",
            why="a suite without a test, or with skipped tests only, proves nothing",
            hint="add a test to it, or take it out of `suites`",
        )
    return report


def _results(xml: Path) -> list[TestResult]:
    results = []
    for case in ET.parse(xml).getroot().iter("testcase"):
        outcome, said = Outcome.PASSED, ""
        for child in case:
            if child.tag in ("failure", "error"):
                outcome, said = Outcome.FAILED, child.text or child.get("message") or ""
            elif child.tag == "skipped":
                outcome, said = Outcome.SKIPPED, child.get("message") or ""
        output = "\n".join(
            (child.text or "").strip() for child in case if child.tag.startswith("system-")
        )
        name = _on_guest(case.get("name", "?"))
        suite = case.get("classname", "").rpartition(".")[2]
        results.append(
            TestResult(suite, name, outcome, float(case.get("time", "0")), said.strip(), output)
        )
    return results


def _on_guest(name: str) -> str:
    """A test's name without what Testinfra adds to it: all run on this one host."""
    return name.replace("[ssh://guest]", "").replace("[ssh://guest-", "[")
