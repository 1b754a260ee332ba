"""2017, CloudStack: a sync of one project deleted all others.

To debug in production safely, a synchronisation was limited to one project. The code took what it
had been given for the whole world, and deleted every domain that was not in it, with its machines,
templates and snapshots. Nothing could be recovered.

The world here: ten projects, each with versions of its own that nobody needs any more, and some
that are in two of them. A cleanup is limited to the first one, with everything it may do.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import pytest
from support import projects
from support.cleanups import CATALOG_ID, Cleanups
from support.cli import Run, command_line
from support.examples import ref
from support.projects import new_project, record_version

from imagectl.adapters.clock import SystemClock
from imagectl.bootstrap.project import Project, open_project
from imagectl.model.cleanup import Because
from imagectl.model.names import LocationName
from imagectl.model.retention import Stage
from imagectl.services.publish import place
from imagectl.testing.locations import MemoryLocation

NAMES = tuple(LocationName(f"project-{letter}") for letter in "abcdefghij")
HERE, ELSEWHERE = NAMES[0], NAMES[1:]

POLICY = """\
channels:
  beta: {entry: true}
retention: {keep_last: 1, min_age: 1d, unused: 1d, grace: 1d, max_count: 5, max_share: 50%}
"""


def own(name: LocationName) -> str:
    """The version that only that project has."""
    return f"image-of-{name}@20170101.1"


SHARED = "shared@20170101.1"
"""A version that the first and the second project have."""


class Untouchable(MemoryLocation):
    """A project that nobody may so much as look at."""

    armed = False

    def __getattribute__(self, name: str) -> object:
        if object.__getattribute__(self, "armed") and name in (
            *("put", "verify", "fetch", "view", "probe", "boot", "point", "mark", "delete"),
        ):
            _refuse(f"{object.__getattribute__(self, '_name')}.{name} was called")
        return object.__getattribute__(self, name)


def _refuse(what: str) -> NoReturn:
    raise AssertionError(f"nobody has asked for this: {what}")


@pytest.fixture
def cleanups(tmp_path: Path) -> Cleanups:
    """The ten projects in memory, all but the first of them untouchable."""
    first = MemoryLocation(HERE, catalog=CATALOG_ID)
    others = [Untouchable(name, catalog=CATALOG_ID) for name in ELSEWHERE]
    made = Cleanups(tmp_path, [first, *others])
    for name in NAMES:
        made.add(own(name), name)
    made.add(SHARED, *NAMES[:2])
    for each in others:
        each.armed = True
    return made


def test_nothing_outside_of_the_scope_is_looked_at_or_touched(cleanups: Cleanups) -> None:
    before = cleanups.catalog.snapshot()
    for _ in range(6):
        cleanups.pass_days(1.01)
        plan = cleanups.plan(HERE)
        assert {str(each.version) for each in plan.plan.entries} <= {own(HERE), SHARED}
        assert [each.location for each in plan.plan.sights] == [HERE]
        assert cleanups.apply(plan).surprise is None
    assert cleanups.stage(ref(own(HERE))) is Stage.DELETED
    for name in ELSEWHERE:
        assert cleanups.stage(ref(own(name))) is Stage.ACTIVE
        there = before.placed(ref(own(name)))
        assert cleanups.catalog.snapshot().placed(ref(own(name))) == there


def test_what_is_also_elsewhere_is_never_deleted_from_inside_a_scope(cleanups: Cleanups) -> None:
    for _ in range(6):
        cleanups.pass_days(1.01)
        cleanups.apply(cleanups.plan(HERE))
    assert cleanups.stage(ref(SHARED)) is Stage.OBSOLETE, "whoever has it from there still gets it"
    entry = next(each for each in cleanups.plan(HERE).plan.entries if each.version == ref(SHARED))
    assert [each.because for each in entry.reasons] == [Because.ELSEWHERE]
    assert len(cleanups.catalog.snapshot().placed(ref(SHARED))) == 2


# --- the same with the real command line, on folders ---


@pytest.fixture
def imagectl(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the real command line in this process; see ``support.cli``."""
    return command_line(monkeypatch)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """The ten projects as folders; a foreign file is in each."""
    made = new_project(tmp_path / "images")
    lines = "".join(
        f"  {name}: {{type: directory, path: {tmp_path}/places/{name}}}\n" for name in NAMES
    )
    (made.root / "imagectl.yaml").write_text(f"locations:\n{lines}")
    (made.root / "catalog/channels.yaml").write_text(POLICY)
    made.close()
    made = open_project(made.root)
    monkeypatch.setattr(projects, "BUILT", datetime(2017, 1, 1, tzinfo=UTC))
    for name in NAMES:
        record_version(made, own(name), needs=(name,))
        place(made.releasing, made.store, ref(own(name)))
        (tmp_path / "places" / name / "backup.img").write_text("somebody's backup")
    monkeypatch.chdir(made.root)
    monkeypatch.setenv("IMAGECTL_KEY", str(tmp_path / "key.pem"))
    yield made
    made.close()


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> list[timedelta]:
    """How far the machine's clock is ahead: the last of these."""
    by = [timedelta()]
    monkeypatch.setattr(
        SystemClock,
        "now",
        lambda _: datetime.now(UTC) + by[-1],  # it is the real clock that is moved
    )
    return by


def test_the_other_folders_need_not_even_be_there(
    project: Project, imagectl: Run, ahead: list[timedelta], tmp_path: Path
) -> None:
    places = tmp_path / "places"
    away = tmp_path / "not-mounted"
    away.mkdir()
    before = {each: each.read_bytes() for each in sorted(places.rglob("*")) if each.is_file()}
    for name in ELSEWHERE:
        (places / name).rename(away / name)
    assert imagectl("cleanup", "plan").exit_code == 5  # all of them: nobody can tell
    for day in range(1, 5):
        ahead.append(timedelta(days=2 * day))
        made = imagectl("cleanup", "plan", "--location", HERE, "--out", "plan.json")
        assert made.exit_code == 0
        assert ELSEWHERE[0] not in made.stdout
        assert imagectl("cleanup", "apply", "plan.json").exit_code == 0
    for name in ELSEWHERE:
        (away / name).rename(places / name)
    after = {each: each.read_bytes() for each in sorted(places.rglob("*")) if each.is_file()}
    gone = {each.relative_to(places).parts[0] for each in before.keys() - after.keys()}
    assert gone == {HERE}
    assert {each: before[each] for each in after if each in before} == {
        each: after[each] for each in after if each in before
    }
    assert project.catalog.snapshot().stage(ref(own(HERE))) is Stage.DELETED


def test_containers_and_what_is_in_them_besides_stay(
    project: Project, imagectl: Run, ahead: list[timedelta], tmp_path: Path
) -> None:
    for day in range(1, 5):
        ahead.append(timedelta(days=2 * day))
        imagectl("cleanup", "plan", "--location", HERE, "--out", "plan.json")
        imagectl("cleanup", "apply", "plan.json")
    for name in NAMES:
        assert (tmp_path / "places" / name / "backup.img").read_text() == "somebody's backup"
        assert (tmp_path / "places" / name / "sha256").is_dir()


def test_what_was_deleted_comes_back_from_what_lives_elsewhere(
    project: Project, imagectl: Run, ahead: list[timedelta], tmp_path: Path
) -> None:
    """The way back is in the project's store, not in the place that is cleaned up."""
    there = project.catalog.snapshot().placed(ref(own(HERE)))[0]
    data = Path(there.reference).read_bytes()
    for day in range(1, 5):
        ahead.append(timedelta(days=2 * day))
        imagectl("cleanup", "plan", "--location", HERE, "--out", "plan.json")
        imagectl("cleanup", "apply", "plan.json")
    assert not Path(there.reference).exists()
    assert imagectl("cleanup", "undelete", own(HERE)).exit_code == 0
    again = project.catalog.snapshot().placed(ref(own(HERE)))[0]
    project.locations[HERE].fetch(again, tmp_path / "downloaded", lambda _: None)
    assert (tmp_path / "downloaded").read_bytes() == data


def test_a_scope_is_no_way_around_what_cannot_be_seen(
    project: Project, imagectl: Run, tmp_path: Path
) -> None:
    """Within the scope, all must be seen, as ever."""
    (tmp_path / "places" / HERE).rename(tmp_path / "gone")
    result = imagectl("cleanup", "plan", "--location", HERE)
    assert result.exit_code == 5
    assert HERE in result.stderr
