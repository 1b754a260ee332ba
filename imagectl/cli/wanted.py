"""How a consumer says what it wants, and of which catalog: the options of verbs that resolve."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from imagectl.cli.arguments import ARCHITECTURE, DURATION, FORMAT, LOCATION
from imagectl.cli.invocation import Invocation
from imagectl.cli.wishes import CONFIG

if TYPE_CHECKING:
    from imagectl.cli.wishes import Where
    from imagectl.services.ports.published import PublishedTree

CONFIG_OPTION = click.option(
    "--config",
    metavar="FILE",
    envvar="IMAGECTL_CONFIG",
    type=click.Path(path_type=Path),
    help=f"Read the consumer's build config: {CONFIG}, a file with `imagectl:` in it, or one of a "
    f"CI service with IMAGECTL_IMAGE among its variables; {CONFIG} of the current folder where "
    "this is left out. IMAGECTL_CONFIG says it too.",
)

BRANCH_OPTION = click.option(
    "--branch",
    metavar="NAME",
    envvar="IMAGECTL_BRANCH",
    help="The consumer's branch, for `branches` of its build config; '' for none. Where this is "
    "left out, its CI service says it, or git. IMAGECTL_BRANCH says it too.",
)

LOCATION_OPTION = click.option(
    "--location",
    metavar="LOCATION",
    envvar="IMAGECTL_LOCATION",
    type=LOCATION,
    help="Pull it from there. IMAGECTL_LOCATION says it too.",
)

FORMAT_OPTION = click.option(
    "--format",
    "disk_format",
    envvar="IMAGECTL_FORMAT",
    type=FORMAT,
    help="In this format. IMAGECTL_FORMAT says it too.",
)

ARCHITECTURE_OPTION = click.option(
    "--architecture",
    envvar="IMAGECTL_ARCHITECTURE",
    type=ARCHITECTURE,
    help="For this architecture. IMAGECTL_ARCHITECTURE says it too.",
)

LOCKED_OPTION = click.option(
    "--locked",
    metavar="FILE",
    envvar="IMAGECTL_LOCKED",
    type=click.Path(path_type=Path),
    help="Give what FILE has, so that one workflow never mixes versions; refused where that may "
    "not be used any more, or something else is asked for since. IMAGECTL_LOCKED says it too.",
)

CATALOG_OPTION = click.option(
    "--catalog",
    metavar="URL",
    envvar="IMAGECTL_CATALOG",
    help="The published catalog: an address (https:, s3:, gs:) or a folder; that of the project "
    "where this is left out. IMAGECTL_CATALOG says it too.",
)

ROOT_OPTION = click.option(
    "--root",
    metavar="FILE",
    envvar="IMAGECTL_ROOT",
    type=click.Path(path_type=Path),
    help="The file that says whose signatures count: a copy of the project's catalog/root.json, "
    "which is taken where this is left out. IMAGECTL_ROOT says it too.",
)

MAX_STALE_OPTION = click.option(
    "--max-stale",
    metavar="DURATION",
    envvar="IMAGECTL_MAX_STALE",
    type=DURATION,
    help="Where the catalog cannot be reached, refuse what was seen of it longer ago than this; "
    "where this is left out, it holds until its signatures run out. IMAGECTL_MAX_STALE says it "
    "too.",
)

DESPITE_BROWNOUT_OPTION = click.option(
    "--despite-brownout",
    is_flag=True,
    envvar="IMAGECTL_DESPITE_BROWNOUT",
    help="Go on in a brownout of something that is announced as deprecated. "
    "`despite_brownout: true` in the build config and IMAGECTL_DESPITE_BROWNOUT=1 say it too.",
)


def open_catalog(
    invocation: Invocation,
    catalog: str | None,
    root: Path | None,
    where: Where,
    max_stale: timedelta | None,
    now: datetime,
) -> PublishedTree:
    """The published catalog, as new as it has to be."""
    from imagectl.bootstrap.consumer import follow

    for what, typed, written in (("catalog", catalog, where.catalog), ("root", root, where.root)):
        if typed is not None and written is not None and str(typed) != written:
            invocation.out.warn(f"the {what} is {typed}, and not {written} as the build config has")
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
