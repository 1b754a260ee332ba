"""Whether a version works, as far as the catalog knows (P6).

Ready means: its tests passed, and every artifact is placed and verified at every location that the
version requires. Whether the bytes are still there is asked live, by the services, just before a
channel is moved.
"""

from __future__ import annotations

from collections.abc import Iterator

from imagectl.model.catalog import Snapshot
from imagectl.model.version import Reproducible, Version
from imagectl.policy.wording import counted, listed


def unready(version: Version, snapshot: Snapshot) -> tuple[str, ...]:
    """Every reason why no channel may point to *version*; empty where it is ready (P6)."""
    return (*untested(version), *_unplaced(version, snapshot))


def untested(version: Version) -> tuple[str, ...]:
    """Why its tests do not prove it; empty where they do."""
    if version.tests.ok:
        return ()
    if version.tests.failed:
        total = version.tests.passed + version.tests.failed
        return (f"{version.id}: {version.tests.failed} of {counted(total, 'test')} failed",)
    return (f"{version.id}: no test has run, which proves nothing",)


def _unplaced(version: Version, snapshot: Snapshot) -> Iterator[str]:
    if not version.artifacts:
        yield f"{version.id} has no artifacts"
        return
    if not version.required_locations:
        yield f"{version.id} requires no location, so there is nowhere to get it from"
        return
    placed = {
        (each.location, each.format, each.architecture): each
        for each in snapshot.placed(version.ref)
    }
    for location in version.required_locations:
        missing = []
        for artifact in version.artifacts:
            found = placed.get((location, artifact.format, artifact.architecture))
            name = f"{artifact.format.value} for {artifact.architecture.value}"
            if found is None:
                missing.append(name)
            elif (found.sha256, found.size) != (artifact.sha256, artifact.size):
                yield f"{version.id}: the {name} in {location} is not the one that was tested"
        if missing:
            yield (
                f"{version.id} is not in {location} ({listed(missing)}): "
                f"`imagectl publish {version.ref} --to {location}`"
            )


def evidence(version: Version) -> tuple[str, ...]:
    """What speaks for a version that is ready, for the reasons of a move."""
    repeated = version.origin is not None and version.origin.reproducible is Reproducible.YES
    return (
        f"{counted(version.tests.passed, 'test')} passed",
        f"placed in {listed(version.required_locations)}",
        *(["built twice, with the same bytes"] if repeated else []),
    )
