"""``catalog/channels.yaml``: how versions are released, from channel to channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType
from typing import NamedTuple

from imagectl.formats.reading import Source, did_you_mean, read_document
from imagectl.formats.retention_yaml import (
    CHANNEL_KEEP_LAST,
    RETENTION,
    RULE,
    WrittenRule,
    in_channels,
)
from imagectl.formats.scalars import Boolean, Choice, Duration, Integer
from imagectl.formats.schema import (
    Entries,
    List,
    Map,
    Record,
    Values,
    defaulted,
    optional,
    required,
)
from imagectl.formats.words import CHANNEL_NAME, IMAGE_NAME
from imagectl.formats.yaml_strict import load, shown
from imagectl.model.channel import ChannelRule, Gate, ReleasePolicy
from imagectl.model.names import ChannelName, ImageName
from imagectl.model.retention import RetentionPolicy

_GATE_LIST = List(Choice(Gate), "gates")
_WINDOW_NUMBER = Integer(1, 100)


class _Rule(NamedTuple):
    """A channel as it is written, before it is known whether the others fit."""

    entry: bool
    source: ChannelName | None
    gates: tuple[Gate, ...]
    soak: timedelta
    rollback_window: int
    keep_last: int | None


_GATES_MEANING = (
    "What a version has to have passed. `tests`: its suites, on the booted image. `reproducible`:"
    " built twice from one lock (`imagectl build IMAGE --twice`), it was the same bytes."
    " `rollback_ready`: afterwards one can roll back (always asked, also where it is not named)."
)
_ENTRY = defaulted("entry", Boolean(), "Builds that pass their tests arrive here.", False)
_FROM = optional("from", CHANNEL_NAME, "The channel that versions are promoted from.")
_GATES = defaulted("gates", _GATE_LIST, _GATES_MEANING, ["tests"])
_SOAK = defaulted("soak", Duration(), "How long a version has to be in `from` before.", "0s")
_WINDOW = defaulted(
    "rollback_window",
    _WINDOW_NUMBER,
    "How many earlier versions have to be in every required location, to go back to.",
    3,
)


CHANNEL: Record[_Rule] = Record(
    "A channel and the conditions for entering it.",
    (_ENTRY, _FROM, _GATES, _SOAK, _WINDOW, CHANNEL_KEEP_LAST),
    lambda values: _Rule(
        values[_ENTRY],
        values[_FROM],
        values[_GATES],
        values[_SOAK],
        values[_WINDOW],
        values[CHANNEL_KEEP_LAST],
    ),
)


def _check_channels(entries: Entries[ChannelName, _Rule]) -> None:
    """One way in, and from there a way to every channel."""
    known = entries.keys()
    said = {name: entries.text(name, "entry") for name in known}
    doors = [name for name in known if said[name] == "true"]
    unclear = [name for name in known if said[name] not in (None, "true", "false")]
    if not doors and not unclear:
        hint = "give the channel that builds arrive in: entry: true"
        entries.reject((), "no entry channel", hint)
    for name in doors:
        if name != doors[0]:
            entries.reject((name, "entry"), f"a second entry channel, beside {doors[0]!r}")
        if "from" in entries.keys(name):
            entries.reject((name, "from"), "an entry channel has no 'from': builds arrive in it")
        if "soak" in entries.keys(name):
            entries.reject((name, "soak"), "an entry channel has no 'soak': nothing is before it")
    others = [name for name in known if name not in doors and name not in unclear]
    sources = {name: entries.text(name, "from") for name in others}
    for name, source in sources.items():
        if source is None and "from" not in entries.keys(name):
            hint = "say which channel it is promoted from, or that it is the entry"
            entries.reject((name,), "'from' is missing", hint)
        elif source is not None and source not in known:
            hint = did_you_mean(source, [each for each in known if each != name])
            entries.reject((name, "from"), f"there is no channel {shown(source)}", hint)
        elif _leads_back(name, sources):
            entries.reject((name, "from"), f"{name!r} would be promoted from itself")


def _leads_back(start: str, sources: Mapping[str, str | None]) -> bool:
    seen: set[str] = set()
    channel = sources[start]
    while channel is not None and channel != start and channel not in seen:
        seen.add(channel)  # a circle that does not come back to the start is others' problem
        channel = sources.get(channel)
    return channel == start


class _Exception(NamedTuple):
    """What is different for one image; None where it is not."""

    gates: tuple[Gate, ...] | None
    soak: timedelta | None
    rollback_window: int | None
    keep_last: int | None


_OTHER_GATES = optional("gates", _GATE_LIST, _GATES.meaning)
_OTHER_SOAK = optional("soak", Duration(), _SOAK.meaning)
_OTHER_WINDOW = optional("rollback_window", _WINDOW_NUMBER, _WINDOW.meaning)
EXCEPTION: Record[_Exception] = Record(
    "What is different about this channel for this image. All else is as for the others.",
    (_OTHER_GATES, _OTHER_SOAK, _OTHER_WINDOW, CHANNEL_KEEP_LAST),
    lambda values: _Exception(
        values[_OTHER_GATES],
        values[_OTHER_SOAK],
        values[_OTHER_WINDOW],
        values[CHANNEL_KEEP_LAST],
    ),
)


class _Different(NamedTuple):
    """All that is different for one image."""

    channels: Mapping[ChannelName, _Exception]
    retention: WrittenRule | None


_IMAGE_CHANNELS = defaulted(
    "channels",
    Map(CHANNEL_NAME, EXCEPTION, "a mapping of channels", may_be_empty=True),
    "The channels that differ for this image.",
    {},
)
_IMAGE_RETENTION = optional(
    "retention",
    RULE,
    "How long versions of this image are kept, where it differs. What a channel says comes first.",
)
IMAGE_EXCEPTIONS: Record[_Different] = Record(
    "Exceptions for one image.",
    (_IMAGE_CHANNELS, _IMAGE_RETENTION),
    lambda values: _Different(values[_IMAGE_CHANNELS], values[_IMAGE_RETENTION]),
)

_CHANNELS = required(
    "channels",
    Map(CHANNEL_NAME, CHANNEL, "a mapping of channels", check=_check_channels),
    "The channels, in the order in which they are shown.",
)
_IMAGES = defaulted(
    "images",
    Map(IMAGE_NAME, IMAGE_EXCEPTIONS, "a mapping of images", may_be_empty=True),
    "Exceptions for single images.",
    {},
)
_RETENTION = defaulted("retention", RETENTION, "How long versions are kept.", {})


def _check_policy(values: Values) -> None:
    known = values.keys("channels")
    for image in values.keys("images"):
        for channel in values.keys("images", image, "channels"):
            path = ("images", image, "channels", channel)
            if known and channel not in known:
                what = f"there is no channel {shown(channel)}"
                values.reject(path, what, did_you_mean(channel, known))
            entry = values.text("channels", channel, "entry") == "true"
            if entry and "soak" in values.keys(*path):
                what = "an entry channel has no 'soak': nothing is before it"
                values.reject((*path, "soak"), what)


POLICY: Record[ReleasePolicy] = Record(
    "The release policy: catalog/channels.yaml.",
    (_CHANNELS, _RETENTION, _IMAGES),
    lambda values: _policy(values[_CHANNELS], values[_RETENTION], values[_IMAGES]),
    _check_policy,
)
"""The whole file."""


def _policy(
    rules: Mapping[ChannelName, _Rule],
    retention: RetentionPolicy,
    images: Mapping[ImageName, _Different],
) -> ReleasePolicy:
    channels = {
        name: ChannelRule(
            name, rule.entry, rule.source, rule.gates, rule.soak, rule.rollback_window
        )
        for name, rule in rules.items()
    }
    exceptions = {
        image: MappingProxyType(
            {
                channel: _merged(channels[channel], other)
                for channel, other in different.channels.items()
            }
        )
        for image, different in images.items()
    }
    return ReleasePolicy(
        tuple(channels.values()),
        MappingProxyType(exceptions),
        _retention(rules, retention, images),
    )


def _retention(
    rules: Mapping[ChannelName, _Rule],
    written: RetentionPolicy,
    images: Mapping[ImageName, _Different],
) -> RetentionPolicy:
    """The rules by image: what is said of a channel of an image comes first, then what is said of
    the channel, of the image, of all."""
    counts = {name: rule.keep_last for name, rule in rules.items()}
    default = in_channels(written.default, counts)
    others = {
        image: in_channels(
            different.retention.over(default) if different.retention else default,
            {name: other.keep_last for name, other in different.channels.items()},
        )
        for image, different in images.items()
    }
    special = {image: rule for image, rule in others.items() if rule != default}
    return replace(written, default=default, images=special or None)


def _merged(rule: ChannelRule, other: _Exception) -> ChannelRule:
    return replace(
        rule,
        gates=rule.gates if other.gates is None else other.gates,
        soak=rule.soak if other.soak is None else other.soak,
        rollback_window=(
            rule.rollback_window if other.rollback_window is None else other.rollback_window
        ),
    )


def parse_policy(data: bytes, file: str) -> tuple[ReleasePolicy, Source]:
    """The release policy in *data*, and the places of its values for what is checked later. Raises
    BadInput with every problem of the file."""
    document = load(data, file)
    return read_document(POLICY, document), Source(file, document.root)
