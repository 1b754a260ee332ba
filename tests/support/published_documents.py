"""The documents of a published tree, made up: of versions that nobody has built."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from imagectl.formats.published_v1.layout import FORMAT


def version_document(image: str, version: str, formats: Sequence[str] = ("qcow2",)) -> bytes:
    """A version that is in one location, in those formats; raw disks are in the tree itself."""
    return encoded(
        {
            "format": FORMAT,
            "image": image,
            "version": version,
            "created": "2026-11-20T00:00:00Z",
            "summary": "an image",
            "parent": None,
            "tree": "0" * 64,
            "tests_passed": 40,
            "tool": "imagectl 0.1.0",
            "placements": [
                {
                    "location": "local",
                    "format": each,
                    "architecture": "amd64",
                    "reference": f"/srv/images/{image}/{version}.{each}",
                    "provider_id": f"{image}/{version}.{each}",
                    "sha256": "1" * 64,
                    "size": 1 << 30,
                    **({"url": f"disks/{version}.raw"} if each == "raw" else {}),
                }
                for each in formats
            ],
        }
    )


def index_document(
    image: str, versions: Mapping[str, str], deleted: Mapping[str, Mapping[str, str]] | None = None
) -> bytes:
    """The versions of an image, by the digests of their documents."""
    return encoded(
        {"format": FORMAT, "image": image, "versions": versions, "deleted": deleted or {}}
    )


def head_document(image: str, channel: str, version: str, document: str, at: str) -> bytes:
    """What a channel points to, since *at*."""
    return encoded(
        {
            "format": FORMAT,
            "image": image,
            "channel": channel,
            "version": version,
            "document": document,
            "kind": "promote",
            "at": at,
            "reason": "",
            "generation": 1,
        }
    )


def encoded(content: Mapping[str, Any]) -> bytes:
    """As the publisher writes documents."""
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode() + b"\n"
