"""The ``retention`` sections of ``catalog/channels.yaml``: how long versions are kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

from imagectl.formats.reading import Unfit
from imagectl.formats.scalars import Duration, Integer, Text, in_python, matching
from imagectl.formats.schema import Entries, Map, Record, Values, defaulted, optional
from imagectl.formats.yaml_strict import shown
from imagectl.model.names import ChannelName
from imagectl.model.retention import Approver, RetentionPolicy, RetentionRule

_COUNT = Integer(1, 10_000)
_APPROVALS = Integer(0, 10)
_KEY = matching(
    r"^[0-9a-f]{64}$",
    "a public key of 64 hexadecimal digits",
    "`imagectl cleanup key` shows one's own",
)
_NAME = matching(r"^[A-Za-z0-9][A-Za-z0-9._@+-]*$", "a person's name in one word", longest=80)
_SHARE_PATTERN = r"^(100|[1-9][0-9]?)%$"


def _share(text: str) -> float:
    if not re.search(in_python(_SHARE_PATTERN), text):
        raise Unfit(f"{shown(text)} is not a share from 1% to 100%")
    return int(text[:-1]) / 100


_SHARE = Text(_share, "a share such as `10%`", _SHARE_PATTERN)

_KEEP_LAST_MEANING = (
    "How many versions are kept in each channel, of those that stand there, whatever their age."
)
_MIN_AGE_MEANING = "What is younger is kept."
_UNUSED_MEANING = "What a consumer has resolved within that time is kept."
_GRACE_MEANING = (
    "How long a version stays at each stage before it goes down by one more: from deprecated to"
    " obsolete, to quarantined, to deleted. What is younger is kept, too."
)


class WrittenRule(NamedTuple):
    """What is different for one image; None where it is not."""

    keep_last: int | None
    min_age: timedelta | None
    unused: timedelta | None
    grace: timedelta | None

    def over(self, rule: RetentionRule) -> RetentionRule:
        """The rule, with what is different."""
        return replace(
            rule, **{name: value for name, value in self._asdict().items() if value is not None}
        )


_OTHER_LAST = optional("keep_last", _COUNT, _KEEP_LAST_MEANING)
_OTHER_MIN_AGE = optional("min_age", Duration(), _MIN_AGE_MEANING)
_OTHER_UNUSED = optional("unused", Duration(), _UNUSED_MEANING)
_OTHER_GRACE = optional("grace", Duration(), _GRACE_MEANING)
RULE: Record[WrittenRule] = Record(
    "What is different about keeping versions of this image. All else is as for the others.",
    (_OTHER_LAST, _OTHER_MIN_AGE, _OTHER_UNUSED, _OTHER_GRACE),
    lambda values: WrittenRule(
        values[_OTHER_LAST], values[_OTHER_MIN_AGE], values[_OTHER_UNUSED], values[_OTHER_GRACE]
    ),
)
CHANNEL_KEEP_LAST = optional(
    "keep_last",
    _COUNT,
    "How many of the versions that stand here are kept, where it is not as many as in `retention`.",
)


def _check_approvers(entries: Entries[str, str]) -> None:
    """A person has one key, and a key one person."""
    owners: dict[str, str] = {}
    for name, key in entries.good.items():
        if key in owners:
            entries.reject((name,), f"it is the key of {owners[key]!r} already")
        owners.setdefault(key, name)


_LAST = defaulted("keep_last", _COUNT, _KEEP_LAST_MEANING, 5)
_MIN_AGE = defaulted("min_age", Duration(), _MIN_AGE_MEANING, "30d")
_UNUSED = defaulted("unused", Duration(), _UNUSED_MEANING, "30d")
_GRACE = defaulted("grace", Duration(), _GRACE_MEANING, "14d")
_MAX_COUNT = defaulted(
    "max_count",
    _COUNT,
    "How many versions cleanups take down by a stage at most within `plan_expires`, all of them "
    "together.",
    5,
)
_MAX_SHARE = defaulted(
    "max_share",
    _SHARE,
    "The same as a share of the versions that a cleanup is about; it allows one at least.",
    "10%",
)
_EXPIRES = defaulted(
    "plan_expires",
    Duration(),
    "How long a plan can be applied, and the time that `max_count` and `max_share` are for.",
    "24h",
)
_APPROVALS_ASKED = defaulted(
    "approvals",
    _APPROVALS,
    "How many people other than its author have to sign a plan before it is applied.",
    0,
)
_APPROVERS = defaulted(
    "approvers",
    Map(
        _NAME, _KEY, "a mapping of names to public keys", may_be_empty=True, check=_check_approvers
    ),
    "Whose signatures count, and by which key. Where nobody is named, whoever applies a plan may"
    " have signed it.",
    {},
)


def _check_people(values: Values) -> None:
    """Enough people to sign, with one of them as the author."""
    if _APPROVALS_ASKED in values and _APPROVERS in values:
        asked, there = values[_APPROVALS_ASKED], len(values[_APPROVERS])
        if asked and there <= asked:
            values.reject(
                ("approvals",),
                f"{asked} beside the author can never sign: approvers names {there}",
                "name more approvers",
            )


RETENTION: Record[RetentionPolicy] = Record(
    "How long versions are kept. What a channel points to, its rollback window, what is held or"
    " leased, and what a protected version was built on is kept whatever is said here.",
    (
        _LAST,
        _MIN_AGE,
        _UNUSED,
        _GRACE,
        _MAX_COUNT,
        _MAX_SHARE,
        _EXPIRES,
        _APPROVALS_ASKED,
        _APPROVERS,
    ),
    lambda values: RetentionPolicy(
        RetentionRule(values[_LAST], values[_MIN_AGE], values[_UNUSED], values[_GRACE]),
        max_count=values[_MAX_COUNT],
        max_share=values[_MAX_SHARE],
        expires=values[_EXPIRES],
        approvals=values[_APPROVALS_ASKED],
        approvers=tuple(Approver(name, key) for name, key in values[_APPROVERS].items()),
    ),
    _check_people,
)
"""The section of that name at the top of the file."""


def in_channels(rule: RetentionRule, counts: Mapping[ChannelName, int | None]) -> RetentionRule:
    """The rule, with what single channels say of how many they keep."""
    said = {name: count for name, count in counts.items() if count is not None}
    return replace(rule, channels={**(rule.channels or {}), **said}) if said else rule
