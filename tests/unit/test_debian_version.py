"""Debian's versions sort as dpkg sorts them."""

from __future__ import annotations

import subprocess

import pytest
from debian.debian_support import NativeVersion
from hypothesis import given
from hypothesis import strategies as st

from imagectl.model.debian_version import version_order

ORDERED = [
    ("1.0~rc1-1", "1.0-1"),
    ("1.0-1~deb12u1", "1.0-1"),
    ("1.0-1", "1.0-1+b1"),
    ("1.0-1", "1.0-1.1"),
    ("1.0-1+b1", "1.0-1.1"),
    ("1.9", "1.10"),
    ("9.9", "1:0.1"),
    ("1.0~~", "1.0~"),
    ("1.0a", "1.0+"),
    ("1.0-9", "1.0-10"),
    ("1.0~", "1.0"),
    ("0~", "0"),
    ("2.36-9+deb12u9", "2.36-9+deb12u10"),
]


@pytest.mark.parametrize(("lower", "higher"), ORDERED)
def test_versions_are_ordered(lower: str, higher: str) -> None:
    assert version_order(lower) < version_order(higher)


@pytest.mark.parametrize(
    ("one", "other"), [("1.0", "1.0-0"), ("1", "0:1"), ("1.", "1.0"), ("1.01", "1.1"), ("0", "00")]
)
def test_versions_that_are_written_otherwise_are_equal(one: str, other: str) -> None:
    assert version_order(one) == version_order(other)


@pytest.mark.parametrize(("lower", "higher"), ORDERED)
def test_dpkg_agrees(lower: str, higher: str) -> None:
    command = ["dpkg", "--compare-versions", lower, "lt", higher]
    assert subprocess.run(command, check=False).returncode == 0


upstream = st.from_regex(r"[0-9][A-Za-z0-9.+~]{0,8}", fullmatch=True)
versions = st.builds(
    lambda epoch, text, revision: epoch + text + revision,
    st.sampled_from(["", "0:", "1:"]),
    upstream,
    st.one_of(st.just(""), upstream.map("-{}".format)),
)


@given(versions, versions)
def test_any_two_versions_are_ordered_as_python_debian_orders_them(one: str, other: str) -> None:
    mine = (version_order(one) > version_order(other)) - (version_order(one) < version_order(other))
    first, second = NativeVersion(one), NativeVersion(other)
    assert mine == (first > second) - (first < second)


@given(st.text(max_size=12))
def test_any_text_has_a_place(text: str) -> None:
    assert version_order(text) == version_order(text)
