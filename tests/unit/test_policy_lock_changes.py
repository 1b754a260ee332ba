"""What a review of two locks sees: everything that differs, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import digest, lock, package
from support.strategies import digests, locks

from imagectl.model.lock import Download, Expected, Lock, LockedPackagesBase, sorted_inputs
from imagectl.model.names import Architecture
from imagectl.policy.lock_changes import lock_changes

LOCK = lock()


def with_inputs(*more: object, without: object = None) -> Lock:
    kept = [each for each in LOCK.inputs.all if each != without]
    return replace(LOCK, inputs=sorted_inputs([*kept, *more]))  # type: ignore[list-item]


@settings(max_examples=60, deadline=None)
@given(one=locks, other=locks)
def test_nothing_is_left_out_and_nothing_made_up(one: Lock, other: Lock) -> None:
    changes = lock_changes(one, other)
    back = lock_changes(other, one)
    for kind in ("packages", "downloads", "toolchain"):
        there, again = getattr(changes, kind), getattr(back, kind)
        assert [(each.what, each.before, each.after) for each in there] == [
            (each.what, each.after, each.before) for each in again
        ]
        assert all(each.before != each.after for each in there)
    named = {f"{each.name} {each.architecture}": each.version for each in other.inputs.packages}
    told = {each.what for each in changes.packages}
    before = {f"{each.name} {each.architecture}" for each in one.inputs.packages}
    assert named.keys() ^ before <= told <= named.keys() | before


@settings(max_examples=30, deadline=None)
@given(one=locks)
def test_a_lock_does_not_differ_from_itself(one: Lock) -> None:
    changes = lock_changes(one, one)
    assert not changes.inputs
    assert changes.settings == ()
    assert changes.summary == "the same inputs, the same bytes"


def test_packages_are_told_by_name_and_version() -> None:
    old = package("adduser", "3.134", architecture="all")
    after = with_inputs(
        package("adduser", "3.135", architecture="all"), package("zsh", "5.9"), without=old
    )
    changes = lock_changes(LOCK, after)
    assert [(each.mark, each.what, each.before, each.after) for each in changes.packages] == [
        ("~", "adduser all", "3.134", "3.135"),
        ("+", "zsh amd64", "", "5.9"),
    ]
    assert changes.summary == "1 package changed, 1 package new, the same bytes"
    (gone,) = lock_changes(with_inputs(package("zsh", "5.9")), LOCK).packages
    assert (gone.mark, gone.what) == ("-", "zsh amd64")


def test_two_versions_of_one_package_are_told_together() -> None:
    after = with_inputs(package("adduser", "3.135", architecture="all"))
    (change,) = lock_changes(LOCK, after).packages
    assert (change.before, change.after) == ("3.134", "3.134, 3.135")


def test_other_bytes_under_the_same_version_are_told() -> None:
    """What a mirror did, or somebody in between, and nobody would see by the versions."""
    (old,) = (each for each in LOCK.inputs.packages if each.name == "adduser")
    after = with_inputs(replace(old, sha256=digest("other")), without=old)
    (change,) = lock_changes(LOCK, after).packages
    assert (change.mark, change.what) == ("~", "adduser all")
    assert change.before == f"3.134, sha256 {old.sha256}"
    assert change.after == f"3.134, sha256 {digest('other')}"


def test_an_index_that_changed_is_one() -> None:
    old = LOCK.inputs.indexes[0]
    after = with_inputs(replace(old, sha256=digest("newer")), without=old)
    changes = lock_changes(LOCK, after)
    assert changes.indexes == 1
    assert changes.summary == "1 signed file of mirrors changed, no package, the same bytes"
    assert lock_changes(LOCK, with_inputs(without=old)).indexes == 1


def test_redirects_are_told_by_where_they_lead() -> None:
    url = "https://mirror.example/tool"
    before = with_inputs(Download(url, 302, digest(""), 0, location="/1"))
    after = with_inputs(Download(url, 302, digest(""), 0, location="/2"))
    (change,) = lock_changes(before, after).downloads
    assert (change.before, change.after) == ("to /1", "to /2")
    gone = with_inputs(Download(url, 404, digest(""), 0))
    gone_for_good = with_inputs(Download(url, 410, digest(""), 0))
    (change,) = lock_changes(gone, gone_for_good).downloads
    assert (change.before.split(", ")[1], change.after.split(", ")[1]) == ("404", "410")


@settings(max_examples=100, deadline=None)
@given(one=locks, data=st.data())
def test_what_differs_in_any_way_is_told(one: Lock, data: st.DataObject) -> None:
    every = data.draw(st.sampled_from(one.inputs.all)) if one.inputs.all else None
    if every is None:
        return
    other = replace(every, sha256=data.draw(digests.filter(lambda new: new != every.sha256)))
    rest = [each for each in one.inputs.all if each != every]
    after = replace(one, inputs=sorted_inputs([*rest, other]))
    changes = lock_changes(one, after)
    assert changes.inputs
    told = len(changes.packages) + len(changes.downloads) + changes.indexes
    assert told == 1


def test_downloads_are_told_by_their_content() -> None:
    url = "https://mirror.example/tool"
    before = with_inputs(Download(url, 200, digest("one"), 10))
    after = with_inputs(Download(url, 200, digest("two"), 12))
    (change,) = lock_changes(before, after).downloads
    assert change.what == url
    assert change.before == f"{digest('one')[:12]} (10 bytes)"


@pytest.mark.parametrize(
    ("after", "what"),
    [
        (replace(LOCK, epoch=LOCK.epoch + 86_400), "epoch"),
        (replace(LOCK, base=LockedPackagesBase("trixie")), "base"),
        (replace(LOCK, toolchain=replace(LOCK.toolchain, tree=digest("x"))), "toolchain"),
        (
            replace(LOCK, definition=replace(LOCK.definition, suites=digest("x"))),
            "definition",
        ),
        (
            replace(LOCK, mirrors=dict.fromkeys(LOCK.mirrors, "http://other.example")),
            "mirror debian",
        ),
        (replace(LOCK, mirrors={}), "mirror debian-security"),
        (replace(LOCK, architecture=Architecture.ARM64), "architecture"),
    ],
)
def test_settings_are_told(after: Lock, what: str) -> None:
    assert what in [each.what for each in lock_changes(LOCK, after).settings]


def test_other_bytes_are_told() -> None:
    after = replace(LOCK, expected=Expected(None, digest("x"), {}))
    assert lock_changes(LOCK, after).summary == "the same inputs, other bytes"
