"""``volatile`` in image.yaml: rules for paths, checked before anything is built."""

from __future__ import annotations

import pytest

from imagectl.errors import BadInput
from imagectl.formats.image_yaml import parse_image
from imagectl.model.image import Edit, VolatileAction, VolatileRule
from imagectl.model.names import ImageName

SMALL = "summary: x\nbase: {debian: {suite: bookworm}}\nsuites: [tests/x.py]\n"
FILE = "images/debian-ci/image.yaml"


def rules(text: str) -> tuple[VolatileRule, ...]:
    return parse_image(f"{SMALL}{text}".encode(), FILE, ImageName("debian-ci"))[0].volatile


def said_of(rule: str) -> list[str]:
    with pytest.raises(BadInput) as caught:
        rules(f"volatile:\n- {rule}\n")
    return [str(problem).removeprefix(f"{FILE}:") for problem in caught.value.problems]


def test_most_images_have_none_of_their_own() -> None:
    assert rules("") == ()
    assert rules("volatile: []") == ()


def test_rules_keep_their_order_and_what_they_say() -> None:
    assert rules(
        """\
volatile:
  - path: etc/aliases.db
    action: first-boot
    reason: postalias writes the time into it
    command: newaliases
  - path: etc/default/{grub,x}
    action: rewrite
    reason: a random id
    edits:
      - {find: '^id=.*$', replace: 'id=0'}
      - {find: '^# made at (.*)$'}
  - {path: 'var/lib/mysql/**', action: drop, reason: a cluster has random identifiers}
  - {path: 'srv/*.log', action: empty, reason: logs}
"""
    ) == (
        VolatileRule(
            "etc/aliases.db",
            VolatileAction.FIRST_BOOT,
            "postalias writes the time into it",
            command="newaliases",
        ),
        VolatileRule(
            "etc/default/{grub,x}",
            VolatileAction.REWRITE,
            "a random id",
            (Edit("^id=.*$", "id=0"), Edit("^# made at (.*)$", "")),
        ),
        VolatileRule("var/lib/mysql/**", VolatileAction.DROP, "a cluster has random identifiers"),
        VolatileRule("srv/*.log", VolatileAction.EMPTY, "logs"),
    )


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/etc/x", "'/etc/x' is an absolute path (paths are inside the image; write 'etc/x')"),
        ("../x", "'../x' leads out of where it is"),
        ("a/../../x", "leads out of where it is"),
        ("a/{..,b}/x", "leads out of where it is"),
        ("{.,b}", "leads out of where it is"),
        ("a//b", "'a//b' matches no path"),
        ("a/b/", "matches no path (a folder is named without a slash at its end)"),
        ("a\\b", "holds a backslash (nothing has to be escaped; [*] is a star)"),
        ("a[b", "'a[b': `[` without `]`"),
        ("{a", "'{a': braces do not match"),
        ("[z-a]", "bad character range z-a"),
        ("**", "would take the whole image"),
        ("*", "would take the whole image"),
        ("{*,a}", "would take the whole image"),
        ("[!x]*", None),
        ("a" * 201, "201 characters; 200 are allowed"),
    ],
)
def test_paths_that_no_rule_can_have(path: str, says: str | None) -> None:
    rule = f"{{path: '{path}', action: drop, reason: x}}"
    if says is None:
        assert rules(f"volatile: [{rule}]")
        return
    (said,) = said_of(rule)
    assert said.startswith("5:10: volatile[0].path: ")
    assert says in said


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("action: drop", ["5:3: volatile[0]: 'reason' is missing (one line of text)"]),
        (
            "action: drop, reason: x, command: rm x",
            [
                "5:47: volatile[0].command: belongs to 'first-boot'; the action is 'drop'",
            ],
        ),
        (
            "action: first-boot, reason: x, edits: [{find: a}]",
            [
                "5:21: volatile[0].action: first-boot needs 'command'",
                "5:44: volatile[0].edits: belongs to 'rewrite'; the action is 'first-boot'",
            ],
        ),
        (
            "action: rewrite, reason: x, edits: []",
            ["5:48: volatile[0].edits: is empty; at least one is needed"],
        ),
        (
            "action: rewrite, reason: x, edits: [{find: '(a', replace: b}]",
            [
                "5:56: volatile[0].edits[0].find: '(a' is not a regular expression: missing ), "
                "unterminated subpattern"
            ],
        ),
        (
            "action: rewrite, reason: x, edits: [{find: '(a)', replace: '\\2'}]",
            [
                "5:72: volatile[0].edits[0].replace: '\\\\2' cannot take its place: "
                "invalid group reference 2"
            ],
        ),
    ],
)
def test_each_action_has_what_it_needs_and_nothing_else(rest: str, said: list[str]) -> None:
    assert said_of(f"{{path: a, {rest}}}") == said


@pytest.mark.parametrize("path", ["a/**.db", "a/**/b", "{a,b}/**", "a*/**"])
def test_what_is_made_at_first_boot_must_be_missed_by_the_machine(path: str) -> None:
    (said,) = said_of(f"{{path: '{path}', action: first-boot, reason: x, command: c}}")
    assert "no machine can tell whether it has something at such a path" in said
    for good in ("a/**", "a/*.db", "a/{b,c}"):
        assert rules(f"volatile: [{{path: '{good}', action: first-boot, reason: x, command: c}}]")


def test_a_path_that_comes_twice_is_a_mistake() -> None:
    one = "{path: a, action: drop, reason: x}"
    other = "{path: a, action: empty, reason: y}"
    assert said_of(f"{one}\n- {other}") == [
        "6:10: volatile[1].path: 'a' a second time: only the first counts"
    ]
