"""The descriptions of what cloud builders made: one text for one thing, and no other is read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagectl.errors import Corrupt
from imagectl.formats.native_v1 import parse_native, write_native
from imagectl.model.native import Native

MADE = Native(
    provider="gce",
    id="projects/acme/global/images/ci-1#42",
    link="projects/acme/global/images/ci-1",
    created="2026-11-20T10:00:00.000-07:00",
    size=10 << 30,
)

words = st.text(min_size=1, max_size=30)


@given(st.builds(Native, words, words, words, words, st.integers(0, 1 << 50)))
def test_what_is_written_is_read_again(native: Native) -> None:
    data = write_native(native)
    assert parse_native(data, "here") == native
    assert data.isascii()


def test_a_description_has_one_text() -> None:
    assert write_native(MADE) == (
        b'{"created":"2026-11-20T10:00:00.000-07:00","format":"imagectl-native-1",'
        b'"id":"projects/acme/global/images/ci-1#42",'
        b'"link":"projects/acme/global/images/ci-1","provider":"gce","size":10737418240}\n'
    )


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"format": "imagectl-native-2"}, "not imagectl-native-1"),
        ({"id": ""}, "its id is ''"),
        ({"link": 3}, "its link is 3"),
        ({"size": True}, "no size in bytes"),
        ({"size": -1}, "no size in bytes"),
        ({"more": 1}, "not written as it should be"),
    ],
)
def test_another_description_is_corrupt(change: dict[str, object], why: str) -> None:
    document = {**json.loads(write_native(MADE)), **change}
    data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    with pytest.raises(Corrupt) as caught:
        parse_native(data, "here")
    assert why in caught.value.why


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{}", b"\xff", b"[" * 100_000])
def test_anything_else_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt):
        parse_native(data, "here")
