"""The consumer's build config: what it opts into is honoured, or it is an error."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagectl.errors import BadInput
from imagectl.formats.build_config import parse_build_config
from imagectl.model.consumer import BuildConfig, Wish
from imagectl.model.names import ChannelName, ImageName, parse_version_id

OWN = ".imagectl.yaml"
IMAGE = ImageName("debian-ci")
BETA = ChannelName("beta")


def read(text: str, file: str = OWN) -> BuildConfig:
    return parse_build_config(text.encode(), file)


def only(text: str, file: str = OWN) -> Wish:
    (wish,) = read(text, file).images
    return wish


def said_of(text: str, file: str = OWN) -> list[str]:
    with pytest.raises(BadInput) as caught:
        read(text, file)
    return [str(problem) for problem in caught.value.problems]


def test_an_image_alone_is_enough_and_chooses_no_channel() -> None:
    assert read("image: debian-ci") == BuildConfig((Wish(IMAGE),))


def test_a_config_that_says_everything() -> None:
    text = """\
image: debian-ci
channel: beta            # stable where absent: beta is opted into
version: "20261120.1"    # optional pin; wins over channel
max_age: 30d             # optional: refuse an image older than that
branches: {next: beta, release/1.10: stable}
"""
    assert only(text) == Wish(
        IMAGE,
        BETA,
        parse_version_id("20261120.1"),
        timedelta(days=30),
        {"next": BETA, "release/1.10": ChannelName("stable")},
    )


def test_a_version_needs_no_quotes() -> None:
    assert only("image: a\nversion: 20261120.10\n").version == parse_version_id("20261120.10")


def test_a_branch_may_look_like_a_number() -> None:
    config = only("image: a\nchannel: stable\nbranches: {1.10: beta, on: beta}\n")
    assert config.branches == {"1.10": BETA, "on": BETA}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "1:1: 'image' is missing (an image name; or 'images', for several)"),
        ("image: a\nchanel: beta", "2:1: unknown key 'chanel' (did you mean channel?)"),
        ("image: a\nChannel: beta", "2:1: unknown key 'Channel' (did you mean channel?)"),
        (
            "image: a\nchannel:",
            "2:9: channel: has no value (write a channel name, or leave the key out)",
        ),
        (
            "image: a\nchannel: ~",
            "2:10: channel: is ~ (write a channel name, or leave the key out)",
        ),
        (
            "image: a\nchannel: beta\nchannel: stable",
            "3:1: 'channel' a second time (first on line 2)",
        ),
        ("image: a\nchannel: [beta]", "2:10: channel: a list where a channel name is expected"),
        ("image: a\nmax_age: 30", "2:10: max_age: '30' is not a duration"),
        ("image: a\nmax_age: 0d", "2:10: max_age: would refuse every image"),
        (
            "image: a\nversion: 20261131.1",
            "2:10: version: '20261131.1' is not a version: 20261131 is not a day",
        ),
        ("image: a:beta", "1:8: image: 'a:beta' is not an image name"),
        (
            "image: a\nbranches: {release/*: beta}",
            "2:12: branches: 'release/*' is a pattern"
            " (name each branch; patterns are not known here)",
        ),
        (
            "image: a\nbranches: {a..b: beta}",
            "2:12: branches: 'a..b' cannot be the name of a branch",
        ),
        ("image: a\nbranches: {next: }", "2:18: branches.next: has no value"),
        (
            "image: a\nbranches: [next]",
            "2:11: branches: a list where a mapping of branches to channels is expected",
        ),
        ("imagectl: {image: a}", "1:1: unknown key 'imagectl'"),
    ],
)
def test_an_opt_in_that_cannot_be_honoured_is_an_error_and_never_quietly_stable(
    text: str, said: str
) -> None:
    found = said_of(text)
    assert any(each.startswith(f"{OWN}:{said}") for each in found), found


@pytest.mark.parametrize(
    "name", [".imagectl.yaml", ".imagectl.yml", "/home/me/app/.imagectl.yaml", "app/.imagectl.yml"]
)
def test_the_files_own_name_makes_it_a_build_config_as_a_whole(name: str) -> None:
    assert only("image: debian-ci", name).image == IMAGE
    assert said_of("image: a\nstages: [x]", name)[0].startswith(f"{name}:2:1: unknown key 'stages'")
    assert "anchor" in said_of("image: &x a", name)[0]


CI_FILE = """\
image: &image python:3.11      # the CI service's own key
variables: {CHANNEL: *image}
imagectl:
  image: debian-ci
  channel: beta
test:
  script: !reference [.x, script]
  script: twice
"""


def test_in_another_file_only_the_key_imagectl_counts() -> None:
    assert only(CI_FILE, "ci/pipeline.yml") == Wish(IMAGE, BETA)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            CI_FILE.replace("channel:", "chanel:"),
            "ci.yml:5:3: unknown key 'chanel' (did you mean channel?)",
        ),
        (
            CI_FILE.replace("imagectl:", "imagctl:"),
            "ci.yml:1:1: no key 'imagectl' at the top of this file"
            " (put image and channel under 'imagectl:')",
        ),
        ("a: &a {image: x}\nimagectl: *a", "ci.yml:2:11: an alias (*a) (write the value itself)"),
        ("imagectl: beta", "ci.yml:1:11: a single value, where a mapping"),
        ("imagectl:", "ci.yml:1:10: a single value, where a mapping"),
        (
            "image: debian-ci\nchannel: beta",
            "ci.yml:1:1: no key 'imagectl' at the top of this file",
        ),
    ],
)
def test_an_opt_in_in_another_file_is_honoured_or_an_error_too(text: str, said: str) -> None:
    assert said_of(text, "ci.yml")[0].startswith(said)


@given(st.binary(max_size=200), st.sampled_from([OWN, "ci.yml"]))
def test_arbitrary_bytes_raise_nothing_but_bad_input(data: bytes, file: str) -> None:
    for prefix in (b"", b"image: a\n", b"imagectl:\n  image: a\n  "):
        try:
            parse_build_config(prefix + data, file)
        except BadInput as error:
            said = str(error)
            assert said.endswith(file)


def test_reading_one_imports_nothing_heavy() -> None:
    """Consumers pay for it on every build. Measured: 40 ms with the interpreter's own 10 ms."""
    program = (
        "import sys; before = set(sys.modules);"
        "from imagectl.formats.build_config import parse_build_config as p;"
        "p(b'image: a', '.imagectl.yaml'); print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"]},
    )
    loaded = set(done.stdout.split())
    assert "yaml" in loaded
    heavy = {
        "json",
        "jsonschema",
        "pydantic",
        "sqlalchemy",
        "urllib",
        "asyncio",
        "difflib",
        "socket",
    }
    assert not loaded & heavy
    assert not {each for each in loaded if each.startswith(("imagectl.adapters", "imagectl.cli"))}
