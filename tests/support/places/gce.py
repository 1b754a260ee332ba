"""Compute Engine and Cloud Storage. Their other end is ``peers.google``."""

from __future__ import annotations

import gzip
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path

import pytest
from peers.google.calls import (
    Cut,
    FailOperation,
    LoseAnswer,
    OtherBytes,
    Refuse,
    Stale,
    Warn,
)
from peers.google.peer import Google, google

from imagectl.adapters.disk.gce import encode
from imagectl.adapters.locations import open_location
from imagectl.adapters.locations.gce import GceLocation
from imagectl.adapters.locations.gce_labels import to_labels
from imagectl.model.image import SecretKind, SecretRef
from imagectl.model.names import Format
from imagectl.model.place import GceLocation as Settings
from imagectl.model.version import Artifact, Placement
from support.examples import digest
from support.places import LOCAL, surroundings
from support.places.google import Faulty
from support.places.place import Fault, artifact_of, filling

PROJECT = "acme-images"
BUCKET = "acme-upload"
GIB = 1 << 30
DATA = 1_500_000
"""Bytes of a test's disk that are not empty. They do not compress."""


class OnGoogle(Faulty[GceLocation]):
    """Implements ``support.places.Place``."""

    def __init__(self, peer: Google, folder: Path, **more: object) -> None:
        self.settings = settings(peer, **more)
        super().__init__(peer, folder)

    def reopened(self) -> GceLocation:
        """A location as a new process has it."""
        location = open_location(LOCAL, self.settings, surroundings(self.folder, patience=2.0))
        assert isinstance(location, GceLocation)
        return location

    def artifact(self, folder: Path, seed: int = 0) -> tuple[Artifact, Path]:
        path = folder / f"disk-{seed}.gce.tar.gz"
        data = archive(seed)
        path.write_bytes(data)
        return artifact_of(data, Format.GCE), path

    def lose(self, placement: Placement) -> None:
        self.peer.compute.remove(placement.reference)

    def damage(self, placement: Placement) -> None:
        self.peer.compute.resources[placement.reference]["labels"]["imagectl-sha256"] = "0" * 32

    def foreign(self, name: str) -> Callable[[], object]:
        self.peer.compute.add_image(PROJECT, name, labels={"team": "somebody-else"})
        path = f"projects/{PROJECT}/global/images/{name}"
        return lambda: (self.peer.compute.image(PROJECT, name), self.peer.compute.policy(path))

    def fill(self, count: int) -> None:
        for number in range(count):
            labels = to_labels(filling(number, digest(f"{number}")))
            self.peer.compute.add_image(PROJECT, f"filling-{number}", labels=labels)

    def fault(self, fault: Fault) -> AbstractContextManager[None] | str:
        match fault:
            case Fault.UNAVAILABLE_PAGE_2:
                return self.page_2_down("compute.images.list")
            case Fault.PRECONDITION:
                changed = Refuse(412, "conditionNotMet", "Precondition Failed")
                writes = ("storage.objects.insert/start", "compute.images.insert")
                return self.during(*((changed, (each,), 1) for each in writes))
            case Fault.LOST_RESPONSE:
                writes = ("storage.objects.insert/bytes", "compute.images.insert")
                return self.during(*((LoseAnswer(), (each,), 1) for each in writes))
            case Fault.STALE_READ:
                return self.during((Stale(), ("*.get",), 3))
            case Fault.FAILED_OPERATION:
                return self.during((FailOperation(), ("compute.images.insert",), None))
            case Fault.BROKEN_UPLOAD:
                return self.during((Cut(0.7), ("storage.objects.insert/bytes",), 1))
            case Fault.WRONG_DIGEST:
                return self.during((OtherBytes(), ("storage.objects.insert/*",), None))
            case Fault.PART_UNREACHABLE:
                return self.during((Warn(), ("compute.images.list",), None))
            case Fault.CONTAINER_GONE:
                return self._container_gone()
            case Fault.CLOCK_SKEW:
                return "Google lets nobody in whose clock is wrong (test_gce_location.py)"
            case _:
                return super().fault(fault)

    @contextmanager
    def _container_gone(self) -> Iterator[None]:
        self.peer.compute.remove_project(PROJECT)
        self.peer.storage.remove_bucket(BUCKET)
        yield
        self.peer.compute.add_project(PROJECT)
        self.peer.storage.add_bucket(BUCKET)


def settings(peer: Google, **more: object) -> Settings:
    """Those of a project and a bucket at the peer. *more*: what is not as usual."""
    usual: dict[str, object] = {
        "project": PROJECT,
        "bucket": BUCKET,
        "zone": peer.compute.zones[0],
        "endpoint": peer.url,
        "storage_endpoint": peer.url,
        "credentials": SecretRef(SecretKind.FILE, "imagectl.json"),
    }
    return Settings(**{**usual, **more})  # type: ignore[arg-type]  # the tests' own settings


@lru_cache(maxsize=8)
def archive(seed: int) -> bytes:
    """A disk of a gigabyte, nearly empty, as Compute Engine imports it."""
    with tempfile.TemporaryFile() as disk:
        disk.truncate(GIB)
        disk.seek(1 << 20)
        disk.write(random.Random(seed).randbytes(DATA))
        disk.flush()
        return gzip.compress(b"".join(encode(disk.fileno(), GIB)), 1, mtime=0)


def opened(request: pytest.FixtureRequest, folder: Path) -> OnGoogle:
    stack = ExitStack()
    request.addfinalizer(stack.close)
    return OnGoogle(stack.enter_context(google((PROJECT,), (BUCKET,))), folder)
