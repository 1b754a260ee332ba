"""The description of what a cloud builder made, as JSON: the bytes of a NATIVE artifact, version 1.

Canonical: the same thing has always the same text, so its sha256 says whether it is still the same.
"""

from __future__ import annotations

import json

from imagectl.errors import Corrupt
from imagectl.model.native import Native

FORMAT = "imagectl-native-1"


def write_native(native: Native) -> bytes:
    """The description: sorted keys, no spaces, ASCII, one line."""
    document = {
        "format": FORMAT,
        "provider": native.provider,
        "id": native.id,
        "link": native.link,
        "created": native.created,
        "size": native.size,
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def parse_native(data: bytes, where: str) -> Native:
    """What a description describes. Raises Corrupt, naming *where* it was read."""
    try:
        document = json.loads(data)
        if document["format"] != FORMAT:
            raise ValueError(f"its format is {document['format']!r}, not {FORMAT}")
        native = Native(
            provider=_text(document, "provider"),
            id=_text(document, "id"),
            link=_text(document, "link"),
            created=_text(document, "created"),
            size=document["size"],
        )
        if type(native.size) is not int or native.size < 0:
            raise ValueError(f"{native.size!r} is no size in bytes")
        if write_native(native) != data:
            raise ValueError("it is not written as it should be")
    except (KeyError, TypeError, ValueError, RecursionError) as wrong:
        said = f"{wrong} is missing" if isinstance(wrong, KeyError) else str(wrong)
        raise Corrupt(
            "the description of an image that a cloud builder made cannot be read",
            where=where,
            why=said,
        ) from None
    return native


def _text(document: dict[str, object], key: str) -> str:
    value = document[key]
    if not isinstance(value, str) or not value:
        raise ValueError(f"its {key} is {value!r}")
    return value
