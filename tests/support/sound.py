"""What has to be so in a project at every moment, whatever was killed or has failed in it (P7)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from imagectl.adapters.durable import PARTIAL
from imagectl.adapters.published.directory import DirectoryTree
from imagectl.bootstrap.project import Project

_NAMED_BY_DIGEST = re.compile(r"([0-9a-f]{64})(\..+)?\Z")


def check_sound(project: Project) -> None:
    """Raises AssertionError, saying what is wrong."""
    wrong = [*_half_files(project), *_catalog(project), *_locations(project), *_published(project)]
    assert wrong == []


def _half_files(project: Project) -> Iterator[str]:
    """Files whose bytes are not those that their names promise. What is being written is not
    under its final name yet."""
    roots = (project.state, *(project.root / str(each) for each in project.settings.publish))
    for path in (path for root in roots for path in root.rglob("*")):
        if PARTIAL in path.parts or not path.is_file():
            continue
        named = _NAMED_BY_DIGEST.match(path.name)
        if named is not None and hashlib.sha256(path.read_bytes()).hexdigest() != named[1]:
            yield f"{path} has other bytes than its name says"
        elif path.suffix == ".json":
            try:
                json.loads(path.read_bytes())
            except ValueError as problem:
                yield f"{path}: {problem}"


def _catalog(project: Project) -> Iterator[str]:
    for finding in project.catalog.verify():
        yield f"catalog verify: {finding}"


def _locations(project: Project) -> Iterator[str]:
    """Whatever is in a location is placed, has been begun, or is being deleted; what is placed is
    there."""
    snapshot = project.catalog.snapshot()
    placed = [each for those in snapshot.placements.values() for each in those]
    begun = [each for those in snapshot.intents.values() for each in those]
    known = {(each.location, each.version, each.format) for each in placed}
    known |= {(each.location, each.version, each.format) for each in begun}
    going = [each for those in snapshot.tombstones.values() for each in those if each.open]
    known |= {
        (each.placement.location, each.placement.version, each.placement.format) for each in going
    }
    for name, location in project.locations.items():
        view = location.view(project.clock.now)
        if not view.complete:
            yield f"{name}: {view.gaps}"
        for found in view.found:
            owner = found.owner
            if owner is None:
                yield f"{name}: nobody knows {found.name}"
            elif (name, owner.version, owner.format) not in known:
                yield f"{name}: {found.name} of {owner.version} is not in the catalog"
    for each in placed:
        project.locations[each.location].verify(each, project.clock.now())


def _published(project: Project) -> Iterator[str]:
    """Consumers get a state that the catalog has had, and find what it names."""
    generation = project.catalog.snapshot(()).generation
    for path in project.settings.publish:
        tree = DirectoryTree(
            project.root / str(path), project.trust / "root.json", project.clock.now()
        )
        shown = tree.catalog()
        if shown.generation > generation:
            yield f"{path} shows generation {shown.generation}, and the catalog has {generation}"
        for name in tree.images():
            index = tree.index(name)
            assert index is not None
            warned = tree.warnings(name)
            for channel in tree.channels(name):
                head = tree.head(name, channel)
                if head is None or index.versions.get(head.version) != head.document:
                    yield f"{path}: {name}:{channel} leads to another version"
            for version, document in index.versions.items():
                if version in warned and warned[version].warned.taken_away:
                    continue
                for each in tree.version(document).placements:
                    file = Path(each.reference)
                    if not file.is_file() or file.stat().st_size != each.size:
                        yield f"{path}: consumers are led to {file}, which is not there"
