"""P6: what a channel may point to at all."""

from __future__ import annotations

from dataclasses import replace

from support.examples import BETA, CI, STABLE, digest, placement
from support.releases import DC1, LOCAL, TAKES, Book

from imagectl.model.channel import ChannelRule
from imagectl.model.names import Architecture, Format, VersionId
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Artifact, Version
from imagectl.policy.readiness import no_way_back, required_now, unready, way_back, withheld

ONE, TWO, THREE = (f"debian-ci@20261120.{serial}" for serial in (1, 2, 3))


def reasons(made: Version, snapshot: Snapshot) -> tuple[str, ...]:
    """Why it is not ready to be where it was built for."""
    return unready(made, snapshot, made.required_locations, TAKES)


def test_a_tested_and_placed_version_is_ready() -> None:
    book = Book()
    assert reasons(book.built(ONE), book.snapshot) == ()


def test_failed_tests_are_a_reason() -> None:
    book = Book()
    made = book.built(ONE, failed=2, enters=False)
    assert reasons(made, book.snapshot) == ("20261120.1: 2 of 14 tests failed",)


def test_no_test_proves_nothing() -> None:
    book = Book()
    made = book.built(ONE)
    untested = replace(made, tests=replace(made.tests, passed=0))
    assert reasons(untested, book.snapshot) == (
        "20261120.1: no test has run, which proves nothing",
    )


def test_every_required_location_counts_and_says_what_to_type() -> None:
    book = Book()
    made = book.built(ONE, needs=(LOCAL, DC1), placed=(LOCAL,))
    assert reasons(made, book.snapshot) == (
        "20261120.1 is not in dc1 (qcow2 for amd64): "
        "`imagectl publish debian-ci@20261120.1 --to dc1`",
    )


def test_a_placement_elsewhere_does_not_help() -> None:
    book = Book()
    made = book.built(ONE, needs=(LOCAL,), placed=(DC1,))
    assert len(reasons(made, book.snapshot)) == 1


def test_every_artifact_has_to_be_there() -> None:
    book = Book()
    made = book.built(ONE)
    raw = Artifact(Format.RAW, Architecture.AMD64, digest("raw"), 1 << 30)
    both = replace(made, artifacts=(*made.artifacts, raw))
    (reason,) = reasons(both, book.snapshot)
    assert "is not in local (raw for amd64)" in reason


def test_another_artifact_in_its_place_is_not_it() -> None:
    book = Book()
    made = book.built(ONE)
    other = replace(placement(ONE), sha256=digest("something else"))
    snapshot = replace(book.snapshot, placements={made.ref: (other,)})
    assert reasons(made, snapshot) == (
        "20261120.1: the qcow2 for amd64 in local is not the one that was tested",
    )


def test_nowhere_to_get_it_from_is_a_reason() -> None:
    book = Book()
    assert reasons(book.built(ONE, needs=()), book.snapshot) == (
        "20261120.1 requires no location, so there is nowhere to get it from",
    )


def test_no_artifacts_is_a_reason() -> None:
    book = Book()
    made = replace(book.built(ONE), artifacts=())
    assert reasons(made, book.snapshot) == ("20261120.1 has no artifacts",)


def test_all_reasons_are_given_together() -> None:
    book = Book()
    made = book.built(ONE, failed=1, needs=(LOCAL, DC1), placed=())
    assert len(reasons(made, book.snapshot)) == 3


def test_a_location_counts_only_for_what_it_takes() -> None:
    book = Book()
    made = book.built(ONE)
    ova = Artifact(Format.OVA, Architecture.AMD64, digest("ova"), 1 << 30)
    both = replace(made, artifacts=(*made.artifacts, ova))
    assert unready(both, book.snapshot, (LOCAL,), {LOCAL: {Format.QCOW2}}) == ()
    assert unready(both, book.snapshot, (LOCAL,), {LOCAL: {Format.GCE}}) == (
        "20261120.1 has to be in local, which takes gce, and not qcow2 and ova",
    )
    assert unready(both, book.snapshot, (DC1,), {LOCAL: {Format.QCOW2}}) == (
        "20261120.1 has to be in dc1, which is not among the locations of imagectl.yaml",
    )


def test_what_is_required_now_is_what_the_newest_version_requires() -> None:
    """The locations of an old version's day are not where consumers pull from today."""
    book = Book()
    for text, needs in ((ONE, (LOCAL,)), (TWO, (LOCAL, DC1))):
        book.built(text, needs=needs)
        book.moved(STABLE, text)
    stable = book.channel("debian-ci", STABLE)
    assert required_now(book.snapshot, stable) == (LOCAL, DC1)
    book.rolled_back(STABLE, ONE)
    stable = book.channel("debian-ci", STABLE)
    assert required_now(book.snapshot, stable) == (LOCAL, DC1), "also after going back"
    three = book.built(THREE, needs=(DC1,))
    assert required_now(book.snapshot, stable, three) == (DC1,)
    assert required_now(book.snapshot, None, three) == (DC1,)
    assert required_now(book.snapshot, None) == ()


def test_the_way_back_is_as_long_as_the_window_and_leaves_out_what_was_left() -> None:
    book = Book()
    rule = ChannelRule(STABLE, source=BETA, rollback_window=2)
    assert way_back(None, rule) == ()
    for serial in (1, 2, 3, 4):
        text = f"debian-ci@20261120.{serial}"
        book.built(text)
        book.moved(STABLE, text)

    def back(once_at: VersionId | None = None) -> list[int]:
        stable = book.channel("debian-ci", STABLE)
        return [each.serial for each in way_back(stable, rule, once_at=once_at)]

    assert back() == [3, 2]
    assert back(once_at=VersionId("20261120", 5)) == [4, 3]
    book.rolled_back(STABLE, TWO)
    assert back() == [1]
    assert back(once_at=VersionId("20261120", 5)) == [2, 1]


def test_no_way_back_names_each_version_and_location_and_what_to_type() -> None:
    book = Book()
    versions = [book.built(each).id for each in (ONE, TWO)]
    assert no_way_back(CI, versions, book.snapshot, (LOCAL,), TAKES) == ()
    assert no_way_back(CI, versions, book.snapshot, (LOCAL, DC1), TAKES) == tuple(
        f"one could not roll back from it: {each} is not in dc1 (qcow2 for amd64): "
        f"`imagectl publish debian-ci@{each} --to dc1`"
        for each in versions
    )


def test_consumers_are_shown_what_is_recorded_where_it_was_built_for() -> None:
    book = Book()
    made = book.built(ONE)
    ova = Artifact(Format.OVA, Architecture.AMD64, digest("ova"), 1 << 30)
    both = replace(made, artifacts=(*made.artifacts, ova))
    assert withheld(both, book.snapshot) == ()
    other = book.built(TWO, placed=())
    (reason,) = withheld(other, book.snapshot)
    assert "20261120.2 is not in local" in reason
    assert withheld(book.built(THREE, failed=1), book.snapshot)
