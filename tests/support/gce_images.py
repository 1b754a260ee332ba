"""A version's image at the fake of Google, as its location makes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peers.google.peer import google

from imagectl.model.version import Artifact, Placement
from support.examples import NOW, ref
from support.places.gce import BUCKET, PROJECT, OnGoogle
from support.places.place import ignore

VERSION = ref("debian-ci@20261120.1")
LATER_VERSION = ref("debian-ci@20261121.1")


@contextmanager
def at_google(folder: Path, **settings: object) -> Iterator[OnGoogle]:
    with google((PROJECT,), (BUCKET,)) as peer:
        yield OnGoogle(peer, folder, **settings)


def put(place: OnGoogle, made: tuple[Artifact, Path], version: str = str(VERSION)) -> Placement:
    return place.location.put(ref(version), *made, NOW, ignore)
