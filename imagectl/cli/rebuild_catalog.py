"""``imagectl catalog rebuild``: a lost catalog, made again from what was published."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypedDict

import click

from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.verb import Verb
from imagectl.policy.wording import counted


class RebuiltCatalog(TypedDict):
    """The catalog that was made again."""

    catalog: Annotated[str, "its id"]
    generation: Annotated[int, "its generation: the number of changes that made it"]
    state: Annotated[str, "one sha256 for all that it knows, as `catalog verify` says it"]


@click.command(
    "rebuild",
    cls=Verb,
    answers=RebuiltCatalog,
    exits={
        1: "the history is damaged, or the catalog cannot be written; nothing is made then",
        3: "refused: there is a catalog already, or a part of one",
        5: "cannot tell: the tree cannot be read or verified, carries no history, not all of it or "
        "another catalog's, or another tree of the project shows more; nothing is made then",
        6: "there is no project here, nothing is published there, or no file of that name",
    },
    examples=[
        ("imagectl catalog rebuild --from catalog/public", "the database is lost, the tree is not"),
        ("imagectl catalog rebuild --from https://images.example/public", "this machine is new"),
    ],
)
@click.option(
    "--from",
    "source",
    metavar="URL|DIR",
    required=True,
    help="A published tree that carries the history of its catalog.",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Whose signatures count there.  [default: the project's catalog/root.json]",
)
@pass_invocation
def command(invocation: Invocation, source: str, root: Path | None) -> None:
    """Make a lost catalog again from the history that a published tree carries.

    The tree has to be told to carry it before: `{to: catalog/public, history: true}` under
    `catalog.publish` in imagectl.yaml. Every event is verified: by the tree's signatures, from hash
    to hash, and up to the very event that consumers are shown. Then the catalog is made whole, or
    not at all. What was changed and never published is not in it.
    """
    from imagectl.bootstrap.rebuilding import rebuild_catalog

    project = invocation.open_project()
    made = rebuild_catalog(project, source, root, project.clock.now())
    for notice in made.notices:
        invocation.out.warn(notice)
    invocation.out.answer(
        RebuiltCatalog(catalog=made.catalog_id, generation=made.generation, state=made.state),
        (
            f"made again: {counted(made.generation, 'change')} of catalog {made.catalog_id}",
            "next: `imagectl catalog verify`, then `imagectl doctor`",
        ),
    )
