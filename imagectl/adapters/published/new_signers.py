"""What comes next while others may sign a role than until now, and have not signed it yet.

Promises: consumers are told of new signers together with what these have signed, and get what was
published until then; what new signers have to sign can be signed from then on, also where nothing
can be published before they have.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from imagectl.adapters.published.authority import is_signed
from imagectl.adapters.published.composing import Composer, Publication
from imagectl.adapters.published.signing import TARGETS_FILE
from imagectl.errors import Corrupt, Failed
from imagectl.formats.tuf_roles import CATALOG_ROLE, TARGETS

if TYPE_CHECKING:
    from tuf.api.metadata import Root, Targets

    from imagectl.adapters.published.desiring import Desired
    from imagectl.adapters.published.signing import Signing
    from imagectl.adapters.published.verified import Signed, VerifiedTree


def compose(
    tree: VerifiedTree | None,
    root: Signed[Root],
    targets: Signed[Targets],
    signing: Signing,
    elsewhere: Callable[[str], Iterable[bytes]],
    now: datetime,
    desired: Desired | None,
    numbers: Mapping[str, int],
) -> Publication:
    """What has to be written for *desired*: by *targets*, and where not all have signed who are to
    by it, by the list that *tree* has. Otherwise as ``Composer`` takes and says it.

    Raises Failed where neither will do.
    """
    repairing = desired is not None and desired.said is None

    def composer(signers: Signed[Targets], frozen: Collection[str] = ()) -> Composer:
        return Composer(
            tree,
            root,
            signers,
            signing.keys,
            now,
            pending=signing.found,
            elsewhere=elsewhere,
            numbers=numbers,
            repairing=repairing,
            frozen=frozen,
        )

    first = composer(targets)
    try:
        made = first.compose(desired)
    except Corrupt:
        if repairing:
            signing.remember(first.waiting)  # it is mended by whoever signs that
        raise
    blocked = first.blocked
    if not blocked:
        return made
    waiting = {role: made.waiting[role] for role in blocked & made.waiting.keys()}
    # Before anything can fail: nothing may be published before they have signed.
    signing.remember(waiting)
    if tree is None or not is_signed(TARGETS, tree.targets.metadata, root.signed):
        raise _nobody(blocked, waiting, signing)
    # Those of before move nothing meanwhile; what the catalog is at says so itself.
    second = composer(tree.targets, blocked - {CATALOG_ROLE})
    try:
        former = second.compose(desired)
    except Corrupt:
        raise
    except Failed as problem:
        raise _nobody(blocked, waiting, signing, f"; {problem.why}") from problem
    if second.blocked:
        raise _nobody(second.blocked, waiting, signing)
    former.waiting |= waiting
    former.done -= blocked
    return former


def _nobody(
    roles: Collection[str], waiting: Collection[str], signing: Signing, besides: str = ""
) -> Failed:
    signed = " and ".join(f"`imagectl sign {role}`" for role in sorted(waiting))
    return Failed(
        "what consumers read is not signed by those whose keys count",
        where=str(signing.trust / TARGETS_FILE),
        why=f"the signers of {', '.join(sorted(roles))} have not signed it{besides}",
        hint=f"{signed}: once they have, all is published"
        if signed
        else "`imagectl catalog publish` where their keys are",
    )
