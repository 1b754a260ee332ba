"""Metrics that cannot lie: what was not seen has no number, and success is noted with success only
(P8)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from support.examples import NOW, ref
from support.releases import LOCAL
from support.world import World

from imagectl.adapters.exposition import registry_of
from imagectl.adapters.metrics_server import Latest
from imagectl.adapters.outcomes import FileOutcomes
from imagectl.errors import CannotTell, Denial, Denied, ImagectlError
from imagectl.model.names import ImageName
from imagectl.model.resource import Claim, FoundResource, Resource, ResourceKind, ResourceView
from imagectl.model.retention import Stage
from imagectl.model.view import View
from imagectl.services.janitor import Janitoring
from imagectl.services.measure import Measurement, measure
from imagectl.services.ports.locations import Credential
from imagectl.testing.catalog import MemoryCatalog
from imagectl.testing.locations import MemoryLocation
from imagectl.testing.published import MemoryPublisher
from imagectl.testing.resources import MemoryResources
from imagectl.testing.store import MemoryStore

ONE, TWO = "debian-ci@20261120.1", "debian-ci@20261120.2"

Numbers = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Partial(MemoryLocation):
    """A location that can refuse our credential, or show a part only."""

    refused = False
    gaps: tuple[str, ...] = ()
    expires: datetime | None = None

    def probe(self) -> Credential:
        if self.refused:
            raise Denied("wrong password", denial=Denial.WRONG)
        return Credential("me", self.expires)

    def view(self, now: Callable[[], datetime]) -> View:
        if self.refused:
            raise Denied("wrong password", denial=Denial.WRONG)
        return replace(super().view(now), gaps=self.gaps)


@dataclass
class Cluster:
    """A place with machines."""

    place: str = "dc1"
    found: list[FoundResource] = field(default_factory=list)
    gaps: tuple[str, ...] = ()
    trouble: ImagectlError | None = None

    def resources(self, now: Callable[[], datetime]) -> ResourceView:
        if self.trouble is not None:
            raise self.trouble
        return ResourceView(self.place, "dc", tuple(self.found), self.gaps, 1, now(), now())

    def collect(self, found: FoundResource, now: datetime) -> None:
        raise AssertionError("measuring collects nothing")

    def machine(self, name: str, until: datetime | None, catalog: str) -> None:
        claim = None if until is None else Claim(catalog, name, until)
        self.found.append(FoundResource(name, ResourceKind.MACHINE, name, claim, "?", NOW))


@dataclass
class Site:
    """All that is measured."""

    world: World
    location: Partial
    cluster: Cluster
    ledger: MemoryResources
    outcomes: FileOutcomes

    def measure(self, *, verify: bool = True) -> Measurement:
        world = self.world
        catalog_id = world.catalog.snapshot(()).catalog_id
        return measure(
            lambda: world.catalog,
            {self.location.name: self.location},
            lambda: Janitoring(self.ledger, (self.cluster,), catalog_id, world.clock),
            self.outcomes,
            world.clock,
            (lambda: world.releasing, world.policy) if verify else None,
            world.releasing.publishers,
            lambda: [ImageName("debian-ci")],
        )

    def numbers(self, *, verify: bool = True) -> Numbers:
        text = generate_latest(registry_of(self.measure(verify=verify))).decode()
        return {
            (sample.name.removeprefix("imagectl_"), tuple(sorted(sample.labels.items()))): (
                sample.value
            )
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Two versions in stable, an hour ago; one machine in use, two that leaked, one foreign."""
    (tmp_path / "store").mkdir()
    location = Partial(LOCAL, catalog=MemoryCatalog().snapshot().catalog_id)
    store = MemoryStore(tmp_path / "store")
    world = World(MemoryCatalog(), [location], [MemoryPublisher()], store, tmp_path)
    for text in (ONE, TWO):
        world.built(text)
        world.promote("stable")
    world.clock.advance(timedelta(hours=1))
    now, cluster = world.clock.now(), Cluster()
    catalog = world.catalog.snapshot(()).catalog_id
    cluster.machine("used", now + timedelta(minutes=10), catalog)
    cluster.machine("leaked-1", now - timedelta(hours=5), catalog)
    cluster.machine("leaked-2", now - timedelta(hours=2), catalog)
    cluster.machine("somebody's", None, catalog)
    return Site(
        world, location, cluster, MemoryResources(), FileOutcomes(tmp_path / "outcomes.json")
    )


def labels(**said: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(said.items()))


def test_an_older_catalog_has_no_numbers(site: Site) -> None:
    """P8: all looked well, with a backup from before the last releases."""
    newest = site.world.catalog.snapshot(()).generation
    good = site.numbers()
    assert good["published_generation", labels(tree="memory")] == newest
    assert good["catalog_generation", ()] == newest
    assert good["published_behind", labels(tree="memory", role="channel-beta")] == 0
    assert good["source_ok", labels(source="published", place="memory")] == 1
    site.world.releasing = replace(site.world.releasing, catalog=MemoryCatalog())
    numbers = site.numbers()
    assert numbers["source_ok", labels(source="catalog", place="")] == 0
    assert numbers["source_ok", labels(source="verify", place="")] == 0
    assert numbers["catalog_generation", ()] == 0
    assert numbers["published_generation", labels(tree="memory")] == newest
    for name in ("versions", "cleanup_open_deletions", "head_ready", "image_age_seconds"):
        assert any(each == name for each, _ in good)
        assert not any(each == name for each, _ in numbers)


def test_a_deletion_that_is_taken_back_is_not_open(site: Site) -> None:
    """Nothing is deleted any more: nobody could make such an alert end."""
    old = ref(ONE)
    site.world.step(old, Stage.DEPRECATED, Stage.OBSOLETE, Stage.QUARANTINED, Stage.DELETED)
    assert site.numbers()["cleanup_open_deletions", ()] == 1
    site.world.step(old, Stage.QUARANTINED)
    assert any(each.open for each in site.world.catalog.snapshot().buried(old))
    assert site.numbers()["cleanup_open_deletions", ()] == 0


VMS = ("vms_total", labels(place="dc1"))
MACHINES_SUCCESS = ("last_success_timestamp_seconds", labels(source="machines", place="dc1"))


def test_everything_is_there_where_everything_answers(site: Site) -> None:
    numbers, now = site.numbers(), site.world.clock.now().timestamp()
    assert numbers["metrics_timestamp_seconds", ()] == now
    assert numbers["credential_ok", labels(location="local")] == 1
    assert numbers[VMS] == 3
    assert numbers["janitor_foreign", labels(place="dc1")] == 1
    kinds = {"place": "dc1", "kind": "machine"}
    assert numbers["janitor_resources", labels(**kinds, lease="running")] == 1
    assert numbers["janitor_resources", labels(**kinds, lease="over")] == 2
    assert numbers["janitor_overdue_seconds", labels(place="dc1")] == 5 * 3600
    assert numbers["janitor_failing", labels(place="dc1")] == 0
    head = {"image": "debian-ci", "channel": "stable"}
    assert numbers["image_age_seconds", labels(**head)] >= 3600
    assert numbers["channel_last_move_timestamp_seconds", labels(**head)] < now
    assert numbers["rollback_ready", labels(**head, location="local")] == 1
    assert numbers["versions", labels(image="debian-ci", stage="active")] == 2
    assert numbers["location_images", labels(location="local", owner="catalog")] == 2
    assert numbers["location_images", labels(location="local", owner="nobody")] == 0
    assert numbers["cleanup_open_deletions", ()] == 0
    assert numbers[MACHINES_SUCCESS] == now
    assert all(value == 1 for (name, _), value in numbers.items() if name == "source_ok")


def test_a_rotated_password_withdraws_the_count_and_keeps_the_time(site: Site) -> None:
    """INCIDENTS C: the last count that was seen is not shown again, whatever it was."""
    before = site.numbers()
    site.world.clock.advance(timedelta(hours=2))
    site.cluster.trouble = Denied("wrong password", denial=Denial.WRONG)
    site.location.refused = True
    after = site.numbers(verify=False)
    assert VMS not in after
    assert not [name for name, _ in after if name.startswith("janitor_resources")]
    assert not [name for name, _ in after if name == "location_images"]
    assert after["credential_ok", labels(location="local")] == 0
    assert after["source_ok", labels(source="machines", place="dc1")] == 0
    assert after[MACHINES_SUCCESS] == before[MACHINES_SUCCESS]
    age = ("last_success_age_seconds", labels(source="machines", place="dc1"))
    assert (before[age], after[age]) == (0, 7200)


@pytest.mark.parametrize("what", ["machines", "images"])
def test_what_was_shown_in_part_has_no_number(site: Site, what: str) -> None:
    """P3: a part is never taken for everything."""
    site.cluster.gaps = ("page 2 failed",) if what == "machines" else ()
    site.location.gaps = ("page 2 failed",) if what == "images" else ()
    numbers = site.numbers()
    assert (VMS in numbers) == (what == "images")
    assert bool([1 for name, _ in numbers if name == "location_images"]) == (what == "machines")
    place = "dc1" if what == "machines" else "local"
    assert numbers["source_ok", labels(source=what, place=place)] == 0
    assert ("last_success_timestamp_seconds", labels(source=what, place=place)) not in numbers


def test_a_location_that_does_not_answer_has_neither_a_good_nor_a_bad_credential(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent() -> Credential:
        raise CannotTell("no route to host")

    monkeypatch.setattr(site.location, "probe", silent)
    numbers = site.numbers()
    assert not [1 for name, _ in numbers if name == "credential_ok"]
    assert numbers["source_ok", labels(source="credential", place="local")] == 0


def test_when_a_credential_ends(site: Site) -> None:
    site.location.expires = site.world.clock.now() + timedelta(days=3)
    key = ("credential_expires_seconds", labels(location="local"))
    assert site.numbers()[key] == 3 * 86400
    site.world.clock.advance(timedelta(days=4))
    assert site.numbers()[key] == -86400


def test_a_way_back_that_is_gone_is_0_and_one_that_is_unknown_absent(site: Site) -> None:
    key = ("rollback_ready", labels(image="debian-ci", channel="stable", location="local"))
    site.location.lose(site.world.catalog.snapshot().placed(ref(ONE))[0])
    assert site.numbers()[key] == 0
    with site.location.unreadable():
        numbers = site.numbers()
    assert key not in numbers
    assert numbers["source_ok", labels(source="verify", place="")] == 0


def test_measuring_every_few_minutes_does_not_fill_the_history(site: Site) -> None:
    """80 MB a day, with 480 placements; the time in the numbers is that of the last look still."""
    numbers = site.numbers()
    before = site.world.catalog.snapshot().generation
    for _ in range(11):
        site.world.clock.advance(timedelta(minutes=5))
        numbers = site.numbers()
    assert site.world.catalog.snapshot().generation == before
    last = "rollback_verified_timestamp_seconds"
    seen = {value for (name, _), value in numbers.items() if name == last}
    assert seen == {site.world.clock.now().timestamp()}
    site.world.clock.advance(timedelta(minutes=5))
    site.numbers()
    assert site.world.catalog.snapshot().generation == before + 1


def test_one_source_that_fails_takes_nothing_from_the_others(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def stock() -> Iterator[object]:
        raise CannotTell("the catalog cannot be read")
        yield

    monkeypatch.setattr(site.world.catalog, "stock", stock)
    numbers = site.numbers(verify=False)
    assert not [1 for name, _ in numbers if name in ("versions", "image_age_seconds")]
    assert not [1 for name, _ in numbers if name == "cleanup_open_deletions"]
    assert numbers[VMS] == 3


def test_without_the_ledger_nothing_is_said_of_machines(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may know of later leases than the machines themselves: nobody can tell what leaks."""

    def unreadable() -> tuple[Resource, ...]:
        raise CannotTell("the ledger cannot be read")

    monkeypatch.setattr(site.ledger, "all", unreadable)
    numbers = site.numbers(verify=False)
    assert VMS not in numbers
    assert not [1 for name, _ in numbers if name.startswith("janitor_")]
    assert numbers["source_ok", labels(source="ledger", place="")] == 0


def test_what_fails_again_and_again_is_counted(site: Site) -> None:
    until = site.world.clock.now() - timedelta(hours=5)
    site.ledger.begin(
        Resource("leaked-1", ResourceKind.MACHINE, "dc1", "leaked-1", "a test", "me", NOW, until)
    )
    for _ in range(3):
        site.ledger.failed("leaked-1", "permission denied")
    assert site.numbers()["janitor_failing", labels(place="dc1")] == 1


def test_times_of_success_that_are_lost_are_said_to_be(site: Site, tmp_path: Path) -> None:
    site.numbers()
    (tmp_path / "outcomes.json").write_text("[{")
    numbers = site.numbers()
    assert numbers["source_ok", labels(source="outcomes", place="")] == 0
    assert numbers[VMS] == 3, "all others are there"
    assert not [1 for name, _ in numbers if "last_success" in name or name.endswith("_runs")]
    assert (tmp_path / "outcomes.json").read_text() == "[{", "nothing was noted over it"


def test_how_builds_and_cleanups_ended_is_counted(site: Site) -> None:
    now = site.world.clock.now()
    site.outcomes.note("build", "debian-ci", now - timedelta(hours=3), ok=True)
    site.outcomes.note("build", "debian-ci", now, ok=False)
    site.outcomes.note("cleanup", "", now, ok=False)
    numbers = site.numbers()
    runs = {"image": "debian-ci"}
    assert numbers["builds_runs", labels(**runs, outcome="ok")] == 1
    assert numbers["builds_runs", labels(**runs, outcome="failed")] == 1
    success = ("builds_last_success_timestamp_seconds", labels(**runs))
    assert numbers[success] == (now - timedelta(hours=3)).timestamp()
    assert numbers["cleanup_runs", labels(place="", outcome="failed")] == 1
    assert not [1 for name, _ in numbers if name == "cleanup_last_success_timestamp_seconds"]


def test_what_is_no_more_has_no_numbers_and_alerts_nobody(site: Site) -> None:
    """A project that was moved, a location that was taken out, an image that was dropped."""
    long_ago = site.world.clock.now() - timedelta(days=90)
    for what, here, gone in (
        ("janitor", "dc1", "host/ci7/old"),
        ("machines", "dc1", "host/ci7/old"),
        ("credential", "local", "dc9"),
        ("images", "local", "dc9"),
        ("published", "memory", "/srv/old"),
        ("build", "debian-ci", "dropped"),
    ):
        site.outcomes.note(what, here, long_ago, ok=True)
        site.outcomes.note(what, gone, long_ago, ok=True)
    said = {value for _, pairs in site.numbers() for _, value in pairs}
    assert {"dc1", "local", "memory", "debian-ci"} <= said
    assert not {"host/ci7/old", "dc9", "/srv/old", "dropped"} & said


def test_times_of_success_stay_where_only_the_ledger_cannot_be_read(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = site.numbers()
    site.outcomes.note("janitor", "dc1", site.world.clock.now(), ok=True)

    def unreadable() -> tuple[Resource, ...]:
        raise CannotTell("the ledger cannot be read")

    monkeypatch.setattr(site.ledger, "all", unreadable)
    numbers = site.numbers()
    assert numbers[MACHINES_SUCCESS] == before[MACHINES_SUCCESS]
    assert ("janitor_last_success_timestamp_seconds", labels(place="dc1")) in numbers


def test_numbers_are_withdrawn_when_none_come_any_more(site: Site) -> None:
    """A loop that hangs must not look healthy."""
    seconds = [100.0]
    latest = Latest(60, lambda: seconds[0])
    assert [*latest.collect()] == []
    latest.show(registry_of(site.measure()))
    seconds[0] += 60
    assert "imagectl_vms_total" in {each.name for each in latest.collect()}
    seconds[0] += 1
    assert [each.name for each in latest.collect()] == ["imagectl_metrics_timestamp_seconds"]


def test_no_process_loses_what_another_notes(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.json"

    def note(name: str) -> None:
        mine = FileOutcomes(path)  # a lock is an open file's: each has one of its own
        for _ in range(20):
            mine.note("build", name, NOW, ok=True)

    names = [f"image-{number}" for number in range(4)]
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(note, names))
    assert {
        place: each.successes for (_, place), each in FileOutcomes(path).all().items()
    } == dict.fromkeys(names, 20)
