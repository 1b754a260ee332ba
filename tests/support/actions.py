"""A small runner of GitHub Actions' steps: ``run``, and composite actions of this repository.

As documented by GitHub: each step is a process of its own; what it appends to the files that
``GITHUB_OUTPUT`` and ``GITHUB_ENV`` name becomes its outputs and the environment of later steps.
Only ``inputs``, ``steps`` and ``matrix`` are known in expressions, and ``fromJSON`` not at all.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_EXPRESSION = re.compile(r"\$\{\{\s*([\w.\-]+)\s*\}\}")
_USES = re.compile(r"acme/imagectl/(?P<path>[\w/\-]+)@v1")


@dataclass(slots=True)
class Job:
    """One job while it runs. ``said`` is what its steps have printed, and ``status`` the first
    exit code that was not 0."""

    repository: Path
    checkout: Path
    scratch: Path
    environment: dict[str, str]
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    said: str = ""
    status: int = 0

    def run(self, steps: Sequence[Mapping[str, Any]], context: Mapping[str, Any]) -> None:
        """Run the steps, up to the first that fails."""
        for step in steps:
            if self.status:
                return
            if "run" in step:
                self._process(step, context, {})
            elif used := _USES.fullmatch(step.get("uses", "")):
                self._action(self.repository / used["path"], step, context)
            else:
                assert step["uses"].startswith("actions/checkout@"), step

    def _action(self, folder: Path, step: Mapping[str, Any], context: Mapping[str, Any]) -> None:
        action = yaml.safe_load((folder / "action.yml").read_text())
        given = {name: expand(value, context) for name, value in step.get("with", {}).items()}
        assert set(given) <= set(action["inputs"]), "an input that the action does not have"
        inputs = {name: each["default"] for name, each in action["inputs"].items()} | given
        inner = Job(self.repository, self.checkout, self.scratch, self.environment)
        for each in action["runs"]["steps"]:
            inner._process(each, {"inputs": inputs}, {"GITHUB_ACTION_PATH": str(folder)})
        self.said += inner.said
        self.status = inner.status
        if "id" in step:
            self.outputs[step["id"]] = {
                name: expand(each["value"], {"steps": _steps(inner.outputs)})
                for name, each in action["outputs"].items()
            }

    def _process(
        self, step: Mapping[str, Any], context: Mapping[str, Any], more: Mapping[str, str]
    ) -> None:
        context = {"steps": _steps(self.outputs), **context}
        files = {name: self.scratch / name for name in ("GITHUB_OUTPUT", "GITHUB_ENV")}
        for path in files.values():
            path.write_text("")
        own = {name: expand(value, context) for name, value in step.get("env", {}).items()}
        done = subprocess.run(
            [
                "bash",
                "--noprofile",
                "--norc",
                "-eo",
                "pipefail",
                "-c",
                expand(step["run"], context),
            ],
            cwd=self.checkout,
            env={**self.environment, **more, **own, **{k: str(v) for k, v in files.items()}},
            capture_output=True,
            text=True,
            check=False,
        )
        self.said += done.stdout + done.stderr
        self.status = self.status or done.returncode
        if "id" in step:
            self.outputs[step["id"]] = variables(files["GITHUB_OUTPUT"].read_text())
        self.environment |= variables(files["GITHUB_ENV"].read_text())


def variables(text: str) -> dict[str, str]:
    """``NAME=value`` lines, without any quoting."""
    return dict(line.split("=", 1) for line in text.splitlines())


def expand(text: object, context: Mapping[str, Any]) -> str:
    """The text with its expressions put in; what is not there is empty, as at GitHub."""

    def value(found: re.Match[str]) -> str:
        at: Any = context
        for name in found[1].split("."):
            at = at.get(name, "") if isinstance(at, Mapping) else ""
        return str(at).lower() if isinstance(at, bool) else str(at)

    return _EXPRESSION.sub(value, str(text))


def _steps(outputs: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    return {name: {"outputs": each} for name, each in outputs.items()}
