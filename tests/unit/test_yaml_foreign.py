"""Parts of somebody else's file: which are found, the rules they are held to, what is let be."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.yaml_texts import BOMB, TEXTS

from imagectl.errors import BadInput
from imagectl.formats.yaml_foreign import MAX_FOREIGN_DEPTH, find_keys, load_part
from imagectl.formats.yaml_strict import ListNode, MappingNode, Node, Scalar


def plain(node: Node) -> object:
    """The texts of a node, without their places."""
    if isinstance(node, MappingNode):
        return {key.text: plain(value) for key, value in node.entries}
    if isinstance(node, ListNode):
        return [plain(item) for item in node.items]
    assert isinstance(node, Scalar)
    return node.text


FOREIGN = """\
stages: &stages [build, test]
.defaults: &defaults
  tags: !reference [.x, tags]
build:
  <<: *defaults
  stage: build
  stage: again
imagectl:
  image: debian-ci
  channel: beta
"""


def test_a_part_of_a_foreign_file_is_read_and_the_rest_is_let_be() -> None:
    part = load_part(FOREIGN.encode(), "ci.yml", "imagectl")
    assert part is not None
    assert part.problems == ()
    assert plain(part.root) == {"image": "debian-ci", "channel": "beta"}
    assert (part.root.line, part.root.column) == (9, 3)


def test_a_json_file_with_tabs_is_a_foreign_file_too() -> None:
    part = load_part(b'{\n\t"x": [1],\n\t"imagectl": {"image": "a"}\n}', "x.json", "imagectl")
    assert part is not None
    assert plain(part.root) == {"image": "a"}


def test_the_key_may_be_in_any_document_of_a_foreign_file_but_only_at_its_top() -> None:
    part = load_part(b"spec: 1\n---\nimagectl: {image: a}\n", "f", "imagectl")
    assert part is not None
    assert load_part(b"- imagectl: {image: a}\n", "f", "imagectl") is None
    assert load_part(b"job: {imagectl: {image: a}}\n", "f", "imagectl") is None
    assert load_part(b"", "f", "imagectl") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x: &d {image: a}\nimagectl: *d\n", "f:2:11: an alias (*d) (write the value itself)"),
        ("imagectl: {<<: {image: a}}\n", "f:1:12: a merge key ('<<') (write the keys themselves)"),
        ("imagectl: {image: a, image: b}\n", "f:1:22: 'image' a second time (first on line 1)"),
        (
            "imagectl: {image: a}\nx: 1\nimagectl: {image: b}\n",
            "f:3:1: 'imagectl' a second time (first on line 1)",
        ),
    ],
)
def test_our_part_of_a_foreign_file_is_held_to_our_rules(text: str, said: str) -> None:
    try:
        part = load_part(text.encode(), "f", "imagectl")
        assert part is not None
        found = part.problems
    except BadInput as error:
        found = error.problems
    assert [str(problem) for problem in found] == [said]


def test_a_bomb_in_a_foreign_file_is_never_expanded() -> None:
    part = load_part((BOMB + "imagectl: {image: a}\n").encode(), "f", "imagectl")
    assert part is not None


def test_what_is_passed_over_may_be_deep_but_not_without_end() -> None:
    def nested(depth: int) -> bytes:
        return b"x: " + b"[" * depth + b"]" * depth + b"\nimagectl: {image: a}\n"

    assert load_part(nested(MAX_FOREIGN_DEPTH), "f", "imagectl") is not None
    with pytest.raises(BadInput) as caught:
        load_part(nested(MAX_FOREIGN_DEPTH + 1), "f", "imagectl")
    assert str(caught.value.problems[0]) == "f:1:204: nested more than 200 deep; not read"


@given(st.binary(max_size=300) | TEXTS.map(str.encode))
@example(b'a: "\\UFFFFFFFF"')
@example(b"%YAML 3.0\n---\na")
@example(b"%TAG ! tag:x,2000:\n---\n!a b: c")
def test_somebody_elses_file_raises_nothing_but_bad_input(data: bytes) -> None:
    for read in (load_part, find_keys):
        with contextlib.suppress(BadInput):
            read(data, "f", "a")
