"""Sizes and durations: what is typed, what it means, and how it is printed."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagectl.formats.scalars import in_python
from imagectl.formats.sizes import (
    DURATION_PATTERN,
    MAX_DURATION,
    MAX_SIZE,
    SIZE_PATTERN,
    BadSize,
    format_size,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4G", 4 << 30),
        ("4GB", 4 << 30),
        ("4GiB", 4 << 30),
        ("512M", 512 << 20),
        ("16K", 16384),
        ("2T", 2 << 40),
        ("1000", 1000),
        ("1000B", 1000),
        ("0", 0),
        ("1024T", MAX_SIZE),
    ],
)
def test_units_of_size_are_binary(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "G", "4g", "4 G", "4.5G", "-1G", "1e3", "4Gib", "4GG", "٤G", "4G\n", "0x10", "1P"]
)
def test_what_is_not_a_size_is_refused(text: str) -> None:
    with pytest.raises(BadSize, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize("text", ["1025T", "999999999999999G", f"{MAX_SIZE + 1}"])
def test_a_size_that_no_disk_has_is_refused(text: str) -> None:
    with pytest.raises(BadSize, match="larger than 1024T"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("45s", timedelta(seconds=45)),
        ("30m", timedelta(minutes=30)),
        ("12h", timedelta(hours=12)),
        ("3d", timedelta(days=3)),
        ("1w", timedelta(days=7)),
        ("0s", timedelta(0)),
        ("36500d", MAX_DURATION),
    ],
)
def test_durations_have_one_unit(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize("text", ["", "3", "d", "3D", "3 d", "1.5d", "-3d", "3days", "3d\n", "1y"])
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(BadSize, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["36501d", "999999999w"])
def test_a_duration_that_no_date_can_be_moved_by_is_refused(text: str) -> None:
    with pytest.raises(BadSize, match="longer than a hundred years"):
        parse_duration(text)


@given(st.integers(0, MAX_SIZE))
def test_a_printed_size_reads_as_itself(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.from_regex(in_python(SIZE_PATTERN)) | st.text("0123456789KMGTiB", max_size=6))
def test_the_pattern_of_sizes_is_what_is_read(text: str) -> None:
    try:
        parse_size(text)
        read = True
    except BadSize as error:
        read = "larger" in str(error)
    assert read is bool(re.search(in_python(SIZE_PATTERN), text))


@given(st.from_regex(in_python(DURATION_PATTERN)) | st.text("0123456789smhdw", max_size=6))
def test_the_pattern_of_durations_is_what_is_read(text: str) -> None:
    try:
        parse_duration(text)
        read = True
    except BadSize as error:
        read = "longer" in str(error)
    assert read is bool(re.search(in_python(DURATION_PATTERN), text))
