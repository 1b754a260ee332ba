"""2016, GCE: all production images deleted.

A cleanup deleted every image that "the catalog does not know". Its catalog query returned at most
100 names, newest first. Stable, nine months old, had fallen off that page.

The world here: a GCE project with 137 or 2,500 images of one image's versions, stable the oldest of
them, and somebody else's image beside them; a catalog that is read through a page of 100; listings
of any page size, that break, or end early without a word; a cleanup that was off for nine months.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from click.testing import Result
from peers.google.calls import Effect, Refuse, Shorten, SmallPages, second_page
from peers.google.peer import Google, google
from sqlalchemy import Engine, event
from support.cli import Run, command_line
from support.examples import digest, version
from support.places.gce import BUCKET, PROJECT
from support.projects import new_project

from imagectl.adapters.catalog_sql import SqlCatalog
from imagectl.adapters.locations.gce_labels import image_name, to_labels
from imagectl.bootstrap.project import open_project
from imagectl.model.change import Change, MoveChannel, Operation, RecordPlacement, RecordVersion
from imagectl.model.channel import MoveKind
from imagectl.model.names import (
    Architecture,
    ChannelName,
    Format,
    ImageName,
    LocationName,
    VersionId,
)
from imagectl.model.stock import Stock
from imagectl.model.version import Artifact, Placement, Version, VersionRef
from imagectl.model.view import Ownership
from imagectl.services.publish import publish_catalog

CI = ImageName("debian-ci")
GCE = LocationName("gce-prod")
FOREIGN = "somebody-elses"
NINE_MONTHS = timedelta(days=270)
MANY = 5
"""More plans than it takes for a version to go all the way down."""

POLICY = """\
channels:
  beta: {entry: true, rollback_window: 1}
  stable: {from: beta, gates: [tests], rollback_window: 1}
retention: {keep_last: 3, min_age: 1d, unused: 1d, grace: 0s, max_count: 5, max_share: 100%}
"""


@dataclass
class Day:
    """The project of that day. ``refs``: its versions, oldest first; stable points to the first,
    beta to the last."""

    root: Path
    cloud: Google
    imagectl: Run
    refs: list[VersionRef]

    def run(self, *arguments: str) -> Result:
        return self.imagectl("-C", str(self.root), *arguments)

    def json(self, *arguments: str, status: int = 0) -> Any:
        result = self.run(*arguments, "--json")
        assert result.exit_code == status, result.output
        return json.loads(result.stdout)

    def images(self) -> set[str]:
        found = set(self.cloud.compute.names(f"projects/{PROJECT}/global/images"))
        assert FOREIGN in found
        return found

    def plan(self, *, status: int = 0) -> Result:
        result = self.run("cleanup", "plan", "--out", str(self.root / "plan.json"))
        assert result.exit_code == status, result.output
        return result

    def clean_up(self) -> int:
        """Plan and apply. How many versions went down."""
        made = self.json("cleanup", "plan", "--out", str(self.root / "plan.json"))
        self.apply()
        return len(made["steps"])

    def apply(self, *, status: int = 0) -> Result:
        result = self.run("cleanup", "apply", str(self.root / "plan.json"))
        assert result.exit_code == status, result.output
        return result


def image_of(ref: VersionRef) -> str:
    return image_name(ref, Architecture.AMD64)


def disk_of(ref: VersionRef) -> str:
    return f"{ref} disk"


def versions(count: int) -> list[Version]:
    """The oldest one is nine months old; the newest are of lately, many a day."""
    now = datetime.now(UTC)
    made = []
    step = (NINE_MONTHS - timedelta(days=3)) / count
    serials: dict[str, Iterator[int]] = {}
    for number in range(count):
        created = now - NINE_MONTHS + step * number
        day = created.strftime("%Y%m%d")
        serial = next(serials.setdefault(day, itertools.count(1)))
        ref = VersionRef(CI, VersionId(day, serial))
        plain = version(str(ref))
        text = disk_of(ref)
        disk = Artifact(Format.GCE, Architecture.AMD64, digest(text), len(text))
        made.append(
            Version(
                **{
                    **{name: getattr(plain, name) for name in plain.__dataclass_fields__},
                    "created": created,
                    "artifacts": (disk,),
                    "required_locations": (GCE,),
                }
            )
        )
    return made


def world(cloud: Google, root: Path, count: int) -> list[VersionRef]:
    """Record them all, and put an image into the project for each."""
    project = open_project(root)
    catalog = project.catalog
    identity = catalog.snapshot(()).catalog_id
    made = versions(count)
    for each in made[:20]:  # more than the tests delete
        disk = root / "disk"
        disk.write_text(disk_of(each.ref))
        project.store.add(disk)
    operations: list[Operation] = []
    for each in made:
        (artifact,) = each.artifacts
        owner = Ownership(
            identity, each.ref, artifact.format, artifact.architecture, artifact.sha256
        )
        image = cloud.compute.add_image(PROJECT, image_of(each.ref), labels=to_labels(owner))
        reference = f"projects/{PROJECT}/global/images/{image['name']}"
        placement = Placement(
            each.ref,
            artifact.format,
            artifact.architecture,
            GCE,
            f"{reference}#{image['id']}",
            reference,
            artifact.sha256,
            artifact.size,
            each.created,
        )
        operations += [RecordVersion(each), RecordPlacement(placement)]
    moves = [(made[0], "beta", MoveKind.ENTRY), (made[0], "stable", MoveKind.PROMOTE)]
    moves += [(made[-1], "beta", MoveKind.ENTRY)]
    changes = [tuple(operations)] + [
        (MoveChannel(CI, ChannelName(channel), each.id, kind),) for each, channel, kind in moves
    ]
    for number, those in enumerate(changes):
        at = made[0].created if number < 3 else made[-1].created
        catalog.commit(Change(f"w{number}", number, "that day", "build", "", at, those))
    publish_catalog(catalog, project.publishers)
    project.close()
    return [each.ref for each in made]


@pytest.fixture(scope="module", params=[137, 2500])
def day(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    """One for all tests: all but the last ones show that nothing was changed."""
    folder = tmp_path_factory.mktemp("day")
    root = folder / "project"
    new_project(root).close()
    with pytest.MonkeyPatch.context() as monkeypatch, google((PROJECT,), (BUCKET,)) as cloud:
        monkeypatch.setenv("IMAGECTL_KEY", str(folder / "key.pem"))
        key = cloud.accounts.add(folder)
        (root / "imagectl.yaml").write_text(
            f"locations:\n  {GCE}: {{type: gce, project: {PROJECT}, bucket: {BUCKET}, "
            f"endpoint: '{cloud.url}', storage_endpoint: '{cloud.url}', "
            f"credentials: {{file: {key}}}}}\n"
        )
        (root / "catalog/channels.yaml").write_text(POLICY)
        refs = world(cloud, root, request.param)
        cloud.compute.add_image(PROJECT, FOREIGN)
        yield Day(root, cloud, command_line(monkeypatch), refs)


@contextlib.contextmanager
def rows_page_of(count: int) -> Iterator[None]:
    """The database gives the newest *count* rows of versions alone, as that day's query did."""
    hits = []

    def shorten(
        connection: object, cursor: object, statement: str, parameters: Any, *rest: object
    ) -> tuple[str, Any]:
        text = " ".join(statement.split())
        if text.startswith("SELECT versions.image"):
            hits.append(text)
            statement = (
                f"SELECT * FROM (SELECT * FROM ({statement}) ORDER BY day DESC, serial DESC "
                f"LIMIT {count}) ORDER BY day, serial"
            )
        return statement, parameters

    event.listen(Engine, "before_cursor_execute", shorten, retval=True)
    try:
        yield
        assert hits, "the catalog was not read that way"
    finally:
        event.remove(Engine, "before_cursor_execute", shorten)


@contextlib.contextmanager
def catalog_page_of(count: int) -> Iterator[None]:
    """What reads the catalog gives the newest *count* versions, and nothing of the others at all:
    it looks whole."""
    whole = SqlCatalog.stock

    @contextlib.contextmanager
    def short(self: SqlCatalog) -> Iterator[Stock]:
        with whole(self) as stock:
            yield replace(
                stock,
                shelves=lambda: (
                    replace(each, versions=each.versions[-count:]) for each in stock.shelves()
                ),
            )

    with mock.patch.object(SqlCatalog, "stock", short):
        yield


def test_a_catalog_that_shows_the_newest_100_deletes_nothing(day: Day) -> None:
    """P3. What that day did: stable was not on the page."""
    before, total = day.images(), len(day.refs)
    with catalog_page_of(100):
        refused = day.plan(status=5)
    assert f"100 of {total}" in refused.stderr.replace(",", "")
    assert day.images() == before
    assert not (day.root / "plan.json").exists()


def test_a_database_that_gives_the_newest_100_rows_deletes_nothing(day: Day) -> None:
    before = day.images()
    with rows_page_of(100):
        day.plan(status=5)
    assert day.images() == before


def test_a_catalog_that_is_cut_off_after_the_plan_deletes_nothing(day: Day) -> None:
    before = day.images()
    day.plan()
    with catalog_page_of(100):
        day.apply(status=5)
    assert day.images() == before


@pytest.mark.parametrize("size", [1, 99, 100, 101, 500])
def test_pages_of_any_size_are_walked_to_the_end(day: Day, size: int) -> None:
    if size == 1 and len(day.refs) > 1000:
        pytest.skip("2,501 requests, 20 a second, take two minutes; with 137 images it is done")
    with day.cloud.during(SmallPages(size), "compute.images.list") as rule:
        planned = day.json("cleanup", "plan", "--out", str(day.root / "plan.json"))
    assert rule.hits >= (len(day.refs) + 1) / size
    (sight,) = planned["sights"]
    assert (sight["expected"], sight["seen"]) == (len(day.refs), len(day.refs))
    assert [each["name"] for each in planned["unknown"]] == [FOREIGN]


@pytest.mark.parametrize(
    ("effect", "words"),
    [
        (Shorten(100), "saw 100 of"),
        (Refuse(400, "invalid", "Invalid page token"), "Invalid page token"),
    ],
    ids=["ends early", "page 2 fails"],
)
def test_a_listing_that_is_not_everything_stops_it(day: Day, effect: Effect, words: str) -> None:
    """P3: the newest 100 names sort last, so stable is among what is not shown, or a page fails."""
    before = day.images()
    when = (lambda call: True) if isinstance(effect, Shorten) else second_page
    with (
        day.cloud.during(SmallPages(50), "compute.images.list"),
        day.cloud.during(effect, "compute.images.list", when=when) as rule,
    ):
        refused = day.plan(status=5)
    assert rule.hits
    assert words in refused.stderr
    assert day.images() == before


def test_a_cleanup_that_was_off_for_nine_months_takes_a_few_and_none_that_matter(
    day: Day,
) -> None:
    """P1, P4: it is switched on again, and applied over and over."""
    protected = {image_of(each) for each in (day.refs[0], *day.refs[-3:])} | {FOREIGN}
    total = len(day.images())
    assert [day.clean_up() for _ in range(2)] == [5, 0], "max_count holds for all of a day's plans"
    (day.root / "catalog/channels.yaml").write_text(POLICY.replace("max_count: 5", "max_count: 10"))
    taken = []
    for _ in range(MANY):
        taken.append(day.clean_up())
        assert taken[-1] <= 10
        assert protected <= day.images()
    assert taken[-1] == 0, "there is no more to do on that day"
    assert len(day.images()) == total - 5, "the oldest five; ten of that day's are on their way"
    resolved = day.json("resolve", f"{CI}:stable")
    assert resolved["version"] == str(day.refs[0].version)
    gone = next(each for each in day.refs if image_of(each) not in day.images())
    shown = day.json("show", str(gone))
    assert shown["keeping"]["stage"]["stage"] == "deleted"


def test_old_images_are_told_long_before(day: Day) -> None:
    """The alarm that nobody had: stable was nine months old."""
    result = day.run("metrics", "--no-verify")
    ages = [
        float(line.rpartition(" ")[2])
        for line in result.stdout.splitlines()
        if line.startswith("imagectl_image_age_seconds") and 'channel="stable"' in line
    ]
    assert ages == [pytest.approx(NINE_MONTHS.total_seconds(), abs=3600)]
