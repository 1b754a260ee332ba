"""Large uploads: they go in pieces, and on where they broke off, in another process too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from peers.faults import FaultProxy, Request, answer
from support.examples import NOW, ref
from support.places import opened
from support.places.oci import InRegistry
from support.places.place import ignore, some_artifact
from support.places.s3 import InBucket

from imagectl.adapters.locations import oci_upload, s3_upload
from imagectl.errors import CannotTell
from imagectl.model.image import SecretKind, SecretRef
from imagectl.services.ports.locations import Location

VERSION = ref("debian-ci@20261120.1")
MIB = 1 << 20


@dataclass
class Large:
    """A place whose uploads go in pieces. ``again`` opens the location as a new process does."""

    location: Location
    proxy: FaultProxy
    piece: Callable[[Request], bool]
    again: Callable[[], Location]


@pytest.fixture(params=["s3", "oci"])
def large(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Large:
    place = opened(request.param, request, tmp_path)
    if isinstance(place, InBucket):
        monkeypatch.setattr(s3_upload, "PART", 5 * MIB)  # the least that S3 takes
        bucket = place
        return Large(
            bucket.location,
            bucket.proxy,
            lambda r: r.method == "PUT" and "partNumber" in r.path,
            lambda: bucket.reopened(),
        )
    assert isinstance(place, InRegistry)
    monkeypatch.setattr(oci_upload, "CHUNK", 5 * MIB)
    registry = place
    return Large(
        registry.location,
        registry.proxy,
        lambda r: r.method == "PATCH",
        lambda: registry.reopened(SecretRef(SecretKind.FILE, "password")),
    )


def test_an_upload_goes_on_where_the_last_process_stopped(large: Large, tmp_path: Path) -> None:
    artifact, source = some_artifact(tmp_path, id(large), 12 * MIB)
    sent: list[int] = []

    def after_the_first(request: Request) -> bool:
        if large.piece(request):
            sent.append(len(request.body))
        return large.piece(request) and len(sent) > 1

    with (
        large.proxy.rule(after_the_first, answer(503)),
        pytest.raises(CannotTell),
    ):
        large.location.put(VERSION, artifact, source, NOW, ignore)
    assert sent[0] == 5 * MIB

    told: list[int] = []
    sent.clear()
    with large.proxy.rule(lambda r: after_the_first(r) and False, answer(500)):
        placed = large.again().put(VERSION, artifact, source, NOW, told.append)
    assert sent == [5 * MIB, 2 * MIB]
    assert told == sorted(told)
    assert told[-1] == artifact.size
    assert large.again().verify(placed, NOW) == placed
    assert not list((tmp_path / "state" / "uploads").glob("*.json"))


def test_an_upload_that_nobody_knows_any_more_begins_anew(large: Large, tmp_path: Path) -> None:
    artifact, source = some_artifact(tmp_path, id(large) + 1, 12 * MIB)
    with large.proxy.rule(large.piece, answer(503)), pytest.raises(CannotTell):
        large.location.put(VERSION, artifact, source, NOW, ignore)
    (note,) = (tmp_path / "state" / "uploads").glob("*.json")
    assert note.stat().st_mode & 0o077 == 0
    note.write_bytes(b"?")
    placed = large.again().put(VERSION, artifact, source, NOW, ignore)
    assert large.again().verify(placed, NOW) == placed


def test_a_piece_that_breaks_off_is_sent_again_at_once(large: Large, tmp_path: Path) -> None:
    artifact, source = some_artifact(tmp_path, id(large) + 2, 12 * MIB)
    with large.proxy.breaking_upload(0.7):
        placed = large.location.put(VERSION, artifact, source, NOW, ignore)
    assert large.again().verify(placed, NOW) == placed
