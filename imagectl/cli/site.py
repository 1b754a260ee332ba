"""``imagectl site``: the catalog as web pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict
from urllib.parse import urlsplit

import click

from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.verb import Family, Verb
from imagectl.errors import BadUsage
from imagectl.policy.wording import counted

if TYPE_CHECKING:
    from imagectl.site.sources import File


class Site(TypedDict):
    """A site that was written."""

    folder: Annotated[str, "where it is"]
    generation: Annotated[int, "the catalog generation that it shows"]
    files: Annotated[int, "how many files it has"]
    changed: Annotated[int, "how many of them are new, or others than before"]


@click.group("site", cls=Family)
def command() -> None:
    """Show the catalog to people: pages, feeds and badges for any web server or bucket."""


@command.command(
    "build",
    cls=Verb,
    answers=Site,
    exits={
        4: "conflict: another process is writing that site",
        5: "cannot tell: the catalog cannot be read; the site is as it was",
        6: "there is no project here",
    },
    examples=[
        ("imagectl site build", "into .imagectl/site"),
        (
            "imagectl site build --out /srv/www/images --base-url https://images.example/",
            "for a web server, with whole addresses in the feeds",
        ),
    ],
)
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder, which is replaced as a whole. [default: .imagectl/site in the project]",
)
@click.option(
    "--base-url",
    metavar="URL",
    default="",
    help="Where the site will be. Feeds have whole addresses then; pages never need it.",
)
@click.option(
    "--title", metavar="TEXT", default="VM images", show_default=True, help="What it is called."
)
@pass_invocation
def build(invocation: Invocation, out: Path | None, base_url: str, title: str) -> None:
    """Write the catalog as a static site.

    Images, channels now and over time, versions with their packages, tests, bills of materials and
    known vulnerabilities, what changed from one to the next and what a promotion would change, a
    status page, feeds and badges. It works from any folder, without a server and without
    JavaScript. Nothing is asked of locations or of a network: `imagectl scan --fetch` and
    `imagectl metrics` find out what the pages tell of vulnerabilities and of the way back. The
    folder is replaced in one step, or stays as it was; files that have not changed are left alone.
    """
    from imagectl.adapters.site_folder import replace_folder
    from imagectl.bootstrap.site import site_sources
    from imagectl.site.pages import files
    from imagectl.site.sources import Page

    project = invocation.open_project()
    folder = out if out is not None else project.state / "site"
    sources = site_sources(project, title, _base(base_url))

    def content(file: File) -> bytes | Callable[[], Path]:
        if isinstance(file, Page):
            return file.content
        return partial(project.store.verify, file.sha256)

    written = replace_folder(folder, ((each.path, content(each)) for each in files(sources)))
    document = Site(
        folder=str(folder),
        generation=sources.snapshot.generation,
        files=written.files,
        changed=written.changed,
    )
    invocation.out.answer(document, _lines(document))
    invocation.out.say(f"to look at it: python3 -m http.server -d {folder}")


def _lines(site: Site) -> Iterator[str]:
    yield f"{site['folder']}: {counted(site['files'], 'file')}, {site['changed']} of them changed"


def _base(url: str) -> str:
    """With a slash at its end. Raises BadUsage."""
    if not url:
        return ""
    try:
        parts = urlsplit(url)
    except ValueError as wrong:
        raise BadUsage(f"{url!r} is not an address: {wrong}") from None
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise BadUsage(
            f"{url!r} is not where a site can be",
            hint="such as https://images.example/ or https://ci.example/images/",
        )
    return url if url.endswith("/") else f"{url}/"
