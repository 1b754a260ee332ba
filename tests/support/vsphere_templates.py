"""A version's template in the simulator, as its location makes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from imagectl.model.version import Artifact, Placement
from support.examples import NOW, ref
from support.places.place import ignore
from support.places.vsphere import InVcenter

VERSION = ref("debian-ci@20261120.1")
NAME = "debian-ci-20261120.1-amd64"
Made = tuple[Artifact, Path]


def put(place: InVcenter, made: Made) -> Placement:
    return place.location.put(VERSION, *made, NOW, ignore)


def found(place: InVcenter, name: str) -> Any:
    return place.at(f"{place.datacenter}/vm/{place.settings.folder}/{name}")
