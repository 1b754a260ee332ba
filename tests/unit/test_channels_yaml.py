"""``catalog/channels.yaml``: channels, exceptions, and a policy that cannot work."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagectl.errors import BadInput
from imagectl.formats.channels_yaml import parse_policy
from imagectl.model.channel import ChannelRule, Gate, ReleasePolicy
from imagectl.model.names import ChannelName, ImageName
from imagectl.model.retention import Approver, RetentionPolicy, RetentionRule

FILE = "catalog/channels.yaml"
BETA = ChannelName("beta")
STABLE = ChannelName("stable")
CI = ImageName("debian-ci")
BASE = ImageName("debian-base")


def read(text: str) -> ReleasePolicy:
    return parse_policy(text.encode(), FILE)[0]


def said_of(text: str) -> list[str]:
    with pytest.raises(BadInput) as caught:
        read(text)
    return [str(problem) for problem in caught.value.problems]


def test_a_channel_says_little_and_has_defaults() -> None:
    policy = read("channels:\n  beta: {entry: true}\n  stable: {from: beta}\n")
    assert policy.channels == (
        ChannelRule(BETA, True, None, (Gate.TESTS,), timedelta(0), 3),
        ChannelRule(STABLE, False, BETA, (Gate.TESTS,), timedelta(0), 3),
    )
    assert policy.entry == BETA
    assert policy.images == {}


def test_gates_in_the_words_of_the_file() -> None:
    policy = read(
        "channels: {a: {entry: true}, b: {from: a, gates: [reproducible, rollback_ready]}}"
    )
    assert policy.channels[1].gates == (Gate.REPRODUCIBLE, Gate.ROLLBACK_READY)
    assert said_of("channels: {beta: {entry: true, gates: [reproducable]}}") == [
        f"{FILE}:1:40: channels.beta.gates[0]: 'reproducable' is not known here "
        "(did you mean reproducible?)"
    ]


def test_channels_keep_the_order_of_the_file() -> None:
    policy = read("channels: {stable: {from: rc}, rc: {from: dev}, dev: {entry: true}}")
    assert policy.names == ("stable", "rc", "dev")
    assert policy.entry == "dev"


def test_an_exception_of_an_image_inherits_what_it_does_not_say() -> None:
    policy = read(
        """\
channels:
  beta: {entry: true}
  stable: {from: beta, soak: 3d, rollback_window: 5}
images:
  debian-ci: {channels: {stable: {soak: 7d}}}
  debian-base: {channels: {beta: {rollback_window: 1}, stable: {soak: 0s}}}
"""
    )
    assert policy.rule(CI, STABLE) == ChannelRule(
        STABLE, False, BETA, (Gate.TESTS,), timedelta(days=7), 5
    )
    assert policy.rule(CI, BETA) == policy.channels[0]
    assert policy.rule(BASE, STABLE) == ChannelRule(
        STABLE, False, BETA, (Gate.TESTS,), timedelta(0), 5
    )
    entry = policy.rule(BASE, BETA)
    assert entry is not None
    assert (entry.entry, entry.rollback_window) == (True, 1)
    assert policy.rule(ImageName("other"), STABLE) == policy.channels[1]


def test_versions_are_kept_by_default() -> None:
    policy = read("channels: {beta: {entry: true}}")
    assert policy.retention == RetentionPolicy()
    assert policy.retention.rule(CI) == RetentionRule(
        5, timedelta(days=30), timedelta(days=30), timedelta(days=14)
    )
    assert (policy.retention.max_count, policy.retention.max_share) == (5, 0.1)


def test_how_long_versions_are_kept_in_the_words_of_the_file() -> None:
    retention = read(
        f"""\
channels: {{beta: {{entry: true}}}}
retention:
  keep_last: 3
  min_age: 1d
  unused: 2d
  grace: 3d
  max_count: 7
  max_share: 29%
  plan_expires: 1h
  approvals: 1
  approvers: {{ann: {"a" * 64}, bob: {"b" * 64}}}
"""
    ).retention
    assert retention == RetentionPolicy(
        RetentionRule(3, timedelta(days=1), timedelta(days=2), timedelta(days=3)),
        None,
        7,
        0.29,
        timedelta(hours=1),
        1,
        (Approver("ann", "a" * 64), Approver("bob", "b" * 64)),
    )


def test_what_is_said_of_a_channel_of_an_image_comes_before_channel_image_and_all() -> None:
    retention = read(
        """\
channels:
  beta: {entry: true}
  rc: {from: beta, keep_last: 7}
  stable: {from: rc, keep_last: 9}
retention: {keep_last: 2, grace: 5d}
images:
  debian-ci:
    retention: {keep_last: 4, unused: 1d}
    channels: {stable: {keep_last: 20}}
  debian-base: {retention: {min_age: 1w}}
  other: {channels: {rc: {soak: 1d}}}
"""
    ).retention

    def kept(image: ImageName) -> list[int]:
        return [
            retention.rule(image).kept_in(ChannelName(each)) for each in ("beta", "rc", "stable")
        ]

    assert kept(CI) == [4, 7, 20]
    assert kept(BASE) == kept(ImageName("other")) == [2, 7, 9]
    assert retention.rule(CI).unused == timedelta(days=1)
    assert retention.rule(CI).grace == retention.rule(BASE).grace == timedelta(days=5)
    assert retention.rule(BASE).min_age == timedelta(days=7)
    assert set(retention.images or ()) == {CI, BASE}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ["1:1: 'channels' is missing (a mapping of channels)"]),
        ("channels: {}", ["1:11: channels: is empty; at least one is needed"]),
        (
            "channels: {beta: {}}",
            [
                "1:11: channels: no entry channel"
                " (give the channel that builds arrive in: entry: true)",
                "1:12: channels.beta: 'from' is missing"
                " (say which channel it is promoted from, or that it is the entry)",
            ],
        ),
        (
            "channels: {a: {entry: true}, b: {entry: true}}",
            ["1:41: channels.b.entry: a second entry channel, beside 'a'"],
        ),
        (
            "channels: {a: {entry: true, from: b, soak: 1d}, b: {from: a}}",
            [
                "1:35: channels.a.from: an entry channel has no 'from': builds arrive in it",
                "1:44: channels.a.soak: an entry channel has no 'soak': nothing is before it",
            ],
        ),
        (
            "channels: {beta: {entry: true}, stable: {from: bete}}",
            ["1:48: channels.stable.from: there is no channel 'bete' (did you mean beta?)"],
        ),
        (
            "channels: {a: {entry: true}, b: {from: b}}",
            ["1:40: channels.b.from: 'b' would be promoted from itself"],
        ),
        (
            "channels: {a: {entry: true}, b: {from: d}, c: {from: b}, d: {from: c}, e: {from: d}}",
            [
                "1:40: channels.b.from: 'b' would be promoted from itself",
                "1:54: channels.c.from: 'c' would be promoted from itself",
                "1:68: channels.d.from: 'd' would be promoted from itself",
            ],
        ),
        (
            "channels: {a: {entry: true, gates: [test]}}",
            ["1:37: channels.a.gates[0]: 'test' is not known here (did you mean tests?)"],
        ),
        (
            "channels: {a: {entry: true, gates: []}}",
            ["1:36: channels.a.gates: is empty; at least one is needed"],
        ),
        (
            "channels: {a: {entry: yes}}",
            ["1:23: channels.a.entry: 'yes' is neither true nor false"],
        ),
        (
            "channels: {a: {entry: true, rollback_window: 0}}",
            ["1:46: channels.a.rollback_window: 0 is not a whole number from 1 to 100"],
        ),
        (
            "channels: {a: {entry: true}}\nretain: {keep_last: 5}",
            ["2:1: unknown key 'retain' (known: channels, retention, images)"],
        ),
        (
            "channels: {a: {entry: true, keep_last: 0}}\nretention: {max_share: 0.1, min_age: 30}",
            [
                "1:40: channels.a.keep_last: 0 is not a whole number from 1 to 10000",
                "2:24: retention.max_share: '0.1' is not a share from 1% to 100%",
                "2:38: retention.min_age: '30' is not a duration: write a whole number and"
                " s, m, h, d or w, as 3d",
            ],
        ),
        (
            "channels: {a: {entry: true}}\nretention: {approvers: {ann: abc}}",
            [
                "2:30: retention.approvers.ann: 'abc' is not a public key of 64 hexadecimal digits"
                " (`imagectl cleanup key` shows one's own)"
            ],
        ),
        (
            "channels: {a: {entry: true}}\nretention:\n  approvals: 1\n"
            f"  approvers: {{ann: {'a' * 64}}}",
            [
                "3:14: retention.approvals: 1 beside the author can never sign: approvers names 1"
                " (name more approvers)"
            ],
        ),
        (
            "channels: {a: {entry: true}}\nretention:\n"
            f"  approvers: {{ann: {'a' * 64}, bob: {'a' * 64}}}",
            ["3:91: retention.approvers.bob: it is the key of 'ann' already"],
        ),
        (
            "channels: {a: {entry: true}}\nimages: {x: {channels: {b: {soak: 1d}}}}",
            ["2:25: images.x.channels.b: there is no channel 'b' (known: a)"],
        ),
        (
            "channels: {a: {entry: true}}\nimages: {x: {channels: {a: {soak: 1d}}}}",
            [
                "2:35: images.x.channels.a.soak:"
                " an entry channel has no 'soak': nothing is before it"
            ],
        ),
        (
            "channels: {a: {entry: true}}\nimages: {x: {channels: {a: {from: a}}}}",
            [
                "2:29: images.x.channels.a: unknown key 'from'"
                " (known: gates, soak, rollback_window, keep_last)"
            ],
        ),
    ],
)
def test_a_policy_that_cannot_work_is_refused(text: str, said: list[str]) -> None:
    assert said_of(text) == [f"{FILE}:{each}" for each in said]


def test_a_half_wrong_policy_still_tells_what_does_not_fit_together() -> None:
    said = said_of(
        """\
channels:
  beta: {entry: true, gates: [test]}
  stable: {from: bete, soak: 3 days}
images:
  debian-ci: {channels: {stabel: {soak: long}}}
"""
    )
    assert [each.removeprefix(f"{FILE}:").split(" (")[0] for each in said] == [
        "2:31: channels.beta.gates[0]: 'test' is not known here",
        "3:18: channels.stable.from: there is no channel 'bete'",
        "3:30: channels.stable.soak: '3 days' is not a duration: write a whole number and"
        " s, m, h, d or w, as 3d",
        "5:26: images.debian-ci.channels.stabel: there is no channel 'stabel'",
        "5:41: images.debian-ci.channels.stabel.soak: 'long' is not a duration: write a whole"
        " number and s, m, h, d or w, as 3d",
    ]


def test_the_places_of_values_are_kept_for_later() -> None:
    text = b"channels: {a: {entry: true}}\nimages:\n  x:\n    channels: {a: {gates: [tests]}}\n"
    _, source = parse_policy(text, FILE)
    assert str(source.problem(("images", "x"), "gone")) == f"{FILE}:3:3: images.x: gone"


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_bad_input(data: bytes) -> None:
    for prefix in (b"", b"channels: {a: {entry: true}, b: {", b"channels:\n  a: {entry: true}\n"):
        try:
            policy, _ = parse_policy(prefix + data, "f")
        except BadInput:
            continue
        assert policy.entry in policy.names
