"""The pipeline of an image that a user's own Packer template makes in a location itself.

The location describes what was made; the description is the version's one artifact. What was made
is marked as ours, booted where it is and tested, and only then recorded. Nothing here can be
repeated: nobody knows what the template has read (P9). What a build that fails has left in its
location is named in the error and stays: only what the catalog has recorded is ever deleted (P2).
It is written down before it is marked, so that the next build knows of it however this one ends
(P7), and gives its version to nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from imagectl.errors import (
    BadUsage,
    ImagectlError,
    Interrupted,
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
from imagectl.services.ports.locations import Location, Workshop
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.proving import Proof
from imagectl.services.ports.workspaces import Leftover, Workspace
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
            self._tell_leftovers()
            bench.checks.check(self.image, self.progress)
        with self.stages("template"):
            project = bench.definitions.project
            built = bench.templates.make_image(self.image, project, work, self.progress)
        left = self._write_down(built)
        file = work.folder / "native.json"
        with self._named(left):
            with self.stages("describe"):
                artifact = self._describe(built, file)
                self._keep_leftovers(replace(left, sha256=artifact.sha256))
            with self.stages("prove"):
                now = bench.clock.now()
                placement = self.location.put(left.version, artifact, file, now, _ignore)
                proof = self._prove(placement)
            with self.stages("keep"):
                bench.store.adopt(file)
                version = self._record(left.version, artifact, proof, began)
        self._forget(lambda each: (each.location, each.built) == (left.location, built))
        return version

    def _write_down(self, built: str) -> Leftover:
        """What Packer has made, and the version that it will be: marks name that before it is
        recorded."""
        name, now = self.image.name, self.bench.clock.now()
        before = self.bench.workspaces.leftovers(name)
        id = next_version_id(self.bench.catalog.snapshot([name]), name, now, before)
        left = Leftover(VersionRef(name, id), self.location.name, built, now)
        self._keep_leftovers(left)
        return left

    def _keep_leftovers(self, new: Leftover) -> None:
        workspaces, name = self.bench.workspaces, self.image.name
        others = [each for each in workspaces.leftovers(name) if each.version != new.version]
        workspaces.keep_leftovers(name, [*others, new])

    def _forget(self, gone: Callable[[Leftover], bool]) -> None:
        workspaces, name = self.bench.workspaces, self.image.name
        before = workspaces.leftovers(name)
        after = [each for each in before if not gone(each)]
        if len(after) != len(before):
            workspaces.keep_leftovers(name, after)

    def _tell_leftovers(self) -> None:
        """Say what builds that were interrupted or failed have left, and forget what is recorded
        after all or gone."""
        versions = self.bench.catalog.snapshot([self.image.name]).of(self.image.name)
        recorded = {artifact.sha256 for each in versions for artifact in each.artifacts}
        self._forget(lambda left: left.sha256 in recorded or self._is_gone(left))
        for left in self.bench.workspaces.leftovers(self.image.name):
            self.progress.note(
                f"a build of {left.since:%Y-%m-%d %H:%M} UTC has left {left.built} in "
                f"{left.location}, perhaps with the marks of {left.version}: remove it by hand"
            )

    def _is_gone(self, left: Leftover) -> bool:
        """Only the location itself knows, and only this one was asked whether it lets us in."""
        if left.location != self.location.name:
            return False
        assert isinstance(self.location, Workshop)
        seen = self.work.folder / "left.json"
        try:
            self.location.describe(left.built, seen)
            return left.sha256 not in (None, digest_of_file(seen))  # another one has its name
        except NotFound:
            return True
        except ImagectlError:  # it is there, or cannot be told to be gone (P3)
            return False
        finally:
            seen.unlink(missing_ok=True)

    @contextmanager
    def _named(self, left: Leftover) -> Iterator[None]:
        """However the block ends before its end: nobody looks for what nobody has heard of."""
        said = f"{left.built} was made in {left.location} and is still there"
        try:
            yield
        except NotFound:  # the location says that it is not there
            raise
        except ImagectlError as problem:
            problem.why = f"{problem.why}; {said}" if problem.why else said
            raise
        except KeyboardInterrupt:
            raise Interrupted("interrupted; not all is cleaned up", why=said) from None
        except BaseException:
            self.progress.note(said)
            raise

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
        key = f"build-{work.id}"

        def make(id: VersionId, now: datetime) -> Version:
            return Version(
                ref=VersionRef(image.name, id),
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

        return record(bench, image.name, self.request.actor, make, key=key, id=ref.version)

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
