"""Whether a version is reproducible, and the one line that says why not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import digest

from imagectl.model.lock import Expected
from imagectl.model.names import Format
from imagectl.model.version import Reproducible
from imagectl.policy.reproduction import MAX_NAMED, cause, deviations, judge

RAW = {Format.RAW: digest("raw"), Format.QCOW2: digest("qcow2")}
ONE = Expected(digest("tree"), digest("raw"), RAW)


@pytest.mark.parametrize(
    ("kept_as_is", "compared", "causes", "verdict"),
    [
        ("", 0, [], (Reproducible.UNPROVEN, "")),
        ("", 1, [], (Reproducible.YES, "")),
        ("", 2, [], (Reproducible.YES, "")),
        ("", 2, ["x differs"], (Reproducible.NO, "x differs")),
        ("LVM", 0, [], (Reproducible.NO, "the disk is kept as Packer left it: LVM")),
        ("LVM", 1, ["x"], (Reproducible.NO, "the disk is kept as Packer left it: LVM")),
    ],
)
def test_only_a_comparison_that_found_nothing_is_proof(
    kept_as_is: str, compared: int, causes: Sequence[str], verdict: tuple[Reproducible, str]
) -> None:
    assert judge(kept_as_is, compared, causes) == verdict


sums = st.sampled_from([digest("a"), digest("b")])
results = st.builds(
    Expected, st.none() | sums, sums, st.dictionaries(st.sampled_from(Format), sums)
)


@given(one=results, other=results)
def test_two_results_deviate_exactly_where_they_are_not_equal(
    one: Expected, other: Expected
) -> None:
    found = deviations(one, other)
    assert (found == ()) == (one == other)
    assert all(each.expected != each.found for each in found)
    assert [each.what for each in deviations(other, one)].sort() == [e.what for e in found].sort()


def test_a_format_that_is_missing_deviates() -> None:
    less = Expected(ONE.tree, ONE.raw, {Format.RAW: digest("raw")})
    (deviation,) = deviations(ONE, less)
    assert (deviation.what, deviation.found) == ("qcow2", None)


OTHER_TREE = Expected(digest("other"), digest("x"), {Format.RAW: digest("y")})
OTHER_FORMAT = Expected(ONE.tree, ONE.raw, RAW | {Format.QCOW2: digest("other")})


@pytest.mark.parametrize(
    ("other", "paths", "said"),
    [
        (OTHER_TREE, ["a: x"], "1 path differs between two builds: a: x"),
        (OTHER_TREE, ["a: x", "b: y"], "2 paths differ between two builds: a: x; b: y"),
        (OTHER_TREE, None, "two builds from the same inputs differ (of the earlier build only "),
        (OTHER_FORMAT, (), "the file tree is the same, but not what was written from it: qcow2"),
    ],
)
def test_a_cause_is_one_line(other: Expected, paths: Sequence[str] | None, said: str) -> None:
    assert cause(deviations(ONE, other), paths).startswith(said)


def test_where_there_are_more_paths_than_are_compared_it_says_so() -> None:
    said = cause(deviations(ONE, OTHER_TREE), [f"{n}: x" for n in range(100)], more=True)
    assert said == "more than 100 paths differ between two builds: 0: x; 1: x; 2: x; and more"
    four = cause(deviations(ONE, OTHER_TREE), ["a", "b", "c", "d"])
    assert four == "4 paths differ between two builds: a; b; c; and 1 more"


@given(st.lists(st.text(max_size=300), min_size=1, max_size=12))
def test_a_cause_can_be_printed_and_kept_whatever_the_paths_are(paths: list[str]) -> None:
    """Names of files need not be text, or may hold line ends."""
    odd = [*paths, "caf\udce9", "new\nline"]
    said = cause(deviations(ONE, OTHER_TREE), odd)
    assert said.isprintable()
    assert said.encode()
    assert len(said) < 600
    assert said.count("; ") >= min(len(odd), MAX_NAMED) - 1
