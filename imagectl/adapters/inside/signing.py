"""The project's own key, with which it signs what it says about its versions (ed25519).

It is made when it is first needed: ``provenance.pem``, which only its owner may read, and
``provenance.pub.pem``, to hand out. Nothing but a signature ever leaves this module of the former.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from imagectl.adapters.durable import make_folder, naming_failures, sync_folder, write
from imagectl.errors import Corrupt, Failed, NotFound

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from securesystemslib.signer import CryptoSigner, SSlibKey

PRIVATE = "provenance.pem"
PUBLIC = "provenance.pub.pem"


def project_key(folder: Path) -> CryptoSigner:
    """The key in *folder*, made where there is none yet.

    Of several builds that come first at the same time, one makes it. Raises Failed where it cannot
    be kept, or where others than its owner may read it, and Corrupt where it is no ed25519 key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    private = folder / PRIVATE
    with naming_failures("keeping the project's key", folder):
        if not private.exists():
            _make(folder)
        if stat.S_IMODE(private.stat().st_mode) & 0o077:
            raise Failed(
                "the project's key can be read by others",
                where=str(private),
                why="whoever has it can sign in this project's name",
                hint=f"chmod 600 {private}; where it may have been read, remove it and "
                f"{PUBLIC}: the next build makes another one",
            )
        try:
            key = load_pem_private_key(private.read_bytes(), None)
        except ValueError:
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise Corrupt(
                "the project's key is not an ed25519 key in PEM",
                where=str(private),
                hint=f"bring it back from a backup; or remove it and {PUBLIC}: the next build "
                "makes another one",
            )
        if not (folder / PUBLIC).exists():
            _publish(key, folder)
        return CryptoSigner(key)


def public_key(file: Path) -> SSlibKey:
    """The public key in a PEM file. Raises NotFound, and Corrupt where it is no ed25519 key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SSlibKey

    try:
        key = load_pem_public_key(file.read_bytes())
    except FileNotFoundError:
        raise NotFound("there is no such public key", where=str(file)) from None
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise Corrupt("this is not an ed25519 public key in PEM", where=str(file))
    return SSlibKey.from_crypto(key)


def _make(folder: Path) -> None:
    from securesystemslib.signer import CryptoSigner

    make_folder(folder)
    folder.chmod(0o700)
    fd, name = tempfile.mkstemp(dir=folder)  # only its owner may read it, from the start
    try:
        with open(fd, "wb") as file:
            file.write(CryptoSigner.generate_ed25519().private_bytes)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another build was faster
            os.link(name, folder / PRIVATE)
    finally:
        os.unlink(name)
    sync_folder(folder)


def _publish(key: Ed25519PrivateKey, folder: Path) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    write(folder, folder / PUBLIC, pem)
