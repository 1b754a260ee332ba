"""What every verb has in common: help, flags, errors, exit codes, interruption."""

from __future__ import annotations

import errno
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import Result
from support.timing import processor_seconds

from imagectl import errors
from imagectl.cli import main
from imagectl.cli.documents import fields
from imagectl.cli.output import Failure
from imagectl.cli.verb import EXIT_CODES, Verb

Run = Callable[..., Result]


def every_verb() -> list[tuple[str, Verb]]:
    """Each verb with its full name, those inside a group included."""
    context = click.Context(main.root)
    found: list[tuple[str, Verb]] = []
    for name in main.root.list_commands(context):
        command = main.root.get_command(context, name)
        if isinstance(command, click.Group):
            for inner in command.list_commands(context):
                verb = command.get_command(context, inner)
                assert isinstance(verb, Verb)
                found.append((f"{name} {inner}", verb))
        else:
            assert isinstance(command, Verb)
            found.append((name, command))
    return found


VERBS = every_verb()
each_verb = pytest.mark.parametrize(("name", "verb"), VERBS, ids=[name for name, _ in VERBS])


@each_verb
def test_help_shows_examples_exit_codes_and_every_argument(
    imagectl: Run, name: str, verb: Verb
) -> None:
    result = imagectl(*name.split(), "--help")
    assert result.exit_code == 0
    assert verb.examples
    for command, _ in verb.examples:
        assert f"  {command}\n" in result.stdout
        assert command.startswith(f"imagectl {name}")
    for code in verb.exits:
        assert code in EXIT_CODES
        assert f"\n  {code} " in result.stdout
    for parameter in verb.get_params(click.Context(verb)):
        assert getattr(parameter, "help", None), f"{parameter.name} is not explained"


@pytest.mark.parametrize("family", sorted({name.split()[0] for name, _ in VERBS if " " in name}))
def test_help_of_a_family_shows_an_example_of_each_of_its_verbs(imagectl: Run, family: str) -> None:
    result = imagectl(family, "--help")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for name, verb in VERBS:
        if name.startswith(f"{family} "):
            assert f"  {verb.examples[0][0]}" in lines


@each_verb
def test_help_fits_80_columns(imagectl: Run, name: str, verb: Verb) -> None:
    lines = imagectl(*name.split(), "--help").stdout.splitlines()
    assert [line for line in lines if len(line) > 80] == []


@each_verb
def test_each_field_of_an_answer_is_explained(name: str, verb: Verb) -> None:
    if verb.answers is not None:
        assert all(field.meaning for field in fields(verb.answers))
        assert verb.answers.__doc__


def test_the_table_of_verbs_is_the_code() -> None:
    for group in main.VERBS.values():
        for name in group:
            assert importlib.import_module(f"imagectl.cli.{name}").command.name == name


def test_help_lists_every_verb(imagectl: Run) -> None:
    result = imagectl("--help")
    assert result.exit_code == 0
    for group in main.VERBS.values():
        for name, what in group.items():
            assert f"  {name} " in result.stdout
            assert what in result.stdout


def test_no_arguments_is_help_and_bad_usage(imagectl: Run) -> None:
    result = imagectl()
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "imagectl VERB --help" in result.stderr


def test_a_misspelt_verb_is_told_the_right_one(imagectl: Run) -> None:
    result = imagectl("docter")
    assert result.exit_code == 2
    assert result.stderr == (
        "error: there is no verb 'docter'\n  hint:  did you mean `imagectl doctor`?\n"
    )


@pytest.mark.parametrize(
    "arguments", [("init", "--colour"), ("init", "a", "b"), ("-C", "/nowhere")]
)
def test_bad_usage_is_one_short_message(imagectl: Run, arguments: tuple[str, ...]) -> None:
    result = imagectl(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 2
    assert "--help" in result.stderr


def test_bad_usage_with_json_is_a_document(imagectl: Run) -> None:
    result = imagectl("init", "--colour", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["kind"] == "bad-usage"


def test_version(imagectl: Run) -> None:
    assert imagectl("--version").stdout.startswith("imagectl 0.")


def test_flags_are_understood_before_and_after_the_verb(imagectl: Run, tmp_path: Path) -> None:
    assert imagectl("-q", "init", str(tmp_path / "a")).stderr == ""
    assert imagectl("init", str(tmp_path / "b"), "-q").stderr == ""
    assert imagectl("-C", str(tmp_path), "init", "c").exit_code == 0
    assert (tmp_path / "c" / "imagectl.yaml").is_file()


@pytest.fixture
def verb_that(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Makes the verb ``doctor`` do something else."""

    def replace(act: Callable[[], object]) -> None:
        @click.command("doctor", cls=Verb, examples=[("imagectl doctor", "acts")], answers=Failure)
        def acting() -> None:
            act()

        doctor = importlib.import_module("imagectl.cli.doctor")
        monkeypatch.setattr(doctor, "command", acting)

    return replace


Replace = Callable[[Callable[[], object]], None]


def _mistake() -> None:
    raise KeyError("absent")


def test_a_mistake_of_ours_is_one_line_and_a_file(
    imagectl: Run, verb_that: Replace, tmp_path: Path
) -> None:
    (tmp_path / "imagectl.yaml").touch()
    verb_that(_mistake)
    result = imagectl("-C", str(tmp_path), "doctor")
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert result.stderr.startswith("error: internal error: KeyError: 'absent'\n")
    (log,) = (tmp_path / ".imagectl" / "logs").iterdir()
    assert str(log) in result.stderr
    assert "Traceback" in log.read_text()
    assert f"imagectl -C {tmp_path} doctor" in log.read_text()


def test_a_mistake_of_ours_shows_its_traceback_with_verbose(
    imagectl: Run, verb_that: Replace, tmp_path: Path
) -> None:
    (tmp_path / "imagectl.yaml").touch()
    verb_that(_mistake)
    result = imagectl("-v", "-C", str(tmp_path), "doctor")
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert not (tmp_path / ".imagectl").exists()


@pytest.mark.parametrize(
    ("number", "kind", "what"),
    [
        (errno.ENOSPC, "no-space", "no space left"),
        (errno.EACCES, "failed", "this user may not do that"),
        (errno.EIO, "failed", "a disk of this machine fails"),
        (errno.EROFS, "failed", "this user may not do that"),
        (errno.EXDEV, "internal-error", "internal error"),
    ],
)
def test_what_this_machine_denies_is_no_mistake_of_ours(
    imagectl: Run, verb_that: Replace, tmp_path: Path, number: int, kind: str, what: str
) -> None:
    def denied() -> None:
        raise OSError(number, os.strerror(number), "/srv/store/x")

    (tmp_path / "imagectl.yaml").touch()
    verb_that(denied)
    result = imagectl("-C", str(tmp_path), "doctor", "--json")
    assert result.exit_code == 1
    error = json.loads(result.stdout)["error"]
    assert (error["kind"], error["what"].partition(":")[0]) == (kind, what)
    assert "/srv/store/x" in result.stderr


def test_interruption_ends_with_130(imagectl: Run, verb_that: Replace) -> None:
    verb_that(lambda: os.kill(os.getpid(), signal.SIGINT))
    result = imagectl("doctor")
    assert result.exit_code == 130
    assert result.stderr.strip() == "interrupted; cleaned up"


def test_being_ended_politely_is_an_interruption(imagectl: Run, verb_that: Replace) -> None:
    verb_that(lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert imagectl("doctor").exit_code == 130


def test_a_second_ctrl_c_does_not_disturb_the_cleaning_up(
    imagectl: Run, verb_that: Replace, capfd: pytest.CaptureFixture[str]
) -> None:
    cleaned = []

    def act() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            cleaned.append("all")

    verb_that(act)
    assert imagectl("doctor").exit_code == 130
    assert cleaned == ["all"]
    assert "still cleaning up" in capfd.readouterr().err


def test_signal_handlers_are_put_back(imagectl: Run) -> None:
    before = signal.getsignal(signal.SIGINT)
    imagectl("--version")
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    "error",
    [
        errors.Refused("no", reasons=["too young"]),
        errors.Conflict("somebody else was faster"),
        errors.CannotTell("no answer"),
        errors.NotFound("there is no such image"),
    ],
)
def test_each_error_ends_in_its_exit_code(error: errors.ImagectlError) -> None:
    class Fails(main.Root):
        def invoke(self, ctx: click.Context) -> object:
            raise error

    with pytest.raises(SystemExit) as ended:
        Fails("imagectl", callback=lambda: None).main(["doctor"])
    assert ended.value.code == error.exit_code


def _program(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "imagectl", *arguments]


def test_a_reader_that_goes_away_is_no_news() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(_program("doctor", "--json"), stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert done.returncode == 1
    assert done.stderr == b""


def test_a_pipe_to_a_program_that_breaks_is_told(imagectl: Run, verb_that: Replace) -> None:
    def act() -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    verb_that(act)
    result = imagectl("-v", "doctor")
    assert result.exit_code == 1
    assert "the pipe to a program broke" in result.stderr


def test_help_and_resolve_do_not_import_what_they_do_not_need() -> None:
    heavy = ("sqlalchemy", "alembic", "rich", "jinja2", "ansible", "ansible_runner", "pytest")
    code = f"import imagectl.cli.main, sys; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_completion_offers_the_verbs() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("imagectl")],
        env={
            **os.environ,
            "_IMAGECTL_COMPLETE": "bash_complete",
            "COMP_WORDS": "imagectl in",
            "COMP_CWORD": "1",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["plain,init", "plain,inputs"]


def test_help_is_quick() -> None:
    """0.15 s is promised; 0.06 s was measured on two idle cores."""
    assert processor_seconds(_program("--help")) < 0.15
