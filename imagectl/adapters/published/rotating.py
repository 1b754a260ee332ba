"""Changes whose keys count: makes the next root, or the next list of who may sign what.

It signs nothing and writes nothing. A change keeps why it was made, and by whom, in the metadata
that is signed: so it stays readable in git for as long as the catalog is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from tuf.api.metadata import DelegatedRole, Metadata, Root, Targets

from imagectl.adapters.published.authority import delegated_roles
from imagectl.adapters.published.signers import Signers, chosen, signers_of
from imagectl.adapters.published.verified import SHOWN, Signed
from imagectl.errors import BadUsage, NotFound, Refused
from imagectl.formats.tuf_keys import same_key
from imagectl.formats.tuf_roles import (
    CATALOG_ROLE,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    delegated_paths,
    delegation_order,
    lifetime,
)
from imagectl.policy.wording import counted, listed

if TYPE_CHECKING:
    from securesystemslib.signer import Key

_Any = TypeVar("_Any", Root, Targets)

ONLINE = "online"
"""What signs by itself day and night: timestamp, snapshot, catalog, and every role of targets that
was not given keys of its own."""


WITH_TARGETS = "targets"
"""Under which a root says the number of the list of signers that it was made with."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of keys. ``remove`` are beginnings of ids, or names; ``threshold``: None
    where it stays."""

    role: str
    add: tuple[Key, ...]
    remove: tuple[str, ...]
    threshold: int | None
    reason: str
    by: str

    @property
    def changes(self) -> bool:
        """False where it is only asked who may sign."""
        return bool(self.add or self.remove or self.threshold is not None)


@dataclass(frozen=True, slots=True)
class Rotation:
    """Who may sign a role before and after; ``roles`` are those that it is about. ``root`` and
    ``targets`` are the metadata that says so, unsigned; None where it stays."""

    roles: tuple[str, ...]
    before: Signers
    after: Signers
    root: Metadata[Root] | None = None
    targets: Metadata[Targets] | None = None


def plan_rotation(
    root: Signed[Root], targets: Signed[Targets], edit: Edit, now: datetime
) -> Rotation:
    """What the change makes. Raises NotFound where there is no such role or key, BadUsage where the
    change cannot be, and Refused where nobody could sign any more."""
    of_root, of_targets = _roles(edit.role, targets.signed)
    before = _before(edit.role, root.signed, targets.signed)
    roles = (*of_root, *of_targets)
    if not edit.changes:
        return Rotation(roles, before, before)
    removed = [each.keyid for each in chosen(edit.remove, before)]
    mixed: tuple[str, ...] = ()
    if edit.role == ONLINE:
        # Where people were added beside it, the new key takes its place just so.
        mixed = tuple(_signed_by(targets.signed, removed).difference(of_targets))
        roles = (*roles, *mixed)
    next_root = _next(root, now) if of_root else None
    # New signers of targets sign the same list again.
    next_targets = _next(targets, now) if of_targets or TARGETS in of_root else None
    why = {"reason": edit.reason, "by": edit.by, "at": now.isoformat()}
    for metadata in (next_root, next_targets):
        if metadata is not None:
            metadata.signed.unrecognized_fields[SHOWN] = why
    if next_root is not None and next_targets is not None:
        with_targets = {**why, WITH_TARGETS: next_targets.signed.version}
        next_root.signed.unrecognized_fields[SHOWN] = with_targets
    if next_targets is not None and before.threshold == 0:
        _delegate_new(edit.role, next_targets.signed)
    delegator: Root | Targets = root.signed
    if next_targets is not None:
        delegator = next_targets.signed
        for role in of_targets:
            _change(next_targets.signed, role, edit, removed)
        for role in mixed:
            _change(next_targets.signed, role, replace(edit, threshold=None), removed)
    if next_root is not None:
        delegator = next_root.signed
        for role in of_root:
            _change(next_root.signed, role, edit, removed)
    found = signers_of(roles[0], delegator)
    after = Signers(edit.role, found.who, found.threshold)
    _insist(before, after)
    for role in (*of_targets, *mixed):
        assert next_targets is not None
        found = signers_of(role, next_targets.signed)
        _insist_on_enough(Signers(role, found.who, found.threshold))
    return Rotation(roles, before, after, next_root, next_targets)


def _roles(role: str, targets: Targets) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which roles a change is about: those in root, and those in targets."""
    if role in (ROOT, TARGETS):
        return (role,), ()
    roles = delegated_roles(targets)
    if role == ONLINE:
        keys = {*targets.get_delegated_role(CATALOG_ROLE).keyids}
        alike = [each for each in roles if {*targets.get_delegated_role(each).keyids} == keys]
        return (TIMESTAMP, SNAPSHOT), tuple(alike)
    if role in roles and role != CATALOG_ROLE:
        return (), (role,)
    if role.startswith("image-"):
        return (), (role,)
    known = [ROOT, TARGETS, ONLINE, *(each for each in roles if each != CATALOG_ROLE)]
    raise NotFound(
        f"nobody signs {role}",
        why=f"there are {listed(known)}, and image-NAME for an image with keys of its own",
        hint="the key of timestamp, snapshot and catalog is `online`"
        if role in (TIMESTAMP, SNAPSHOT, CATALOG_ROLE)
        else "a channel that is new is there after `imagectl catalog publish`",
    )


def _before(role: str, root: Root, targets: Targets) -> Signers:
    if role in (ROOT, TARGETS):
        return signers_of(role, root)
    if role == ONLINE:
        online = signers_of(TIMESTAMP, root)
        # The two are changed at once; where one of the changes was lost, a key counts for less.
        halves = signers_of(CATALOG_ROLE, targets).who
        who = (*online.who, *(each for each in halves if each not in online.who))
        return Signers(ONLINE, who, online.threshold)
    if role not in delegated_roles(targets):
        return Signers(role, (), 0)
    return signers_of(role, targets)


def _delegate_new(role: str, targets: Targets) -> None:
    """An image gets keys of its own, before those of all images."""
    delegations = targets.delegations
    assert delegations is not None
    assert delegations.roles is not None
    roles = dict(delegations.roles)
    paths = list(delegated_paths(role))
    roles[role] = DelegatedRole(role, [], 1, terminating=True, paths=paths)
    delegations.roles = {name: roles[name] for name in delegation_order(roles) if name in roles}


def _change(delegator: Root | Targets, role: str, edit: Edit, removed: Sequence[str]) -> None:
    for key in edit.add:
        there = signers_of(role, delegator)
        known = delegator.keys if isinstance(delegator, Root) else _known(delegator)
        double = [each for each in there.who if same_key(known[each.keyid], key)]
        if double:
            raise BadUsage(
                f"{double[0]} may sign {role} already",
                why="each key counts once, whatever its name",
                hint="leave it out",
            )
        delegator.add_key(key, role)
    for keyid in removed:
        if keyid in delegator.get_delegated_role(role).keyids:
            delegator.revoke_key(keyid, role)
    if edit.threshold is not None:
        delegator.get_delegated_role(role).threshold = edit.threshold


def _signed_by(targets: Targets, keys: Sequence[str]) -> set[str]:
    """The roles that one of these keys may sign."""
    return {
        role
        for role in delegated_roles(targets)
        if not {*keys}.isdisjoint(targets.get_delegated_role(role).keyids)
    }


def _known(targets: Targets) -> dict[str, Key]:
    assert targets.delegations is not None
    return targets.delegations.keys


def _insist(before: Signers, after: Signers) -> None:
    if after.role == ONLINE and after.threshold != 1:
        raise BadUsage(
            "one online key signs alone",
            why="it signs day and night by itself; two on one machine are no safer than one",
            hint="give the channel keys of people: `imagectl catalog rotate-keys channel-stable "
            "--add alice.pub --add bob.pub --threshold 2 --reason TEXT`",
        )
    _insist_on_enough(after)


def _insist_on_enough(after: Signers) -> None:
    if len(after.who) < after.threshold or not after.who:
        raise Refused(
            f"nobody could sign {after.role} any more",
            reasons=(
                f"{counted(after.threshold, 'signature')} would be needed of "
                f"{counted(len(after.who), 'key')}",
            ),
            hint="--add a key, or --new; or ask for a lower --threshold",
        )


def _next(known: Signed[_Any], now: datetime) -> Metadata[_Any]:
    """The same once more, unsigned, with the next number."""
    after: Metadata[_Any] = Metadata.from_bytes(known.data)
    after.signatures.clear()
    after.signed.version += 1
    after.signed.expires = now + lifetime(after.signed.type)
    return after
