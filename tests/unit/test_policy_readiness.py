"""P6: what a channel may point to at all."""

from __future__ import annotations

from dataclasses import replace

from support.examples import digest, placement
from support.releases import DC1, LOCAL, Book

from imagectl.model.names import Architecture, Format
from imagectl.model.version import Artifact
from imagectl.policy.readiness import unready

ONE = "debian-ci@20261120.1"


def test_a_tested_and_placed_version_is_ready() -> None:
    book = Book()
    assert unready(book.built(ONE), book.snapshot) == ()


def test_failed_tests_are_a_reason() -> None:
    book = Book()
    made = book.built(ONE, failed=2, enters=False)
    assert unready(made, book.snapshot) == ("20261120.1: 2 of 14 tests failed",)


def test_no_test_proves_nothing() -> None:
    book = Book()
    made = book.built(ONE)
    untested = replace(made, tests=replace(made.tests, passed=0))
    assert unready(untested, book.snapshot) == (
        "20261120.1: no test has run, which proves nothing",
    )


def test_every_required_location_counts_and_says_what_to_type() -> None:
    book = Book()
    made = book.built(ONE, needs=(LOCAL, DC1), placed=(LOCAL,))
    assert unready(made, book.snapshot) == (
        "20261120.1 is not in dc1 (qcow2 for amd64): "
        "`imagectl publish debian-ci@20261120.1 --to dc1`",
    )


def test_a_placement_elsewhere_does_not_help() -> None:
    book = Book()
    made = book.built(ONE, needs=(LOCAL,), placed=(DC1,))
    assert len(unready(made, book.snapshot)) == 1


def test_every_artifact_has_to_be_there() -> None:
    book = Book()
    made = book.built(ONE)
    raw = Artifact(Format.RAW, Architecture.AMD64, digest("raw"), 1 << 30)
    both = replace(made, artifacts=(*made.artifacts, raw))
    (reason,) = unready(both, book.snapshot)
    assert "is not in local (raw for amd64)" in reason


def test_another_artifact_in_its_place_is_not_it() -> None:
    book = Book()
    made = book.built(ONE)
    other = replace(placement(ONE), sha256=digest("something else"))
    snapshot = replace(book.snapshot, placements={made.ref: (other,)})
    assert unready(made, snapshot) == (
        "20261120.1: the qcow2 for amd64 in local is not the one that was tested",
    )


def test_nowhere_to_get_it_from_is_a_reason() -> None:
    book = Book()
    assert unready(book.built(ONE, needs=()), book.snapshot) == (
        "20261120.1 requires no location, so there is nowhere to get it from",
    )


def test_no_artifacts_is_a_reason() -> None:
    book = Book()
    made = replace(book.built(ONE), artifacts=())
    assert unready(made, book.snapshot) == ("20261120.1 has no artifacts",)


def test_all_reasons_are_given_together() -> None:
    book = Book()
    made = book.built(ONE, failed=1, needs=(LOCAL, DC1), placed=())
    assert len(unready(made, book.snapshot)) == 3
