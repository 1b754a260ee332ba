"""Whether what was resolved once may be used again, so that one workflow never mixes versions.

Promises: what was locked from another catalog, or from a later state than is shown now, is not
used; nor is it where the consumer asks for something else since. That the versions may still be
used at all (revoked, too old) is seen when they are resolved again.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence

from imagectl.errors import CannotTell, Corrupt, Refused
from imagectl.model.consumer import Locked, ResolvedLock, Wish
from imagectl.model.published import PublishedCatalog
from imagectl.policy.opting import followed, where_chosen
from imagectl.policy.resolution import Resolution, ResolutionRequest

_AGAIN = "lock again with --lock, and run all of the workflow with the new file"


def lock(catalog: PublishedCatalog, found: Sequence[Resolution]) -> ResolvedLock:
    """What was resolved, to be used again."""
    images = tuple(
        Locked(
            each.ref.image,
            each.ref.version,
            each.channel,
            each.reference,
            each.location,
            each.format,
            each.architecture,
            each.sha256,
            each.size,
            each.created,
        )
        for each in sorted(found, key=lambda each: each.ref.image)
    )
    return ResolvedLock(catalog.catalog_id, catalog.generation, images)


def check_catalog(locked: ResolvedLock, catalog: PublishedCatalog, file: str) -> None:
    """Raise CannotTell where the lock is not of this catalog, or of a later state of it."""
    if locked.catalog_id != catalog.catalog_id:
        raise CannotTell(
            "it was locked from another catalog",
            where=file,
            why=f"that was {locked.catalog_id}, and this is {catalog.catalog_id}",
            hint="--catalog names the one it is from; or " + _AGAIN,
        )
    if catalog.generation < locked.generation:
        raise CannotTell(
            "the catalog is older than the lock",
            where=file,
            why=f"it was locked at generation {locked.generation}, and generation "
            f"{catalog.generation} is shown: an old mirror, or a catalog that was set back",
            hint="try again once the mirror has caught up; or " + _AGAIN,
        )


def check_wishes(
    locked: ResolvedLock,
    wishes: Sequence[Wish],
    branch: str | None,
    traits: Mapping[str, object],
    file: str,
) -> None:
    """Raise Refused where something else is asked for than was when it was locked. *traits*: the
    location, the format and the architecture, None where one is not asked for."""
    reasons = (*_differences(locked, wishes, branch), *_other_traits(locked, wishes, traits))
    if reasons:
        raise Refused(
            "something else is asked for than was locked", reasons=reasons, where=file, hint=_AGAIN
        )


def check_found(locked: Locked, found: Resolution, file: str) -> None:
    """Raise Corrupt where the catalog has other bytes by the name of the locked version."""
    if found.sha256 != locked.sha256:
        raise Corrupt(
            f"{found.ref} is not what was locked",
            where=file,
            why=f"locked with sha256 {locked.sha256}, and the catalog says {found.sha256}",
            hint=_AGAIN,
        )
    if found.reference != locked.reference:
        raise CannotTell(
            f"{found.ref} is elsewhere by now",
            where=file,
            why=f"locked as {locked.reference}, and the catalog says {found.reference}",
            hint=_AGAIN,
        )


def request(
    locked: Locked, wish: Wish | None, *, notices: bool, despite_brownout: bool
) -> ResolutionRequest:
    """How the locked version is looked up again; a limit of age holds still."""
    return ResolutionRequest(
        locked.image,
        version=locked.version,
        location=locked.location,
        format=locked.format,
        architecture=locked.architecture,
        max_age=wish.max_age if wish is not None else None,
        notices=notices,
        despite_brownout=despite_brownout,
    )


def _differences(locked: ResolvedLock, wishes: Sequence[Wish], branch: str | None) -> Iterator[str]:
    known = {each.image: each for each in locked.images}
    for wish in wishes:
        then = known.get(wish.image)
        where = where_chosen(wish, branch)
        place = f" ({where})" if where else ""
        if then is None:
            yield f"{wish.image} is asked for{place}, and was not locked"
            continue
        channel = followed(wish, branch)
        before = f"channel {then.channel}" if then.channel else f"version {then.version}"
        if wish.version is not None:
            if wish.version != then.version or then.channel is not None:
                yield f"{wish.image}: {before} was locked, and now {wish.version} is pinned{place}"
        elif channel != then.channel:
            yield f"{wish.image}: {before} was locked, and now it is channel {channel}{place}"


def _other_traits(
    locked: ResolvedLock, wishes: Sequence[Wish], traits: Mapping[str, object]
) -> Iterator[str]:
    asked = {wish.image for wish in wishes}
    for each in locked.images:
        if asked and each.image not in asked:
            continue
        then = {
            "location": each.location,
            "format": each.format,
            "architecture": each.architecture,
        }
        for trait, wanted in traits.items():
            if wanted is not None and wanted != then[trait]:
                words = (_word(then[trait]), _word(wanted))
                yield f"{each.image}: {trait} {words[0]} was locked, and now it is {words[1]}"


def _word(value: object) -> object:
    return value.value if isinstance(value, enum.Enum) else value
