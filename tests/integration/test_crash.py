"""P7: kill -9, a full disk and an I/O error at every system call that changes something.

Each scenario is run once to count those calls, in the files of the project, by any thread. Then,
for each call and each fault, the project is made again, the command is run with that fault at that
call, and looked at: nothing is corrupt, what was acknowledged is there, whatever is in a location
is known to the catalog; the same command, typed again, succeeds. A new verb is one more row.

``make test`` tries an even sample of the faults, ``make test-long`` all of them.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support import projects
from support.crash import Call, Ended, Fault, Place, run, unsynced
from support.examples import BASE, CI, STABLE, ref
from support.projects import BUILT, new_project, record_version, release, store_origin
from support.sound import check_sound

from imagectl.adapters.content import relative
from imagectl.adapters.host_machines import RUNS, place_of, write_claim
from imagectl.bootstrap.project import Project, open_project
from imagectl.cli.main import root as command_line
from imagectl.model.names import ChannelName, Format
from imagectl.model.release import PromotionRequest
from imagectl.model.resource import Claim, Resource, ResourceKind
from imagectl.model.retention import Stage
from imagectl.model.version import Reproducible
from imagectl.services.release import promote

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

SAMPLE = 45
"""How many faults of each scenario `make test` tries. A try takes 0.2 s."""

OLDEST, OLDER, NEW = (f"20261120.{serial}" for serial in (1, 2, 3))
FAR = datetime(2126, 1, 1, tzinfo=UTC)
LOCATIONS = ("local", "dc1")
TWO_LOCATIONS = """\
catalog: {publish: [catalog/public]}
locations:
  local: {type: directory, path: .imagectl/locations/local}
  dc1: {type: directory, path: dc1}
"""
KEEP_LITTLE = """\
channels: {{beta: {{entry: true, rollback_window: 1}}}}
retention:
  {{keep_last: 1, min_age: 0s, unused: 0s, grace: 0s, max_count: {at_once}, max_share: 90%}}
"""
DELETED, DEPRECATED = (ref(f"{CI}@20260101.{serial}") for serial in (1, 2))

_SAYS_NOTHING_DONE = re.compile(r"^(error|cannot tell): .*nothing was done", re.MULTILINE)

Parts = tuple[object, ...]
"""What a command changes, in parts: each is at any moment as before or as after."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A command in a project.

    ``make`` makes the project in a folder; ``{root}`` in ``arguments`` is that folder. ``parts``
    says what the command changes, and what it must not. An answer that has ``all_done`` in it
    acknowledges all of the parts.
    """

    name: str
    arguments: Sequence[str]
    make: Callable[[Path], Project]
    parts: Callable[[Project], Parts]
    all_done: str = ""


def imagectl(root: Path, *arguments: str) -> None:
    """Run it in this process. It must succeed."""
    done = CliRunner().invoke(command_line, ["--project", str(root), *arguments])
    assert done.exit_code == 0, done.output


def released(root: Path, *channels: ChannelName) -> Project:
    """Two images with three versions, each promoted to *channels* before the next is built."""
    project = new_project(root)
    for version in (OLDEST, OLDER, NEW):
        for image in (BASE, CI):
            release(project, f"{image}@{version}")
        for channel in channels:
            promote(project.releasing, project.policy, PromotionRequest(channel, ()), reason="")
    return project


def about_to_promote(root: Path) -> Project:
    return released(root)


def about_to_roll_back(root: Path) -> Project:
    return released(root, STABLE)


def about_to_publish(root: Path, *, needs: tuple[str, ...]) -> Project:
    """A version that is nowhere yet, beside one that is in every location and in its channel."""
    new_project(root).close()
    (root / "imagectl.yaml").write_text(TWO_LOCATIONS)
    project = open_project(root)
    release(project, f"{CI}@{OLDER}", needs=LOCATIONS)
    record_version(project, f"{CI}@{NEW}", formats=(Format.QCOW2, Format.RAW), needs=needs)
    return project


def about_to_clean_up(root: Path) -> Project:
    """A signed plan to delete one version, which is in quarantine, and to deprecate the next one.

    Two more are kept: the head of beta, and what one would roll it back to.
    """
    new_project(root).close()
    (root / "imagectl.yaml").write_text(TWO_LOCATIONS)
    project = open_project(root)
    for number in range(1, 5):
        name = f"{CI}@20260101.{number}"
        origin = store_origin(project, name, Reproducible.YES)
        release(project, name, needs=LOCATIONS, origin=origin)
    # What went lately uses up the caps: room for one in each plan, and for two in the last one.
    for at_once in (1, 2, 2, 3):
        (root / "plan.json").unlink(missing_ok=True)
        (root / "catalog" / "channels.yaml").write_text(KEEP_LITTLE.format(at_once=at_once))
        imagectl(root, "cleanup", "plan", "--out", f"{root}/plan.json")
        if at_once < 3:
            imagectl(root, "cleanup", "apply", f"{root}/plan.json")
    assert project.catalog.snapshot().stage(DELETED) is Stage.QUARANTINED
    return project


def about_to_collect(root: Path) -> Project:
    """Two builds that died long ago, one that is needed for long, and one of another catalog."""
    project = new_project(root)
    release(project, f"{CI}@{NEW}")
    ours = project.catalog.snapshot(()).catalog_id
    runs = project.state / RUNS
    for name, until, catalog in (
        ("dead1", BUILT, ours),
        ("dead2", BUILT, ours),
        ("needed", FAR, ours),
        ("others", BUILT, "another catalog"),
    ):
        (runs / name / "vm").mkdir(parents=True)
        (runs / name / "lock").touch()
        os.utime(runs / name / "lock", (BUILT.timestamp(), BUILT.timestamp()))
        (runs / name / "vm" / "overlay").write_text("half a disk")
        write_claim(runs / name, Claim(catalog, f"id-of-{name}", until))
        if catalog == ours:
            place = place_of(project.state)
            kind = ResourceKind.MACHINE
            project.resources.begin(
                Resource(f"id-of-{name}", kind, place, name, "a build", "ana", BUILT, until)
            )
    return project


def of_both(channel: ChannelName, project: Project) -> Parts:
    """Both images' channels are moved by one change: one part."""
    snapshot = project.catalog.snapshot()
    return ((snapshot.head(BASE, channel), snapshot.head(CI, channel)),)


def of_each_location(project: Project) -> Parts:
    """What a location has got is recorded in one change, whatever the others do."""
    placed = project.catalog.snapshot().placed(ref(f"{CI}@{NEW}"))
    return tuple(
        frozenset(each.format for each in placed if each.location == name) for name in LOCATIONS
    )


def of_the_plan(project: Project) -> Parts:
    """The stages, and what there is of the version that is deleted: bytes, and open questions."""
    snapshot = project.catalog.snapshot()
    (artifact,) = snapshot.versions[DELETED].artifacts
    folders = (project.root / "dc1", project.state / "locations" / "local", project.state / "store")
    there = [(each / relative(artifact.sha256)).exists() for each in folders]
    buried = [each for each in snapshot.buried(DELETED) if not each.open]
    gone = [any(each.placement.location == name for each in buried) for name in LOCATIONS]
    assert snapshot.stage(DELETED) is Stage.DELETED or all(there), "deleted before it was decided"
    return (snapshot.stage(DELETED), snapshot.stage(DEPRECATED), *there, *gone)


def of_each_run(project: Project) -> Parts:
    """Of what is collected, all in its folder, and the entry in the ledger; all of what is not."""
    entries = {each.name for each in project.resources.all()}
    runs = project.state / RUNS
    for name in ("dead1", "dead2"):
        left = list((runs / name).rglob("*"))
        assert name in entries or left == [], f"{name} was forgotten, and is there"
    return (
        *(any((runs / name).rglob("*")) for name in ("dead1", "dead2")),
        *(name in entries for name in ("dead1", "dead2", "needed")),
        *(frozenset((runs / name).rglob("*")) for name in ("needed", "others")),
    )


STABLE_OF_BOTH = partial(of_both, STABLE)
PUBLISH = ("publish", f"{CI}@{NEW}")
SCENARIOS = (
    Scenario("promote", ("promote", "stable"), about_to_promote, STABLE_OF_BOTH),
    Scenario("rollback", ("rollback", "stable"), about_to_roll_back, STABLE_OF_BOTH),
    Scenario("publish", PUBLISH, partial(about_to_publish, needs=("dc1",)), of_each_location),
    Scenario(
        "publish-to-two",
        PUBLISH,
        partial(about_to_publish, needs=LOCATIONS),
        of_each_location,
    ),
    Scenario(
        "cleanup",
        ("cleanup", "apply", "{root}/plan.json"),
        about_to_clean_up,
        of_the_plan,
        "the artifact store keeps",
    ),
    Scenario(
        "janitor",
        ("janitor", "apply", "--here", "--rate", "60000/min"),
        about_to_collect,
        of_each_run,
        "2 things collected",
    ),
)


class Bench:
    """Runs one scenario again and again, each time in a project that is as it was at first."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self._scenario = scenario
        self._root = folder / "project"
        self._template = folder / "template"
        self._beside = folder / "beside"
        self._arguments = [each.format(root=self._root) for each in scenario.arguments]
        self._beside.mkdir()
        scenario.make(self._root).close()
        self._root.rename(self._template)

        self._renew()
        self._before = self._look()
        done = self._again()  # imports what the forked commands need, too
        assert done.exit_code == 0, done.output
        self._after = self._look()
        assert self._after != self._before
        done = self._again()
        assert done.exit_code == 0, done.output
        self._twice = self._look()

        self.calls = self._count()
        self.seen: Counter[tuple[str, str]] = Counter()

    @property
    def faults(self) -> tuple[tuple[Fault, Place], ...]:
        """Every fault at every place that a fault can be put in."""
        places = dict.fromkeys(each.place for each in self.calls)
        return tuple(
            (fault, place) for place in places for fault in Fault if fault.can_be_at(place)
        )

    def suffer(self, fault: Fault, at: Place) -> None:
        """Run the command with the fault, look at what is there, and run it once more."""
        self._renew()
        ended = self._run(fault.at(at))
        found = self._check(ended, fault)

        again = self._again()
        assert again.exit_code == 0, again.output
        expected = tuple(
            after if part == before else twice
            for part, before, after, twice in zip(
                found, self._before, self._after, self._twice, strict=True
            )
        )
        assert self._look(caught_up=True) == expected
        self.seen[fault.name, self._told(ended, found)] += 1

    def _count(self) -> tuple[Call, ...]:
        """The calls of a run without faults. The first such run still imports a little."""
        self._renew()
        self._run()
        self._renew()
        clean = self._run()
        assert clean.status == 0, clean.told
        self._look(caught_up=True)
        return clean.calls

    def _check(self, ended: Ended, fault: Fault) -> Parts:
        for words in ("Traceback", "internal error"):
            assert words not in ended.told, ended.told
        if ended.hit and fault is Fault.KILL:
            assert ended.status == -9
        elif ended.hit:
            assert ended.status in {0, 1, 5}, (ended.status, ended.told)
        else:
            assert ended.status == 0, ended.told
        done = ended.status == 0 and self._scenario.all_done in ended.answer
        found = self._look(caught_up=done)
        for part, before, after in zip(found, self._before, self._after, strict=True):
            assert part in {before, after}, f"torn: {part}"
        if done:
            assert found == self._after, "acknowledged, and lost"
        elif fault is not Fault.KILL and not self._scenario.all_done:
            assert ended.answer == ""
        if "SQLITE_IOERR" in ended.told:
            assert "may have been recorded" in ended.told
        if _SAYS_NOTHING_DONE.search(ended.told):
            assert found == self._before, ended.told
        return found

    def _told(self, ended: Ended, found: Parts) -> str:
        state = {self._before: "before", self._after: "after"}.get(found, "partly")
        return f"{f'exit {ended.status}' if ended.hit else 'no fault'}, {state}"

    def _renew(self) -> None:
        shutil.rmtree(self._root, ignore_errors=True)
        shutil.copytree(self._template, self._root, symlinks=True)

    def _run(self, inject: str = "") -> Ended:
        return run(self._root, self._arguments, self._beside, inject)

    def _again(self) -> Result:
        return CliRunner().invoke(command_line, ["--project", str(self._root), *self._arguments])

    def _look(self, *, caught_up: bool = False) -> Parts:
        """The parts as they are now. *caught_up*: nothing is open, and consumers see it all."""
        with closing(open_project(self._root)) as project:
            check_sound(project)
            snapshot = project.catalog.snapshot()
            if caught_up:
                assert snapshot.intents == {}
                shown = [each.shown() for each in project.publishers]
                assert [each and each.generation for each in shown] == [snapshot.generation]
            return self._scenario.parts(project)


@pytest.fixture(scope="module", params=SCENARIOS, ids=lambda scenario: scenario.name)
def bench(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp(request.param.name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMAGECTL_ACTOR", "tester@crash")
        patch.setenv("IMAGECTL_KEY", str(folder / "key.pem"))
        patch.setenv("NO_COLOR", "1")
        patch.setattr(projects, "BUILT", datetime(2026, 1, 1, tzinfo=UTC))
        yield Bench(request.param, folder)


def check_seen(bench: Bench) -> None:
    """The faults came where they were meant to, but for a few where threads race."""
    missed = sum(count for (_, outcome), count in bench.seen.items() if outcome.startswith("no"))
    assert missed <= bench.seen.total() // 20, bench.seen
    assert bench.seen["KILL", "exit -9, before"] > 0, bench.seen
    assert any(outcome.startswith("exit 1") for _, outcome in bench.seen), bench.seen


def test_a_fault_at_some_calls(bench: Bench) -> None:
    every = bench.faults
    for number in range(SAMPLE):
        bench.suffer(*every[number * len(every) // SAMPLE])
    check_seen(bench)


@pytest.mark.long
def test_a_fault_at_every_call(bench: Bench) -> None:
    for fault, place in bench.faults:
        bench.suffer(fault, place)
    check_seen(bench)
    assert bench.seen["KILL", "exit -9, after"] > 0, bench.seen


def test_what_is_written_is_synced_before_it_is_named_and_its_folder_after(bench: Bench) -> None:
    assert unsynced(bench.calls) == []
