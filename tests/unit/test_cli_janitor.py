"""``imagectl janitor`` on this host, and the ceiling on builds."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from jsonschema import validate
from support.cli import Run, command_line
from support.projects import new_project

from imagectl.adapters.clock import SystemClock
from imagectl.adapters.host_machines import RUNS, write_claim
from imagectl.adapters.locations import calls
from imagectl.bootstrap.project import STATE, Project, open_project
from imagectl.cli.documents import schema
from imagectl.cli.janitor.apply import JanitorDocument
from imagectl.cli.janitor.forget import ForgottenDocument
from imagectl.cli.janitor.page import SHOWN, plan_lines
from imagectl.cli.janitor.plan_document import JanitorPlanDocument
from imagectl.errors import Refused
from imagectl.model.names import ImageName
from imagectl.model.resource import Claim, FoundResource, Resource, ResourceKind, ResourceView
from imagectl.policy.leases import STUCK, sort_resources
from imagectl.services import live
from imagectl.services.janitor import JanitorPlan, Looked
from imagectl.testing.build import RecordingProgress

HOUR = timedelta(hours=1)

RACER = """
import sys, time
from pathlib import Path
from imagectl.bootstrap.project import open_project
from imagectl.errors import Refused
from imagectl.model.names import ImageName
from imagectl.testing.build import RecordingProgress
project = open_project(Path(sys.argv[1]))
workspaces = project.workspaces(RecordingProgress())
over = Path(sys.argv[3])
while not over.exists():
    try:
        with workspaces.open(ImageName(sys.argv[2]), wait=False) as work:
            others = [each.name for each in work.folder.parent.iterdir() if each.name != work.id]
            print(*others or ["alone"], flush=True)
            time.sleep(0.02)
    except Refused:
        print("refused", flush=True)
    time.sleep(0.01)
project.close()
"""
"""Builds again and again until a file is there, and says what else there is meanwhile."""
CI = ImageName("debian-ci")


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = new_project(tmp_path / "project")
    yield project
    project.close()


@pytest.fixture
def imagectl(project: Project, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(project.root)
    return command_line(monkeypatch)


def leak(project: Project, name: str, until: datetime, *, known: bool = True) -> Path:
    """The folder of a run that was killed; its lease lasted until then."""
    catalog = project.catalog.snapshot(()).catalog_id
    folder = project.root / STATE / RUNS / name
    folder.mkdir(parents=True)
    (folder / "lock").touch()
    (folder / "overlay").write_text("half a disk")
    write_claim(folder, Claim(catalog, f"id-{name}", until))
    if known:
        project.resources.begin(
            Resource(
                *(f"id-{name}", ResourceKind.MACHINE, project.host_machines.place, name),
                *("work on debian-ci", "ann", until - HOUR, until),
            )
        )
    return folder


def unreadable_runs(project: Project) -> Path:
    """The folder of this host's runs, which cannot be looked at."""
    runs = project.root / STATE / RUNS
    (runs / "run" / "lock").mkdir(parents=True)
    return runs


def test_what_is_left_over_is_shown_and_collected(project: Project, imagectl: Run) -> None:
    now = SystemClock().now()
    over = leak(project, "over", now - 3 * HOUR)
    lost = leak(project, "lost", now - 2 * HOUR, known=False)
    needed = leak(project, "needed", now + HOUR)

    shown = imagectl("janitor", "plan")
    assert shown.exit_code == 0
    assert "over" in shown.output
    assert "lease over for" in shown.output.lower()
    assert over.exists()

    every = imagectl("janitor", "plan", "-v").stdout.splitlines()
    needed_one = every[every.index("needed; left alone:") + 2].split()
    assert needed_one[1:3] == ["needed", "machine"]
    assert f"{now + HOUR:%Y-%m-%d}" in needed_one
    assert not any("left alone" in line for line in shown.stdout.splitlines())

    answer = imagectl("janitor", "plan", "--json")
    document = json.loads(answer.stdout)
    validate(document, schema(JanitorPlanDocument))
    assert [each["name"] for each in document["due"]] == ["over", "lost"]
    assert document["places"][0]["needed"] == 1

    applied = imagectl("janitor", "apply", "--json", "--rate", "6000/min")
    assert applied.exit_code == 0
    document = json.loads(applied.stdout)
    validate(document, schema(JanitorDocument))
    assert document["collected"] == 2
    assert document["left"] == 0
    assert not over.exists()
    assert not lost.exists()
    assert needed.exists()
    assert [each.name for each in project.resources.all()] == ["needed"]


def test_copies_are_named_and_left_alone(project: Project, imagectl: Run) -> None:
    machine = next(iter(project.machines()))
    ours = leak(project, "ours", SystemClock().now() - 3 * HOUR)
    shutil.copytree(ours, ours.with_name("copy"))
    document = json.loads(imagectl("janitor", "plan", "--json").stdout)
    assert [each["name"] for each in document["due"]] == ["ours"]
    assert document["places"][0]["copies"] == ["copy"]
    shown = imagectl("janitor", "plan").stdout
    assert f"{machine}: copy carries the claim of another machine" in shown


def test_what_is_copied_is_shown_once() -> None:
    """A provider may say itself that a claim is another machine's."""
    now = SystemClock().now()
    claim = Claim("ours", "id", now - HOUR)
    copy = FoundResource("vm-2", ResourceKind.MACHINE, "clone", None, copied=claim)
    view = ResourceView("dc1", "a folder", (copy,), (), 1, now, now)
    looked = Looked("dc1", view, sort_resources(view, [], "ours", now), None)
    lines = [*plan_lines(JanitorPlan(now, (looked,), ()), None)]
    assert [line for line in lines if "clone" in line] == [
        "dc1: clone carries the claim of another machine, so somebody has copied that, or given it "
        "another name or id; it is left alone"
    ]


def test_a_limit_leaves_the_rest(project: Project, imagectl: Run) -> None:
    now = SystemClock().now()
    for number in range(3):
        leak(project, f"run{number}", now - (9 - number) * HOUR)
    answer = imagectl("janitor", "apply", "--limit", "2", "--rate", "6000/min")
    assert answer.exit_code == 0
    assert "2 things collected, 1 left" in answer.stdout


def test_what_has_failed_three_times_is_shown_however_much_there_is(
    project: Project, imagectl: Run
) -> None:
    """It comes last, and an alert sends people here to see it."""
    now = SystemClock().now()
    for number in range(SHOWN + 3):
        leak(project, f"run{number:02}", now - (90 - number) * HOUR)
    for _ in range(STUCK):
        project.resources.failed("id-run00", "its disk cannot be removed")
    shown = imagectl("janitor", "plan").stdout
    assert "its disk cannot be removed" in shown
    names = [each for each in shown.split() if each.startswith("run") and each[3:].isdigit()]
    assert names == [f"run{number:02}" for number in (*range(1, SHOWN + 1), 0)]
    assert "... and 2 more; -v shows all" in shown


def test_an_unreadable_ledger_means_that_nothing_is_done(project: Project, imagectl: Run) -> None:
    folder = leak(project, "over", SystemClock().now() - 3 * HOUR)
    project.close()
    (project.state / "catalog.sqlite3").write_bytes(b"no database")
    for verb in ("plan", "apply"):
        answer = imagectl("janitor", verb)
        assert answer.exit_code == 5, answer.output
    assert folder.exists()
    (noted,) = project.outcomes.all().values()
    assert (noted.successes, noted.failures) == (0, 1)


@pytest.mark.parametrize("verb", ["plan", "apply"])
def test_a_place_that_cannot_be_read_is_told_with_what_to_type(
    project: Project, imagectl: Run, verb: str
) -> None:
    """A service's log has warnings alone."""
    runs = unreadable_runs(project)
    result = imagectl("janitor", verb, "-q")
    assert result.exit_code == 5
    said = " ".join(result.stderr.split())
    assert f"the runs on this host cannot be read: Is a directory ({runs})" in said
    assert "; run this as the user who builds" in said


def test_a_place_that_cannot_be_read_is_in_the_answer(project: Project, imagectl: Run) -> None:
    runs = unreadable_runs(project)
    document = json.loads(imagectl("janitor", "apply", "--json").stdout)
    validate(document, schema(JanitorDocument))
    (trouble,) = document["troubles"]
    assert (trouble["kind"], trouble["where"]) == ("cannot-tell", str(runs))
    assert trouble["hint"] == "run this as the user who builds"


def test_what_makes_no_sense_is_said(project: Project, imagectl: Run) -> None:
    assert imagectl("janitor", "plan", "--location", "local").exit_code == 2
    assert imagectl("janitor", "plan", "--location", "nowhere").exit_code == 6
    assert imagectl("janitor", "apply", "--rate", "often").exit_code == 2


def test_options_that_would_do_nothing_are_refused(project: Project, imagectl: Run) -> None:
    for arguments in (("plan", "--here", "--not-here"), ("apply", "--not-here", "--here")):
        answer = imagectl("janitor", *arguments)
        assert answer.exit_code == 2
        assert "both --here and --not-here" in answer.stderr
    for verb in (("janitor", "apply"), ("metrics",)):
        answer = imagectl(*verb, "--every", "5m")
        assert answer.exit_code == 2
        assert "--every goes with" in answer.stderr


@pytest.mark.parametrize("none", ["0s", "00m"])
@pytest.mark.parametrize(
    "verb", [("janitor", "apply", "--watch"), ("metrics", "--listen", "127.0.0.1:0")]
)
def test_rounds_have_a_pause_between_them(
    tmp_path: Path, imagectl: Run, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...], none: str
) -> None:
    monkeypatch.chdir(tmp_path)  # where no project is, and no round would begin
    answer = imagectl(*verb, "--every", none)
    assert answer.exit_code == 2
    assert f"{none!r} is no pause: 1s is the shortest" in answer.stderr


class Down(BaseHTTPRequestHandler):
    """A registry on a bad night."""

    def do_GET(self) -> None:
        self.send_error(503)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_metrics_do_not_wait_long_and_say_for_what(
    project: Project, imagectl: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next measuring would begin before this one has ended."""
    monkeypatch.setattr(live, "LIVE_PATIENCE", 1.0)
    monkeypatch.setattr(calls, "SILENCE", 0.2)
    with ThreadingHTTPServer(("127.0.0.1", 0), Down) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        (project.root / "imagectl.yaml").write_text(
            f"locations:\n  dc1: {{type: oci, insecure: true, "
            f"url: '127.0.0.1:{server.server_port}/images'}}\n"
        )
        began = time.monotonic()
        loud, quiet = imagectl("metrics"), imagectl("-q", "metrics")
        server.shutdown()
    assert time.monotonic() - began < 60
    for result in (loud, quiet):
        assert result.exit_code == 5
        assert 'imagectl_source_ok{place="dc1",source="images"} 0.0' in result.stdout
    assert "location dc1: " in loud.stderr
    assert "and is tried again in " in loud.stderr
    assert "is tried again" not in quiet.stderr


def test_this_host_can_be_left_out(project: Project, imagectl: Run) -> None:
    folder = leak(project, "over", SystemClock().now() - 3 * HOUR)
    answer = imagectl("janitor", "apply", "--not-here", "--json")
    assert answer.exit_code == 0
    assert json.loads(answer.stdout)["collected"] == 0
    assert folder.exists()
    (entry,) = json.loads(imagectl("janitor", "plan", "--not-here", "--json").stdout)["elsewhere"]
    assert entry["name"] == "over", "what was not looked at is told"
    assert imagectl("janitor", "apply", "--here").exit_code == 0
    assert not folder.exists()


def test_what_was_on_a_host_that_is_no_more_can_be_forgotten(
    project: Project, imagectl: Run
) -> None:
    now = SystemClock().now()
    gone, here = "host/ci7/srv", project.host_machines.place
    for number, (place, until) in enumerate(
        [(gone, now - HOUR), (gone, now + HOUR), (here, now - HOUR)]
    ):
        project.resources.begin(
            Resource(
                *(f"id{number}", ResourceKind.MACHINE, place, "run", "a test", "ann"),
                *(until - HOUR, until),
            )
        )
    assert f"in {gone}" in imagectl("janitor", "plan").stdout
    assert imagectl("janitor", "forget", here).exit_code == 3
    answer = imagectl("janitor", "forget", gone, "--json")
    assert answer.exit_code == 0
    validate(json.loads(answer.stdout), schema(ForgottenDocument))
    assert {each.id for each in project.resources.all()} == {"id1", "id2"}
    assert imagectl("janitor", "forget", gone).exit_code == 6
    for what, place in (("janitor", gone), ("machines", gone), ("janitor", here), ("build", gone)):
        project.outcomes.note(what, place, now, ok=True)
    answer = imagectl("janitor", "forget", gone)
    assert answer.exit_code == 0
    assert "forgotten: how earlier rounds" in answer.stdout, "not without a word"
    assert set(project.outcomes.all()) == {("janitor", here), ("build", gone)}
    assert imagectl("janitor", "forget", gone).exit_code == 6


def test_a_location_that_is_still_configured_is_not_forgotten(
    project: Project, imagectl: Run
) -> None:
    """P8: it has no machines, but metrics know when it was last read, and would not any more."""
    for what in ("credential", "images"):
        project.outcomes.note(what, "local", SystemClock().now(), ok=True)
    known = project.outcomes.all()
    answer = imagectl("janitor", "forget", "local")
    assert answer.exit_code == 3
    assert "local is not gone" in answer.stderr
    assert project.outcomes.all() == known


@contextmanager
def kept_from_removal(path: Path) -> Iterator[None]:
    """Not even its owner removes it; root only where the file system knows of such files."""
    if os.geteuid():
        path.parent.chmod(0o500)
        yield
        path.parent.chmod(0o700)
        return
    done = subprocess.run(["chattr", "+i", str(path)], check=False, capture_output=True, text=True)
    if "not supported" in done.stderr or "not permitted" in done.stderr:
        pytest.skip(f"root is kept from removing no file here: {done.stderr.strip()}")
    done.check_returncode()
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", str(path)], check=True)


def test_what_could_not_be_removed_three_times_is_reported(project: Project, imagectl: Run) -> None:
    folder = leak(project, "over", SystemClock().now() - 3 * HOUR)
    other = leak(project, "other", SystemClock().now() - 2 * HOUR)
    with kept_from_removal(folder / "overlay"):
        ends = [imagectl("janitor", "apply", "--rate", "6000/min") for _ in range(3)]
        assert not other.exists(), "what fails holds up nothing else"
        shown = imagectl("janitor", "plan")
    assert [each.exit_code for each in ends] == [0, 0, 1]
    (noted,) = project.outcomes.all().values()
    assert (noted.successes, noted.failures) == (2, 1)
    assert "could not be collected, now 3 times" in ends[-1].output
    assert "cannot be removed" in ends[0].output
    assert "3 x: run over cannot be removed" in shown.output
    assert folder.exists()
    assert imagectl("janitor", "apply").exit_code == 0
    assert not folder.exists()
    assert project.resources.all() == ()


def test_times_of_success_that_are_lost_are_told_with_what_to_do(
    project: Project, imagectl: Run, tmp_path: Path
) -> None:
    """Also to cron; and all other numbers are there."""
    lost, numbers = project.root / STATE / "outcomes.json", tmp_path / "imagectl.prom"
    lost.parent.mkdir(exist_ok=True)
    lost.write_text("[{")
    ends = imagectl("janitor", "apply", "-q"), imagectl("metrics", "-q", "--out", str(numbers))
    assert [each.exit_code for each in ends] == [0, 5]
    for each in ends:
        assert str(lost) in each.stderr.replace("\n", "")
        assert "remove the file" in each.stderr
    assert "imagectl_vms_total{" in numbers.read_text()
    assert lost.read_text() == "[{", "nothing was noted over it"


def test_more_builds_than_allowed_are_refused(project: Project) -> None:
    settings = project.root / "imagectl.yaml"
    settings.write_text("build: {max_build_vms: 1}\n")
    project.close()
    project = open_project(project.root)
    progress = RecordingProgress()
    with project.workspaces(progress).open(CI, wait=False) as work:
        with (
            pytest.raises(Refused) as caught,
            project.workspaces(progress).open(ImageName("other"), wait=False),
        ):
            pytest.fail("a second build has begun")
        assert caught.value.exit_code == 3
        assert "max_build_vms" in caught.value.reasons[0]
        assert [each.name for each in work.folder.parent.iterdir()] == [work.id]
    with project.workspaces(progress).open(ImageName("other"), wait=False):
        pass
    project.close()


def test_builds_that_begin_at_the_same_moment_are_not_more_than_allowed(
    project: Project, tmp_path: Path
) -> None:
    (project.root / "imagectl.yaml").write_text("build: {max_build_vms: 1}\n")
    project.close()
    said, over = tmp_path / "said", tmp_path / "over"
    with said.open("a") as out:
        racers = [
            subprocess.Popen(
                [sys.executable, "-c", RACER, project.root, f"image{number}", over], stdout=out
            )
            for number in range(3)
        ]
    try:
        # They meet when they have all begun, which takes a loaded machine its time.
        patience = time.monotonic() + 120
        while "refused" not in said.read_text() and time.monotonic() < patience:
            time.sleep(0.1)
        time.sleep(2)  # and a hundred times more
    finally:
        over.touch()
        ends = [racer.wait() for racer in racers]
    assert ends == [0, 0, 0]
    assert set(said.read_text().split()) == {"alone", "refused"}, "they did race, and never two ran"


def test_watching_goes_on_until_it_is_stopped(project: Project) -> None:
    over = leak(project, "over", SystemClock().now() - 3 * HOUR)
    project.close()
    watch = subprocess.Popen(
        [
            *(sys.executable, "-m", "imagectl", "janitor", "apply"),
            *("--watch", "--every", "1s", "--json", "-q"),
        ],
        cwd=project.root,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watch.stdout is not None
    first, rounds = "", 0
    for line in watch.stdout:
        first += line
        if line == "}\n":
            rounds += 1
            if rounds == 2:
                break
    watch.send_signal(signal.SIGTERM)
    rest = watch.stdout.read()
    assert watch.wait() == 130, rest
    watch.stdout.close()
    assert not over.exists()
    decoder = json.JSONDecoder()
    one, end = decoder.raw_decode(first)
    two, _ = decoder.raw_decode(first[end:].lstrip())
    assert (one["collected"], two["collected"]) == (1, 0)
