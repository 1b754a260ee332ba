from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagectl.model.names import (
    MAX_NAME,
    BadName,
    ImageRef,
    VersionId,
    parse_channel_name,
    parse_image_name,
    parse_image_ref,
    parse_sha256,
    parse_version_id,
)

HOSTILE = [
    "",
    "../etc",
    "a/b",
    "a\0b",
    "debian\n",
    "d\u0435bian",  # a Cyrillic letter that looks like an e
    "Debian",
    "-debian",
    "debian-",
    "de--bian",
    "1debian",
    "debian_ci",
    "debian.ci",
    "débian",
    "a" * (MAX_NAME + 1),
    "a" * 64,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_not_a_name_is_refused_in_words(text: str) -> None:
    for parse in (parse_image_name, parse_channel_name):
        with pytest.raises(BadName) as caught:
            parse(text)
        said = str(caught.value)
        assert "name" in said
        assert "\n" not in said
        assert "\0" not in said


@pytest.mark.parametrize("text", ["a", "debian-ci", "deb12-x64-v2", "a" * MAX_NAME])
def test_a_plain_name_is_taken(text: str) -> None:
    assert parse_image_name(text) == text


@given(st.text())
def test_a_name_is_always_plain_ascii_and_fit_for_a_path(text: str) -> None:
    try:
        name = parse_image_name(text)
    except BadName:
        return
    assert name.isascii()
    assert not set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert 0 < len(name) <= MAX_NAME


@pytest.mark.parametrize(
    "text",
    [
        "",
        "20261120",
        "20261120.0",
        "20261120.01",
        "20261320.1",
        "20260230.1",
        "2026112.1",
        "20261120.1 ",
        "\uff12\uff10261120.1",  # full-width digits
        "20261120.1234567",
    ],
)
def test_what_is_not_a_version_is_refused(text: str) -> None:
    with pytest.raises(BadName):
        parse_version_id(text)


def test_versions_sort_by_age() -> None:
    texts = ["20261120.2", "20261120.10", "20251231.11", "20261121.1"]
    ordered = sorted(parse_version_id(text) for text in texts)
    assert [str(each) for each in ordered] == [
        "20251231.11",
        "20261120.2",
        "20261120.10",
        "20261121.1",
    ]


@given(st.dates(), st.integers(1, 999_999))
def test_a_version_reads_back_as_itself(day: object, serial: int) -> None:
    version = VersionId(f"{day:%Y%m%d}".zfill(8), serial)
    assert parse_version_id(str(version)) == version


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("debian", ImageRef(parse_image_name("debian"))),
        ("debian:beta", ImageRef(parse_image_name("debian"), parse_channel_name("beta"))),
        (
            "debian@20261120.1",
            ImageRef(parse_image_name("debian"), version=VersionId("20261120", 1)),
        ),
    ],
)
def test_a_reference_reads_and_prints_as_itself(text: str, wanted: ImageRef) -> None:
    assert parse_image_ref(text) == wanted
    assert str(wanted) == text


@pytest.mark.parametrize(
    "text", ["", ":beta", "@20261120.1", "debian:", "debian@", "debian:beta@20261120.1", "a:b:c"]
)
def test_half_a_reference_is_refused(text: str) -> None:
    with pytest.raises(BadName):
        parse_image_ref(text)


def test_a_sha256_is_64_lower_case_digits() -> None:
    digits = "0123456789abcdef" * 4
    assert parse_sha256(digits) == digits
    assert parse_sha256(f"sha256:{digits}") == digits
    for text in ("", digits[:-1], digits + "0", digits.upper(), "g" * 64, f"sha512:{digits}"):
        with pytest.raises(BadName):
            parse_sha256(text)
