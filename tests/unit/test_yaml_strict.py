"""The strict loader: what it keeps, what it refuses and where, and that nothing else comes out."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.yaml_texts import BOMB, TEXTS

from imagectl.errors import BadInput, Problem
from imagectl.formats.yaml_strict import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_PROBLEMS,
    Broken,
    ListNode,
    Scalar,
    load,
)


def problems(data: bytes | str) -> list[str]:
    """What is said of a file, with the problems that do not end the reading."""
    data = data.encode() if isinstance(data, str) else data
    try:
        found: tuple[Problem, ...] = load(data, "f").problems
    except BadInput as error:
        found = error.problems
    return [str(problem) for problem in found]


@pytest.mark.parametrize(
    "typed",
    [
        *("on", "yes", "No", "true", "null", "~", "3.10", "1e3", "0o17", "0x1F", "010", "1_000"),
        *("12:30", "2026-11-21", "2026-11-21T00:00:00Z", ".inf", ".nan", "=", "<", "-1", "1."),
    ],
)
def test_every_scalar_stays_the_text_that_was_typed(typed: str) -> None:
    (_, value), (key, _) = load(f"a: {typed}\n{typed}: b\n".encode(), "f").root.entries
    assert value == Scalar(1, 4, typed, True)
    assert key == Scalar(2, 1, typed, True)


def test_quotes_are_told_from_plain_text() -> None:
    root = load(b"a: 'on'\nb: \"on\"\nc: |\n  on\nd: on\n", "f").root
    styles = {key.text: value.plain for key, value in root.entries if isinstance(value, Scalar)}
    assert styles == {"a": False, "b": False, "c": False, "d": True}


def test_places_count_characters_from_one_and_survive_what_is_before_them() -> None:
    text = "ключ: [é😀, x]\n# a comment\n\nblock: |\n  one\n\n  two\nlast:\n  - {a: b}\n"
    root = load(text.encode(), "f").root
    places = {key.text: (key.line, key.column) for key, _ in root.entries}
    assert places == {"ключ": (1, 1), "block": (4, 1), "last": (8, 1)}
    first = root.get("ключ")
    assert isinstance(first, ListNode)
    assert [(item.line, item.column) for item in first.items] == [(1, 8), (1, 12)]
    last = root.get("last")
    assert isinstance(last, ListNode)
    assert (last.items[0].line, last.items[0].column) == (9, 5)


def test_a_byte_order_mark_and_windows_line_ends_change_nothing() -> None:
    plain_file = load(b"a: 1\nb: [2]\n", "f")
    assert load(b"\xef\xbb\xbfa: 1\r\nb: [2]\r\n", "f") == plain_file


@pytest.mark.parametrize("empty", ["", "\n", "# nothing yet\n", "---\n", "{}", "--- {}\n...\n"])
def test_an_empty_file_is_an_empty_mapping(empty: str) -> None:
    assert load(empty.encode(), "f").root.entries == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "f:3:1: 'a' a second time (first on line 1)"),
        ("x: {a: 1, 'a': 2}\n", "f:1:11: 'a' a second time (first on line 1)"),
        ("a: &x 1\n", "f:1:4: an anchor (&x) (write the value where it is used)"),
        ("a: *x\n", "f:1:4: an alias (*x) (write the value itself)"),
        ("a: {<<: {b: 1}}\n", "f:1:5: a merge key ('<<') (write the keys themselves)"),
        ("a: !!int 3\n", "f:1:4: the tag 'tag:yaml.org,2002:int' (leave it out)"),
        ("a: !env X\n", "f:1:4: the tag '!env' (leave it out)"),
        ("a: ! x\n", "f:1:4: the tag '!' (leave it out)"),
        (
            "a: !vault |\n  abc\n",
            "f:1:4: the tag '!vault' (secrets go under 'secrets', by reference)",
        ),
        (
            "a: 1\n---\nb: 2\n",
            "f:2:1: a second document in one file (everything from this line on would be ignored)",
        ),
        (
            "a: {{ x }}\n",
            "f:1:5: a list or mapping as a key"
            " (a key is a single word; a template is a text in quotes: '{{ x }}')",
        ),
        ("a:\n\t- b\n", "f:2:1: a tab (indent with spaces; in double quotes, write \\t)"),
        ("a: b\tc\n", "f:1:5: a tab (indent with spaces; in double quotes, write \\t)"),
        ("a: [1\n", "f:1:4: ',' or ']' is missing somewhere after this bracket"),
        ("a: {b: c\n", "f:1:4: ',' or '}' is missing somewhere after this bracket"),
        ('a: "b\n\n', "f:1:4: this quote is never closed"),
        ("- a\n- b\n", "f:1:1: a list, where a mapping ('key: value' lines) is expected"),
        ("just text\n", "f:1:1: a single value, where a mapping ('key: value' lines) is expected"),
        ('a: "\\ud800"\n', "f:1:7: an escape that is not a character"),
        ('a: "\\UFFFFFFFF"\n', "f:1:7: an escape that is not a character"),
    ],
)
def test_what_is_surprising_or_dangerous_is_refused_in_plain_words(text: str, said: str) -> None:
    assert problems(text) == [said]


@pytest.mark.parametrize(
    ("text", "beginning"),
    [
        ("a: b: c\n", "f:1:5: a ':' that cannot be here"),
        ("a: 1\n b: 2\n", "f:2:3: a ':' that cannot be here"),
        ("a:\n  b: 1\n c: 2\n", "f:3:2: this line does not fit the lines above it"),
        ("a:\n  - b\n  c: 2\n", "f:3:3: this line does not fit the list above it"),
        ("a: |\n x\ny\n", "f:3:1: a line that is neither 'key: value' nor part of a list"),
        ("a: @x\n", "f:1:4: a value cannot begin with this character"),
        ('a: "\\q"\n', "f:1:5: an unknown escape after a backslash"),
        ("a: 'x' y\n", "f:1:8: this line does not fit the lines above it"),
        ("a: &\n", "f:1:5: not YAML: "),
    ],
)
def test_broken_syntax_is_reported_where_it_breaks(text: str, beginning: str) -> None:
    (said,) = problems(text)
    assert said.startswith(beginning)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"a: \xff\n", "f:1:4: not UTF-8: byte 0xff (save it as UTF-8)"),
        (b"a: 1\n\xc3\xa9: \xc3", "f:2:4: not UTF-8: byte 0xc3 (save it as UTF-8)"),
        (b"a: \xed\xa0\x80\n", "f:1:4: not UTF-8: byte 0xed (save it as UTF-8)"),
        ("a: 1".encode("utf-16"), "f:1:1: this is UTF-16 (save it as UTF-8)"),
        (b"\xff\xfe\x00\x00a\x00\x00\x00", "f:1:1: this is UTF-32 (save it as UTF-8)"),
        (b"#" * (MAX_BYTES + 1), "f: larger than 1 MiB; not read"),
    ],
)
def test_other_encodings_and_sizes_are_refused(data: bytes, said: str) -> None:
    assert problems(data) == [said]


@pytest.mark.parametrize("code", [0x00, 0x07, 0x1B, 0x7F, 0x85, 0x9B, 0x2028, 0x202E, 0x2066])
def test_characters_that_hide_something_are_refused_even_in_a_comment(code: int) -> None:
    said = f"f:2:3: a character that must not be here: U+{code:04X}"
    assert problems(f"a: 1\n# {chr(code)}\n") == [
        f"{said} (it is invisible or reorders text; delete it)"
    ]


def test_a_lone_carriage_return_is_refused_since_editors_differ_on_it() -> None:
    assert problems("a: 1\rb: 2\n")[0].startswith(
        "f:1:5: a character that must not be here: U+000D"
    )


def test_nesting_ends_at_the_limit_and_not_before() -> None:
    fits = "a: " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    assert problems(fits) == []
    too_deep = "a: " + "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert problems(too_deep) == ["f:1:23: nested more than 20 deep; not read any further"]


def test_all_problems_come_together_up_to_a_limit() -> None:
    assert problems("a: *x\nb: &y 1\na: 2\nc: !t 1\n") == [
        "f:1:4: an alias (*x) (write the value itself)",
        "f:2:4: an anchor (&y) (write the value where it is used)",
        "f:3:1: 'a' a second time (first on line 1)",
        "f:4:4: the tag '!t' (leave it out)",
    ]
    assert len(problems("".join(f"k{i}: *x\n" for i in range(1000)))) == MAX_PROBLEMS
    assert len(problems("#\t\n" * 1000)) == MAX_PROBLEMS


def test_what_was_refused_leaves_a_mark_and_no_value() -> None:
    assert load(b"a: *x\n", "f").root.get("a") == Broken(1, 4)


@pytest.mark.parametrize(
    "data",
    [
        b"[" * MAX_BYTES,
        b"{" * MAX_BYTES,
        b"- " * (MAX_BYTES // 2),
        b"? " * (MAX_BYTES // 2),
        b"\t" * MAX_BYTES,
        b"a: [" + b"[]," * 300_000 + b"]",
        b"a: {" + b",".join(b"k%d: v" % i for i in range(90_000)) + b"}",
        b"a: b: " * 150_000,
        b'a: "' + b'\\"' * 500_000,
        b"!" * MAX_BYTES,
        b"&" + b"a" * (MAX_BYTES - 1),
        b"---\n" * 250_000,
        BOMB.encode(),
    ],
    ids=lambda data: repr(data[:12]),
)
def test_hostile_files_are_dealt_with_quickly(data: bytes) -> None:
    """Measured: 0.6 s for the slowest, a megabyte of empty lists; far more is a way to stall us."""
    started = time.process_time()
    problems(data)
    assert time.process_time() - started < 10


@given(st.binary(max_size=300))
@example(b'a: "\\UFFFFFFFF"')
@example(b"\xef\xbb\xbf\x00")
@example(b"a: !!binary 0\n? !!timestamp x")
@example(b"a: !%0a%1b x")
@example(b"%YAML 3.0\n---\na")
@example(b"%TAG ! tag:x,2000:\n---\n!a b: c")
def test_arbitrary_bytes_raise_nothing_but_bad_input(data: bytes) -> None:
    assert all(said.isprintable() for said in problems(data))


@given(TEXTS)
def test_arbitrary_yaml_raises_nothing_but_bad_input(text: str) -> None:
    assert all(said.isprintable() for said in problems(text))
