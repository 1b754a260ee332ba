"""2017, container hosts: the rollback that could not start.

A bad release was rolled back, and the older version did not exist in the registry that hosts had
been switched to two releases earlier. New hosts failed to start for a day, and nothing told that.

The world here: versions 1 to 3 are released into registry A; consumers are switched to registry B,
which gets 4 and 5; 5 is bad. Either the project's location means B from then on (*switched*), or
there is a second location, which the image requires from then on (*added*).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from peers.registry import PASSWORD, USER, docker_registry
from support.cli import Run, command_line
from support.examples import ref
from support.projects import new_project, record_version, release

from imagectl.bootstrap.project import Project, open_project
from imagectl.model.change import Change, MoveChannel
from imagectl.model.channel import MoveKind
from imagectl.model.names import ChannelName, ImageName, LocationName
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Placement
from imagectl.services.publish import place

ONE, TWO, THREE, FOUR, FIVE = (f"debian-ci@20170101.{serial}" for serial in (1, 2, 3, 4, 5))
CI, BETA, STABLE = ImageName("debian-ci"), ChannelName("beta"), ChannelName("stable")
SECONDS = 10.0
"""How long a rollback may take, on a busy machine: seconds, not hours."""

POLICY = """\
channels:
  beta: {entry: true}
  stable: {from: beta, gates: [tests, rollback_ready], rollback_window: 4}
"""


@dataclass
class Day:
    """The project of that day. ``before`` and ``after`` are the locations that an image required
    before and after consumers were switched: of the same name where that one was switched."""

    project: Project
    settings: Sequence[str]
    before: str
    after: str

    def configure(self, *locations: str) -> None:
        """Write imagectl.yaml with the settings of these locations, and open the project anew."""
        lines = "".join(f"  {each}\n" for each in locations)
        (self.project.root / "imagectl.yaml").write_text(f"locations:\n{lines}")
        self.project.close()
        self.project = open_project(self.project.root)

    def switch(self) -> None:
        """Consumers pull from B from now on."""
        self.configure(*self.settings)

    def snapshot(self) -> Snapshot:
        return self.project.catalog.snapshot()

    def head(self, channel: ChannelName) -> str:
        return f"{CI}@{self.snapshot().head(CI, channel)}"

    def placement(self, text: str) -> Placement:
        """Where consumers find that version now."""
        return next(
            each for each in self.snapshot().placed(ref(text)) if each.location == self.after
        )

    def pull(self, placement: Placement, to: Path) -> str:
        """What a consumer gets there."""
        self.project.locations[placement.location].fetch(placement, to, lambda _: None)
        return to.read_text()

    def release_unguarded(self, text: str, *channels: ChannelName) -> None:
        """As the tools of that day did: nobody asked whether one could go back."""
        record_version(self.project, text, needs=(self.after,))
        place(self.project.releasing, self.project.store, ref(text))
        for channel in channels:
            kind = MoveKind.ENTRY if channel == BETA else MoveKind.PROMOTE
            change = Change(
                f"{text} {channel}",
                self.snapshot().generation,
                "that day",
                kind.value,
                "",
                self.project.clock.now(),
                (MoveChannel(CI, channel, ref(text).version, kind),),
            )
            self.project.catalog.commit(change)


@contextlib.contextmanager
def folders(folder: Path) -> Iterator[tuple[str, str]]:
    yield f"{{type: directory, path: {folder}/a}}", f"{{type: directory, path: {folder}/b}}"


@contextlib.contextmanager
def registries(folder: Path) -> Iterator[tuple[str, str]]:
    """Two of Debian's docker-registry."""
    (folder / "user").write_text(USER)
    (folder / "password").write_text(PASSWORD)
    login = f"username: {{file: {folder}/user}}, password: {{file: {folder}/password}}"
    with docker_registry() as one, docker_registry() as other:
        a, b = (
            f"{{type: oci, url: '127.0.0.1:{each.address[1]}/images', insecure: true, {login}}}"
            for each in (one, other)
        )
        yield a, b


@pytest.fixture
def imagectl(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the real command line in this process; see ``support.cli``."""
    return command_line(monkeypatch)


@pytest.fixture(params=["folders", "registries"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The settings of A and of B."""
    opened: Callable[[Path], contextlib.AbstractContextManager[tuple[str, str]]] = (
        folders if request.param == "folders" else registries
    )
    with opened(tmp_path) as both:
        yield both


@pytest.fixture(params=["switched", "added"])
def day(
    request: pytest.FixtureRequest,
    places: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    imagectl: Run,
) -> Iterator[Day]:
    """Versions 1 to 3 are in stable, in A, and consumers have just been switched to B."""
    project = new_project(tmp_path / "project")
    (project.root / "catalog/channels.yaml").write_text(POLICY)
    monkeypatch.chdir(project.root)
    a, b = places
    if request.param == "switched":
        made = Day(project, [f"registry: {b}"], "registry", "registry")
        made.configure(f"registry: {a}")
    else:
        made = Day(project, [f"a: {a}", f"b: {b}"], "a", "b")
        made.configure(*made.settings)
    for text in (ONE, TWO, THREE):
        release(made.project, text, needs=(made.before,))
        assert imagectl("promote", "stable").exit_code == 0
    made.switch()
    yield made
    made.project.close()


def test_promotion_refuses_what_one_could_not_roll_back_from(day: Day, imagectl: Run) -> None:
    day.release_unguarded(FOUR, BETA)
    before = day.snapshot()
    result = imagectl("promote", "stable")
    assert result.exit_code == 3
    for text in (ONE, TWO, THREE):
        assert f"`imagectl publish {text} --to {day.after}`" in result.stderr
    assert result.stderr.count("one could not roll back from it") == 3
    assert "`imagectl publish --backfill debian-ci`" in result.stderr
    assert len(result.stderr.splitlines()) <= 24, "one screen"
    assert (day.snapshot(), day.head(STABLE)) == (before, THREE), "nothing was done"

    assert imagectl("publish", "--backfill", "debian-ci").exit_code == 0
    assert imagectl("promote", "stable").exit_code == 0
    assert day.head(STABLE) == FOUR
    assert imagectl("rollback", "stable").exit_code == 0
    assert day.head(STABLE) == THREE
    assert day.pull(day.placement(THREE), day.project.root / "pulled") == f"qcow2 disk of {THREE}"


def test_a_build_puts_there_first_what_one_would_roll_back_to(day: Day, imagectl: Run) -> None:
    """Adding or switching a location backfills: nobody has to think of it."""
    release(day.project, FOUR, needs=(day.after,))
    assert day.head(BETA) == FOUR
    result = imagectl("promote", "stable")
    assert result.exit_code == 0, result.stderr
    result = imagectl("rollback", "stable", "debian-ci", "--to", "20170101.1")
    assert result.exit_code == 0, result.stderr
    assert day.pull(day.placement(ONE), day.project.root / "pulled") == f"qcow2 disk of {ONE}"


def test_it_is_known_before_anyone_needs_it_and_the_way_out_works(
    day: Day, imagectl: Run, tmp_path: Path
) -> None:
    for text in (FOUR, FIVE):
        day.release_unguarded(text, BETA, STABLE)
    numbers = tmp_path / "imagectl.prom"
    labels = f'{{channel="stable",image="debian-ci",location="{day.after}"}}'

    result = imagectl("rollback", "stable", "--check")
    assert result.exit_code == 3
    for text in (ONE, TWO, THREE):
        assert f"`imagectl publish {text} --to {day.after}`" in result.stderr
    result = imagectl("verify", "--metrics", str(numbers))
    assert result.exit_code == 1
    assert f"imagectl_rollback_ready{labels} 0.0" in numbers.read_text()
    assert f"imagectl_head_ready{labels} 1.0" in numbers.read_text()
    before = day.snapshot().channels
    result = imagectl("rollback", "stable", "debian-ci", "--to", "20170101.3")
    assert result.exit_code == 3, "it would have given new hosts an image that is not there"
    assert day.snapshot().channels == before
    named = "is gone from registry" if day.before == day.after else "is not in b"
    assert named in result.stderr

    mid_job = day.placement(FIVE)
    result = imagectl("publish", "--backfill")
    assert result.exit_code == 0, result.stderr
    assert imagectl("rollback", "stable", "--check").exit_code == 0
    assert imagectl("verify", "--metrics", str(numbers)).exit_code == 0
    assert f"imagectl_rollback_ready{labels} 1.0" in numbers.read_text()

    generation = day.snapshot().generation
    began = time.monotonic()
    result = imagectl("rollback", "stable", "debian-ci", "--to", "20170101.3")
    assert time.monotonic() - began < SECONDS
    assert result.exit_code == 0, result.stderr
    assert day.snapshot().generation == generation + 1, "one change for all locations"
    resolved = imagectl("resolve", "debian-ci", "--location", day.after)
    assert day.placement(THREE).reference in resolved.stdout, "new consumers get the old version"
    assert day.pull(day.placement(THREE), tmp_path / "new") == f"qcow2 disk of {THREE}"
    assert day.pull(mid_job, tmp_path / "old") == f"qcow2 disk of {FIVE}", "jobs keep theirs"


def test_a_rollback_is_for_all_locations_or_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imagectl: Run
) -> None:
    project = new_project(tmp_path / "project")
    (project.root / "catalog/channels.yaml").write_text(POLICY)
    monkeypatch.chdir(project.root)
    day = Day(project, (), "a", "b")
    with folders(tmp_path) as (a, b):
        day.configure(f"a: {a}", f"b: {b}")
    for text in (ONE, TWO):
        release(day.project, text, needs=("a", "b"))
        assert imagectl("promote", "stable").exit_code == 0
    Path(day.placement(ONE).reference).unlink()
    before = day.snapshot()
    result = imagectl("rollback", "stable")
    assert result.exit_code == 3
    assert f"{ONE} is gone from b" in result.stderr
    assert day.snapshot() == before
    assert imagectl("publish", ONE, "--to", "b").exit_code == 0
    assert imagectl("rollback", "stable").exit_code == 0
    for location in ("a", "b"):
        resolved = imagectl("resolve", "debian-ci", "--location", location)
        there = next(
            each
            for each in day.snapshot().placed(ref(ONE))
            if each.location == LocationName(location)
        )
        assert there.reference in resolved.stdout
    day.project.close()
