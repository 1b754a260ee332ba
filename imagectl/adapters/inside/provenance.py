"""Where artifacts come from: an in-toto statement with SLSA's provenance, in a signed envelope.

The statement is of in-toto's attestation framework (Statement v1) with the predicate "SLSA
provenance v1"; the envelope is DSSE. What the fields mean for ``BUILD_TYPE`` is in
``docs/reference/provenance.md``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from imagectl.errors import Corrupt
from imagectl.model.image import Image
from imagectl.model.lock import (
    Download,
    Index,
    Inputs,
    Lock,
    LockedDiskBase,
    LockedPackagesBase,
    LockedParentBase,
    LockedTemplateBase,
    Package,
)
from imagectl.model.version import Artifact
from imagectl.services.ports.building import Made

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
PAYLOAD = "application/vnd.in-toto+json"
BUILD_TYPE = "urn:imagectl:build:1"
BUILDER = "urn:imagectl:builder"

Json = dict[str, Any]


def statement(
    image: Image, lock: Lock, artifacts: Sequence[Artifact], made: Made, *, invocation: str
) -> Json:
    """Which *artifacts* were made, from what, when and by what."""
    return {
        "_type": STATEMENT,
        "subject": [
            {
                "name": f"{image.name}-{each.architecture.value}.{each.format.value}",
                "digest": {"sha256": each.sha256},
            }
            for each in artifacts
        ],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "image": image.name,
                    "architecture": image.architecture.value,
                    "source": {"sha256": made.source},
                },
                "internalParameters": {
                    "mode": lock.mode.value,
                    "epoch": lock.epoch,
                    "mirrors": {
                        archive.value: address
                        for archive, address in sorted(
                            lock.mirrors.items(), key=lambda item: item[0].value
                        )
                    },
                    "definition": {
                        "definition": lock.definition.definition,
                        "playbooks": lock.definition.playbooks,
                        "suites": lock.definition.suites,
                        "rules": lock.definition.rules,
                    },
                },
                "resolvedDependencies": [
                    {"name": "source", "digest": {"sha256": made.source}},
                    *_base(lock),
                    {
                        "name": f"toolchain of {lock.toolchain.suite}",
                        "digest": {"sha256": lock.toolchain.tree},
                    },
                    *_inputs(lock.inputs, "image"),
                    *_inputs(lock.toolchain.inputs, "toolchain"),
                ],
            },
            "runDetails": {
                "builder": {"id": BUILDER, "version": {"imagectl": made.tool}},
                "metadata": {
                    "invocationId": invocation,
                    "startedOn": _time(made.started),
                    "finishedOn": _time(made.finished),
                },
                "byproducts": [{"name": "test report", "digest": {"sha256": made.tests}}],
            },
        },
    }


def sign(said: Mapping[str, Any], signer: CryptoSigner) -> bytes:
    """The statement in a DSSE envelope, as JSON."""
    from securesystemslib.dsse import Envelope

    payload = json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
    envelope = Envelope(payload, PAYLOAD, {})
    envelope.sign(signer)
    return json.dumps(envelope.to_dict(), indent=1).encode() + b"\n"


def verify(envelope: bytes, key: SSlibKey, where: str) -> Json:
    """The statement in an envelope, after its signature by *key* was checked (P10).

    Raises Corrupt, naming *where* it was read, for anything else than a statement signed so.
    """
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import Error

    try:
        opened = Envelope.from_dict(json.loads(envelope))
        opened.verify([key], threshold=1)
        if opened.payload_type != PAYLOAD:
            raise ValueError(f"its payload is {opened.payload_type}, not {PAYLOAD}")
        said: Json = json.loads(opened.payload)
        if (said["_type"], said["predicateType"]) != (STATEMENT, PREDICATE):
            raise ValueError(f"it states {said['predicateType']}, not {PREDICATE}")
    except (Error, KeyError, TypeError, ValueError, AttributeError, RecursionError) as wrong:
        raise Corrupt(
            "the provenance is not what this key has signed",
            where=where,
            why=str(wrong) or type(wrong).__name__,
            hint=f"the key that is expected has the id {key.keyid}",
        ) from None
    return said


def _base(lock: Lock) -> Iterator[Json]:
    match lock.base:
        case LockedPackagesBase():
            return  # its packages are among the inputs
        case LockedDiskBase(source, sha256):
            yield {"name": "base disk", "uri": source, "digest": {"sha256": sha256}}
        case LockedParentBase(ref, tree):
            yield {"name": f"parent {ref}", "digest": {"sha256": tree}}
        case LockedTemplateBase():
            return  # it is in the sources


def _inputs(inputs: Inputs, role: str) -> Iterator[Json]:
    for each in inputs.all:
        yield {**_named(each), "digest": {"sha256": each.sha256}, "annotations": {"for": role}}


def _named(each: Index | Package | Download) -> Json:
    match each:
        case Package():
            from packageurl import PackageURL

            qualifiers = {"arch": each.architecture}
            purl = PackageURL("deb", "debian", each.name, each.version, qualifiers).to_string()
            return {"uri": purl, "name": f"{each.archive.value}/{each.path}"}
        case Index():
            return {"name": f"{each.archive.value}/{each.path}"}
        case Download():
            return {"uri": each.url}


def _time(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
