"""How a consumer says what it wants, and of which catalog: the options of verbs that resolve."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imagectl.cli.arguments import ARCHITECTURE, DURATION, FORMAT, LOCATION
from imagectl.cli.invocation import Invocation
from imagectl.cli.resolve_lock import read_lock
from imagectl.cli.resolving import resolve_each, resolve_locked
from imagectl.cli.wishes import CONFIG, Asked, Where, read_wishes

if TYPE_CHECKING:
    from imagectl.model.consumer import ResolvedLock, Wish
    from imagectl.model.names import Architecture, Format, ImageRef, LocationName
    from imagectl.policy.resolution import Resolution, ResolutionRequest
    from imagectl.services.ports.published import PublishedTree


@dataclass(frozen=True, slots=True)
class ConsumerOptions:
    """What was said by the options, or their variables; None where nothing was."""

    config: Path | None
    branch: str | None
    location: LocationName | None
    disk_format: Format | None
    architecture: Architecture | None
    locked: Path | None
    catalog: str | None
    root: Path | None
    max_stale: timedelta | None
    notices: bool
    despite_brownout: bool


_CONFIG = click.option(
    "--config",
    metavar="FILE",
    envvar="IMAGECTL_CONFIG",
    type=click.Path(path_type=Path),
    help=f"Read the consumer's build config: {CONFIG}, a file with `imagectl:` in it, or one of a "
    f"CI service with IMAGECTL_IMAGE among its variables; {CONFIG} of the current folder where "
    "this is left out. IMAGECTL_CONFIG says it too.",
)

_BRANCH = click.option(
    "--branch",
    metavar="NAME",
    envvar="IMAGECTL_BRANCH",
    help="The consumer's branch, for `branches` of its build config; '' for none. Where this is "
    "left out, its CI service says it, or git. IMAGECTL_BRANCH says it too.",
)

_LOCATION = click.option(
    "--location",
    metavar="LOCATION",
    envvar="IMAGECTL_LOCATION",
    type=LOCATION,
    help="Pull it from there. `location` in the build config and IMAGECTL_LOCATION say it too.",
)

_FORMAT = click.option(
    "--format",
    "disk_format",
    envvar="IMAGECTL_FORMAT",
    type=FORMAT,
    help="In this format. `format` in the build config and IMAGECTL_FORMAT say it too.",
)

_ARCHITECTURE = click.option(
    "--architecture",
    envvar="IMAGECTL_ARCHITECTURE",
    type=ARCHITECTURE,
    help="For this architecture. IMAGECTL_ARCHITECTURE says it too.",
)

_LOCKED = click.option(
    "--locked",
    metavar="FILE",
    envvar="IMAGECTL_LOCKED",
    type=click.Path(path_type=Path),
    help="Give what FILE has, so that one workflow never mixes versions; refused where that may "
    "not be used any more, or something else is asked for since. IMAGECTL_LOCKED says it too.",
)

_CATALOG = click.option(
    "--catalog",
    metavar="URL",
    envvar="IMAGECTL_CATALOG",
    help="The published catalog: an address (https:, s3:, gs:) or a folder; that of the project "
    "where this is left out. IMAGECTL_CATALOG says it too.",
)

_ROOT = click.option(
    "--root",
    metavar="FILE",
    envvar="IMAGECTL_ROOT",
    type=click.Path(path_type=Path),
    help="The file that says whose signatures count: a copy of the project's catalog/root.json, "
    "which is taken where this is left out. IMAGECTL_ROOT says it too.",
)

_MAX_STALE = click.option(
    "--max-stale",
    metavar="DURATION",
    envvar="IMAGECTL_MAX_STALE",
    type=DURATION,
    help="Where the catalog cannot be reached, refuse what was seen of it longer ago than this; "
    "where this is left out, it holds until its signatures run out. IMAGECTL_MAX_STALE says it "
    "too.",
)

_DESPITE_BROWNOUT = click.option(
    "--despite-brownout",
    is_flag=True,
    envvar="IMAGECTL_DESPITE_BROWNOUT",
    help="Go on in a brownout of something that is announced as deprecated. "
    "`despite_brownout: true` in the build config and IMAGECTL_DESPITE_BROWNOUT=1 say it too.",
)

_NOTICES = click.option(
    "--notices",
    is_flag=True,
    envvar="IMAGECTL_NOTICES",
    help="Say on standard error what was announced of it: moves of the channel, ends of support. "
    "`notices: true` in the build config and IMAGECTL_NOTICES=1 say it too.",
)

_OPTIONS = (
    _CONFIG,
    _BRANCH,
    _LOCATION,
    _FORMAT,
    _ARCHITECTURE,
    _LOCKED,
    _CATALOG,
    _ROOT,
    _MAX_STALE,
    _NOTICES,
    _DESPITE_BROWNOUT,
)


def consumer_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a verb these options, as one argument ``options``."""

    @functools.wraps(command)
    def packed(*arguments: Any, **given: Any) -> None:
        said = {each.name: given.pop(each.name) for each in fields(ConsumerOptions)}
        command(*arguments, options=ConsumerOptions(**said), **given)

    for option in reversed(_OPTIONS):
        packed = option(packed)
    return packed


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a consumer wants: its command line, environment, build config and lock together.

    Made by ``read_wanted``.
    """

    invocation: Invocation
    options: ConsumerOptions
    asked: Asked
    lock: ResolvedLock | None

    @property
    def wishes(self) -> Sequence[Wish]:
        """One for each image; none where only a lock says what is wanted."""
        return self.asked.opted.wishes

    @property
    def branch(self) -> str | None:
        """The branch that the consumer's repository is on."""
        return self.asked.opted.branch

    @property
    def several(self) -> bool:
        """Whether the answer is a list, also where it is of one image."""
        return self.asked.opted.several

    @property
    def images(self) -> Sequence[str]:
        """Which images it is about."""
        locked = () if self.lock is None else self.lock.images
        return [each.image for each in self.wishes or locked]

    @property
    def notices(self) -> bool:
        """Whether it wants to be told of what is coming."""
        return self.options.notices or self.asked.where.notices

    @property
    def despite_brownout(self) -> bool:
        """Whether brownouts do not hold for it."""
        return self.options.despite_brownout or self.asked.where.despite_brownout

    @property
    def location(self) -> LocationName | None:
        """Where it is to be pulled from; None where that does not matter."""
        typed = self.options.location
        return self.asked.where.location if typed is None else typed

    @property
    def disk_format(self) -> Format | None:
        """In which format; None where that does not matter."""
        typed = self.options.disk_format
        return self.asked.where.disk_format if typed is None else typed

    def request(self, wish: Wish) -> ResolutionRequest:
        """What the catalog is asked for."""
        from imagectl.policy.resolution import ResolutionRequest

        options = self.options
        written = {"location": options.location is None, "format": options.disk_format is None}
        said = self.asked.where.said
        return ResolutionRequest(
            wish.image,
            wish.channel,
            wish.version,
            branches=wish.branches,
            branch=self.branch,
            max_age=wish.max_age,
            location=self.location,
            format=self.disk_format,
            architecture=self.options.architecture,
            notices=self.notices,
            despite_brownout=self.despite_brownout,
            said={key: said[key] for key in said if written.get(key)},
        )

    def open(self, now: datetime) -> PublishedTree:
        """The published catalog, as new as it has to be."""
        options = self.options
        return _open_catalog(
            self.invocation, options.catalog, options.root, self.asked.where, options.max_stale, now
        )

    def resolve(self, tree: PublishedTree, now: datetime) -> list[Resolution]:
        """What is had of each image: as locked, or else as the channels are."""
        options = self.options
        if self.lock is None:
            return resolve_each(tree, self.wishes, self.branch, self.request, now)
        traits = {
            "location": self.location,
            "format": self.disk_format,
            "architecture": options.architecture,
        }
        return resolve_locked(
            *(tree, self.lock, str(options.locked), self.wishes, self.branch, traits, now),
            notices=self.notices,
            despite_brownout=self.despite_brownout,
        )


def read_wanted(
    invocation: Invocation,
    options: ConsumerOptions,
    typed: Sequence[ImageRef],
) -> Wanted:
    """What is wanted; warns where what was said in two places differs."""
    lock = read_lock(invocation, options.locked) if options.locked is not None else None
    asked = read_wishes(
        *(invocation.directory, typed, options.config, options.branch), needed=lock is None
    )
    for notice in asked.opted.notices:
        invocation.out.warn(notice)
    _warn_of_others(invocation, options, asked.where)
    return Wanted(invocation, options, asked, lock)


def _warn_of_others(invocation: Invocation, options: ConsumerOptions, where: Where) -> None:
    """Say where something else is taken than the build config has."""
    for what, typed, written in (
        ("location", options.location, where.location),
        ("format", options.disk_format, where.disk_format),
        ("catalog", options.catalog, where.catalog),
        ("root", options.root.absolute() if options.root is not None else None, where.root),
    ):
        if typed is None or written is None or str(typed) == str(written):
            continue
        new, old = (_for_people(each) for each in (typed, written))
        invocation.out.warn(f"the {what} is {new}, and not {old} as the build config has")


def _for_people(said: object) -> str:
    from imagectl.consumer.fetching import without_login

    return without_login(str(getattr(said, "value", said)))


def _open_catalog(
    invocation: Invocation,
    catalog: str | None,
    root: Path | None,
    where: Where,
    max_stale: timedelta | None,
    now: datetime,
) -> PublishedTree:
    """The published catalog, as new as it has to be."""
    from imagectl.bootstrap.consumer import follow

    if root is None and where.root is not None:
        root = Path(where.root)
    found = follow(
        invocation.directory,
        catalog if catalog is not None else where.catalog,
        root,
        now,
        min_generation=where.min_generation,
        max_stale=max_stale,
    )
    for notice in found.notices:
        invocation.out.warn(notice)
    return found.tree
