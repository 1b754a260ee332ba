"""The ways in which wishes are resolved: now, at some time, as locked, or all for a matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from imagectl.cli.invocation import Invocation
from imagectl.errors import BadUsage, CannotTell, ImagectlError, NotFound, summed_up

if TYPE_CHECKING:
    from imagectl.model.consumer import ResolvedLock, Wish
    from imagectl.policy.matrix import Cell
    from imagectl.policy.resolution import Resolution, ResolutionRequest
    from imagectl.services.ports.published import PublishedTree


def resolve_one(
    tree: PublishedTree,
    wish: Wish,
    branch: str | None,
    request: ResolutionRequest,
    now: datetime,
) -> Resolution:
    """What one image resolves to. An error says where the wish was made that it is about."""
    from imagectl.consumer.resolving import resolve
    from imagectl.policy.opting import TYPED, where_chosen

    try:
        return resolve(tree, request, now)
    except (NotFound, BadUsage) as problem:
        place = where_chosen(wish, branch)
        if place != TYPED:
            problem.where = problem.where or place
        raise


def resolve_each(
    tree: PublishedTree,
    wishes: Iterable[Wish],
    branch: str | None,
    request: Callable[[Wish], ResolutionRequest],
    now: datetime,
) -> list[Resolution]:
    """All of them, or an error that says what is wrong with each."""
    found: list[Resolution] = []
    problems: dict[str, ImagectlError] = {}
    for wish in wishes:
        try:
            found.append(resolve_one(tree, wish, branch, request(wish), now))
        except ImagectlError as problem:
            problems[wish.image] = problem
    if len(problems) == 1:
        raise next(iter(problems.values()))
    if problems:
        raise summed_up(
            f"{len(problems)} images cannot be resolved", problems, counting=tuple(problems)
        )
    return found


def resolve_matrix(
    invocation: Invocation,
    tree: PublishedTree,
    wishes: Iterable[Wish],
    branch: str | None,
    request: Callable[[Wish], ResolutionRequest],
    now: datetime,
) -> list[tuple[Cell, Resolution]]:
    """The runs. What is the consumer's own has to be had; the others are left out where not."""
    from imagectl.policy.matrix import cells

    jobs = []
    for wish in wishes:
        for cell in cells(wish, branch):
            try:
                jobs.append((cell, resolve_one(tree, cell.wish, branch, request(cell.wish), now)))
            except ImagectlError as problem:
                if cell.own or problem.exit_code not in (3, 6):
                    raise
                invocation.out.warn(f"not in the matrix: {problem.said}")
    return jobs


def resolve_at(
    invocation: Invocation,
    tree: PublishedTree,
    wishes: Sequence[Wish],
    branch: str | None,
    request: Callable[[Wish], ResolutionRequest],
    at: datetime,
    now: datetime,
) -> list[Resolution]:
    """What the channels pointed to then, as the project's catalog has it."""
    from imagectl.policy.opting import followed, where_chosen
    from imagectl.policy.past import move_then
    from imagectl.policy.wording import moment

    try:
        catalog = invocation.open_project().catalog
    except NotFound as problem:
        raise CannotTell(
            "it is not known what channels pointed to earlier",
            why=f"the published catalog shows what they point to now, and {problem.where} is not "
            "in a project, whose catalog has their history",
            hint="-C DIR says where the project is",
        ) from problem
    snapshot = catalog.snapshot([wish.image for wish in wishes])
    if tree.catalog().catalog_id != snapshot.catalog_id:
        raise BadUsage(
            "that published catalog is not the project's", hint="leave out --catalog, or --at"
        )
    found = []
    for wish in wishes:
        name = followed(wish, branch)
        if name is None:
            raise BadUsage(
                f"{wish.image} is pinned to {wish.version}: that is the same at any time",
                where=wish.said.get("version", ""),
                hint=f"`imagectl resolve {wish.image}:stable --at TIME` asks for a channel's",
            )
        channel = snapshot.channels.get((wish.image, name))
        move = move_then(wish.image, name, channel, at, now)
        then = replace(request(wish), channel=None, branches={}, version=move.version, max_age=None)
        where = where_chosen(wish, branch)
        because = f": {move.reason}" if move.reason else ""
        reasons = (
            f"channel {name}{f' ({where})' if where else ''}",
            f"at {moment(at)} it pointed to {move.version}, since {moment(move.at)} "
            f"({move.kind.value}{because})",
        )
        resolution = resolve_one(tree, wish, branch, then, now)
        found.append(
            replace(
                resolution,
                channel=name,
                reasons=(*reasons, *resolution.reasons[1:]),
            )
        )
    return found


def resolve_locked(
    tree: PublishedTree,
    lock: ResolvedLock,
    file: str,
    wishes: Sequence[Wish],
    branch: str | None,
    traits: Mapping[str, object],
    now: datetime,
    *,
    notices: bool,
    despite_brownout: bool,
) -> list[Resolution]:
    """What was locked, as long as it may be used and is still what is asked for."""
    from imagectl.consumer.resolving import resolve
    from imagectl.policy.locked import check_catalog, check_found, check_wishes, request

    check_catalog(lock, tree.catalog(), file)
    check_wishes(lock, wishes, branch, traits, file)
    asked = {wish.image: wish for wish in wishes}
    found = []
    for each in lock.images:
        if asked and each.image not in asked:
            continue
        wanted = request(
            each, asked.get(each.image), notices=notices, despite_brownout=despite_brownout
        )
        resolution = resolve(tree, wanted, now)
        check_found(each, resolution, file)
        locked = f"locked to {each.version} by {file}"
        found.append(
            replace(resolution, channel=each.channel, reasons=(locked, *resolution.reasons[1:]))
        )
    return found
