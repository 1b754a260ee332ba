"""The private keys of this machine that sign the published tree.

Promises: a private key leaves this module only as a signer; a file that others may read is refused;
keys are made once, under names that say what they are for, and never replaced. Keys in a KMS, an
HSM or a vault are asked only for what no file's key can sign, and their SDKs are loaded only then.
Which public keys count, and for what, is in the signed metadata, not here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagectl.adapters.durable import make_folder, naming_failures, write
from imagectl.adapters.secrets import read_secret
from imagectl.errors import CannotTell, Corrupt, Failed, ImagectlError, NotFound, ToolMissing
from imagectl.model.image import SecretKind, SecretRef

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, Key, Signer
    from tuf.api.metadata import Metadata

ROOT_KEY, TARGETS_KEY, ONLINE_KEY = "root", "targets", "online"
"""What a key is for, as the names of files say it."""

OFFLINE = (ROOT_KEY, TARGETS_KEY)
"""What belongs offline: whoever has one of these can say whose keys count."""

PROVENANCE = "provenance.pem"
"""The key of ``adapters.inside.signing``, in the same folder: it signs what builds say, not what is
released."""

PUBLIC_HALF = ".pub.pem"
"""How the names of public keys end, which anybody may read."""

NAME = "x-imagectl-name"
"""The field of a public key in which it has a name for people."""

PIN = "IMAGECTL_KEY_PIN"
"""The environment variable with the PIN of a hardware key."""


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A private key that is here. ``name`` says what it is for, where its file's name does."""

    name: str
    signer: Signer


@dataclass(frozen=True, slots=True)
class _MadeKey:
    """One that was made here just now, and is in no file yet."""

    name: str
    signer: CryptoSigner


class SigningKeys:
    """The keys that ``catalog.keys`` names, or else those of the folder *folder*.

    A name is a secret with a PEM in it, a folder of PEM files, or the URI of a key elsewhere.
    """

    def __init__(self, named: Sequence[SecretRef | str], folder: Path, project: Path) -> None:
        self._named = named
        self._folder = folder
        self._project = project
        self._files: dict[str, FoundKey] | None = None
        self._elsewhere: dict[str, Signer] = {}
        self._unkept: dict[str, _MadeKey] = {}
        self.made: list[Path] = []
        """The files of keys that were made here for a tree to begin with."""
        self._unasked = [each for each in named if isinstance(each, str)]
        self._failed: dict[str, ImagectlError] = {}
        self.silent: list[ImagectlError] = []
        """Why keys elsewhere have not signed what could wait for them, for people."""

    @property
    def folder(self) -> Path:
        """Where keys are made."""
        return self._folder

    def signer(self, keyid: str) -> Signer | None:
        """What signs with the private key of that public key; None where it is not here.

        Raises Failed where a file cannot be used, and CannotTell where a key elsewhere does not
        answer: it may be that one.
        """
        if keyid in self._at_hand():
            return self._at_hand()[keyid].signer
        for uri in (*self._unasked,):
            if keyid in self._elsewhere:
                break
            if uri not in self._failed:
                try:
                    found = open_elsewhere(uri)
                except ImagectlError as error:
                    self._failed[uri] = error  # not asked again: each may take a minute
                else:
                    self._unasked.remove(uri)
                    self._elsewhere[found.public_key.keyid] = found
        if keyid not in self._elsewhere:
            for trouble in self._failed.values():
                raise trouble
        return self._elsewhere.get(keyid)

    def first(self) -> Mapping[str, Sequence[Key]]:
        """The public keys with which a tree begins, by what they are for; those that there are not
        are made. A key that says nothing of what it is for is an online one."""
        found: dict[str, list[Key]] = {name: [] for name in (*OFFLINE, ONLINE_KEY)}
        for each in self._at_hand().values():
            name = each.name.partition("-")[0]  # root-2 was made in the place of root
            public = named(each.signer.public_key, each.name)
            found[name if name in found else ONLINE_KEY].append(public)
        for uri in self._unasked:
            signer = open_elsewhere(uri)
            self._elsewhere[signer.public_key.keyid] = signer
            found[ONLINE_KEY].append(signer.public_key)
        self._unasked = []
        for name, keys in found.items():
            if not keys:
                keys.append(named(self._make(name).public_key, name))
                self.made.append(self._path(name))
        return found

    def another(self, purpose: str) -> tuple[Key, Path]:
        """The public half of one more key: ``online-2`` beside ``online``; and where the private
        one is once it is kept."""
        from securesystemslib.signer import CryptoSigner

        number = 1
        while (path := self._path(name := _numbered(purpose, number))).exists():
            number += 1
        made = CryptoSigner.generate_ed25519()
        self._unkept[made.public_key.keyid] = _MadeKey(name, made)
        return named(made.public_key, name), path

    def keep(self, key: Key) -> None:
        """Keep the private half of a key that ``another`` has made, for good."""
        found = self._unkept.pop(key.keyid)
        self._write(found.name, found.signer)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.pem"

    def _make(self, name: str) -> Signer:
        from securesystemslib.signer import CryptoSigner

        made = CryptoSigner.generate_ed25519()
        self._write(name, made)
        return made

    def _write(self, name: str, made: CryptoSigner) -> None:
        with naming_failures("keeping a signing key", self._folder):
            make_folder(self._folder)
            self._folder.chmod(0o700)
            write(self._folder, self._path(name), made.private_bytes, 0o600)
        self._at_hand()[made.public_key.keyid] = FoundKey(name, made)

    def _at_hand(self) -> dict[str, FoundKey]:
        if self._files is None:
            found = (*self._read(), *self._read_folder(self._folder))
            self._files = {each.signer.public_key.keyid: each for each in found}
        return self._files

    def _read(self) -> Iterator[FoundKey]:
        for each in self._named:
            if isinstance(each, str):
                continue
            path = self._project / each.name
            if each.kind is SecretKind.FILE and path.is_dir():
                yield from self._read_folder(path)
            elif each.kind is SecretKind.FILE:
                if path.exists():  # else it is offline, as it should be
                    yield _read_file(path)
            else:
                try:
                    text = read_secret(each, self._project)
                except NotFound:
                    continue
                yield FoundKey("", _parsed(text.encode() + b"\n", str(each)))

    def _read_folder(self, folder: Path) -> Iterator[FoundKey]:
        for path in sorted(folder.glob("*.pem")):
            if path.name != PROVENANCE and not path.name.endswith(PUBLIC_HALF):
                yield _read_file(path)


def _numbered(purpose: str, number: int) -> str:
    return purpose if number == 1 else f"{purpose}-{number}"


def named(key: Key, name: str) -> Key:
    """The same key, with a name for people: it does not count for the key's id."""
    key.unrecognized_fields[NAME] = name
    return key


def read_private_key(text: str) -> Signer:
    """The signer of a PEM file, or of a key in a KMS or an HSM by its URI.

    Raises NotFound, Failed or Corrupt, or as ``open_elsewhere`` does.
    """
    path = Path(text)
    if not path.exists():
        if ":" in text:
            return open_elsewhere(text)
        raise NotFound(
            "there is no such key",
            where=text,
            hint="name a PEM file, or a key elsewhere such as gcpkms:PATH or hsm:2",
        )
    return _read_file(path).signer


def _read_file(path: Path) -> FoundKey:
    with naming_failures("reading a signing key", path.parent):
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise Failed(
                "a signing key can be read by others",
                where=str(path),
                why="whoever has it can sign what consumers believe",
                hint=f"chmod 600 {path}; where it may have been read, replace it: "
                "`imagectl catalog rotate-keys`",
            )
        return FoundKey(path.stem, _parsed(path.read_bytes(), str(path)))


def _parsed(pem: bytes, where: str) -> CryptoSigner:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    try:
        return CryptoSigner(load_pem_private_key(pem, None))
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it asks for a password
        # Why is not shown: it may have pieces of the key in it.
        raise Corrupt(
            "a signing key is not a private key in PEM without a password",
            where=where,
            hint="Ed25519, ECDSA and RSA keys are known; name another under `catalog.keys`",
        ) from None


def open_elsewhere(uri: str) -> Signer:
    """The signer of a key in a KMS, an HSM or a vault; its public key is asked for there.

    Raises CannotTell where it does not answer, and ToolMissing where its SDK is not installed.
    """
    from securesystemslib.exceptions import UnsupportedLibraryError
    from securesystemslib.signer import Signer

    scheme, _, rest = uri.partition(":")
    try:
        return Signer.from_priv_key_uri(uri, _public_key(scheme, rest), _pin)
    except UnsupportedLibraryError as missing:
        raise ToolMissing(
            f"the signing key {uri} needs a Python package that is not installed",
            why=str(missing),
            hint="pip install it beside imagectl, and type the command again",
        ) from missing
    except ImagectlError:
        raise
    except Exception as problem:  # SDKs of clouds raise what they like
        raise CannotTell(
            f"the signing key {uri} does not answer",
            why=f"{type(problem).__name__}: {problem}",
            hint="check the credentials of this machine, and the key's name under `catalog.keys`",
        ) from problem


def add_signature(metadata: Metadata[Any], signer: Signer, what: str) -> None:
    """Sign *what* (for people) with that key.

    Raises CannotTell where the key does not answer, and Failed where what it gives is no signature
    of its own: nobody would believe it, and nothing else would say why.
    """
    from securesystemslib.exceptions import UnverifiedSignatureError

    who, payload = signer.public_key, metadata.signed_bytes
    try:
        signature = signer.sign(payload)
    except ImagectlError:
        raise
    except Exception as problem:  # SDKs of clouds, and libraries of tokens, raise what they like
        raise CannotTell(
            f"the key {who.keyid[:12]} does not sign {what}",
            why=f"{type(problem).__name__}: {problem}".removesuffix(": "),
            hint="is it plugged in, and its PIN right? May this machine use it?",
        ) from problem
    try:
        who.verify_signature(signature, payload)
    except UnverifiedSignatureError as problem:
        raise Failed(
            f"what the key {who.keyid[:12]} gave is not its signature of {what}",
            why=str(problem),
            hint="does it sign as its public half says (kind of key, digest)?",
        ) from problem
    metadata.signatures[signature.keyid] = signature


def _public_key(scheme: str, rest: str) -> Key:
    """Ask for the public half. Each kind of key has its own way to say which one is meant."""
    from urllib.parse import parse_qsl

    from securesystemslib import signer as kinds

    def azure() -> Key:
        vault, _, path = rest.lstrip("/").partition(".vault.azure.net/keys/")
        return kinds.AzureSigner.import_(vault, path.partition("/")[0])[1]

    def hardware() -> Key:
        number, _, query = rest.partition("?")
        label = dict(parse_qsl(query)).get("label")
        return kinds.HSMSigner.import_(int(number) if number else None, label, _pin)[1]

    ways: dict[str, Callable[[], Key]] = {
        "gcpkms": lambda: kinds.GCPSigner.import_(rest)[1],
        "awskms": lambda: kinds.AWSSigner.import_(rest)[1],
        "azurekms": azure,
        "hv": lambda: kinds.VaultSigner.import_(rest.partition("/")[0])[1],
        "hsm": hardware,
    }
    return ways[scheme]()


def _pin(secret: str) -> str:
    value = os.environ.get(PIN)
    if value is None:
        raise NotFound(
            f"the hardware key asks for its {secret}",
            why=f"there is no environment variable {PIN}",
            hint=f"export {PIN}=... and type the command again",
        )
    return value
