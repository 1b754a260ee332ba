"""What verbs take on the command line: text becomes a name here, and is completed by the shell.

Completion reads the project's folders and its published tree; it is silent where there are none.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from imagectl.cli.invocation import Invocation
from imagectl.errors import BadUsage
from imagectl.formats.sizes import BadSize, parse_duration
from imagectl.model.names import (
    Architecture,
    BadName,
    ChannelName,
    Format,
    ImageName,
    ImageRef,
    LocationName,
    VersionId,
    parse_channel_name,
    parse_image_name,
    parse_image_ref,
    parse_location_name,
    parse_version_id,
)
from imagectl.model.version import VersionRef

T = TypeVar("T")
Word = TypeVar("Word", bound=enum.Enum)


class _Named(click.ParamType[T, object]):
    """Text that one of the model's parsers reads, and what the shell may offer for it."""

    def __init__(
        self,
        name: str,
        parse: Callable[[str], T],
        offer: Callable[[Invocation], Iterable[str]] | None = None,
    ) -> None:
        self.name = name
        self._parse = parse
        self._offer = offer

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> T:
        if not isinstance(value, str):  # already converted: click asks twice for defaults
            return value  # type: ignore[return-value]  # click's contract for convert
        try:
            return self._parse(value)
        except BadName as problem:
            self.fail(str(problem), param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        if self._offer is None:
            return []
        try:
            offered = sorted(set(self._offer(ctx.ensure_object(Invocation))))
        except Exception:  # a shell's prompt is no place for a message
            return []
        return [CompletionItem(each) for each in offered if each.startswith(incomplete)]


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except BadSize as problem:
        raise BadName(str(problem)) from None


def _pause(text: str) -> timedelta:
    pause = _duration(text)
    if not pause:
        raise BadName(f"{text!r} is no pause: 1s is the shortest")
    return pause


def _version_ref(text: str) -> VersionRef:
    ref = parse_image_ref(text)
    if ref.version is None:
        raise BadName(f"{text!r} names no version: IMAGE@VERSION is expected")
    return VersionRef(ref.image, ref.version)


def _images(invocation: Invocation) -> Iterable[str]:
    from imagectl.bootstrap.project import open_project

    return open_project(invocation.directory).image_names


def _channels(invocation: Invocation) -> Iterable[str]:
    from imagectl.bootstrap.project import open_project

    return open_project(invocation.directory).policy.names


def _locations(invocation: Invocation) -> Iterable[str]:
    from imagectl.bootstrap.project import open_project

    return open_project(invocation.directory).settings.locations


def _published(invocation: Invocation) -> Iterable[str]:
    """Every IMAGE, IMAGE:CHANNEL and IMAGE@VERSION that consumers are shown, or warned off."""
    from imagectl.bootstrap.consumer import open_published

    tree = open_published(invocation.directory)
    for name in sorted(tree.images()):
        yield name
        yield from (f"{name}:{channel}" for channel in sorted(tree.channels(name)))
        index = tree.index(name)
        if index is not None:
            yield from (f"{name}@{version}" for version in {*index.versions, *index.deleted})


def _published_versions(invocation: Invocation) -> Iterable[str]:
    return (each for each in _published(invocation) if "@" in each)


def _promotable(invocation: Invocation) -> Iterable[str]:
    return (each for each in _published(invocation) if ":" not in each)


IMAGE: _Named[ImageName] = _Named("image", parse_image_name, _images)
CHANNEL: _Named[ChannelName] = _Named("channel", parse_channel_name, _channels)
LOCATION: _Named[LocationName] = _Named("location", parse_location_name, _locations)
FORMER_LOCATION: _Named[LocationName] = _Named("location", parse_location_name)
VERSION: _Named[VersionId] = _Named("version", parse_version_id)
IMAGE_REF: _Named[ImageRef] = _Named("image", parse_image_ref, _published)
PROMOTABLE: _Named[ImageRef] = _Named("image", parse_image_ref, _promotable)
DURATION: _Named[timedelta] = _Named("duration", _duration)
PAUSE: _Named[timedelta] = _Named("duration", _pause)
"""From the beginning of one round to that of the next: without any, rounds would never rest."""
VERSION_REF: _Named[VersionRef] = _Named("image@version", _version_ref, _published_versions)
PLAN_FILE = click.Path(dir_okay=False, path_type=Path)
"""Where a cleanup's plan is, or is to be."""


def insist_on(parameter: str, option: str, why: str) -> None:
    """Raise BadUsage where *parameter* was typed: it does something with *option* alone, which was
    not."""
    context = click.get_current_context()
    if context.get_parameter_source(parameter) is ParameterSource.COMMANDLINE:
        raise BadUsage(
            f"--{parameter} goes with {option} only", why=why, hint=f"add {option}, or leave it out"
        )


class Words(click.Choice[Word]):
    """One of an enum's members, by the word that users type."""

    def normalize_choice(self, choice: object, ctx: click.Context | None) -> str:
        return str(choice.value if isinstance(choice, enum.Enum) else choice)


FORMAT = Words(Format)
ARCHITECTURE = Words(Architecture)


def listen_address(text: str, example: str) -> tuple[str, int]:
    """``[HOST:]PORT`` as its two parts; without a host, this machine alone. Raises BadUsage."""
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise BadUsage(f"{text!r} is no address", hint=f"such as --listen {example}")
    return host.strip("[]") or "127.0.0.1", int(port)
