"""Parents before children."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagectl.errors import BadInput
from imagectl.model.image import Base, DebianBase, Image, ParentBase, Provision
from imagectl.model.names import (
    Architecture,
    ChannelName,
    Format,
    ImageName,
    ImageRef,
    LocationName,
)
from imagectl.policy.ancestry import build_order, circle, parent_of


def image(name: str, parent: str | None = None) -> Image:
    base: Base = DebianBase("bookworm")
    if parent is not None:
        base = ParentBase(ImageRef(ImageName(parent), ChannelName("stable")))
    return Image(
        ImageName(name),
        "x",
        base,
        Architecture.AMD64,
        4 << 30,
        Provision(),
        (PurePosixPath("tests/x.py"),),
        (Format.QCOW2,),
        (LocationName("local"),),
    )


def names(*images: Image) -> list[str]:
    return [each.name for each in build_order(images)]


def test_parents_come_first_and_names_decide_the_rest() -> None:
    family = (image("d", "c"), image("a", "c"), image("c", "e"), image("e"), image("b"))
    assert names(*family) == ["b", "e", "c", "a", "d"]


def test_a_parent_that_is_not_asked_for_is_taken_to_be_there() -> None:
    assert names(image("b", "a"), image("c", "b")) == ["b", "c"]


@given(st.permutations("abcdefgh"), st.lists(st.integers(0, 9), min_size=8, max_size=8))
def test_every_family_is_ordered_the_same_however_it_is_given(
    given_order: list[str], picks: list[int]
) -> None:
    """Each may only have an alphabetically earlier parent, so there is no circle."""
    parents = {
        name: None if pick >= place else "abcdefgh"[pick]
        for place, (name, pick) in enumerate(zip("abcdefgh", picks, strict=True))
    }
    ordered = names(*(image(name, parents[name]) for name in given_order))
    assert sorted(ordered) == list("abcdefgh")
    for name, parent in parents.items():
        assert parent is None or ordered.index(parent) < ordered.index(name)
    assert ordered == names(*(image(name, parents[name]) for name in "abcdefgh"))


def test_an_image_that_is_its_own_ancestor_has_no_order() -> None:
    with pytest.raises(BadInput) as caught:
        build_order([image("a", "b"), image("b", "a"), image("c", "b"), image("d")])
    assert [str(problem) for problem in caught.value.problems] == [
        "images/a/image.yaml: parents in a circle: a -> b -> a",
        "images/b/image.yaml: parents in a circle: b -> a -> b",
    ]
    with pytest.raises(BadInput, match=r"images/a/image\.yaml"):
        build_order([image("a", "a")])


def test_a_circle_is_found_only_from_within() -> None:
    a, b, c = ImageName("a"), ImageName("b"), ImageName("c")
    parents = {a: b, b: a, c: b}
    assert circle(a, parents) == (a, b, a)
    assert circle(c, parents) == ()
    assert circle(ImageName("other"), parents) == ()
    assert parent_of(image("a", "b")) == "b"
    assert parent_of(image("a")) is None
