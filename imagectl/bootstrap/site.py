"""What the site of a project is made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING

from imagectl.errors import ImagectlError

if TYPE_CHECKING:
    from imagectl.adapters.published.publisher import TreePublisher
    from imagectl.bootstrap.project import Project
    from imagectl.model.names import Sha256
    from imagectl.model.security import SecurityData
    from imagectl.site.sources import Sources, Tree

SECURITY = timedelta(days=7)
"""How old security data may be: what ``imagectl scan`` allows."""


def site_sources(project: Project, title: str, base_url: str) -> Sources:
    """Everything that is known now. Nothing is asked of a network or a location."""
    from imagectl.services.scan import at_hand
    from imagectl.site.sources import Sources

    now = project.clock.now()
    snapshot = project.catalog.snapshot()
    events = takewhile(
        lambda each: each.generation <= snapshot.generation, project.catalog.events()
    )

    def security(suite: str) -> SecurityData:
        return at_hand(project.advisories, suite, now, SECURITY)

    def kept(sha256: Sha256) -> bool:
        try:
            project.store.path(sha256)
        except ImagectlError:
            return False
        return True

    try:
        outcomes = project.outcomes.all()
    except ImagectlError:
        outcomes = None
    return Sources(
        title=title,
        snapshot=snapshot,
        events=tuple(events),
        policy=project.policy,
        takes={name: each.takes for name, each in project.settings.locations.items()},
        documents=project.documents,
        kept=kept,
        security=security,
        trees=tuple(_trees(project)),
        outcomes=outcomes,
        now=now,
        base_url=base_url,
        unsigned=project.signing.waiting(),
    )


def _trees(project: Project) -> Iterator[Tree]:
    from imagectl.site.sources import Tree

    for path, publisher in zip(project.settings.publish, project.publishers, strict=True):
        try:
            shown = publisher.shown()
        except ImagectlError as trouble:
            yield Tree(str(path), None, trouble)
        else:
            generation = shown.generation if shown is not None else None
            yield Tree(str(path), generation, signatures=_signatures(publisher))


def _signatures(publisher: TreePublisher) -> Mapping[str, datetime] | ImagectlError:
    try:
        return publisher.signatures()
    except ImagectlError as trouble:
        return trouble
