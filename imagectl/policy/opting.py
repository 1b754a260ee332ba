"""What a consumer asks for, put together from where it says so.

Promises: what was typed wins over the environment, and that over the build config; a channel, a
branch's channel or a pin replaces all of them that were said further down, so that nothing is mixed
from two; where two of them differ, the consumer is told which one is taken; and where a build
config has other channels on some branches, not to know the branch is an error, never quietly
another channel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from imagectl.errors import BadUsage
from imagectl.model.consumer import BuildConfig, Variables, Wish
from imagectl.model.names import ChannelName, ImageName, ImageRef, VersionId
from imagectl.policy.resolution import DEFAULT_CHANNEL
from imagectl.policy.wording import listed, nearest

TYPED = "the command line"

PREFIX = "IMAGECTL_"

_OPTING = ("IMAGE", "CHANNEL", "VERSION", "MAX_AGE")
OPTING = frozenset(f"{PREFIX}{name}" for name in _OPTING)
"""The variables by which something is asked for."""

OTHERS = frozenset(
    PREFIX + name
    for name in (
        *("ACTOR", "ARCHITECTURE", "BRANCH", "CACHE", "CATALOG", "COMMAND", "COMPLETE", "CONFIG"),
        *("CONSUMER", "DESPITE_BROWNOUT", "FORMAT", "KEY", "LEASE", "LOCATION", "LOCK", "LOCKED"),
        *("MAX_STALE", "NOTICES", "OUTPUT", "RECEIPTS", "ROOT", "RUN"),
    )
)
"""Variables that are read elsewhere, or by the integrations."""


@dataclass(frozen=True, slots=True)
class Opted:
    """What is asked for. ``branch`` is "" where it is known that there is none.

    ``several``: the answer is a list also where there is one image. ``notices`` say what was
    overridden.
    """

    wishes: tuple[Wish, ...]
    branch: str | None
    several: bool
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Branch:
    """The branch that the consumer's repository is on: None where that is not known, "" where it is
    on none. ``why`` says where that was looked for."""

    name: str | None
    why: str = field(default="", compare=False)


def opting(environment: Mapping[str, str]) -> Mapping[str, str]:
    """Those of its variables that ask for something, or that were meant to: IMAGECTL_CHANEL."""
    found = {}
    for name, value in environment.items():
        if name.startswith(PREFIX) and name not in OTHERS:
            known = name in OPTING or name == f"{PREFIX}MIN_GENERATION"
            if known or nearest(name.removeprefix(PREFIX), _OPTING):
                found[name] = value
    return found


def opt(
    typed: Sequence[ImageRef],
    variables: Variables,
    config: BuildConfig | None,
    branch: Branch,
    *,
    insisted: str | None = None,
) -> Opted:
    """Put together what is asked for.

    *insisted* is the build config's file where it was named: it has to have what is typed. Raises
    BadUsage where nothing is asked for, or what cannot be put together.
    """
    notices: list[str] = []
    known = {wish.image: wish for wish in config.images} if config is not None else {}
    names = _names(typed, variables, known, notices)
    if insisted is not None:
        for name in names:
            if name not in known:
                raise BadUsage(
                    f"{insisted} does not say how {name} is wanted",
                    why=f"it has {listed(known)}",
                    hint=nearest(name, known) or "add it there, or leave out --config",
                )
    if variables.version is not None and variables.image is None and len(names) > 1:
        raise BadUsage(
            "IMAGECTL_VERSION is set, and several images are asked for",
            why="a version is one of one image",
            hint="set IMAGECTL_IMAGE too, or pin versions in the build config",
        )
    refs = {ref.image: ref for ref in typed}
    wishes = []
    for name in names:
        wish = known.get(name) or Wish(name)
        if variables.image in (None, name):
            wish = _with_variables(wish, variables, branch, notices)
        if name in refs:
            wish = _with_typed(wish, refs[name], branch, notices)
        _see_branch(wish, branch)
        wishes.append(wish)
    by_list = not typed and variables.image is None and config is not None and config.several
    return Opted(tuple(wishes), branch.name, by_list or len(wishes) > 1, tuple(notices))


def followed(wish: Wish, branch: str | None) -> ChannelName | None:
    """The channel that the wish follows there; None where it is pinned."""
    if wish.version is not None:
        return None
    on_branch = wish.branches.get(branch) if branch else None
    return on_branch or wish.channel or DEFAULT_CHANNEL


def where_chosen(wish: Wish, branch: str | None) -> str:
    """Where it was said what the wish follows; "" where nowhere."""
    if wish.version is not None:
        return wish.said.get("version", "")
    if branch and branch in wish.branches:
        return wish.said.get(f"branches.{branch}", "")
    return wish.said.get("channel", "") or wish.said.get("image", "")


def _names(
    typed: Sequence[ImageRef],
    variables: Variables,
    known: Mapping[ImageName, Wish],
    notices: list[str],
) -> tuple[ImageName, ...]:
    if typed:
        names = [ref.image for ref in typed]
        for name in names:
            if names.count(name) > 1:
                raise BadUsage(f"{name} is asked for twice", hint="one version of an image a run")
        return tuple(names)
    if variables.image is not None:
        if known and variables.image not in known:
            others = listed(
                f"{name} ({wish.said.get('image', '')})" for name, wish in known.items()
            )
            notices.append(f"IMAGECTL_IMAGE asks for {variables.image}, and not for {others}")
        return (variables.image,)
    if known:
        return tuple(known)
    raise BadUsage(
        "which image?",
        why="no IMAGE was given, IMAGECTL_IMAGE is not set, and there is no .imagectl.yaml here",
        hint="`imagectl resolve IMAGE`, or `imagectl resolve --config FILE`",
    )


def _with_variables(wish: Wish, variables: Variables, branch: Branch, notices: list[str]) -> Wish:
    asked = wish
    if variables.version is not None or variables.channel is not None:
        said = {
            key: variables.said.get(key, "")
            for key in ("channel", "version")
            if key in variables.said
        }
        asked = _chosen(wish, variables.channel, variables.version, said)
        _tell(wish, asked, branch, notices)
    if variables.max_age is not None:
        asked = replace(asked, max_age=variables.max_age)
    return asked


def _with_typed(wish: Wish, ref: ImageRef, branch: Branch, notices: list[str]) -> Wish:
    if ref.channel is None and ref.version is None:
        return wish
    asked = _chosen(wish, ref.channel, ref.version, {"channel": TYPED, "version": TYPED})
    _tell(wish, asked, branch, notices)
    return asked


def _chosen(
    wish: Wish, channel: ChannelName | None, version: VersionId | None, said: Mapping[str, str]
) -> Wish:
    kept = {key: place for key, place in wish.said.items() if key in ("image", "max_age")}
    return replace(wish, channel=channel, version=version, branches={}, said={**kept, **said})


def _tell(before: Wish, after: Wish, branch: Branch, notices: list[str]) -> None:
    old, new = _choice(before, branch), _choice(after, branch)
    if old is not None and old != new:
        notices.append(
            f"{after.image}: {new}, as {where_chosen(after, branch.name)} says, and not {old} "
            f"as {where_chosen(before, branch.name)} does"
        )


def _choice(wish: Wish, branch: Branch) -> str | None:
    if wish.version is not None:
        return f"version {wish.version}"
    if branch.name and branch.name in wish.branches:
        return f"channel {wish.branches[branch.name]}"
    return None if wish.channel is None else f"channel {wish.channel}"


def _see_branch(wish: Wish, branch: Branch) -> None:
    if branch.name is None and wish.branches and wish.version is None:
        raise BadUsage(
            f"which branch? {wish.image} is wanted from other channels on {listed(wish.branches)}",
            where=wish.said.get("branches", ""),
            why=branch.why,
            hint="say it with --branch NAME; --branch '' where there is none, as for a tag",
        )
