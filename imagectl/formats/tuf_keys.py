"""Tells keys by what they are, and not by the ids that the metadata of a published tree gives them.

Signatures are counted by the ids of keys, and whoever writes metadata chooses the ids: a person
whose one key is listed under two of them would count as two people. So such metadata is refused,
by those who sign, those who publish and those who consume (P10). And people are shown ids and
names: another key under the id of somebody they know would be signed unseen. So those who sign and
those who publish refuse every id that is not the key's own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from securesystemslib.exceptions import FormatError
from securesystemslib.formats import encode_canonical
from tuf.api.metadata import Root, Targets

if TYPE_CHECKING:
    from securesystemslib.signer import Key


def same_key(one: Key, other: Key) -> bool:
    """Whether it is one key, under whatever names and ids, and however it is written."""
    return _material(one) == _material(other)


def counted_twice(delegator: Root | Targets) -> str:
    """What is wrong where a role of it lists one key under two ids; else empty."""
    for role, keyids, keys in _roles(delegator):
        if len(keyids) < 2:
            continue
        seen: dict[bytes, str] = {}
        for keyid in keyids:
            if keyid not in keys:
                continue
            first = seen.setdefault(_material(keys[keyid]), keyid)
            if first != keyid:
                return (
                    f"it lists one key of {role} under two ids, {first[:12]} and {keyid[:12]}: "
                    "whoever has it could sign as two people"
                )
    return ""


def under_a_strange_id(delegator: Root | Targets) -> str:
    """What is wrong where a key has an id that is not its own; else empty."""
    if isinstance(delegator, Root):
        keys: Mapping[str, Key] = delegator.keys
    else:
        keys = {} if delegator.delegations is None else delegator.delegations.keys
    for keyid, key in keys.items():
        own = own_id(key)
        if keyid != own:
            return (
                f"it lists a key under the id {keyid[:12]}, which is not that key's own: it would "
                "be taken for another one"
            )
    return ""


def own_id(key: Key) -> str | None:
    """The id that securesystemslib gives such a key when it is made or imported: a digest of all
    that signatures are verified with, and not of its name. None where it can have none."""
    said = {"keytype": key.keytype, "scheme": key.scheme, "keyval": key.keyval}
    try:
        return hashlib.sha256(str(encode_canonical(said)).encode()).hexdigest()
    except (FormatError, ValueError):  # ValueError: half of a surrogate pair
        return None


def _roles(delegator: Root | Targets) -> Iterator[tuple[str, Sequence[str], Mapping[str, Key]]]:
    """Each role, and the keys that it may mean."""
    if isinstance(delegator, Root):
        for name, role in delegator.roles.items():
            yield name, role.keyids, delegator.keys
        return
    delegations = delegator.delegations
    if delegations is None:
        return
    for name, delegated in (delegations.roles or {}).items():
        yield name, delegated.keyids, delegations.keys
    if delegations.succinct_roles is not None:
        yield "its roles", delegations.succinct_roles.keyids, delegations.keys


def _material(key: Key) -> bytes:
    """The key itself: hexadecimal digits and PEM can be written in several ways."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_public_key,
    )

    public = key.keyval.get("public")
    if isinstance(public, str):
        try:
            if key.keytype == "ed25519":
                return bytes.fromhex(public)
            found = load_pem_public_key(public.encode())
            return found.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        except (ValueError, UnsupportedAlgorithm):
            pass  # nothing can be verified with it, or it is of a kind of its own
    return json.dumps(key.keyval, sort_keys=True).encode()
