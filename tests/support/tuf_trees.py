"""Published trees made with python-tuf alone: with whatever an attacker, or a mishap, makes of one.

Nothing of imagectl's own publisher is used, so that what both ends have wrong is seen.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)

from imagectl.formats.tuf_roles import BEHIND, SHOWN
from support.web import Page, Site

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

OURS: Mapping[str, tuple[str, ...]] = {
    "catalog": ("catalog.json", "announcements.json", "images/*/warnings.json", "history/*"),
    "channel-beta": ("images/*/channels/beta.json",),
    "channel-stable": ("images/*/channels/stable.json",),
    "images": ("images/*/index.json",),
}
"""The roles of a catalog's tree, and what they sign."""

INDEX = "images/debian-ci/index.json"
"""A file of such a tree, signed by the role ``images``."""


class TufTree:
    """A tree, as files by their path below it. Every key is made anew and known to it.

    Change ``root``, ``snapshot``, ``timestamp`` or one of ``lists`` as you like, then ``sign``
    writes it, or ``publish`` the lists with all that names them.
    """

    def __init__(
        self,
        roles: Mapping[str, tuple[str, ...]] = OURS,
        *,
        now: datetime = NOW,
        hashes: bool = True,
    ) -> None:
        later = now + timedelta(days=14)
        self.files: dict[str, bytes] = {}
        self.signers: dict[str, list[CryptoSigner]] = {}
        self.hashes = hashes
        self.root = Metadata(Root(expires=later, consistent_snapshot=True))
        self.timestamp = Metadata(
            Timestamp(expires=later, unrecognized_fields={SHOWN: {BEHIND: {}}})
        )
        self.snapshot = Metadata(Snapshot(expires=later))
        self.lists: dict[str, Metadata[Targets]] = {"targets": Metadata(Targets(expires=later))}
        for role in ("root", "timestamp", "snapshot", "targets"):
            self.rekey(role)
        self.lists["targets"].signed.delegations = Delegations({}, {})
        for role, paths in roles.items():
            self.delegate(role, paths)
        self.sign("root")
        self.publish(*self.lists, bump=False)

    def rekey(self, role: str, count: int = 1, threshold: int = 1) -> list[CryptoSigner]:
        """Other keys for a role of the root's. The old ones."""
        old = self.signers.pop(role, [])
        for signer in old:
            self.root.signed.revoke_key(signer.public_key.keyid, role)
        self.signers[role] = [CryptoSigner.generate_ed25519() for _ in range(count)]
        for signer in self.signers[role]:
            self.root.signed.add_key(signer.public_key, role)
        self.root.signed.roles[role].threshold = threshold
        return old

    def delegate(
        self,
        role: str,
        paths: Iterable[str],
        *,
        by: str = "targets",
        count: int = 1,
        threshold: int = 1,
        terminating: bool = True,
        prefixes: Iterable[str] | None = None,
    ) -> None:
        """Let *role* sign those documents; by prefixes of their hashes where these are given."""
        lists = self.lists[by].signed
        if lists.delegations is None:
            lists.delegations = Delegations({}, {})
        assert lists.delegations.roles is not None
        lists.delegations.roles[role] = DelegatedRole(
            role,
            [],
            threshold,
            terminating,
            None if prefixes is not None else list(paths),
            None if prefixes is None else list(prefixes),
        )
        if role not in self.lists:
            self.lists[role] = Metadata(Targets(expires=lists.expires))
            self.signers[role] = [CryptoSigner.generate_ed25519() for _ in range(count)]
        for signer in self.signers[role]:
            lists.add_key(signer.public_key, role)

    def spread(self, bits: int, prefix: str) -> None:
        """Spread all documents over so many roles by their hashes (succinct delegation)."""
        signer = CryptoSigner.generate_ed25519()
        spread = SuccinctRoles([], 1, bits, prefix)
        top = self.lists["targets"].signed
        top.delegations = Delegations({}, None, spread)
        for role in spread.get_roles():
            self.lists[role] = Metadata(Targets(expires=top.expires))
            self.signers[role] = [signer]
        top.add_key(signer.public_key)

    def put(self, role: str, name: str, data: bytes) -> str:
        """Have *role* sign a document, from its next ``publish`` on. Its path."""
        self.lists[role].signed.targets[name] = TargetFile.from_data(name, data, ["sha256"])
        path = self.path(name, data)
        self.files[path] = data
        return path

    def path(self, name: str, data: bytes) -> str:
        """Where a document with these bytes is."""
        folder, slash, last = name.rpartition("/")
        return f"{folder}{slash}{hashlib.sha256(data).hexdigest()}.{last}"

    def version(self, data: bytes) -> str:
        """A version's document, which no role signs. Its digest."""
        digest = hashlib.sha256(data).hexdigest()
        self.files[f"versions/sha256/{digest[:2]}/{digest}.json"] = data
        return digest

    def publish(self, *roles: str, bump: bool = True) -> None:
        """Sign these lists anew, then the snapshot that names them, then the timestamp."""
        for role in roles:
            if bump:
                self.lists[role].signed.version += 1
            self.sign(role)
            self.snapshot.signed.meta[f"{role}.json"] = self._meta(
                self.lists[role].signed.version, self.files[self.place(role)]
            )
        if bump:
            self.snapshot.signed.version += 1
            self.timestamp.signed.version += 1
        self.sign("snapshot")
        self.sign_timestamp()

    def sign_timestamp(self) -> None:
        """Sign the timestamp, which names the snapshot that there is."""
        self.timestamp.signed.snapshot_meta = self._meta(
            self.snapshot.signed.version, self.files[self.place("snapshot")]
        )
        self.sign("timestamp")

    def sign(self, role: str, signers: Iterable[CryptoSigner] | None = None) -> bytes:
        """Sign a role as it is now, by its keys or others, and put its file there."""
        metadata = self.metadata(role)
        metadata.signatures.clear()
        for signer in self.signers[role] if signers is None else signers:
            metadata.sign(signer, append=True)
        data = metadata.to_bytes()
        self.files[self.place(role)] = data
        return data

    def new_root(self, old: Iterable[CryptoSigner] = ()) -> bytes:
        """The next root, signed by its own keys and the *old* ones."""
        self.root.signed.version += 1
        return self.sign("root", [*self.signers["root"], *old])

    def metadata(self, role: str) -> Metadata[Any]:
        match role:
            case "root":
                return self.root
            case "snapshot":
                return self.snapshot
            case "timestamp":
                return self.timestamp
            case _:
                return self.lists[role]

    def place(self, role: str) -> str:
        """Where the newest file of a role is."""
        if role == "timestamp":
            return "metadata/timestamp.json"
        return f"metadata/{self.metadata(role).signed.version}.{quote(role, '')}.json"

    def copy(self) -> TufTree:
        """The same tree and keys, to go another way from here."""
        signers, self.signers = self.signers, {}
        try:
            other = copy.deepcopy(self)
        finally:
            self.signers = signers
        other.signers = {role: list(each) for role, each in signers.items()}
        return other

    def write(self, folder: Path) -> None:
        """Make *folder* show exactly these files."""
        there = {path for path in folder.rglob("*") if path.is_file()}
        for name, data in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            there.discard(path)
        for path in there:
            path.unlink()

    def serve(self, site: Site) -> str:
        """Have the web server show exactly these files. The tree's address."""
        site.pages = {f"/{path}": Page(data) for path, data in self.files.items()}
        return site.url()

    def _meta(self, version: int, data: bytes) -> MetaFile:
        if not self.hashes:
            return MetaFile(version)
        return MetaFile.from_data(version, data, ["sha256"])


def indexed() -> TufTree:
    """A tree in which the index of an image is published."""
    made = TufTree()
    made.put("images", INDEX, b"the index")
    made.publish("images")
    return made


def as_bytes(data: bytes, where: str) -> bytes:
    """How to read a target: as it is."""
    return data
