"""``imagectl cleanup`` on a real project: its pages, its documents and its exit codes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result
from support import projects
from support.cli import Run, answer
from support.examples import ref
from support.projects import new_project, release

from imagectl.adapters.clock import SystemClock
from imagectl.adapters.plan_file import read_plan
from imagectl.bootstrap.project import Project
from imagectl.cli.cleanup.apply import AppliedDocument
from imagectl.cli.cleanup.key import KeyDocument
from imagectl.cli.cleanup.page import MEANINGS
from imagectl.cli.cleanup.plan_document import PlanDocument
from imagectl.cli.cleanup.undelete import UndeletedDocument
from imagectl.cli.cleanup.undo import UndoneDocument
from imagectl.model.change import Change, Operation, RecordPlacement, StepVersion
from imagectl.model.cleanup import Because
from imagectl.model.retention import Stage

OLD, MIDDLE, BEFORE, NEW = (f"debian-ci@2026010{day}.1" for day in (1, 2, 3, 4))

POLICY = """\
channels:
  beta: {entry: true, rollback_window: 1}
  stable: {from: beta}
retention: {keep_last: 1, min_age: 1d, unused: 1d, grace: 1d, max_count: 5, max_share: 90%}
"""


class Clock:
    """The machine's time, some days later."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead  # the test moves the real clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(SystemClock, "now", lambda _: made.now())
    return made


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Iterator[Project]:
    """Four versions in beta, long ago; the current folder. Plans are signed by tester@unit."""
    made = new_project(tmp_path / "images")
    (made.root / "catalog/channels.yaml").write_text(POLICY)
    monkeypatch.setattr(projects, "BUILT", datetime(2026, 1, 1, tzinfo=UTC))
    for each in (OLD, MIDDLE, BEFORE, NEW):
        release(made, each)
    monkeypatch.chdir(made.root)
    monkeypatch.setenv("IMAGECTL_KEY", str(tmp_path / "key.pem"))
    yield made
    made.close()


def stage(project: Project, text: str) -> Stage:
    return project.catalog.snapshot().stage(ref(text))


def down(imagectl: Run, clock: Clock, times: int) -> None:
    """Plan and apply, two days after the other."""
    for _ in range(times):
        clock.ahead += timedelta(days=2)
        assert imagectl("cleanup", "plan", "--out", "plan.json").exit_code == 0
        assert imagectl("cleanup", "apply", "plan.json").exit_code == 0


def test_the_page_tells_what_goes_what_stays_and_how_to_take_it_back(
    project: Project, imagectl: Run
) -> None:
    local = project.root / ".imagectl/locations/local"
    (local / "notes.txt").write_text("somebody's")
    result = imagectl("cleanup", "plan", "--out", "plan.json")
    assert result.exit_code == 0
    lines = [line.strip() for line in result.stdout.splitlines()]
    for part in (
        "4  versions, in local",
        "2  go down by one stage; none of them is DELETED",
        "2  are protected: nothing may delete them now",
        "1  things are not known to the catalog: never touched",
    ):
        assert part in lines
    assert any(line.split()[:3] == [OLD, "active", "deprecated"] for line in lines)
    assert f"{NEW} (beta)" in lines
    assert any(line.startswith("local  notes.txt: ") for line in lines)
    assert "imagectl adopt" not in result.stdout, "it takes nobody's files"
    assert "what is not deleted:  imagectl cleanup undo plan.json" in lines
    assert "cleanup apply plan.json" in result.stderr
    assert (
        max(len(line) for line in result.stdout.splitlines() if str(project.root) not in line)
        <= 100
    )


def test_each_reason_to_keep_a_version_has_a_place_on_the_page() -> None:
    assert [*MEANINGS, Because.DELETED] == list(Because)


def totals(page: str) -> dict[str, int]:
    """The numbers at the top, by the words behind them."""
    top = page.partition("SEEN, ")[0]
    found = re.findall(r"^ +(\d+)  (.+)$", top, re.MULTILINE)
    return {what: int(number) for number, what in found}


def test_deleted_versions_are_counted_apart(project: Project, imagectl: Run, clock: Clock) -> None:
    """In the end most of all versions are deleted; they are in no location, and nobody's turn."""
    down(imagectl, clock, 4)
    assert stage(project, OLD) is stage(project, MIDDLE) is Stage.DELETED
    plan = ("cleanup", "plan", "--out", "plan.json")
    page = imagectl(*plan).stdout
    said = totals(page)
    assert said["versions, in local"] == 2
    assert said["go: there is nothing to do"] == 0
    assert said["are protected: nothing may delete them now"] == 2
    assert said["are kept for now: it is not their turn"] == 0
    assert said["more are deleted already: their history stays"] == 2
    assert "KEPT FOR NOW" not in page
    assert OLD not in page
    document = answer(imagectl(*plan, "--json"), PlanDocument)
    assert (document["versions"], document["deleted"]) == (4, 2)
    assert ("deleted", 2) in {(each["because"], each["versions"]) for each in document["kept"]}
    narrow = totals(imagectl("cleanup", "plan", "--location", "local").stdout)
    assert narrow["versions, in local"] == said["versions, in local"]
    assert "more are deleted already: their history stays" not in narrow


def test_what_was_listed_and_what_is_not_known_add_up(project: Project, imagectl: Run) -> None:
    """Also where a file is gone and the record of whose it was is there."""
    local = project.root / ".imagectl/locations/local"
    for name in ("a", "b", "c"):
        (local / name).write_text("somebody's")
    Path(project.catalog.snapshot().placed(ref(OLD))[0].reference).unlink()
    page = imagectl("cleanup", "plan").stdout
    assert totals(page)["things are not known to the catalog: never touched"] == 3
    (row,) = (each.split() for each in page.splitlines() if re.match(r"  local +\d+ of", each))
    assert row[1:5] == ["3", "of", "4", "3"]
    assert f"{OLD} in local" in page


def test_no_folder_is_made_for_a_plan(project: Project, imagectl: Run, tmp_path: Path) -> None:
    folder = tmp_path / "nonexistent" / "deep"
    result = imagectl("cleanup", "plan", "--out", str(folder / "plan.json"))
    assert result.exit_code == 2
    assert "there is no such folder" in " ".join(result.stderr.split())
    assert str(folder) in result.stderr
    assert not folder.parent.exists()


def test_when_it_could_be_deleted_is_told_to_the_minute(project: Project, imagectl: Run) -> None:
    step = answer(imagectl("cleanup", "plan", "--json"), PlanDocument)["steps"][0]
    told = datetime.fromisoformat(step["deleted_earliest"])
    page = imagectl("cleanup", "plan").stdout
    (line,) = (each for each in page.splitlines() if each.split()[:2] == [OLD, "active"])
    assert re.search(rf"deprecated +{told:%Y-%m-%d} \d\d:\d\d UTC", line)


def test_what_is_elsewhere_too_is_not_said_to_be_deleted_by_plans_of_one_location(
    project: Project, imagectl: Run
) -> None:
    settings = project.root / "imagectl.yaml"
    settings.write_text(
        settings.read_text().replace(
            "locations:\n",
            "locations:\n  other: {type: directory, path: .imagectl/locations/other}\n",
        )
    )
    published = imagectl("publish", OLD, "--to", "other")
    assert published.exit_code == 0, published.output
    said = answer(imagectl("cleanup", "plan", "--location", "local", "--json"), PlanDocument)
    told = {each["version"]: each["deleted_earliest"] for each in said["steps"]}
    assert told[OLD] is None
    assert told[MIDDLE] is not None
    page = imagectl("cleanup", "plan", "--location", "local").stdout
    (line,) = (each for each in page.splitlines() if each.split()[:2] == [OLD, "active"])
    assert "never so: also in other" in line


def test_the_plan_says_what_consumers_have_resolved(project: Project, imagectl: Run) -> None:
    page = imagectl("cleanup", "plan").stdout
    assert f"were resolved by consumers, say receipts in {project.state / 'receipts'}" in page
    said = answer(imagectl("cleanup", "plan", "--json"), PlanDocument)
    assert (said["resolved"], said["receipts"]) == (0, str(project.state / "receipts"))


def test_a_shared_catalog_needs_shared_receipts(project: Project, imagectl: Run) -> None:
    """What others resolve in checkouts of their own would not be seen (P1)."""
    settings = project.root / "imagectl.yaml"
    shared = "catalog:\n  url: postgresql+psycopg://nobody@db.example/images\n"
    settings.write_text(settings.read_text().replace("catalog:\n", shared))
    refused = imagectl("cleanup", "plan")
    assert refused.exit_code == 2, refused.output
    assert "it is not known where consumers leave their receipts" in refused.output
    assert "`receipts`" in refused.output


def test_a_plan_without_a_file_writes_nothing(project: Project, imagectl: Run) -> None:
    before = {each.name for each in project.root.iterdir()}
    result = imagectl("cleanup", "plan")
    assert "not written" in result.stdout
    assert {each.name for each in project.root.iterdir()} == before


def test_the_plan_as_a_document(project: Project, imagectl: Run) -> None:
    said = answer(imagectl("cleanup", "plan", "--out", "plan.json", "--json"), PlanDocument)
    assert [(each["version"], each["to"]) for each in said["steps"]] == [
        (OLD, "deprecated"),
        (MIDDLE, "deprecated"),
    ]
    assert (said["versions"], said["placements"], said["protected"]) == (4, 4, 2)
    assert said["file"] == "plan.json"
    assert said["author"] == "tester@unit"
    written = json.loads(Path("plan.json").read_text())
    assert len(written["entries"]) == 4
    assert {each["because"] for each in said["kept"]} == {"channel", "window", "keep-last"}


def test_down_to_deleted_and_back(project: Project, imagectl: Run, clock: Clock) -> None:
    down(imagectl, clock, 3)
    assert stage(project, OLD) is Stage.QUARANTINED
    clock.ahead += timedelta(days=2)
    page = imagectl("cleanup", "plan", "--out", "plan.json").stdout
    assert "2 of them are DELETED" in page
    assert f"{OLD} is NOT proven to come out the same when it is made again: " in page
    trial = answer(
        imagectl("cleanup", "apply", "plan.json", "--dry-run", "--json"), AppliedDocument
    )
    assert trial["dry_run"]
    assert stage(project, OLD) is Stage.QUARANTINED
    said = answer(imagectl("cleanup", "apply", "plan.json", "--json"), AppliedDocument)
    assert [(each["version"], each["was_there"]) for each in said["deleted"]] == [
        (OLD, True),
        (MIDDLE, True),
    ]
    assert stage(project, OLD) is stage(project, MIDDLE) is Stage.DELETED
    again = imagectl("cleanup", "apply", "plan.json")
    assert again.stdout.count("done before") == 2
    back = answer(imagectl("cleanup", "undelete", OLD, "--json"), UndeletedDocument)
    assert (back["put"], back["remade"]) == (["local"], False)  # it is kept in the store
    assert stage(project, OLD) is Stage.ACTIVE
    assert imagectl("catalog", "verify").exit_code == 0


def test_undo_takes_a_whole_plan_back(project: Project, imagectl: Run, clock: Clock) -> None:
    down(imagectl, clock, 1)
    trial = imagectl("cleanup", "undo", "plan.json", "--dry-run")
    assert trial.stdout.count("would be active again; it was deprecated") == 2
    said = answer(imagectl("cleanup", "undo", "plan.json", "--json"), UndoneDocument)
    assert [each["version"] for each in said["versions"]] == [OLD, MIDDLE]
    assert stage(project, OLD) is stage(project, MIDDLE) is Stage.ACTIVE
    assert "is active already" in imagectl("cleanup", "undo", OLD).stdout
    assert "nothing is on its way down" in imagectl("cleanup", "undo", "--all").stdout


def test_undo_of_a_plan_whose_file_is_gone(project: Project, imagectl: Run, clock: Clock) -> None:
    down(imagectl, clock, 1)
    Path("plan.json").unlink()
    name = project.catalog.snapshot().stages[ref(OLD)].reason.removeprefix("plan ")
    assert name in imagectl("show", OLD).stdout
    assert imagectl("cleanup", "undo", name).stdout.count("is active again") == 2
    assert imagectl("cleanup", "undo", name).stdout.count("is active already") == 2
    assert imagectl("cleanup", "undo", "52ab78d622e5").exit_code == 6


@pytest.mark.parametrize("named", ["file", "name"])
def test_undo_of_a_plan_tells_what_another_has_taken_further(
    project: Project, imagectl: Run, clock: Clock, named: str
) -> None:
    """It was left out in silence, or nothing at all was said to be on its way down."""
    down(imagectl, clock, 1)
    Path("plan.json").rename("first.json")
    first = project.catalog.snapshot().stages[ref(OLD)].reason.removeprefix("plan ")
    which = "first.json" if named == "file" else first
    assert imagectl("hold", OLD, "--reason", "a look").exit_code == 0
    down(imagectl, clock, 1)
    later = project.catalog.snapshot().stages[ref(MIDDLE)].reason
    said = answer(imagectl("cleanup", "undo", which, "--dry-run", "--json"), UndoneDocument)
    assert [each["version"] for each in said["versions"]] == [OLD]
    assert [(each["version"], each["now"], each["reason"]) for each in said["further"]] == [
        (MIDDLE, "obsolete", later)
    ]
    shown = imagectl("cleanup", "undo", which)
    assert f"{MIDDLE} is obsolete since, by {later}: imagectl cleanup undo {MIDDLE}" in shown.stdout
    assert shown.exit_code == 0
    assert stage(project, OLD) is Stage.ACTIVE
    assert stage(project, MIDDLE) is Stage.OBSOLETE
    both = imagectl("cleanup", "undo", which, "plan.json", "--json")
    said = answer(both, UndoneDocument)
    assert [each["version"] for each in said["versions"]] == [MIDDLE]
    assert said["further"] == []


@pytest.mark.parametrize("stages", [2, 4])
def test_undo_of_a_plan_is_refused_where_others_have_taken_all_of_it_further(
    project: Project, imagectl: Run, clock: Clock, stages: int
) -> None:
    down(imagectl, clock, 1)
    Path("plan.json").rename("first.json")
    down(imagectl, clock, stages - 1)
    result = imagectl("cleanup", "undo", "first.json")
    assert result.exit_code == 3
    verb = "undelete" if stages == 4 else "undo"
    assert f"imagectl cleanup {verb} {OLD}" in result.stderr
    assert f"{MIDDLE} is {'deleted' if stages == 4 else 'obsolete'}" in " ".join(
        result.stdout.split()
    )


def test_undo_of_a_plan_brings_back_what_that_plan_took_down_and_nothing_else(
    project: Project, imagectl: Run, clock: Clock
) -> None:
    """It was never applied; another plan has taken them down before, and one after it, which was
    undone."""
    down(imagectl, clock, 1)
    clock.ahead += timedelta(days=2)
    imagectl("cleanup", "plan", "--out", "never-applied.json")
    for arguments in ([], ["--dry-run"], [OLD]):
        assert imagectl("cleanup", "undo", "never-applied.json", *arguments).exit_code == 6
        assert stage(project, OLD) is stage(project, MIDDLE) is Stage.DEPRECATED
    down(imagectl, clock, 1)
    assert imagectl("cleanup", "undo", "plan.json").stdout.count("is active again") == 2
    said = answer(imagectl("cleanup", "undo", "never-applied.json", "--json"), UndoneDocument)
    assert (said["versions"], said["already"]) == ([], [])
    lines = imagectl("cleanup", "undo", "never-applied.json").stdout.splitlines()
    assert lines == [
        f"plan {plan_of('never-applied.json')} has taken nothing down",
        "nothing is on its way down",
    ]


def plan_of(file: str) -> str:
    """The name of the plan in that file, as people type it."""
    return read_plan(Path(file)).digest[:12]


def said_by(result: Result) -> str:
    """What people are told beside the answer, without its lines' ends."""
    return " ".join(result.stderr.split())


def test_undo_of_a_plan_that_took_nothing_down_names_those_that_did(
    project: Project, imagectl: Run, clock: Clock
) -> None:
    """Nothing was said to be on its way down, with exit code 0, and a tired person believed it."""
    assert imagectl("hold", OLD, "--reason", "a look").exit_code == 0
    down(imagectl, clock, 1)
    first = plan_of("plan.json")
    assert imagectl("unhold", OLD, "--reason", "seen").exit_code == 0
    assert imagectl("hold", MIDDLE, "--reason", "a look").exit_code == 0
    down(imagectl, clock, 1)
    second = plan_of("plan.json")
    imagectl("cleanup", "plan", "--out", "plan.json")
    result = imagectl("cleanup", "undo", "plan.json")
    assert (result.exit_code, result.stdout) == (6, "")
    said = said_by(result)
    assert f"plan {plan_of('plan.json')} has taken nothing down; nothing was done" in said
    assert said.index(f"`imagectl cleanup undo {second}` (1 version, 20") < said.index(
        f"`imagectl cleanup undo {first}` (1 version, 20"
    )
    unknown = said_by(imagectl("cleanup", "undo", "52ab78d622e5"))
    assert f"`imagectl cleanup undo {second}` (1 version" in unknown
    assert stage(project, OLD) is stage(project, MIDDLE) is Stage.DEPRECATED
    assert "is active again" in imagectl("cleanup", "undo", second).stdout
    assert stage(project, OLD) is Stage.ACTIVE


def test_what_no_plan_took_down_is_shown_by_the_list(
    project: Project, imagectl: Run, clock: Clock
) -> None:
    down(imagectl, clock, 4)
    change(project, StepVersion(ref(OLD), Stage.QUARANTINED))
    imagectl("cleanup", "plan", "--out", "other.json")
    result = imagectl("cleanup", "undo", "other.json")
    assert result.exit_code == 6
    assert "`imagectl list IMAGE` shows what is on its way down" in said_by(result)


def test_undo_of_a_plan_of_another_catalog_cannot_tell(
    project: Project, imagectl: Run, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    down(imagectl, clock, 1)
    other = new_project(tmp_path / "others")
    (other.root / "catalog/channels.yaml").write_text(POLICY)
    for each in (OLD, MIDDLE, BEFORE, NEW):
        release(other, each)
    other.close()
    theirs = str(project.root / "plan.json")
    monkeypatch.chdir(other.root)
    result = imagectl("cleanup", "undo", theirs)
    assert (result.exit_code, result.stdout) == (5, "")
    assert "the plan is of another catalog; nothing was done" in said_by(result)
    own = tmp_path / "own.json"
    assert imagectl("cleanup", "plan", "--out", theirs).exit_code == 0
    assert imagectl("cleanup", "plan", "--out", str(own)).exit_code == 0
    assert imagectl("cleanup", "undo", str(own)).stdout.splitlines()[0].endswith("nothing down")


def test_an_older_catalog_does_not_say_that_a_plan_has_taken_nothing_down(
    project: Project, imagectl: Run, clock: Clock
) -> None:
    """P3: the plan was applied after the copy was made."""
    down(imagectl, clock, 1)
    clock.ahead += timedelta(days=2)
    imagectl("cleanup", "plan", "--out", "later.json")
    project.close()
    catalog = project.root / ".imagectl/catalog.sqlite3"
    before = catalog.read_bytes()
    assert imagectl("cleanup", "apply", "later.json").exit_code == 0
    for each in catalog.parent.glob("catalog.sqlite3-*"):
        each.unlink()
    catalog.write_bytes(before)
    result = imagectl("cleanup", "undo", "later.json")
    assert result.exit_code == 5, result.output
    assert "older than what was published from it" in said_by(result)


def test_a_plan_in_the_place_of_one_that_was_applied_is_a_warning(
    project: Project, imagectl: Run, clock: Clock
) -> None:
    """The file was what people would undo by."""
    assert "warning" not in imagectl("cleanup", "plan", "--out", "plan.json").stderr
    assert "warning" not in imagectl("cleanup", "plan", "--out", "plan.json").stderr
    down(imagectl, clock, 1)
    name = plan_of("plan.json")
    assert "warning" not in imagectl("cleanup", "plan", "--out", "other.json").stderr
    result = imagectl("cleanup", "plan", "-q", "--out", "plan.json")
    assert result.exit_code == 0
    assert (
        f"warning: plan.json was plan {name}, which took down 2 versions that are not back; "
        f"`imagectl cleanup undo {name}` still takes that back"
    ) in said_by(result)
    assert imagectl("cleanup", "undo", name).stdout.count("is active again") == 2
    assert "warning" not in imagectl("cleanup", "plan", "--out", "plan.json").stderr
    Path("plan.json").write_text("no plan")
    assert "warning" not in imagectl("cleanup", "plan", "--out", "plan.json").stderr


def change(project: Project, *operations: Operation) -> None:
    """Somebody else's change, which consumers are shown."""
    head = project.catalog.snapshot(())
    key = f"test {head.generation}"
    made = Change(key, head.generation, "bob@desk", "test", "", project.clock.now(), operations)
    project.catalog.commit(made)
    project.publishers[0].publish(project.catalog.snapshot())


def test_an_undelete_that_was_interrupted_is_undeleted_say_all_who_are_asked(
    project: Project, imagectl: Run, clock: Clock
) -> None:
    """They named `cleanup undo`, which refuses it."""
    down(imagectl, clock, 4)
    change(project, StepVersion(ref(OLD), Stage.QUARANTINED))
    goes_on = f"imagectl cleanup undelete {OLD}"
    shown = imagectl("show", OLD)
    assert f"way back  {goes_on}\n" in shown.stdout
    resolved = imagectl("resolve", OLD)
    assert resolved.exit_code == 3
    assert f"`{goes_on}` brings it back" in said_by(resolved)
    of_plan = imagectl("cleanup", "undo", "plan.json")
    assert of_plan.exit_code == 3
    assert f"{OLD} is quarantined since, by bob@desk: {goes_on}" in " ".join(of_plan.stdout.split())
    leased = imagectl("lease", "take", OLD, "--for", "1h", "--consumer", "ci")
    assert f"`{goes_on}` brings it back" in said_by(leased)
    assert imagectl("cleanup", "undelete", OLD).exit_code == 0
    assert imagectl("resolve", OLD).exit_code == 0


def test_what_is_quarantined_is_undone(project: Project, imagectl: Run, clock: Clock) -> None:
    down(imagectl, clock, 3)
    assert f"way back  imagectl cleanup undo {OLD}\n" in imagectl("show", OLD).stdout
    said = said_by(imagectl("resolve", OLD))
    assert f"hint: `imagectl cleanup undo {OLD}` brings it back" in said


def test_what_is_back_in_one_of_two_locations_is_undeleted_too(
    project: Project, imagectl: Run, clock: Clock
) -> None:
    settings = project.root / "imagectl.yaml"
    more = "locations:\n  other: {type: directory, path: .imagectl/locations/other}\n"
    settings.write_text(settings.read_text().replace("locations:\n", more))
    assert imagectl("publish", OLD, "--to", "other").exit_code == 0
    down(imagectl, clock, 4)
    stones = project.catalog.snapshot().buried(ref(OLD))
    (local,) = (each.placement for each in stones if each.placement.location == "local")
    change(project, StepVersion(ref(OLD), Stage.QUARANTINED), RecordPlacement(local))
    assert f"way back  imagectl cleanup undelete {OLD}\n" in imagectl("show", OLD).stdout
    assert f"`imagectl cleanup undelete {OLD}`" in said_by(imagectl("resolve", OLD))


def test_what_is_no_case_for_an_undo_keeps_nothing_else_down(
    project: Project, imagectl: Run, clock: Clock
) -> None:
    down(imagectl, clock, 4)
    change(project, StepVersion(ref(OLD), Stage.QUARANTINED))
    for each in (Stage.DEPRECATED, Stage.OBSOLETE):
        change(project, StepVersion(ref(BEFORE), each))
    result = imagectl("cleanup", "undo", "--all")
    assert result.exit_code == 3
    said = said_by(result)
    assert f"`imagectl cleanup undelete {OLD}` makes it again" in said
    assert f"; `imagectl cleanup undo {BEFORE}` brings back the other one" in said
    assert stage(project, BEFORE) is Stage.OBSOLETE
    assert imagectl("cleanup", "undo", BEFORE).exit_code == 0


def test_what_a_cleanup_took_down_is_not_to_be_had_when_it_is_restored(
    project: Project, imagectl: Run, clock: Clock
) -> None:
    """It was said to be had again, and was not."""
    down(imagectl, clock, 3)
    imagectl("revoke", OLD, "--reason", "a hole")
    result = imagectl("restore", OLD, "--reason", "no hole")
    assert result.exit_code == 0
    first, second = result.stdout.splitlines()
    assert first == f"{OLD} is no longer revoked"
    assert "nobody gets it yet: it is quarantined since 20" in second
    assert second.endswith(f"`imagectl cleanup undo {OLD}` brings it back")
    again = imagectl("restore", OLD, "--reason", "no hole").stdout.splitlines()
    assert again == [f"{OLD} is not revoked", second]
    imagectl("revoke", OLD, "--reason", "a hole")
    down(imagectl, clock, 1)
    result = imagectl("restore", OLD, "--reason", "no hole")
    assert "nobody gets it yet: it is deleted since 20" in result.stdout
    assert f"`imagectl cleanup undelete {OLD}` brings it back" in result.stdout
    assert imagectl("cleanup", "undelete", OLD).exit_code == 0
    imagectl("revoke", OLD, "--reason", "a hole")
    result = imagectl("restore", OLD, "--reason", "no hole")
    assert result.stdout == f"{OLD} can be had again\n"
    assert imagectl("resolve", OLD).exit_code == 0


def test_undo_of_a_plan_takes_back_marks_that_a_killed_undo_has_left(
    project: Project, imagectl: Run, clock: Clock
) -> None:
    down(imagectl, clock, 1)
    imagectl("cleanup", "undo", "plan.json")
    said = answer(imagectl("cleanup", "undo", "plan.json", "--json"), UndoneDocument)
    assert said["already"] == [OLD, MIDDLE]


def test_undo_of_everything(project: Project, imagectl: Run, clock: Clock) -> None:
    down(imagectl, clock, 2)
    assert imagectl("cleanup", "undo", "--all").stdout.count("is active again") == 2


def test_undo_wants_to_know_of_what(project: Project, imagectl: Run) -> None:
    assert imagectl("cleanup", "undo").exit_code == 2
    both = imagectl("cleanup", "undo", "--all", OLD)
    assert both.exit_code == 2
    assert f"{OLD} and --all cannot both be said" in both.stderr
    assert "say what to bring back" not in both.stderr
    assert imagectl("cleanup", "undo", "no-such-file.json").exit_code == 6


def test_undo_of_an_image_says_what_can_be_named(project: Project, imagectl: Run) -> None:
    result = imagectl("cleanup", "undo", "debian-ci")
    assert result.exit_code == 6
    assert "say IMAGE@VERSION" in result.stderr
    assert "--out debian-ci" not in result.stderr


def test_undo_of_a_plan_that_has_deleted_everything_is_refused(
    project: Project, imagectl: Run, clock: Clock
) -> None:
    down(imagectl, clock, 4)
    result = imagectl("cleanup", "undo", "plan.json")
    assert result.exit_code == 3
    assert f"{OLD} is deleted" in result.stderr
    assert f"imagectl cleanup undelete {OLD}" in result.stderr


def test_undo_of_what_is_deleted_says_what_to_type(
    project: Project, imagectl: Run, clock: Clock
) -> None:
    down(imagectl, clock, 4)
    result = imagectl("cleanup", "undo", OLD)
    assert result.exit_code == 3
    assert f"imagectl cleanup undelete {OLD}" in result.stderr
    assert f"imagectl cleanup undelete {OLD}" in imagectl("cleanup", "undo", "plan.json").stdout


def test_looking_at_what_would_be_done_is_no_cleanup(project: Project, imagectl: Run) -> None:
    """P8: else the time of the last cleanup would be that of the last look."""
    assert imagectl("cleanup", "plan", "--out", "plan.json").exit_code == 0
    assert imagectl("cleanup", "apply", "plan.json", "--dry-run").exit_code == 0
    assert set(project.outcomes.all()) == {("cleanup-plan", "")}
    assert imagectl("cleanup", "apply", "plan.json").exit_code == 0
    assert project.outcomes.all()["cleanup", ""].successes == 1


def test_a_surprise_is_told_beside_what_was_done(
    project: Project, imagectl: Run, clock: Clock
) -> None:
    down(imagectl, clock, 3)
    clock.ahead += timedelta(days=2)
    imagectl("cleanup", "plan", "--out", "plan.json")
    there = project.catalog.snapshot().placed(ref(MIDDLE))[0]
    path = Path(there.reference)
    path.chmod(0o644)
    path.write_text("something else")
    result = imagectl("cleanup", "apply", "plan.json", "--json")
    assert result.exit_code == 1
    said = answer(result, AppliedDocument)
    assert [each["version"] for each in said["done"]] == [OLD]
    assert said["stopped_at"] is not None
    assert said["stopped_at"]["version"] == MIDDLE
    assert [each["version"] for each in said["deleted"]] == [OLD]
    assert said["surprise"]["kind"] == "corrupt"
    noted = project.outcomes.all()
    applied, planned = noted["cleanup", ""], noted["cleanup-plan", ""]
    assert (applied.successes, applied.failures) == (3, 1)
    assert (planned.successes, planned.failures) == (4, 0)
    assert path.read_text() == "something else"


def test_a_plan_that_was_changed_is_not_applied(project: Project, imagectl: Run) -> None:
    imagectl("cleanup", "plan", "--out", "plan.json")
    path = Path("plan.json")
    path.write_text(path.read_text().replace("deprecated", "deleted"))
    result = imagectl("cleanup", "apply", "plan.json")
    assert result.exit_code == 1
    assert "is not what tester@unit has signed" in result.stderr
    path.write_text("{}")
    assert imagectl("cleanup", "apply", "plan.json").exit_code == 2
    assert imagectl("cleanup", "apply", "other.json").exit_code == 6
    assert stage(project, OLD) is Stage.ACTIVE


def test_an_unreadable_location_means_no_plan(project: Project, imagectl: Run) -> None:
    local = project.root / ".imagectl/locations/local"
    local.rename(local.with_name("not-mounted"))
    result = imagectl("cleanup", "plan", "--out", "plan.json")
    assert result.exit_code == 5
    assert not Path("plan.json").exists()


def test_a_missing_protected_placement_means_no_plan(project: Project, imagectl: Run) -> None:
    there = project.catalog.snapshot().placed(ref(NEW))[0]
    Path(there.reference).unlink()
    result = imagectl("cleanup", "plan", "--out", "plan.json")
    assert result.exit_code == 5
    assert "saw 3 of 4 in local" in result.stderr
    assert NEW in result.stderr
    assert not Path("plan.json").exists()


def test_a_catalog_older_than_what_was_published_means_no_plan(
    project: Project, imagectl: Run
) -> None:
    """A backup was brought back: it does not know what beta was moved to since. No location has
    anything that it does not know, which would tell it, too."""
    catalog = project.root / ".imagectl/catalog.sqlite3"
    project.close()
    backup = catalog.read_bytes()
    assert imagectl("rollback", "beta", "--reason", "broken").exit_code == 0
    for each in catalog.parent.glob("catalog.sqlite3*"):
        each.unlink()
    catalog.write_bytes(backup)
    result = imagectl("cleanup", "plan")
    assert result.exit_code == 5
    assert "older than what was published" in result.stderr


def test_approvals(
    project: Project, imagectl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = answer(imagectl("cleanup", "key", "--json"), KeyDocument)
    monkeypatch.setenv("IMAGECTL_KEY", str(tmp_path / "carol.pem"))
    hers = imagectl("cleanup", "key").stdout.strip()
    monkeypatch.setenv("IMAGECTL_KEY", mine["file"])
    (project.root / "catalog/channels.yaml").write_text(
        POLICY.replace(
            "max_share: 90%",
            f"max_share: 90%, approvals: 1, approvers: {{tester: {mine['key']}, carol: {hers}}}",
        )
    )
    page = imagectl("cleanup", "plan", "--out", "plan.json").stdout
    assert "1 approval by others still asked for: imagectl cleanup approve plan.json" in page
    refused = imagectl("cleanup", "apply", "plan.json")
    assert refused.exit_code == 3
    assert "cleanup approve" in refused.stderr
    own = imagectl("cleanup", "approve", "plan.json")
    assert own.exit_code == 3
    assert "somebody else" in own.stderr
    monkeypatch.setenv("IMAGECTL_KEY", str(tmp_path / "mallory.pem"))
    assert imagectl("cleanup", "approve", "plan.json").exit_code == 3
    monkeypatch.setenv("IMAGECTL_KEY", str(tmp_path / "carol.pem"))
    monkeypatch.setenv("IMAGECTL_ACTOR", "carol@unit")
    said = answer(imagectl("cleanup", "approve", "plan.json", "--json"), PlanDocument)
    assert (said["approved_by"], said["versions"]) == (["carol@unit"], 4)
    assert imagectl("cleanup", "apply", "plan.json").exit_code == 0
    assert stage(project, OLD) is Stage.DEPRECATED


def test_a_plan_by_nobody_of_the_approvers_is_said_to_be_in_vain(
    project: Project, imagectl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {}
    for name in ("ana", "ben"):
        monkeypatch.setenv("IMAGECTL_KEY", str(tmp_path / f"{name}.pem"))
        keys[name] = imagectl("cleanup", "key").stdout.strip()
    approvers = f"approvals: 1, approvers: {{ana: {keys['ana']}, ben: {keys['ben']}}}"
    (project.root / "catalog/channels.yaml").write_text(
        POLICY.replace("max_share: 90%", f"max_share: 90%, {approvers}")
    )
    monkeypatch.setenv("IMAGECTL_KEY", str(tmp_path / "carol.pem"))
    planned = imagectl("cleanup", "plan", "--out", "plan.json")
    assert "CAN NEVER BE APPLIED" in planned.stdout
    assert "an approver has to make the plan" in planned.stderr
    assert "cleanup approve" not in planned.stdout
    assert "cleanup apply" not in planned.stderr
    monkeypatch.setenv("IMAGECTL_KEY", str(tmp_path / "ana.pem"))
    before = Path("plan.json").read_bytes()
    for verb in ("approve", "apply"):
        refused = imagectl("cleanup", verb, "plan.json")
        assert refused.exit_code == 3
        assert "an approver has to make the plan" in refused.stderr
        assert "cleanup approve" not in refused.stderr
    assert Path("plan.json").read_bytes() == before
    planned = imagectl("cleanup", "plan", "--out", "plan.json")
    assert "next: imagectl cleanup approve plan.json" in planned.stderr
    monkeypatch.setenv("IMAGECTL_KEY", str(tmp_path / "ben.pem"))
    approved = imagectl("cleanup", "approve", "plan.json")
    assert "signed as ben" in approved.stderr
    assert "next: imagectl cleanup apply plan.json" in approved.stderr


def test_rules_for_an_image_that_there_is_not_are_told(project: Project, imagectl: Run) -> None:
    policy = project.root / "catalog/channels.yaml"
    policy.write_text(POLICY + "images: {debian-cii: {retention: {keep_last: 9}}}\n")
    result = imagectl("cleanup", "plan")
    assert result.exit_code == 0, result.output
    assert "rules for debian-cii, and there is no such image" in result.stderr
    assert "did you mean debian-ci?" in result.stderr
    assert imagectl("validate").exit_code == 2
    policy.write_text(POLICY + "images: {debian-ci: {retention: {keep_last: 9}}}\n")
    assert "no such image" not in imagectl("cleanup", "plan").stderr


def test_show_tells_what_protects_a_version_and_the_way_back(
    project: Project, imagectl: Run, clock: Clock
) -> None:
    assert "protected beta points to it" in imagectl("show", NEW).stdout
    assert "way back" not in imagectl("show", NEW).stdout
    down(imagectl, clock, 1)
    assert f"way back  imagectl cleanup undo {OLD}" in imagectl("show", OLD).stdout
    down(imagectl, clock, 3)
    assert f"way back  imagectl cleanup undelete {OLD}" in imagectl("show", OLD).stdout
    assert "protected" not in imagectl("show", OLD).stdout


def test_what_another_plan_has_done_meanwhile_is_said_so(project: Project, imagectl: Run) -> None:
    for name in ("plan.json", "other.json"):
        assert imagectl("cleanup", "plan", "--out", name).exit_code == 0
    trial = imagectl("cleanup", "apply", "plan.json", "--dry-run")
    assert "next: imagectl cleanup apply plan.json" in trial.stderr
    assert imagectl("cleanup", "apply", "other.json").exit_code == 0
    said = imagectl("cleanup", "apply", "plan.json").stdout
    (line,) = (each for each in said.splitlines() if each.startswith(OLD))
    assert line.split(maxsplit=3)[3] == "done meanwhile by somebody else"


def test_unknown_names(project: Project, imagectl: Run) -> None:
    assert imagectl("cleanup", "plan", "--location", "nowhere").exit_code == 6
    unknown = imagectl("cleanup", "plan", "--image", "debian-cj")
    assert unknown.exit_code == 6
    assert "it has debian-ci" in unknown.stderr
    assert imagectl("cleanup", "undelete", "debian-ci@20200101.1").exit_code == 6
    assert imagectl("cleanup", "undelete", NEW).exit_code == 3
