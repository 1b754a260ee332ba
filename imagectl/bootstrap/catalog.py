"""Opens a project's catalog: the truth.

Absence is not evidence (P2): where consumers are shown a catalog, a missing one is lost or
somewhere else, and is never replaced by an empty one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from imagectl.errors import CannotTell, ImagectlError, NotFound

if TYPE_CHECKING:
    from imagectl.adapters.catalog_sql import SqlCatalog
    from imagectl.bootstrap.project import Project


def open_catalog(project: Project, new_id: Callable[[], str] | None) -> SqlCatalog:
    """The project's catalog; *new_id* names one to be made where there never was one, if there may
    be one made. Raises NotFound where there is none, and CannotTell where one is missing."""
    from imagectl.adapters.catalog_sql import SqlCatalog

    try:
        return SqlCatalog(catalog_url(project), root=project.root)
    except NotFound as missing:
        # Trees are asked only here: to open a catalog that is there, no bucket is needed.
        published = _published(project)
        if published is None:
            if new_id is None:
                raise
            return SqlCatalog(catalog_url(project), root=project.root, new_id=new_id)
        raise CannotTell(
            "the catalog is not there, but consumers are shown one",
            where=missing.where,
            why=f"{published} was written by a catalog that is now lost, or somewhere else",
            hint="mount its disk, mend `catalog.url` in imagectl.yaml, or bring it back: from a "
            "backup, or by `imagectl catalog rebuild --from` a tree with its history; to begin "
            "anew, remove that tree first",
        ) from missing


def catalog_url(project: Project) -> str:
    """Where the catalog is, with the password that gets in."""
    secret = project.settings.catalog_password
    if secret is None:
        return project.settings.catalog_url
    from sqlalchemy import make_url

    from imagectl.adapters.secrets import read_secret

    url = make_url(project.settings.catalog_url).set(password=read_secret(secret, project.root))
    return url.render_as_string(hide_password=False)


def _published(project: Project) -> str | None:
    """A tree that shows consumers a catalog, or may do so; None where there is none."""
    for publisher in project.publishers:
        try:
            if publisher.root_version():  # by whatever keys
                return publisher.where
        except ImagectlError:  # something is there; what, cannot be told
            return publisher.where
    return None
