"""What imagectl has made in a project of Compute Engine to be thrown away, and how it goes.

Promises: everything is listed, in all zones, on every page, or the view says what is missing (P3);
what goes is read again just before, by the numeric id that Google never gives twice, and goes only
where it then says that it is this catalog's and needed no more, whatever state it is in (P2).

A disk that is attached to an instance of the same claim is no thing of its own: it goes with it.
The disk of a copy of that instance is none either.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from imagectl.adapters.locations.gce_labels import claim_of, copied_claim
from imagectl.adapters.locations.gce_project import Project, Told, moment
from imagectl.adapters.locations.gce_upload import OURS, Uploads
from imagectl.adapters.locations.gce_zones import COLLECTIONS, Thing, Zones, parse_id
from imagectl.errors import CannotTell, Conflict, Failed, ImagectlError
from imagectl.model.place import GceLocation as Settings
from imagectl.model.resource import Claim, FoundResource, ResourceKind, ResourceView
from imagectl.policy.leases import may_collect

if TYPE_CHECKING:
    from google.cloud.storage import Blob

_UPLOAD = re.compile(r"gs://(?P<bucket>[^/]+)/(?P<name>.+)#(?P<generation>[0-9]+)\Z")


class Janitor:
    """The throw-away things of one location. *catalog* is the id of ours."""

    def __init__(
        self,
        settings: Settings,
        project: Project,
        zones: Zones,
        uploads: Uploads,
        catalog: Callable[[], str],
    ) -> None:
        self._settings = settings
        self._project = project
        self._zones = zones
        self._uploads = uploads
        self._catalog = catalog

    def resources(self, now: Callable[[], datetime], requests: Callable[[], int]) -> ResourceView:
        """See ``services.ports.Machines``. *requests*: how many there were so far."""
        began, before = now(), requests()
        found: list[FoundResource] = []
        gaps: list[str] = []
        failed: list[ImagectlError] = []
        machines: dict[str, _Said] = {}
        for kind, collection in COLLECTIONS.items():
            try:
                for page in self._zones.pages(kind):
                    gaps += page.gaps
                    for each in page.things:
                        shown = self._shown(each)
                        if kind is ResourceKind.MACHINE:
                            machines[f"{each.scope}/instances/{each.name}"] = _said(shown)
                        if not _goes_with(each, _said(shown), machines):
                            found.append(shown)
            except (CannotTell, Failed) as error:
                failed.append(error)
                gaps.append(f"{collection}: {error}: {error.why}")
        try:
            for blobs in self._uploads.pages():
                found += map(self._upload, blobs)
        except (CannotTell, Failed) as error:
            failed.append(error)
            gaps.append(f"uploads: {error}: {error.why}")
        if len(failed) > len(COLLECTIONS) and not found:
            raise failed[0]
        return ResourceView(
            self._project.location,
            f"project {self._settings.project}, uploads in gs://{self._settings.bucket}/{OURS}",
            tuple(found),
            tuple(gaps),
            requests() - before,
            began,
            now(),
        )

    def _shown(self, thing: Thing) -> FoundResource:
        return FoundResource(
            self._zones.provider_id(thing),
            thing.kind,
            thing.name,
            claim_of(thing.labels, thing.name),
            thing.state,
            moment(thing.created),
            copied_claim(thing.labels, thing.name),
        )

    def _upload(self, blob: Blob) -> FoundResource:
        created: datetime | None = blob.time_created
        return FoundResource(
            f"gs://{self._settings.bucket}/{blob.name}#{blob.generation}",
            ResourceKind.UPLOAD,
            blob.name,
            claim_of(blob.metadata or {}, blob.name),
            "uploaded",
            None if created is None else created.astimezone(UTC),
            copied_claim(blob.metadata or {}, blob.name),
        )

    def collect(self, found: FoundResource, now: datetime) -> None:
        """See ``services.ports.Machines``."""
        if found.kind is ResourceKind.UPLOAD:
            self._collect_upload(found, now)
        else:
            self._collect_thing(found, now)

    def _collect_thing(self, found: FoundResource, now: datetime) -> None:
        named = parse_id(found.provider_id)
        if named is None or (named.project, named.kind) != (self._project.id, found.kind):
            raise self._elsewhere(found)
        thing = self._zones.read(named.kind, named.scope, named.id)
        if thing is None:
            return
        self._check(found, claim_of(thing.labels, thing.name), now)
        self._zones.delete(named.kind, named.scope, named.id)

    def _collect_upload(self, found: FoundResource, now: datetime) -> None:
        named = _UPLOAD.match(found.provider_id)
        if named is None or named["bucket"] != self._settings.bucket:
            raise self._elsewhere(found)
        blob = self._uploads.read(named["name"])
        if blob is None or str(blob.generation) != named["generation"]:
            return  # what has its name now is another one
        self._check(found, claim_of(blob.metadata or {}, blob.name), now)
        try:
            self._uploads.throw_away(blob)
        except Told:
            raise Conflict(
                f"{found.name} was changed just now, and stays", where=found.provider_id
            ) from None

    def _check(self, found: FoundResource, claim: Claim | None, now: datetime) -> None:
        """Raises Conflict where it is not ours to throw away, or needed still (P2)."""
        why = may_collect(replace(found, claim=claim), self._catalog(), now)
        if not why and found.claim is not None and claim != found.claim:
            why = "it says something else of itself than when it was listed"
        if why:
            raise Conflict(f"{found.name} stays", where=found.provider_id, why=why)

    def _elsewhere(self, found: FoundResource) -> Conflict:
        return Conflict(
            f"{found.name} is not in location {self._project.location}",
            where=found.provider_id,
            why=f"the location means project {self._project.id} and bucket "
            f"{self._settings.bucket} now",
        )


_Said = tuple[str | None, str | None]
"""Of which entry of the ledger a thing is, and of which it carries a copied claim."""


def _said(shown: FoundResource) -> _Said:
    claim, copied = shown.claim, shown.copied
    return claim.resource if claim else None, copied.resource if copied else None


def _goes_with(thing: Thing, said: _Said, machines: dict[str, _Said]) -> bool:
    """Whether it is attached to instances that say the same as it does, and to nothing else."""
    return (
        said != (None, None)
        and bool(thing.users)
        and all(machines.get(each) == said for each in _paths(thing.users))
    )


def _paths(links: tuple[str, ...]) -> Iterator[str]:
    """``zones/Z/instances/N`` of each link."""
    for link in links:
        yield link.partition("/projects/")[2].partition("/")[2]
