"""A project whose stable may take the signatures of two people, on the command line."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from tuf.api.metadata import Metadata, Root

from imagectl.bootstrap.project import open_project
from imagectl.consumer import open_catalog
from imagectl.consumer.tree import SignedTree
from imagectl.model.names import ImageName
from support.cli import Run
from support.examples import STABLE
from support.projects import new_project, release

IMAGE = ImageName("debian-base")
ONE, TWO = "debian-base@20261120.1", "debian-base@20261120.2"


class Team:
    """A project whose stable shows ONE, two people with keys, and somebody else."""

    def __init__(self, folder: Path, imagectl: Run) -> None:
        self.folder = folder
        self.root = folder / "project"
        self.imagectl = imagectl
        project = new_project(self.root)
        channels = self.root / "catalog" / "channels.yaml"
        channels.write_text(
            "channels:\n  beta: {entry: true}\n  stable: {from: beta, rollback_window: 1}\n"
        )
        release(project, ONE)
        project.close()
        self.key: dict[str, Path] = {}
        for name in ("alice", "bob", "stranger"):
            self.key[name] = self.make_key(name)
        self.done("promote", "stable")
        self.pinned = (self.root / "catalog" / "root.json").read_bytes()

    def make_key(self, name: str) -> Path:
        key = Ed25519PrivateKey.generate()
        path = self.folder / f"{name}.pem"
        path.touch(0o600)
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        path.with_suffix(".pub").write_bytes(public)
        return path

    def public(self, name: str) -> str:
        return str(self.key[name].with_suffix(".pub"))

    def done(self, *arguments: str) -> str:
        result = self.imagectl("-C", str(self.root), *arguments)
        assert result.exit_code == 0, result.stderr
        return result.stdout + result.stderr

    def refused(self, *arguments: str, code: int = 3) -> str:
        result = self.imagectl("-C", str(self.root), *arguments)
        assert result.exit_code == code, result.stdout + result.stderr
        return result.stderr

    def sign(self, role: str, name: str) -> str:
        return self.done("sign", role, "--key", str(self.key[name]), "--yes")

    def two_people(self) -> str:
        """Stable takes the signatures of alice and bob from now on. What the second is told."""
        self.done(
            *("catalog", "rotate-keys", "channel-stable", "--reason", "two people"),
            *("--add", self.public("alice"), "--add", self.public("bob")),
            *("--remove", "online", "--threshold", "2"),
        )
        self.sign("channel-stable", "alice")
        return self.sign("channel-stable", "bob")

    def next_version(self) -> None:
        project = open_project(self.root)
        release(project, TWO)
        project.close()

    def consumer(self, name: str = "consumer") -> SignedTree:
        return open_catalog(
            str(self.root / "catalog" / "public"),
            root=self.pinned,
            cache=self.folder / name,
            now=datetime.now(UTC),
        )

    def stable(self) -> str:
        head = self.consumer().head(IMAGE, STABLE)
        assert head is not None
        return str(head.version)

    def pending(self, role: str) -> Path:
        return self.root / ".imagectl" / "pending" / f"{role}.json"

    def private(self, name: str) -> Path:
        return self.root / ".imagectl" / "keys" / f"{name}.pem"

    def trusted(self) -> Root:
        data = (self.root / "catalog" / "root.json").read_bytes()
        return Metadata[Root].from_bytes(data).signed
