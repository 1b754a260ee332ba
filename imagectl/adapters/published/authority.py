"""Makes the metadata that says whose keys count, and signs what is to be signed here.

Promises: nothing is made with a key that does not count; whoever may sign is changed by nobody here
but for channels that are new, and for another year; where keys that have to sign are elsewhere, it
is said what waits for them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import TypeVar

from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    Root,
    Snapshot,
    Targets,
    Timestamp,
)

from imagectl.adapters.published.verified import SHOWN, Signed, parse_metadata
from imagectl.adapters.signing_keys import (
    ONLINE_KEY,
    ROOT_KEY,
    TARGETS_KEY,
    SigningKeys,
    add_signature,
)
from imagectl.errors import Corrupt, Failed, ImagectlError
from imagectl.formats.tuf_roles import (
    CATALOG_ROLE,
    IMAGES_ROLE,
    ROOT,
    SNAPSHOT,
    SPEC_VERSION,
    TARGETS,
    TIMESTAMP,
    channel_role,
    delegated_paths,
    delegation_order,
    is_due,
    lifetime,
)
from imagectl.model.names import ChannelName

_Any = TypeVar("_Any", Root, Snapshot, Timestamp, Targets)


def first_root(keys: SigningKeys, now: datetime) -> Signed[Root]:
    """The root with which everything begins. Keys that there are not are made."""
    first = keys.first()
    duties = {
        ROOT: ROOT_KEY,
        TARGETS: TARGETS_KEY,
        SNAPSHOT: ONLINE_KEY,
        TIMESTAMP: ONLINE_KEY,
    }
    root = Root(1, SPEC_VERSION, now + lifetime(ROOT), consistent_snapshot=True)
    for role, name in duties.items():
        for key in first[name]:
            root.add_key(key, role)
    metadata = Metadata(root)
    if not sign(ROOT, metadata, root, keys):
        raise no_key(ROOT, root, keys)
    return Signed(metadata, metadata.to_bytes())


def renewed_root(root: Signed[Root], keys: SigningKeys, now: datetime) -> Signed[Root]:
    """The same for another year, where it is due and its keys are here; else as it is."""
    if not is_due(ROOT, root.signed.expires, now):
        return root
    after = Metadata[Root].from_bytes(root.data)
    after.signatures.clear()
    after.signed.version += 1
    after.signed.expires = now + lifetime(ROOT)
    after.signed.unrecognized_fields.pop(SHOWN, None)  # why the one before was made
    signed = sign_or_wait(ROOT, after, root.signed, keys)
    return Signed(after, after.to_bytes()) if signed else root


def first_targets(
    root: Root, keys: SigningKeys, channels: Collection[ChannelName], now: datetime
) -> Signed[Targets]:
    """Who may sign what, at first: one online key may sign every document."""
    online = {key.keyid: key for key in keys.first()[ONLINE_KEY]}
    delegations = Delegations(online, {})
    metadata = Metadata(Targets(1, SPEC_VERSION, now + lifetime(TARGETS), delegations=delegations))
    for role in (CATALOG_ROLE, IMAGES_ROLE, *map(channel_role, sorted(channels))):
        _delegate(metadata.signed, role, list(online))
    if not sign(TARGETS, metadata, root, keys):
        raise no_key(TARGETS, root, keys)
    return Signed(metadata, metadata.to_bytes())


def next_targets(
    root: Root,
    known: Signed[Targets],
    keys: SigningKeys,
    channels: Collection[ChannelName],
    now: datetime,
    pending: bytes | None = None,
) -> tuple[Signed[Targets], bytes | None]:
    """The same with every channel in it, and for another year where it is due; beside it what that
    would be, where it cannot be signed here.

    *pending* is what waits already: a person's change of keys. It counts once those have signed who
    have to, and is not signed here without anybody who looks at it.
    """
    waiting = _waiting_targets(pending, known)
    if waiting is not None and is_signed(TARGETS, waiting.metadata, root):
        waiting.metadata.unrecognized_fields.clear()
        known, waiting = Signed(waiting.metadata, waiting.metadata.to_bytes()), None
    new = [
        each for each in sorted(channels) if channel_role(each) not in delegated_roles(known.signed)
    ]
    if not new and not is_due(TARGETS, known.signed.expires, now):
        return known, None if waiting is None else waiting.data
    after = Metadata[Targets].from_bytes((waiting or known).data)
    if waiting is not None:
        new = [each for each in new if channel_role(each) not in delegated_roles(after.signed)]
        if not new and not is_due(TARGETS, after.signed.expires, now):
            return known, waiting.data
    after.signatures.clear()
    after.signed.version = known.signed.version + 1
    after.signed.expires = now + lifetime(TARGETS)
    if waiting is None:
        after.signed.unrecognized_fields.pop(SHOWN, None)  # why the one before was made
    assert after.signed.delegations is not None
    assert after.signed.delegations.roles is not None
    online = list(after.signed.delegations.roles[CATALOG_ROLE].keyids)
    for channel in new:
        _delegate(after.signed, channel_role(channel), online)
    if waiting is None and sign_or_wait(TARGETS, after, root, keys):
        return Signed(after, after.to_bytes()), None
    return known, after.to_bytes()


def _waiting_targets(pending: bytes | None, known: Signed[Targets]) -> Signed[Targets] | None:
    """What waits to come next after *known*; None where that is nothing, or of before."""
    if pending is None:
        return None
    try:
        found = parse_metadata(Targets, pending, "pending targets")
    except Corrupt:
        return None
    return found if found.signed.version == known.signed.version + 1 else None


def _delegate(targets: Targets, role: str, keyids: Sequence[str]) -> None:
    delegations = targets.delegations
    assert delegations is not None
    assert delegations.roles is not None
    roles = dict(delegations.roles)
    paths = list(delegated_paths(role))
    roles[role] = DelegatedRole(role, list(keyids), 1, terminating=True, paths=paths)
    delegations.roles = {name: roles[name] for name in delegation_order(roles) if name in roles}


def delegated_roles(targets: Targets) -> Collection[str]:
    """The roles that may sign documents."""
    delegations = targets.delegations
    return () if delegations is None or delegations.roles is None else tuple(delegations.roles)


def is_signed(role: str, metadata: Metadata[_Any], delegator: Root | Targets) -> bool:
    """Whether enough of those have signed it whose keys count for the role."""
    result = delegator.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
    return bool(result)


def sign(role: str, metadata: Metadata[_Any], delegator: Root | Targets, keys: SigningKeys) -> bool:
    """Sign with the keys of the role that are here, as long as signatures are missing. Whether none
    is missing any more.

    Raises CannotTell where a key elsewhere does not answer and the others are not enough.
    """
    trouble: ImagectlError | None = None
    payload = metadata.signed_bytes
    for keyid in sorted(delegator.get_delegated_role(role).keyids):
        if delegator.get_verification_result(role, payload, metadata.signatures):
            return True
        if keyid in metadata.signatures:
            continue
        try:
            signer = keys.signer(keyid)
            if signer is not None:
                add_signature(metadata, signer, role)
        except ImagectlError as error:
            trouble = error
    complete = bool(delegator.get_verification_result(role, payload, metadata.signatures))
    if not complete and trouble is not None:
        raise trouble
    return complete


def sign_or_wait(
    role: str, metadata: Metadata[_Any], delegator: Root | Targets, keys: SigningKeys
) -> bool:
    """As ``sign``, for what may wait for signatures: a key elsewhere that does not answer counts as
    one that is not here, and holds nothing else up. Why is in ``SigningKeys.silent``."""
    try:
        return sign(role, metadata, delegator, keys)
    except ImagectlError as error:
        if error not in keys.silent:
            keys.silent.append(error)
        return False


def no_key(role: str, delegator: Root | Targets, keys: SigningKeys) -> Failed:
    """That *role* cannot be signed here, and has to be."""
    asked = delegator.get_delegated_role(role)
    return Failed(
        "what consumers read cannot be signed here",
        where=str(keys.folder),
        why=f"the signature of {role} needs {asked.threshold} of the keys "
        f"{', '.join(sorted(each[:12] for each in asked.keyids))}, and too few of them are here",
        hint="bring the key there, or say under `catalog.keys` in imagectl.yaml where it is; then "
        "`imagectl catalog publish`",
    )
