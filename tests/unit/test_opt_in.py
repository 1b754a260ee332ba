"""What a consumer asks for, from all the places where it can say so."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from imagectl.errors import BadInput, BadUsage, NotFound
from imagectl.formats.build_config import BUILD_CONFIG, parse_build_config
from imagectl.formats.ci_variables import VARIABLES, parse_environment
from imagectl.model.channel import Channel, Move, MoveKind
from imagectl.model.consumer import BuildConfig, Variables, Wish
from imagectl.model.names import ChannelName, ImageName, parse_image_ref, parse_version_id
from imagectl.policy.matrix import cells
from imagectl.policy.opting import Branch, Opted, followed, opt, opting
from imagectl.policy.past import move_then

CI = ImageName("debian-ci")
WEB = ImageName("web")
BETA = ChannelName("beta")
STABLE = ChannelName("stable")
V1 = parse_version_id("20261120.1")
V2 = parse_version_id("20261121.1")
MAIN = Branch("main")

SEVERAL = """\
images:
  debian-ci: {channel: beta, max_age: 30d}
  web:
    branches: {next: beta}
catalog: public
root: keys/root.json
min_generation: 7
"""


def config(text: str, file: str = ".imagectl.yaml") -> BuildConfig:
    return parse_build_config(text.encode(), file)


def wrong(text: str, file: str = ".imagectl.yaml") -> list[str]:
    with pytest.raises(BadInput) as caught:
        config(text, file)
    return [str(problem) for problem in caught.value.problems]


def asked(
    *typed: str,
    environment: dict[str, str] | None = None,
    file: str | None = None,
    branch: Branch = MAIN,
    insisted: str | None = None,
) -> Opted:
    variables = parse_environment(opting(environment or {})) if environment else Variables()
    read = config(file) if file is not None else None
    refs = [parse_image_ref(each) for each in typed]
    return opt(refs, variables, read, branch, insisted=insisted)


def test_one_file_asks_for_several_images() -> None:
    read = config(SEVERAL)
    assert read.images == (
        Wish(CI, BETA, max_age=timedelta(days=30)),
        Wish(WEB, branches={"next": BETA}),
    )
    assert (read.catalog, read.root, read.min_generation) == ("public", "keys/root.json", 7)
    assert read.several
    assert read.images[0].said["channel"] == ".imagectl.yaml:2:24"
    assert read.images[1].said["branches.next"] == ".imagectl.yaml:4:22"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("images: {}", "1:9: images: is empty; at least one is needed"),
        ("images: {a: }", "1:13: images.a: nothing where"),
        ("images: {a: beta}", "1:13: images.a: 'beta' where"),
        ("images: {a: {chanel: beta}}", "1:14: images.a: unknown key 'chanel' (did you mean"),
        ("images: {a: {image: b}}", "1:14: images.a: unknown key 'image'"),
        ("images: {a: {max_age: 0d}}", "1:23: images.a.max_age: would refuse every image"),
        ("images: {a: {}, a: {}}", "1:17: 'a' a second time"),
        ("images: {A: {}}", "1:10: images: 'A' is not an image name"),
        ("images: {a: {}}\nimage: a", "2:8: image: cannot stand beside 'images'"),
        ("images: {a: {}}\nchannel: beta", "2:10: channel: cannot stand beside 'images'"),
        ("image: a\nmin_generation: -1", "2:17: min_generation: -1 is not"),
        ("image: a\nmin_generation: '5'", "2:17: min_generation: '5' is text"),
        ("image: a\ncatalog: ''", "2:10: catalog: has no value"),
        ("image: a\nroot: [x]", "2:7: root: a list where"),
    ],
)
def test_what_cannot_be_honoured_of_several_images_is_an_error(text: str, said: str) -> None:
    found = wrong(text)
    assert any(each.startswith(f".imagectl.yaml:{said}") for each in found), found


WORKFLOW = """\
on: push
env:
  OTHER: &x [1]
  IMAGECTL_IMAGE: debian-ci
  IMAGECTL_CHANNEL: beta
  IMAGECTL_MIN_GENERATION: "12"
  IMAGECTL_CONSUMER: ${{ github.run_id }}
jobs:
  test: {runs-on: x, steps: *x}
"""


@pytest.mark.parametrize("section", ["env", "variables"])
def test_a_ci_services_own_file_may_have_it_among_its_variables(section: str) -> None:
    read = config(WORKFLOW.replace("env:", f"{section}:"), ".github/workflows/ci.yml")
    assert read.images == (Wish(CI, BETA),)
    assert (read.min_generation, read.variables) == (12, True)
    assert read.images[0].said["channel"] == ".github/workflows/ci.yml:5:21"


@pytest.mark.parametrize("section", ["env", "variables"])
def test_its_variables_say_whatever_a_build_config_says_of_all_its_images(section: str) -> None:
    keys = {
        "location": "dc1",
        "format": "qcow2",
        "catalog": "https://images.example",
        "root": "keys/root.json",
        "min_generation": "7",
        "notices": "true",
        "despite_brownout": "true",
    }
    own = config("".join(f"{key}: {value}\n" for key, value in {"image": "web", **keys}.items()))
    lines = [f"  IMAGECTL_{key.upper()}: {value}\n" for key, value in keys.items()]
    text = f"{section}:\n  IMAGECTL_IMAGE: web\n{''.join(lines)}"
    read = config(text, "ci.yml")
    assert read == replace(own, variables=True)
    assert read.said["location"] == "ci.yml:3:22"
    told = config(text.replace(": true", ': "0"'), "ci.yml")
    assert (told.notices, told.despite_brownout) == (False, False)


def test_every_key_of_a_build_config_has_its_variable() -> None:
    """But for what is of one of several images, and for those that would need a list."""
    keys = {field.key for field in BUILD_CONFIG.fields} - {"images", "branches"}
    assert {f"IMAGECTL_{key.upper()}" for key in keys} == {field.key for field in VARIABLES.fields}


def test_gitlab_may_describe_its_variables() -> None:
    text = "variables:\n  IMAGECTL_IMAGE: {value: web, description: which}\n"
    assert config(text, ".gitlab-ci.yml").images == (Wish(WEB),)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("CHANNEL", "CHANEL", "ci.yml:5:3: unknown key 'IMAGECTL_CHANEL' (did you mean IMAGECTL_"),
        ("beta", "''", "ci.yml:5:21: IMAGECTL_CHANNEL: has no value"),
        ("beta", "${{ matrix.channel }}", "ci.yml:5:21: IMAGECTL_CHANNEL: '${{ matrix.channel }}'"),
        ("beta", "$CHANNEL", "ci.yml:5:21: IMAGECTL_CHANNEL: '$CHANNEL' is known only while"),
        ("beta", "*x", "ci.yml:5:21: an alias (*x)"),
        ("beta", "[beta]", "ci.yml:5:21: IMAGECTL_CHANNEL: a list where"),
        ("beta", "beta\n  IMAGECTL_CHANNEL: stable", "ci.yml:6:3: 'IMAGECTL_CHANNEL' a second"),
        ("CHANNEL: beta", "LOCATION: DC1", "ci.yml:5:22: IMAGECTL_LOCATION: 'DC1' is not a locat"),
        ("CHANNEL: beta", "LOCATON: a", "ci.yml:5:3: unknown key 'IMAGECTL_LOCATON' (did you mean"),
        ("CHANNEL: beta", "LOCATION: $DC", "ci.yml:5:22: IMAGECTL_LOCATION: '$DC' is known only"),
        ("CHANNEL: beta", "FORMAT: qcow", "ci.yml:5:20: IMAGECTL_FORMAT: 'qcow' is not known here"),
        ("CHANNEL: beta", "NOTICES: maybe", "ci.yml:5:21: IMAGECTL_NOTICES: 'maybe' is neither 1"),
        (
            "steps: *x",
            "env: {IMAGECTL_LOCATION: a}",
            "ci.yml:9:28: 'IMAGECTL_LOCATION' is not read",
        ),
        ("debian-ci", "debian-ci:beta", "ci.yml:4:19: IMAGECTL_IMAGE: 'debian-ci:beta' is not"),
        ("IMAGECTL_IMAGE: debian-ci", "A: b", "ci.yml:1:1: IMAGECTL_IMAGE is missing"),
        ("'12'", "'x'", ""),
        ("steps: *x", "env: {IMAGECTL_CHANNEL: beta}", "ci.yml:9:28: 'IMAGECTL_CHANNEL' is not"),
        ("on: push", "imagectl: {image: a}", "ci.yml:1:11: both 'imagectl:' and variables"),
        ("on: push", "variables: {IMAGECTL_IMAGE: a}", "ci.yml:1:1: both env and variables"),
    ],
)
def test_an_opt_in_among_variables_is_honoured_or_an_error(old: str, new: str, said: str) -> None:
    text = WORKFLOW.replace(old, new)
    if not said:
        text, said = WORKFLOW.replace('"12"', "twelve"), "ci.yml:6:28: IMAGECTL_MIN_GENERATION"
    found = wrong(text, "ci.yml")
    assert any(each.startswith(said) for each in found), found


TRAVIS = """\
imagectl: {image: debian-ci}
env:
  global:
    - IMAGECTL_CHANNEL=beta FAST=1
script: IMAGECTL_CHANNEL=beta imagectl resolve
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TRAVIS, ".travis.yml:4:7: IMAGECTL_CHANNEL=... in a text is not read"),
        (TRAVIS.replace("IMAGECTL", "A=b IMAGECTL", 1), ".travis.yml:4:7: IMAGECTL_CHANNEL=..."),
        ("imagectl: {image: a}\njobs: [{env: IMAGECTL_CHANNEL=beta}]", ".travis.yml:2:14: "),
        ("x: &k IMAGECTL_CHANNEL\njobs: [{env: {*k : beta}}]", ".travis.yml:2:15: "),
        ("env: {x: &k IMAGECTL_CHANNEL, *k : beta}", ".travis.yml:1:1: IMAGECTL_IMAGE is missing"),
    ],
)
def test_an_opt_in_in_a_form_that_is_not_read_is_an_error(text: str, said: str) -> None:
    found = wrong(text, ".travis.yml")
    assert any(each.startswith(said) for each in found), found


def test_a_script_may_say_it_to_its_own_shell() -> None:
    text = TRAVIS.replace("    - IMAGECTL_CHANNEL=beta FAST=1", "    - FAST=1")
    assert config(text, ".travis.yml").images == (Wish(CI),)


def test_a_yaml_bomb_beside_it_is_never_expanded() -> None:
    """Nine levels of nine aliases each would be 400 million values."""
    levels = ["a0: &a0 [x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    text = "\n".join([*levels, "env: {IMAGECTL_IMAGE: debian-ci}"])
    assert config(text, "ci.yml").images == (Wish(CI),)
    assert config("\n".join([*levels, "imagectl: {image: web}"]), "x.yml").images == (Wish(WEB),)
    assert any("alias" in each for each in wrong("\n".join([*levels, "image: *a9"])))


def test_depth_without_end_is_an_error() -> None:
    deep = "x: " + "[" * 5000 + "]" * 5000
    assert "nested more than" in wrong(f"{deep}\nenv: {{IMAGECTL_IMAGE: a}}", "ci.yml")[0]
    assert "nested more than" in wrong(f"image: a\n{deep}")[0]


def test_the_environment_wins_over_the_file_and_what_is_typed_over_both() -> None:
    file = "image: debian-ci\nchannel: beta\nmax_age: 30d\n"
    channel = {"IMAGECTL_CHANNEL": "nightly", "IMAGECTL_MAX_AGE": "1d"}
    (plain,) = asked(file=file).wishes
    (set_there,) = asked(file=file, environment=channel).wishes
    (typed,) = asked("debian-ci:stable", file=file, environment=channel).wishes
    assert (plain.channel, plain.max_age) == (BETA, timedelta(days=30))
    assert (set_there.channel, set_there.max_age) == ("nightly", timedelta(days=1))
    assert (typed.channel, typed.max_age) == (STABLE, timedelta(days=1))


def test_where_they_differ_it_is_said() -> None:
    found = asked(
        "debian-ci@20261120.1",
        file="image: debian-ci\nchannel: beta\n",
        environment={"IMAGECTL_CHANNEL": "nightly"},
    )
    assert found.notices == (
        "debian-ci: channel nightly, as IMAGECTL_CHANNEL says, and not channel beta as "
        ".imagectl.yaml:2:10 does",
        "debian-ci: version 20261120.1, as the command line says, and not channel nightly as "
        "IMAGECTL_CHANNEL does",
    )
    assert asked("debian-ci:beta", file="image: debian-ci\nchannel: beta\n").notices == ()


def test_a_channel_that_wins_is_not_undone_by_a_pin_or_a_branch_that_lost() -> None:
    file = 'image: debian-ci\nversion: "20261120.1"\nbranches: {main: stable}\n'
    for way in (
        asked("debian-ci:beta", file=file),
        asked(file=file, environment={"IMAGECTL_CHANNEL": "beta"}),
    ):
        assert followed(way.wishes[0], "main") == BETA


def test_an_image_alone_on_the_command_line_keeps_what_the_file_opts_into() -> None:
    """To type the image's name must not quietly lead to stable."""
    assert asked("debian-ci", file=SEVERAL).wishes[0].channel == BETA
    assert asked("web", file=SEVERAL, branch=Branch("next")).wishes == (config(SEVERAL).images[1],)


def test_the_image_of_the_environment_picks_one_of_the_file() -> None:
    found = asked(file=SEVERAL, environment={"IMAGECTL_IMAGE": "debian-ci"})
    assert found.wishes == (Wish(CI, BETA, max_age=timedelta(days=30)),)
    assert not found.several
    other = asked(file="image: web", environment={"IMAGECTL_IMAGE": "debian-ci"})
    assert other.notices == (
        "IMAGECTL_IMAGE asks for debian-ci, and not for web (.imagectl.yaml:1:8)",
    )


def test_a_channel_of_the_environment_is_for_its_own_image_only() -> None:
    environment = {"IMAGECTL_IMAGE": "debian-ci", "IMAGECTL_CHANNEL": "beta"}
    assert asked("web", environment=environment).wishes == (Wish(WEB),)
    assert asked("debian-ci", environment=environment).wishes == (Wish(CI, BETA),)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"IMAGECTL_CHANEL": "beta"}, "unknown key 'IMAGECTL_CHANEL' (did you mean IMAGECTL_CHAN"),
        ({"IMAGECTL_IMAGES": "a"}, "unknown key 'IMAGECTL_IMAGES' (did you mean IMAGECTL_IMAGE"),
        ({"IMAGECTL_CHANNEL": ""}, "IMAGECTL_CHANNEL: has no value"),
        ({"IMAGECTL_CHANNEL": "Beta"}, "IMAGECTL_CHANNEL: 'Beta' is not a channel name"),
        ({"IMAGECTL_VERSION": "latest"}, "IMAGECTL_VERSION: 'latest' is not a version"),
        ({"IMAGECTL_MAX_AGE": "0s"}, "IMAGECTL_MAX_AGE: would refuse every image"),
        ({"IMAGECTL_MIN_GENERATION": "1e3"}, "IMAGECTL_MIN_GENERATION: '1e3' is not"),
        ({"IMAGECTL_CHANNEL": "beta\n"}, "IMAGECTL_CHANNEL: 'beta\\n' is not"),
    ],
)
def test_an_opt_in_of_the_environment_is_honoured_or_an_error(
    environment: dict[str, str], said: str
) -> None:
    with pytest.raises(BadInput) as caught:
        asked("debian-ci", environment=environment)
    assert str(caught.value.problems[0]).startswith(f"the environment: {said}")


def test_what_is_not_about_opting_in_is_left_alone() -> None:
    environment = {
        "IMAGECTL_CONSUMER": "",
        "IMAGECTL_KEY_PIN": "1",
        "PATH": "/",
        "IMAGECTL_RUN": "",
        "IMAGECTL_NOTICES": "1",
        "IMAGECTL_DESPITE_BROWNOUT": "1",
    }
    assert opting(environment) == {}


@pytest.mark.parametrize(
    ("typed", "file", "environment", "insisted", "said"),
    [
        ((), None, {}, None, "which image?"),
        ((), None, {"IMAGECTL_CHANNEL": "beta"}, None, "which image?"),
        (("a:beta", "a:stable"), None, {}, None, "a is asked for twice"),
        ((), SEVERAL, {"IMAGECTL_VERSION": "20261120.1"}, None, "IMAGECTL_VERSION is set, and"),
        (("wbe",), SEVERAL, {}, "x.yaml", "x.yaml does not say how wbe is wanted"),
    ],
)
def test_what_does_not_go_together_is_bad_usage(
    typed: tuple[str, ...],
    file: str | None,
    environment: dict[str, str],
    insisted: str | None,
    said: str,
) -> None:
    with pytest.raises(BadUsage, match=said):
        asked(*typed, file=file, environment=environment, insisted=insisted)


def test_not_to_know_the_branch_is_an_error_where_branches_differ() -> None:
    """Else the channel of one's branch would quietly be stable."""
    lost = Branch(None, "no CI service names it")
    with pytest.raises(BadUsage, match="which branch") as caught:
        asked(file=SEVERAL, branch=lost)
    assert caught.value.where == ".imagectl.yaml:4:5"
    assert asked("debian-ci", file=SEVERAL, branch=lost).wishes
    assert asked(file='image: a\nversion: "20261120.1"\nbranches: {x: beta}', branch=lost).wishes
    assert asked(file=SEVERAL, branch=Branch("")).wishes


@pytest.mark.parametrize(
    ("wish", "branch", "expected"),
    [
        (Wish(CI), None, [(STABLE, True, False), (BETA, False, True)]),
        (Wish(CI, BETA), None, [(BETA, True, True), (STABLE, False, False)]),
        (
            Wish(CI, ChannelName("lts")),
            None,
            [("lts", True, False), (STABLE, False, True), (BETA, False, True)],
        ),
        (
            Wish(CI, version=V1),
            None,
            [(None, True, False), (STABLE, False, True), (BETA, False, True)],
        ),
        (Wish(CI, branches={"next": BETA}), "next", [(BETA, True, True), (STABLE, False, False)]),
        (Wish(CI, branches={"next": BETA}), "main", [(STABLE, True, False), (BETA, False, True)]),
    ],
)
def test_a_matrix_has_both_channels_and_never_may_all_of_it_fail(
    wish: Wish, branch: str | None, expected: list[tuple[ChannelName | None, bool, bool]]
) -> None:
    found = cells(wish, branch)
    assert [(each.wish.channel, each.own, each.allowed_to_fail) for each in found] == expected
    assert [each.wish.version for each in found if each.wish.channel] == [None] * sum(
        1 for each in found if each.wish.channel
    )
    assert not all(each.allowed_to_fail for each in found)


def at(day: int) -> datetime:
    return datetime(2026, 11, day, tzinfo=UTC)


def test_what_a_channel_pointed_to_then() -> None:
    moves = (
        Move(V1, MoveKind.PROMOTE, at(2), "me", "", 5),
        Move(V2, MoveKind.PROMOTE, at(4), "me", "", 9),
        Move(V1, MoveKind.ROLLBACK, at(6), "me", "", 12),
    )
    channel = Channel(CI, STABLE, moves)

    def then(day: int) -> object:
        return move_then(CI, STABLE, channel, at(day), at(20)).version

    assert [then(day) for day in (2, 3, 4, 5, 6, 7)] == [V1, V1, V2, V2, V1, V1]
    with pytest.raises(NotFound, match="pointed to nothing") as caught:
        then(1)
    assert caught.value.why == "its first move was at 2026-11-02 00:00 UTC"
    with pytest.raises(NotFound):
        move_then(CI, STABLE, None, at(2), at(20))
    with pytest.raises(BadUsage, match="still to come"):
        then(21)
