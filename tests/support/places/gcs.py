"""A bucket of Cloud Storage. Its other end is ``peers.google``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
from peers.google.calls import (
    Cut,
    LoseAnswer,
    OtherBytes,
    Refuse,
    Stale,
)
from peers.google.peer import Google, google

from imagectl.adapters.locations.gcs import GcsLocation
from imagectl.adapters.locations.owners import Record, record_of
from imagectl.model.image import SecretKind, SecretRef
from imagectl.model.place import Bucket
from imagectl.model.place import GcsLocation as Settings
from imagectl.model.version import Artifact, Placement
from support.examples import digest
from support.places import surroundings
from support.places.google import Faulty
from support.places.place import LOCAL, Fault, filling, some_artifact

BUCKET = "acme-images"
START = "storage.objects.insert/start"
BYTES = "storage.objects.insert/bytes"


class InGoogleBucket(Faulty[GcsLocation]):
    """Implements ``support.places.Place``."""

    def __init__(self, peer: Google, folder: Path) -> None:
        self.settings = Settings(
            Bucket("gs", BUCKET, "disks"),
            endpoint=peer.url,
            credentials=SecretRef(SecretKind.FILE, "imagectl.json"),
        )
        super().__init__(peer, folder)

    def reopened(self) -> GcsLocation:
        return GcsLocation(LOCAL, self.settings, surroundings(self.folder, patience=2.0))

    def artifact(self, folder: Path, seed: int = 0) -> tuple[Artifact, Path]:
        return some_artifact(folder, seed, 600_000)

    def lose(self, placement: Placement) -> None:
        del self.peer.storage.objects[BUCKET, _name(placement.provider_id)]

    def damage(self, placement: Placement) -> None:
        self.peer.storage.put(BUCKET, _name(placement.provider_id), b"?" * placement.size)

    def foreign(self, name: str) -> Callable[[], object]:
        storage, key = self.peer.storage, _name(name)
        storage.put(BUCKET, key, b"somebody else's", {"owner": "somebody"})
        return lambda: (storage.get(BUCKET, key), storage.state(BUCKET, key))

    def fill(self, count: int) -> None:
        for number in range(count):
            owner = filling(number, digest(f"{number}"))
            name = f"disks/sha256/{owner.sha256[:2]}/{owner.sha256}"
            self.peer.storage.put(BUCKET, name, b".")
            record = Record(owner, False).text()
            self.peer.storage.put(BUCKET, f"disks/{record_of(owner)}", record)

    def fault(self, fault: Fault) -> AbstractContextManager[None] | str:
        match fault:
            case Fault.UNAVAILABLE_PAGE_2:
                return self.page_2_down("storage.objects.list")
            case Fault.PRECONDITION:
                changed = Refuse(412, "conditionNotMet", "Precondition Failed")
                return self.during((changed, (START,), 1))
            case Fault.LOST_RESPONSE:
                return self.during((LoseAnswer(), (BYTES,), 1))
            case Fault.STALE_READ:
                return self.during((Stale(), ("*.get",), 1))
            case Fault.BROKEN_UPLOAD:
                return self.during((Cut(0.7), (BYTES,), 1))
            case Fault.WRONG_DIGEST:
                return self.during((OtherBytes(), (BYTES,), None))
            case Fault.CONTAINER_GONE:
                return self._gone()
            case Fault.CLOCK_SKEW:
                return "Google lets nobody in whose clock is wrong, as the tests of gce have it"
            case Fault.FAILED_OPERATION | Fault.PART_UNREACHABLE:
                return "Cloud Storage has no operations and no parts"
            case _:
                return super().fault(fault)

    @contextmanager
    def _gone(self) -> Iterator[None]:
        self.peer.storage.remove_bucket(BUCKET)
        yield
        self.peer.storage.add_bucket(BUCKET)


def _name(url: str) -> str:
    return url.removeprefix(f"gs://{BUCKET}/")


def opened(request: pytest.FixtureRequest, folder: Path) -> InGoogleBucket:
    stack = ExitStack()
    request.addfinalizer(stack.close)
    return InGoogleBucket(stack.enter_context(google(("acme",), (BUCKET,))), folder)
