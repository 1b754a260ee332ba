"""Look live at all that a deletion needs, before the catalog says that it is decided.

Promises: what is not as expected, in a location or in the artifact store, leaves the version
quarantined (P2); and nothing goes that could not be brought back as its plan says (P5).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from imagectl.errors import BadInput, Failed, ImagectlError, NotFound
from imagectl.model.names import Format, Sha256
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Version, VersionRef
from imagectl.policy.promotion import find_version
from imagectl.policy.wording import counted, listed
from imagectl.services.cleanup import Cleaning
from imagectl.services.clear_store import can_be_remade
from imagectl.services.inputs import lacking

NEEDED = "without that it could not be made again"
UNPROVEN = "it is not proven that it could be made again"
STORE = "bring the store back from a backup"
SHOWN = 3
"""How many of the inputs that are missing are named."""


def look_before_deletion(cleaning: Cleaning, ref: VersionRef) -> None:
    """See that *ref* may go: in its locations, and in the store. Raises what is not as expected."""
    snapshot = cleaning.releasing.catalog.snapshot((ref.image,))
    _check_sources(cleaning, snapshot, ref)
    _check_places(cleaning, snapshot, ref)


def _check_places(cleaning: Cleaning, snapshot: Snapshot, ref: VersionRef) -> None:
    """Each location says that it is that very thing, and ours, or that it is gone (P2)."""
    releasing = cleaning.releasing
    for placement in snapshot.placed(ref):
        location = releasing.locations.get(placement.location)
        if location is None:
            continue  # placed there just now: judging the step again finds it
        try:
            location.verify(placement, releasing.clock.now())
        except NotFound:
            continue
        except ImagectlError as error:
            error.hint = error.hint or (
                f"put that right in {placement.location}, or hold the version, so that others "
                f"can go: `imagectl hold {ref} --reason TEXT`"
            )
            raise


def _check_sources(cleaning: Cleaning, snapshot: Snapshot, ref: VersionRef) -> None:
    """What it takes to make the version again has to be here before it is deleted; where that
    is not proven to bring it back, its disks have to be (P5, P9). A disk that only its location
    ever had is gone then: the page that people sign says so."""
    version = snapshot.versions[ref]
    if can_be_remade(version):
        for each in _made_before(cleaning, version):
            _check_made_from(cleaning, ref, each)
        return
    for disk in version.artifacts:
        if disk.format is not Format.NATIVE:
            _read(cleaning, ref, f"its {disk.format.value} disk", disk.sha256, UNPROVEN)


def _made_before(cleaning: Cleaning, version: Version) -> Iterator[Version]:
    """The version, and the ancestors that would have to be made again before it: those whose file
    trees the store has no more. Raises what a tree raises that cannot be had in either way."""
    ref = version.ref
    yield version
    while version.parent is not None:
        snapshot = cleaning.releasing.catalog.snapshot((version.parent.image,))
        version = find_version(snapshot, version.parent)
        if version.tree is None:
            return  # it is a template's or a disk's: nothing of it is built upon
        try:
            cleaning.store.path(version.tree.stored)
        except NotFound:
            if can_be_remade(version):
                yield version
                continue
        tree = f"the file tree of {version.ref}, which it is built on,"
        _read(cleaning, ref, tree, version.tree.stored, NEEDED)
        return


def _check_made_from(cleaning: Cleaning, ref: VersionRef, version: Version) -> None:
    """The lock and the sources of *version*, and every input that the lock names, are here."""
    assert version.origin is not None
    of = "its {}" if version.ref == ref else f"the {{}} of {version.ref}, which it is built on,"
    _read(cleaning, ref, of.format("sources"), version.origin.source, NEEDED)
    stored = _read(cleaning, ref, of.format("lock"), version.origin.lock, NEEDED)
    try:
        lock = cleaning.read_lock(stored)
    except BadInput as problem:
        raise _kept(ref, f"{of.format('lock')} cannot be read", problem.what, STORE) from problem
    if missing := lacking(cleaning.inputs, lock):
        shown = listed([*missing[:SHOWN], *(["others"] if len(missing) > SHOWN else [])])
        raise _kept(
            ref,
            f"of what {of.format('lock')} names, {counted(len(missing), 'input')} cannot be found "
            "in the input store",
            f"{shown}; {NEEDED}",
            "apply the plan where the inputs are, or share them: `inputs` in imagectl.yaml",
        )


def _read(cleaning: Cleaning, ref: VersionRef, what: str, sha256: Sha256, without: str) -> Path:
    """Where that file of the store is. Raises Failed where it is not what it was."""
    try:
        return cleaning.store.verify(sha256)
    except ImagectlError as problem:
        what = f"{what} cannot be read from the artifact store"
        raise _kept(ref, what, f"{problem.what}; {without}", STORE) from problem


def _kept(ref: VersionRef, what: str, why: str, way_out: str) -> Failed:
    return Failed(
        f"{ref} is not deleted: {what}",
        where=str(ref),
        why=why,
        hint=f"{way_out}, or hold the version: `imagectl hold {ref} --reason TEXT`",
    )
