"""What a lock, or its absence, decides about a build (P9).

Which inputs it may take, whether it would only make again what there is, and whether the lock fits
the definition at all.
"""

from __future__ import annotations

from dataclasses import fields, replace

from imagectl.model.digest import digest_of
from imagectl.model.image import DebianBase, DiskBase, Image, PackerTemplate, ParentBase
from imagectl.model.lock import (
    Access,
    DefinitionDigests,
    Expected,
    Lock,
    LockedDiskBase,
    LockedPackagesBase,
    LockedParentBase,
    LockedTemplateBase,
)
from imagectl.model.names import Sha256


def changed_since(lock: Lock, now: DefinitionDigests) -> tuple[str, ...]:
    """What of the project is not what the lock was made with, in the words of its text."""
    return tuple(
        each.name
        for each in fields(DefinitionDigests)
        if getattr(lock.definition, each.name) != getattr(now, each.name)
    )


def access_to_build(lock: Lock | None, *, offline: bool) -> Access:
    """Which inputs a build may take. What is locked never changes by building."""
    if offline:
        return Access.OFFLINE
    return Access.RECORD if lock is None else Access.LOCKED


def access_to_lock(lock: Lock | None, now: DefinitionDigests, *, update: bool) -> Access | None:
    """Which inputs making the image's lock may take; None where the lock is as it should be."""
    if lock is None or update:
        return Access.RECORD
    return Access.EXTEND if changed_since(lock, now) else None


def misfit(lock: Lock, image: Image) -> str:
    """Why the lock cannot serve a build of *image*, whatever may be fetched; empty where it can."""
    if lock.image != image.name:
        return f"it is the lock of {lock.image}"
    if lock.architecture is not image.architecture:
        return f"it is for {lock.architecture.value}, and the image for {image.architecture.value}"
    match lock.base, image.base:
        case LockedPackagesBase(suite), DebianBase() as base:
            wrong = "" if suite == base.suite else f"Debian {suite}, and the image on {base.suite}"
        case LockedDiskBase(sha256=sha256), DiskBase() as disk:
            wrong = "" if sha256 == disk.sha256 else "another disk than image.yaml names"
        case LockedParentBase(ref), ParentBase(meant):
            same = ref.image == meant.image and meant.version in (None, ref.version)
            wrong = "" if same else f"{ref}, and the image on {meant}"
        case LockedTemplateBase(template), PackerTemplate() as packer:
            same = template == str(packer.template)
            wrong = "" if same else f"{template}, and the image on {packer.template}"
        case _:
            wrong = "another kind of base than image.yaml names"
    return f"it is for a build on {wrong}" if wrong else ""


def fingerprint(digests: DefinitionDigests, lock: Lock, tool: str) -> Sha256:
    """The digest of all that decides what a build under *lock* gives.

    What was expected is no part of it, nor what the definition was when the lock was made.
    """
    return digest_of(
        (
            digests,
            (lock.epoch, lock.mode, lock.mirrors, lock.toolchain.tree, lock.base, lock.inputs),
            tool,
        )
    )


def renewed(lock: Lock, digests: DefinitionDigests, expected: Expected) -> Lock:
    """The lock after a build of a changed definition: the same inputs, another result."""
    return replace(lock, definition=digests, expected=expected)
