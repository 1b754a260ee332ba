"""Version 2 of events: a version says how it was made and what is inside, where that is known.

``tree`` is null where the disk is kept as Packer left it, ``origin`` where there was no lock,
``inside`` where nobody looked. The keys are always there.
"""

from __future__ import annotations

from imagectl.formats import event_parts as parts
from imagectl.formats.event_parts import Fields
from imagectl.model.names import parse_sha256
from imagectl.model.version import Inside, Origin, Reproducible, Version


def write_version(version: Version) -> dict[str, object]:
    tree, origin, inside = version.tree, version.origin, version.inside
    return {
        **parts.write_version(version),
        "tree": None if tree is None else parts.write_tree(tree),
        "origin": None if origin is None else _write_origin(origin),
        "inside": None if inside is None else _write_inside(inside),
    }


def _write_origin(origin: Origin) -> dict[str, object]:
    return {
        "epoch": origin.epoch,
        "lock": origin.lock,
        "source": origin.source,
        "raw": origin.raw,
        "reproducible": origin.reproducible.value,
        "cause": origin.cause,
    }


def _write_inside(inside: Inside) -> dict[str, object]:
    return {
        "contents": inside.contents,
        "manifest": inside.manifest,
        "spdx": inside.spdx,
        "cyclonedx": inside.cyclonedx,
        "provenance": inside.provenance,
    }


def read_version(fields: Fields) -> Version:
    return parts.read_version(
        fields,
        tree=fields.maybe("tree", parts.read_tree),
        origin=fields.maybe("origin", _read_origin),
        inside=fields.maybe("inside", _read_inside),
    )


def _read_origin(fields: Fields) -> Origin:
    origin = Origin(
        epoch=fields.whole("epoch"),
        lock=fields.named("lock", parse_sha256),
        source=fields.named("source", parse_sha256),
        raw=fields.named("raw", parse_sha256),
        reproducible=fields.word("reproducible", Reproducible),
        cause=fields.text("cause"),
    )
    fields.done()
    return origin


def _read_inside(fields: Fields) -> Inside:
    inside = Inside(
        contents=fields.named("contents", parse_sha256),
        manifest=fields.named("manifest", parse_sha256),
        spdx=fields.named("spdx", parse_sha256),
        cyclonedx=fields.named("cyclonedx", parse_sha256),
        provenance=fields.named("provenance", parse_sha256),
    )
    fields.done()
    return inside
