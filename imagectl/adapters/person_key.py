"""A person's own key, with which they sign cleanup plans (Ed25519).

It is in the file that ``IMAGECTL_KEY`` names, else in ``imagectl/key.pem`` of the folder for
settings (``XDG_CONFIG_HOME``, else ``~/.config``), and is made when it is first needed. Nothing but
signatures and the public key leave this module.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from imagectl.adapters.durable import make_folder, naming_failures, sync_folder
from imagectl.errors import Corrupt, Failed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def key_file(environment: Mapping[str, str]) -> Path:
    """Where this user's key is, or would be."""
    if named := environment.get("IMAGECTL_KEY", "").strip():
        return Path(named)
    settings = environment.get("XDG_CONFIG_HOME", "").strip()
    return (Path(settings) if settings else Path.home() / ".config") / "imagectl" / "key.pem"


class PersonKey:
    """Somebody's key. ``public`` is its public half, 64 hexadecimal digits."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw().hex()

    def sign(self, data: bytes) -> str:
        """The signature over *data*, 128 hexadecimal digits."""
        return self._private.sign(data).hex()


def open_key(path: Path) -> PersonKey:
    """The key in that file, made where there is none yet, for its owner's eyes only.

    Raises Failed where it cannot be kept, or where others may read it, and Corrupt where it is no
    Ed25519 key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    with naming_failures("keeping your key", path.parent):
        if not path.exists():
            _make(path)
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise Failed(
                "your key can be read by others",
                where=str(path),
                why="whoever has it can sign plans in your name",
                hint=f"chmod 600 {path}; where it may have been read, remove it: the next plan "
                "makes another one",
            )
        try:
            key = load_pem_private_key(path.read_bytes(), None)
        except (ValueError, TypeError):  # TypeError: it asks for a password
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise Corrupt(
                "your key is not an Ed25519 key in PEM without a password",
                where=str(path),
                hint="name another file with IMAGECTL_KEY, or remove this one: the next plan makes "
                "another one",
            )
        return PersonKey(key)


def is_signed(key: str, data: bytes, value: str) -> bool:
    """Whether *value* is the signature over *data* by that public key. False for what is none."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(bytes.fromhex(value), data)
    except (ValueError, InvalidSignature):
        return False
    return True


def _make(path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    pem = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    make_folder(path.parent)
    fd, name = tempfile.mkstemp(dir=path.parent)  # only its owner may read it, from the start
    try:
        with open(fd, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another command was faster
            os.link(name, path)
    finally:
        os.unlink(name)
    sync_folder(path.parent)
