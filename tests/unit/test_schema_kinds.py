"""The kinds of values in our files, one by one: what they take, and what they say of the rest."""

from __future__ import annotations

import pytest

from imagectl.errors import BadInput
from imagectl.formats.reading import did_you_mean, read_document
from imagectl.formats.scalars import Boolean, Free, Integer
from imagectl.formats.schema import List, Record, Values, defaulted, optional, required
from imagectl.formats.words import IMAGE_NAME
from imagectl.formats.yaml_strict import MAX_PROBLEMS, load

COUNT = defaulted("count", Integer(1, 5), "How many.", 2)
ON = optional("on", Boolean(), "Whether.")
NAMES = required("names", List(IMAGE_NAME, "names"), "Who.")
FREE = defaulted("free", Free(), "Anything.", {})


def _both(values: Values) -> None:
    if ON in values and COUNT in values and values[ON] and values[COUNT] == 5:
        values.reject(("count",), "5 is too many when on")


EXAMPLE: Record[tuple[int, bool | None, tuple[str, ...], object]] = Record(
    "An example.",
    (COUNT, ON, NAMES, FREE),
    lambda values: (values[COUNT], values[ON], values[NAMES], values[FREE]),
    _both,
)


def said_of(text: str) -> list[str]:
    with pytest.raises(BadInput) as caught:
        read_document(EXAMPLE, load(text.encode(), "f"))
    return [str(problem) for problem in caught.value.problems]


def read(text: str) -> tuple[int, bool | None, tuple[str, ...], object]:
    return read_document(EXAMPLE, load(text.encode(), "f"))


def test_what_is_left_out_is_its_default_or_none() -> None:
    assert read("names: [a]") == (2, None, ("a",), {})
    assert read("names: [a]\ncount: 3\non: false") == (3, False, ("a",), {})


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        *(
            (word, word)
            for word in ("3.10", "yes", "on", "1e3", "0o17", "010", "-0", "True", "1_0")
        ),
        *((word, word) for word in ("2026-11-21", "+1", ".5", "a b", "Null", "NULL", "1.")),
        ("true", True),
        ("false", False),
        ("null", None),
        ("0", 0),
        ("-12", -12),
        ("900", 900),
        ("'true'", "true"),
        ('"900"', "900"),
        ("''", ""),
        ("|\n    text\n", "text\n"),
        ("'{{ x }}'", "{{ x }}"),
        ("[1, [a, {b: null}]]", [1, ["a", {"b": None}]]),
        ("{a: {on: yes}}", {"a": {"on": "yes"}}),
    ],
)
def test_free_values_are_text_but_for_three_words_and_whole_numbers(
    typed: str, value: object
) -> None:
    found = read(f"names: [a]\nfree:\n  key: {typed}")[3]
    assert found == {"key": value}
    assert isinstance(found, dict)
    assert type(found["key"]) is type(value)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("", "f:3:7: free.key: has no value (write null, or '' or '~' in quotes)"),
        (
            "~",
            "f:3:8: free.key: '~' may mean nothing or a home directory"
            " (write null, or '' or '~' in quotes)",
        ),
        ("9" * 19, "f:3:8: free.key: a number too long to be one (put it in quotes)"),
        ('"a\\0b"', "f:3:8: free.key: holds a NUL character"),
        ("{~: 1}", "f:3:9: free.key.~: this is not a key (put it in quotes)"),
        ("[a, *x]", "f:3:12: an alias (*x) (write the value itself)"),
    ],
)
def test_free_values_that_could_be_misread_are_refused(typed: str, said: str) -> None:
    assert said_of(f"names: [a]\nfree:\n  key: {typed}") == [said]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("count: '2'", "f:1:8: count: '2' is text (leave out the quotes)"),
        ("count: 6", "f:1:8: count: 6 is not a whole number from 1 to 5"),
        ("count: 0x2", "f:1:8: count: '0x2' is not a whole number from 1 to 5"),
        ("count: 02", "f:1:8: count: '02' is not a whole number from 1 to 5"),
        ("count: [2]", "f:1:8: count: a list where a whole number from 1 to 5 is expected"),
        (
            "count: null",
            "f:1:8: count: is null (write a whole number from 1 to 5, or leave the key out)",
        ),
        ("count:", "f:1:7: count: has no value"),
        ("count: ''", "f:1:8: count: has no value"),
        ("on: yes", "f:1:5: on: 'yes' is neither true nor false"),
        ("on: 'true'", "f:1:5: on: 'true' is text (leave out the quotes)"),
        ("cuont: 2", "f:1:1: unknown key 'cuont' (did you mean count?)"),
        ("zzz: 2", "f:1:1: unknown key 'zzz' (known: count, on, names, free)"),
        ("Count: 2", "f:1:1: unknown key 'Count' (did you mean count?)"),
    ],
)
def test_a_wrong_value_is_said_in_plain_words(text: str, said: str) -> None:
    (found,) = said_of(f"{text}\nnames: [a]")
    assert found.startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "f:1:1: 'names' is missing (a list of names)"),
        ("names: []", "f:1:8: names: is empty; at least one is needed"),
        ("names: a", "f:1:8: names: 'a' where a list of names is expected (write [a])"),
        ("names: {a: b}", "f:1:8: names: a mapping where a list of names is expected"),
        ("names: [a, b, a]", "f:1:15: names[2]: 'a' a second time (first on line 1)"),
        ("names: [a, [b]]", "f:1:12: names[1]: a list where an image name is expected"),
        (
            f"names: [{', '.join('abcdefghij'[int(d)] for n in range(1001) for d in '1')}]",
            "f:1:8: names: 1001 items; 1000 are allowed",
        ),
    ],
)
def test_a_wrong_list_is_said_in_plain_words(text: str, said: str) -> None:
    assert said_of(text) == [said]


def test_a_hint_names_the_likeliest_word_or_some_of_all() -> None:
    assert did_you_mean("Stabel", ["beta", "stable"]) == "did you mean stable?"
    assert did_you_mean("x", ["beta", "stable"]) == "known: beta, stable"
    assert did_you_mean("x" * 10**6, [f"w{i}" for i in range(99)]).endswith("w10, w11, ...")
    assert did_you_mean("x", []) == ""


def test_problems_of_values_between_values_and_of_the_yaml_itself_come_together() -> None:
    assert said_of("count: 5\non: true\nnames: [A]\nfree: &x 1\nnmaes: []") == [
        "f:1:8: count: 5 is too many when on",
        "f:3:9: names[0]: 'A' is not an image name: it begins with a letter a-z and holds only"
        " a-z, 0-9 and single hyphens in between",
        "f:4:7: an anchor (&x) (write the value where it is used)",
        "f:5:1: unknown key 'nmaes' (did you mean names?)",
    ]


def test_messages_stay_on_one_short_line_whatever_the_file_says() -> None:
    for odd in ('"\\n\\e[31m"', '"' + "\\n\\e[31m" + "x" * 500 + '"'):
        for text in (f"{odd}: 1", f"names: [{odd}]", f"free: {{{odd}: {{{odd}: }}}}"):
            for said in said_of(text):
                assert said.isprintable()
                assert len(said) < 300


def test_reading_ends_where_nobody_would_read_on() -> None:
    assert len(said_of("\n".join(f"key{i}: 1" for i in range(10_000)))) == MAX_PROBLEMS
