"""The pipeline of an image that a user's own Packer template makes in a location itself.

The location describes what was made; the description is the version's one artifact. What was made
is marked as ours, booted where it is and tested, and only then recorded. Nothing here can be
repeated: nobody knows what the template has read (P9). What a build that fails has left in its
location is named in the error and stays: only what the catalog has recorded is ever deleted (P2).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from imagectl.errors import (
    BadUsage,
    Conflict,
    ImagectlError,
    NotFound,
    TestsFailed,
    Unsupported,
)
from imagectl.model.digest import digest_of
from imagectl.model.image import Image, PackerTemplate
from imagectl.model.lock import DefinitionDigests
from imagectl.model.names import Format, LocationName, Sha256, VersionId
from imagectl.model.version import Artifact, Origin, Placement, Reproducible, Version, VersionRef
from imagectl.policy.wording import listed, nearest
from imagectl.services.keep import next_version_id, record, summarise
from imagectl.services.pipeline import digest_of_file
from imagectl.services.ports import Location, Progress, Proof, Workshop, Workspace
from imagectl.services.workbench import Stages, Workbench, stages_of

Locations = Mapping[LocationName, Location]


def made_in(image: Image) -> LocationName | None:
    """The location in which the image's own template makes it; None for other images."""
    return image.base.builds if isinstance(image.base, PackerTemplate) else None


@dataclass(frozen=True, slots=True)
class NativeRequest:
    """How to build: see ``services.build.BuildRequest``."""

    actor: str
    tool: str
    force: bool
    wait: bool
    offline: bool


@dataclass(frozen=True, slots=True)
class NativeBuilt:
    """A version, freshly built or found to be of the same definition. ``log`` is None then."""

    version: Version
    log: Path | None


def build_native(
    bench: Workbench,
    locations: Locations,
    image: Image,
    request: NativeRequest,
    progress: Progress,
) -> NativeBuilt:
    """Let the template make the image in its location, test it there, and record it.

    Raises what the ports raise, and TestsFailed where a suite fails.
    """
    assert isinstance(image.base, PackerTemplate)
    assert image.base.builds is not None
    location = _location(locations, image.base.builds, image)
    if request.offline:
        raise BadUsage(
            f"{image.name} cannot be built offline",
            where=f"images/{image.name}/image.yaml",
            why=f"{image.base.template} makes it in {location.name}",
        )
    with bench.workspaces.open(image.name, wait=request.wait) as work:
        stages = stages_of(bench, image.name, progress)
        with stages("inputs"):
            digests = bench.definitions.digests(image)
            known = _made_before(bench, image, digests, request.tool)
        if known is not None and not request.force:
            return NativeBuilt(known, None)
        build = _Build(bench, location, image, digests, request, work, stages, progress)
        return NativeBuilt(build.run(), work.log)


def _location(locations: Locations, name: LocationName, image: Image) -> Location:
    location = locations.get(name)
    if location is None:
        raise NotFound(
            f"there is no location {name}",
            where=f"images/{image.name}/image.yaml",
            why=f"imagectl.yaml names {listed(locations)}",
            hint=nearest(name, locations),
        )
    if Format.NATIVE not in location.takes or not isinstance(location, Workshop):
        raise Unsupported(
            f"in {name} nothing can be built",
            where=f"images/{image.name}/image.yaml",
            why="its type of location only takes what was made elsewhere",
            hint="leave `builds` out where the template makes a disk on this machine",
        )
    return location


def _fingerprint(digests: DefinitionDigests, tool: str) -> Sha256:
    return digest_of(("native", digests, tool))


def _made_before(
    bench: Workbench, image: Image, digests: DefinitionDigests, tool: str
) -> Version | None:
    versions = bench.catalog.snapshot([image.name]).of(image.name)
    same = _fingerprint(digests, tool)
    return versions[-1] if versions and versions[-1].fingerprint == same else None


@dataclass(frozen=True, slots=True)
class _Build:
    """One build of one image, in one workspace."""

    bench: Workbench
    location: Location
    image: Image
    digests: DefinitionDigests
    request: NativeRequest
    work: Workspace
    stages: Stages
    progress: Progress

    def run(self) -> Version:
        bench, work = self.bench, self.work
        began = bench.clock.monotonic()
        with self.stages("check"):
            # Before hours in a cloud: is it ours to work in at all?
            self.location.probe()
            bench.checks.check(self.image, self.progress)
        with self.stages("template"):
            project = bench.definitions.project
            built = bench.templates.make_image(self.image, project, work, self.progress)
        file = work.folder / "native.json"
        with self.stages("describe"):
            artifact = self._describe(built, file)
        ref = self._next()
        try:
            with self.stages("prove"):
                placement = self.location.put(ref, artifact, file, bench.clock.now(), _ignore)
                proof = self._prove(placement)
            with self.stages("keep"):
                bench.store.adopt(file)
                return self._record(ref, artifact, proof, began)
        except ImagectlError as problem:
            left = f"{built} was made in {self.location.name} and is still there"
            problem.why = f"{problem.why}; {left}" if problem.why else left
            raise

    def _next(self) -> VersionRef:
        """The version that this will be: marks name it before it is recorded."""
        name = self.image.name
        snapshot = self.bench.catalog.snapshot([name])
        return VersionRef(name, next_version_id(snapshot, name, self.bench.clock.now()))

    def _describe(self, built: str, file: Path) -> Artifact:
        assert isinstance(self.location, Workshop)
        try:
            self.location.describe(built, file)
        except NotFound as missing:
            missing.hint = missing.hint or (
                f"does the template build in the place that {self.location.name} means in "
                "imagectl.yaml?"
            )
            raise
        return Artifact(
            Format.NATIVE, self.image.architecture, digest_of_file(file), file.stat().st_size
        )

    def _prove(self, placement: Placement) -> Proof:
        image, work = self.image, self.work
        self.progress.step(f"booting it in {self.location.name}")
        with self.location.boot(placement, work, self.progress) as machine:
            proof = self.bench.prover.prove_machine(image, machine, work, self.progress)
        if failures := proof.report.failures:
            count = len(failures)
            raise TestsFailed(
                f"{count} test{'s' if count != 1 else ''} of {image.name} failed; nothing was "
                "released",
                failures=[(f"{each.suite}::{each.name}", each.said) for each in failures],
                tail=proof.console_tail,
                where=f"build log in {work.log}",
                hint="mend the template, then build again; remove what it has made by hand",
            )
        return proof

    def _record(self, ref: VersionRef, artifact: Artifact, proof: Proof, began: float) -> Version:
        bench, image, work = self.bench, self.image, self.work
        assert isinstance(image.base, PackerTemplate)
        cause = f"the Packer template {image.base.template} made it in {self.location.name}"
        origin = Origin(
            epoch=work.epoch,
            lock=self._keep_facts(artifact),
            source=bench.store.adopt(bench.definitions.archive(image, self.digests, None, work)),
            raw=artifact.sha256,
            reproducible=Reproducible.NO,
            cause=f"{cause}, and nothing holds that to its inputs",
        )
        self.progress.note(f"not reproducible: {origin.cause}")
        tests, log = summarise(bench.store, proof, work), bench.store.add(work.log)
        seconds = round(bench.clock.monotonic() - began, 3)

        def make(id: VersionId, now: datetime) -> Version:
            if id != ref.version:
                raise Conflict(
                    f"somebody else recorded {ref} meanwhile",
                    why="what was made carries that version's marks already",
                    hint=f"imagectl build {image.name}",
                )
            return Version(
                ref=ref,
                created=now,
                created_by=self.request.actor,
                summary=image.summary,
                fingerprint=_fingerprint(self.digests, self.request.tool),
                parent=None,
                tree=None,
                artifacts=(artifact,),
                tests=tests,
                required_locations=image.required_locations,
                tool=self.request.tool,
                build_log=log,
                seconds=seconds,
                origin=origin,
            )

        return record(bench, image.name, self.request.actor, make, key=f"build-{work.id}")

    def _keep_facts(self, artifact: Artifact) -> Sha256:
        """What takes the place of a lock: the definition's digests, and what they gave once."""
        facts = {
            "format": "imagectl-native-build-1",
            "image": self.image.name,
            "definition": self.digests.definition,
            "playbooks": self.digests.playbooks,
            "suites": self.digests.suites,
            "location": self.location.name,
            "made": artifact.sha256,
        }
        path = self.work.folder / "facts.json"
        path.write_text(json.dumps(facts, indent=1) + "\n")
        return self.bench.store.adopt(path)


def _ignore(moved: int) -> None:
    """Nothing is moved: it is there already."""
