"""A published tree on a directory, and all that signs it: some of its roles by people."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Targets

from imagectl.adapters.signing_keys import OFFLINE
from imagectl.formats.tuf_roles import TARGETS
from imagectl.model.names import VersionId
from support.examples import CI, NOW, STABLE
from support.releases import Book
from support.signed_trees import DirectoryPublisher, directory_publisher, directory_tree, trusted

ONE, TWO = "debian-ci@20261120.1", "debian-ci@20261120.2"
FIRST, SECOND = (VersionId("20261120", serial) for serial in (1, 2))


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


class World:
    """A published tree whose stable shows ONE, and all that signs it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "public"
        self.signing = folder / "public.signing"
        self.clock = Clock()
        self.people: list[CryptoSigner] = []
        """Who signs stable, where that is so."""
        self.book = Book()
        self.book.built(ONE)
        self.book.moved(STABLE, ONE)
        self.publish()

    @property
    def publisher(self) -> DirectoryPublisher:
        """As another process would have it."""
        return directory_publisher(self.root, self.clock)

    def publish(self) -> None:
        """All that the catalog has."""
        self.publisher.publish(self.book.snapshot)

    def publish_changes(self) -> None:
        """What has changed since the tree was written."""
        shown = self.publisher.shown()
        assert shown is not None
        self.publisher.publish(self.book.excerpt(shown.generation))

    def promote(self) -> None:
        self.book.built(TWO)
        self.book.moved(STABLE, TWO)

    def stable(self) -> VersionId:
        head = directory_tree(self.root, self.clock.now).head(CI, STABLE)
        assert head is not None
        return head.version

    def go_offline(self) -> None:
        for name in OFFLINE:
            (self.signing / "keys" / f"{name}.pem").unlink()

    def delegate(self, role: str, threshold: int) -> list[CryptoSigner]:
        """Have that role signed by people, two of them; their keys."""
        return delegate(self.root, self.signing, role, threshold)

    def hand_over(self, role: str, threshold: int) -> list[CryptoSigner]:
        """The same, and what the role says is signed by as many of them; their keys."""
        people = self.delegate(role, threshold)
        self.publish()
        self.sign_pending(role, *people[:threshold])
        self.publish()
        return people

    def pending(self, role: str) -> Path:
        return self.signing / "pending" / f"{role}.json"

    def sign_pending(self, role: str, *people: CryptoSigner) -> None:
        sign_pending(self.pending(role), *people)


def delegate(root: Path, signing: Path, role: str, threshold: int) -> list[CryptoSigner]:
    """Have a role of the tree on *root* signed by two people; their keys. *signing*: the folder of
    all that signs it."""
    people = [CryptoSigner.generate_ed25519() for _ in range(2)]
    path = signing / "trust" / "targets.json"
    metadata = Metadata[Targets].from_bytes(path.read_bytes())
    delegations = metadata.signed.delegations
    assert delegations is not None
    assert delegations.roles is not None
    delegations.roles[role].keyids = []
    delegations.roles[role].threshold = threshold
    for each in people:
        metadata.signed.add_key(each.public_key, role)
    sign_targets(root, signing, metadata)
    return people


def sign_targets(root: Path, signing: Path, metadata: Metadata[Targets]) -> None:
    """Have that said, as the next version, of who may sign what."""
    metadata.signed.version += 1
    known = Metadata[Root].from_bytes(trusted(root).read_bytes()).signed
    key = known.get_key(known.roles[TARGETS].keyids[0])
    uri = f"file2:{signing / 'keys' / 'targets.pem'}"
    metadata.sign(CryptoSigner.from_priv_key_uri(uri, key))
    (signing / "trust" / "targets.json").write_bytes(metadata.to_bytes())


def sign_pending(path: Path, *people: CryptoSigner) -> None:
    """Have what waits there signed by these."""
    metadata = Metadata[Targets].from_bytes(path.read_bytes())
    for each in people:
        metadata.sign(each, append=True)
    path.write_bytes(metadata.to_bytes())
