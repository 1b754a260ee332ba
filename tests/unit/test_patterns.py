"""Patterns of paths inside an image, and edits of texts."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagectl.model.patterns import to_edit, to_regex


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("a/*", "a/b", True),
        ("a/*", "a/b/c", False),
        ("a/*", "a/", True),
        ("a/*", "a", False),
        ("a/**", "a/b/c", True),
        ("a/**", "a", False),
        ("a/**.gz", "a/b/c.gz", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("a.[0-9]", "a.7", True),
        ("a.[0-9]", "a.x", False),
        ("a.[0-9]", "a.-", False),
        ("{a,b/**}-", "a-", True),
        ("{a,b/**}-", "b/x/y-", True),
        ("{a,b}", "c", False),
        ("a,b", "a,b", True),
        ("a.b", "axb", False),
        ("a+", "a+", True),
    ],
)
def test_patterns(pattern: str, path: str, matches: bool) -> None:
    found = re.fullmatch(to_regex(pattern), path.encode(), re.DOTALL)
    assert (found is not None) == matches


@pytest.mark.parametrize("pattern", ["{a", "a}", "{a{b,c}}", "a[b", "a[]", "[z-a]"])
def test_patterns_that_mean_nothing(pattern: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(pattern))):
        to_regex(pattern)


_PIECES = st.sampled_from([*"ab/.-^$+()|!&\\é ", "*", "**", "?", "[ab]", "[a-z]", "{", ",", "}"])


@given(st.lists(_PIECES, max_size=10).map("".join) | st.text(max_size=20))
def test_any_pattern_means_something_or_is_refused(pattern: str) -> None:
    try:
        regex = to_regex(pattern)
    except ValueError:
        return
    assert re.compile(regex, re.DOTALL).groups == 0


@given(st.text(st.characters(exclude_characters="*?[]{},", exclude_categories=["Cs"])))
def test_a_path_without_special_characters_matches_itself_alone(path: str) -> None:
    regex = re.compile(to_regex(path), re.DOTALL)
    assert regex.fullmatch(path.encode())
    assert not regex.fullmatch(path.encode() + b"x")


def test_an_edit_replaces_what_it_finds_in_each_line() -> None:
    pattern, place = to_edit(r"^(a+)=.*$", r"\1=0")
    assert pattern.sub(place, b"a=1\nb=1\naa=2\n") == b"a=0\nb=1\naa=0\n"


@pytest.mark.parametrize(
    ("find", "replace", "says"),
    [
        ("(", "", "'(' is not a regular expression: missing )"),
        ("a", r"\1", "cannot take its place: invalid group reference 1"),
        ("a", r"\g<b>", "cannot take its place: unknown group name 'b'"),
        ("a", r"\q", "cannot take its place: bad escape"),
        ("a{99999999999}", "", "is not a regular expression: the repetition number is too large"),
    ],
)
def test_an_edit_that_means_nothing_says_why(find: str, replace: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        to_edit(find, replace)


@given(st.text(max_size=30), st.text(max_size=10))
def test_any_edit_works_or_is_refused(find: str, replace: str) -> None:
    try:
        pattern, place = to_edit(find, replace)
    except ValueError:
        return
    pattern.sub(place, b"some text\n")
