"""The people and machines whose signatures count, as people know them.

A key is named after the file that it came from, in the signed metadata itself: so whoever reads who
may sign reads names, and nobody can change them alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tuf.api.metadata import Root, Targets

from imagectl.adapters.signing_keys import NAME, named, open_elsewhere
from imagectl.errors import BadUsage, Failed, NotFound

if TYPE_CHECKING:
    from securesystemslib.signer import Key

SHOWN_DIGITS = 12
"""So much of a key's id is shown; it can be typed back."""


@dataclass(frozen=True, slots=True)
class Signer:
    """One whose signature counts."""

    keyid: str
    name: str

    def __str__(self) -> str:
        short = self.keyid[:SHOWN_DIGITS]
        return f"{self.name} ({short})" if self.name else short


@dataclass(frozen=True, slots=True)
class Signers:
    """Who may sign a role, and how many of them have to."""

    role: str
    who: tuple[Signer, ...]
    threshold: int


def signers_of(role: str, delegator: Root | Targets) -> Signers:
    """Who may sign that role. Raises ValueError where there is no such role."""
    asked = delegator.get_delegated_role(role)
    keys = _keys(delegator)
    who = (Signer(each, _name(keys[each])) for each in asked.keyids if each in keys)
    return Signers(
        role, tuple(sorted(who, key=lambda each: (each.name, each.keyid))), asked.threshold
    )


def key_of(keyid: str, delegator: Root | Targets) -> Key:
    """The public key of one who may sign."""
    return _keys(delegator)[keyid]


def read_public_key(text: str) -> Key:
    """The public key in a PEM file, or of a key in a KMS or an HSM by its URI; named after it.

    Raises NotFound, BadUsage, or as ``open_elsewhere`` does.
    """
    path = Path(text)
    if not path.exists() and ":" in text:
        return named(open_elsewhere(text).public_key, text.rpartition("/")[2])
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SSlibKey

    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotFound("there is no such public key", where=text) from None
    except OSError as problem:
        raise Failed(
            "a public key cannot be read", where=text, why=problem.strerror or str(problem)
        ) from problem
    if b"PRIVATE KEY" in data:
        raise BadUsage(
            f"{text} is a private key",
            why="who adds a key to the catalog needs its public half alone; the private one stays "
            "with its owner",
            hint=f"its owner types: openssl pkey -in {path.name} -pubout -out {path.stem}.pub",
        )
    try:
        key = SSlibKey.from_crypto(load_pem_public_key(data))
    except (ValueError, UnsupportedAlgorithm) as problem:
        raise BadUsage(
            f"{text} is not a public key in PEM",
            why=str(problem),
            hint="Ed25519, ECDSA and RSA keys are known: openssl pkey -in KEY.pem -pubout",
        ) from problem
    return named(key, path.name.partition(".")[0])


def chosen(prefixes: Sequence[str], among: Signers) -> tuple[Signer, ...]:
    """Those whose ids begin so, or who have that name. Raises NotFound or BadUsage."""
    found: dict[str, Signer] = {}
    for prefix in prefixes:
        meant = [each for each in among.who if each.keyid.startswith(prefix) or each.name == prefix]
        if not meant:
            raise NotFound(
                f"no key of {among.role} is {prefix}",
                why=f"there are {', '.join(map(str, among.who))}",
                hint=f"`imagectl catalog rotate-keys {among.role}` lists them",
            )
        if len(meant) > 1:
            raise BadUsage(
                f"{prefix} may be any of {', '.join(map(str, meant))}",
                hint="type more of its id",
            )
        found[meant[0].keyid] = meant[0]
    return tuple(found.values())


def _keys(delegator: Root | Targets) -> Mapping[str, Key]:
    if isinstance(delegator, Root):
        return delegator.keys
    return {} if delegator.delegations is None else delegator.delegations.keys


def _name(key: Key) -> str:
    found = key.unrecognized_fields.get(NAME, "")
    return found if isinstance(found, str) else ""
