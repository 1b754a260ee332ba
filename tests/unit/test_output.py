"""How results, errors and progress read."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, NotRequired, TypedDict

import jsonschema
import pytest
from rich.console import Console

from imagectl import errors
from imagectl.adapters.clock import SystemClock
from imagectl.cli import documents, progress, text
from imagectl.cli.crash import InternalError
from imagectl.cli.output import Failure, Output, error_lines, failure
from imagectl.errors import Problem
from imagectl.services.ports.progress import Progress
from imagectl.testing.clock import FixedClock

NOW = datetime(2026, 11, 21, 6, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (timedelta(seconds=59), "just now"),
        (timedelta(seconds=60), "1 minute ago"),
        (timedelta(minutes=119), "1 hour ago"),
        (timedelta(hours=47), "1 day ago"),
        (timedelta(days=400), "400 days ago"),
        (-timedelta(hours=3), "just now"),
    ],
)
def test_ages(before: timedelta, said: str) -> None:
    assert text.age(NOW - before, NOW) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (312 << 20, "312 MiB"),
        ((1 << 30) - 1, "1.00 GiB"),
        (9_995 << 40, "9995 TiB"),
    ],
)
def test_sizes(count: int, said: str) -> None:
    assert text.size(count) == said


def test_durations() -> None:
    assert [text.duration(each) for each in (0.4, 61, 3729)] == ["0:00", "1:01", "1:02:09"]


def test_what_somebody_typed_does_not_look_like_lines_of_ours(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A reason may have several lines; one that begins with ``error:`` is still a part of it."""
    reason = "too old\nerror: all is lost\n\x1b[31mred"
    out = Output()
    out.answer({"v": 1}, [f"    promoted by ana: {reason}"])
    out.warn(reason)
    out.error(errors.Refused("stable was not moved", reasons=(reason, "and so on")))
    said = capsys.readouterr()
    assert said.out == (
        "    promoted by ana: too old\n        error: all is lost\n        \\x1b[31mred\n"
    )
    assert said.err == (
        "warning: too old\n    error: all is lost\n    \\x1b[31mred\n"
        "refused: stable was not moved\n"
        "  - too old\n      error: all is lost\n      \\x1b[31mred\n  - and so on\n"
    )


def test_a_table_is_aligned_and_has_no_trailing_blanks() -> None:
    assert list(text.table(["A", "LONG"], [["alpha", "x"], ["b", ""]])) == [
        "A      LONG",
        "alpha  x",
        "b",
    ]


def test_nothing_that_is_printed_can_steer_the_terminal() -> None:
    hostile = "gone\x1b[2J\x07 \u202eright to left\r\nnext"
    assert text.clean(hostile) == "gone\\x1b[2J\\x07 \\x202eright to left\nnext"


ERRORS = [
    errors.Failed("it broke", where="here", why="because", hint="do this"),
    errors.ToolFailed("mke2fs failed", command="mke2fs -t ext4 x", status=1, tail="one\ntwo\n"),
    errors.ToolTimedOut(
        "packer took longer than 60 s", command="packer build x", status=-9, tail="one\ntwo"
    ),
    errors.ToolMissing("packer is not installed", hint="sudo apt-get install packer"),
    errors.NoSpace("no space left", where="/srv"),
    errors.BuildFailed("task 7 failed", stage="provision", log="/l/build.log", tail="fatal"),
    errors.GuestUnreachable("no answer in 60 s", tail="Kernel panic"),
    errors.TestsFailed(
        "1 test failed", failures=[("base::test_x", "assert 1 == 2")], tail="login:"
    ),
    errors.ImpossibleChange("a move to what is not recorded"),
    errors.Corrupt("the digest differs"),
    errors.BadUsage("both a channel and a version"),
    errors.Unsupported("a directory runs no machines"),
    errors.BadInput([Problem("a.yaml", 3, 5, "unknown key 'sumary'", "did you mean 'summary'?")]),
    errors.Refused("stable stays", reasons=["too young", "not in dc1"], hint="wait"),
    errors.Conflict("somebody promoted"),
    errors.CannotTell("no answer"),
    errors.Denied("dc1 does not know us", denial=errors.Denial.WRONG, where="vcenter.example"),
    errors.Throttled("too many requests", why="429 for 5 minutes"),
    errors.summed_up(
        "it is not everywhere",
        {"dc1": errors.CannotTell("no answer", why="timeout"), "s3": errors.NoSpace("full")},
        counting=["dc1"],
        hint="again",
    ),
    errors.NotFound("there is no image 'x'"),
    errors.Interrupted("interrupted; cleaned up"),
    InternalError("internal error: KeyError", log="/l/e.log", why="a mistake", hint="report it"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.kind)
def test_each_error_is_a_documented_json_document(error: errors.ImagectlError) -> None:
    document = failure(error)
    jsonschema.validate(document, documents.schema(Failure))
    assert document["error"]["exit_code"] == error.exit_code
    assert document["error"]["kind"] == error.kind


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.kind)
def test_each_error_says_all_its_parts_in_words(error: errors.ImagectlError) -> None:
    said = "\n".join(error_lines(error))
    parts = [error.what, error.hint]
    if not isinstance(error, errors.BadInput | errors.Refused):
        parts += [error.where, *error.why.splitlines()]
    match error:
        case errors.BadInput():
            parts += ["a.yaml:3:5: unknown key 'sumary'", "did you mean 'summary'?"]
        case errors.Refused():
            parts += ["- too young", "- not in dc1"]
        case errors.ToolFailed():
            parts += [error.command, "| one", "| two"]
        case errors.BuildFailed():
            parts += [error.log, "| fatal"]
        case errors.GuestUnreachable():
            parts += ["| Kernel panic"]
        case errors.TestsFailed():
            parts += ["base::test_x", "| assert 1 == 2", "| login:"]
        case _:
            pass
    assert [part for part in parts if part not in said] == []


def test_every_kind_of_error_is_covered_here() -> None:
    def all_below(error: type[errors.ImagectlError]) -> set[type[errors.ImagectlError]]:
        return {error}.union(*(all_below(each) for each in error.__subclasses__()))

    # Adapters have narrower ones of their own, which are shown as what they are one of.
    shown = {each for each in all_below(errors.ImagectlError) if each.__module__ == errors.__name__}
    assert {type(error) for error in ERRORS} == shown - {errors.ImagectlError} | {InternalError}


def test_an_error_that_sums_up_others_tells_each_and_is_of_the_worst_kind() -> None:
    causes = {
        "dc1": errors.CannotTell("no answer", why="timeout", hint="look at it"),
        "s3": errors.Corrupt("other bytes"),
        "gce": errors.Conflict("somebody else's"),
    }

    def code(*counting: str) -> int:
        return errors.summed_up("no", causes, counting=counting).exit_code

    assert [code("dc1"), code("s3"), code("gce")] == [5, 1, 4]
    assert [code("dc1", "s3"), code("dc1", "gce"), code("dc1", "s3", "gce")] == [1, 4, 1]
    error = errors.summed_up("no", causes, counting=["dc1", "gce"], hint="again")
    assert "  why:   dc1: no answer: timeout (look at it)\n" in "\n".join(error_lines(error))
    (dc1, s3, gce) = failure(error)["error"]["causes"]
    assert (dc1["place"], dc1["kind"], dc1["exit_code"]) == ("dc1", "cannot-tell", 5)
    assert (s3["place"], s3["what"], gce["place"]) == ("s3", "other bytes", "gce")


def test_a_long_tail_is_cut_and_says_so_unless_verbose() -> None:
    tail = "\n".join(f"line {number}" for number in range(40))
    error = errors.GuestUnreachable("no answer", tail=tail)
    short, long = list(error_lines(error)), list(error_lines(error, verbose=True))
    assert "    | ... (25 more above; -v shows them)" in short
    assert "    | line 24" not in short
    assert "    | line 0" in long


def test_an_error_with_json_is_on_both_streams(capsys: pytest.CaptureFixture[str]) -> None:
    Output(json=True).error(errors.NotFound("there is no image 'x'"))
    said = capsys.readouterr()
    assert json.loads(said.out)["error"]["kind"] == "not-found"
    assert said.err == "not found: there is no image 'x'\n"


def test_quiet_leaves_warnings_and_errors(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(quiet=True)
    out.say("by the way")
    out.warn("mind this")
    out.error(errors.Failed("it broke"))
    with out.progress(FixedClock(NOW)) as told:
        told.stage("base")
        told.note("noted")
    assert capsys.readouterr().err == "warning: mind this\nerror: it broke\n"


class Inner(TypedDict):
    """Something within."""

    name: Annotated[str, "its name"]


class Outer(TypedDict):
    """Something that holds others."""

    kind: Annotated[Literal["a", "b"], "which"]
    count: Annotated[int | None, "how many"]
    inners: Annotated[list[Inner], "those within"]
    extra: NotRequired[Annotated[bool, "more"]]


def test_a_document_tells_its_fields_with_their_path() -> None:
    assert [(field.path, field.type) for field in documents.fields(Outer)] == [
        ("kind", "`a` or `b`"),
        ("count", "integer or null"),
        ("inners", "list of objects"),
        ("inners[].name", "string"),
        ("extra", "boolean, may be absent"),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "c", "count": 1, "inners": []},
        {"kind": "a", "count": "1", "inners": []},
        {"kind": "a", "inners": []},
        {"kind": "a", "count": None, "inners": [{"nom": "x"}]},
        {"kind": "a", "count": None, "inners": [], "surprise": 1},
    ],
)
def test_the_schema_of_a_document_is_strict(wrong: dict[str, object]) -> None:
    right = {"kind": "a", "count": None, "inners": [{"name": "x"}], "extra": True}
    jsonschema.validate(right, documents.schema(Outer))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, documents.schema(Outer))


def test_plain_progress_has_a_line_with_the_time_for_each_thing() -> None:
    lines: list[str] = []
    clock = FixedClock(NOW)
    told = progress.Plain(lines.append, clock)
    told.stage("provision", 150)
    clock.advance(timedelta(seconds=5))
    told.step("docker : Install")
    told.step("docker : Install")
    told.note("the cache is\nempty")
    assert lines == [
        "06:00:00Z == provision (about 2:30)",
        "06:00:05Z    docker : Install",
        "06:00:05Z    the cache is",
        "06:00:05Z    empty",
    ]


def test_plain_progress_tells_now_and_then_how_far_something_has_been_moved() -> None:
    lines: list[str] = []
    clock = FixedClock(NOW)
    told = progress.Plain(lines.append, clock)
    for done in range(0, 101, 5):
        told.moved("dc1: ova", done << 20, 100 << 20)
        clock.advance(timedelta(seconds=1))
    told.moved("dc1: ova", 100 << 20, 100 << 20)  # told twice
    told.moved("s3: raw", 50 << 20, 100 << 20)  # broken off earlier
    clock.advance(timedelta(seconds=10))
    told.moved("s3: raw", 60 << 20, 100 << 20)
    assert lines == [
        "06:00:10Z    dc1: ova:  50 % of 100 MiB, 5.00 MiB/s",
        "06:00:20Z    dc1: ova: 100 MiB in 0:20, 5.00 MiB/s",
        "06:00:31Z    s3: raw:  60 % of 100 MiB, 1.00 MiB/s",
    ]


def test_progress_into_a_closed_pipe_does_not_end_the_work() -> None:
    def gone(_: str) -> None:
        raise BrokenPipeError

    progress.Plain(gone, FixedClock(NOW)).stage("base")


def _picture(*, fail: bool = False, encoding: str = "utf-8") -> str:
    """The last screen of a build of three stages, as a terminal of 80 columns shows it."""
    clock = FixedClock(NOW)
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=stream, width=80, force_terminal=False, highlight=False)
    shown = progress.Live(console, clock)
    shown.stage("base", 60)
    clock.advance(timedelta(seconds=58))
    shown.stage("provision", 150)
    shown.step("docker : Install Docker and docker-compose\nwith all of it " + "long " * 20)
    clock.advance(timedelta(seconds=72))
    if fail:
        shown.finish("failed")
    with console.capture() as capture:
        console.print(shown)
    return capture.get()


def test_the_live_display_shows_what_is_done_and_what_is_going_on() -> None:
    done, current = _picture().splitlines()
    assert done.split() == ["✓", "base", "0:58"]
    assert "provision" in current
    assert "1:12 of about 2:30  docker : Install Docker and" in current
    assert len(current) <= 80


def test_the_live_display_shows_each_transfer_below_its_stage() -> None:
    clock = FixedClock(NOW)
    console = Console(file=io.StringIO(), width=60, force_terminal=False, highlight=False)
    shown = progress.Live(console, clock)
    shown.moved("nothing", 1, 2)  # before any stage: there is no place for it
    shown.stage("publish debian-ci@20261120.1")
    for what in ("gce-prod: gce", "dc1: ova"):
        shown.moved(what, 0, 400 << 20)
    clock.advance(timedelta(seconds=4))
    shown.moved("gce-prod: gce", 100 << 20, 400 << 20)
    shown.moved("dc1: ova", 400 << 20, 400 << 20)
    with console.capture() as capture:
        console.print(shown)
    assert [" ".join(line.split()) for line in capture.get().splitlines()[1:]] == [
        "gce-prod: gce 25 % of 400 MiB, 25.0 MiB/s",
        "dc1: ova 400 MiB in 0:04, 100 MiB/s",
    ]
    shown.stage("done")
    with console.capture() as capture:
        console.print(shown)
    assert "gce-prod" not in capture.get()


def test_the_live_display_says_failed_in_a_word() -> None:
    assert _picture(fail=True).splitlines()[1].split() == ["✗", "provision", "1:12", "failed"]


def test_the_live_display_needs_no_unicode() -> None:
    assert _picture(encoding="ascii").isascii()


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (errors.Failed("it broke"), "failed"),
        (KeyboardInterrupt(), "stopped"),
        (errors.Interrupted("stopped"), "stopped"),
    ],
)
def test_a_live_display_ends_as_the_work_does(
    monkeypatch: pytest.MonkeyPatch, problem: BaseException, said: str
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = io.StringIO()

    def work() -> None:
        with progress.live(stream, FixedClock(NOW)) as shown:
            shown.stage("prove")
            raise problem

    with pytest.raises(type(problem)):
        work()
    assert said in stream.getvalue()


def test_remarks_go_where_progress_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Another line in the middle of a display that redraws itself would spoil it."""
    showing: list[Progress] = []
    one, other = (Output(showing=showing) for _ in range(2))
    with one.progress(SystemClock()):
        other.remark("it takes long")
    other.remark("it is over")
    beside, alone = capsys.readouterr().err.splitlines()
    assert beside.endswith("Z    it takes long")
    assert alone == "it is over"
    with Output(quiet=True, showing=showing).progress(SystemClock()):
        other.remark("not a word")
    assert capsys.readouterr().err == ""
