"""The real command line, run in the process of the tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click
import jsonschema
import pytest
from click.testing import CliRunner, Result

from imagectl.cli.documents import schema
from imagectl.cli.main import root
from imagectl.cli.verb import Verb

Run = Callable[..., Result]


def answer(result: Result, document: type) -> Any:
    """The JSON document that a verb answered with, as its type declares it."""
    said = json.loads(result.stdout)
    jsonschema.validate(said, schema(document))
    return said


def command_line(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the real command line in this process: ``imagectl("list", "--json")``.

    Every run checks that the exit code is one that the verb's help names.
    """
    monkeypatch.setenv("IMAGECTL_ACTOR", "tester@unit")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(root, list(arguments), prog_name="imagectl")
        verb = _verb(arguments)
        if verb is not None:
            assert result.exit_code in verb.exits, f"{verb.name} does not document that exit code"
        return result

    return run


def _verb(arguments: tuple[str, ...]) -> Verb | None:
    command: click.Command | None = root
    context = click.Context(root)
    for word in arguments:
        if isinstance(command, click.Group) and not word.startswith("-"):
            command = command.get_command(context, word) or command
    return command if isinstance(command, Verb) else None
