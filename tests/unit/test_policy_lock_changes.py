"""What a review of two locks sees: everything that differs, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from support.examples import digest, lock, package
from support.strategies import locks

from imagectl.model.lock import Download, Expected, Lock, LockedPackagesBase, sorted_inputs
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
    ],
)
def test_settings_are_told(after: Lock, what: str) -> None:
    assert what in [each.what for each in lock_changes(LOCK, after).settings]


def test_other_bytes_are_told() -> None:
    after = replace(LOCK, expected=Expected(None, digest("x"), {}))
    assert lock_changes(LOCK, after).summary == "the same inputs, other bytes"
