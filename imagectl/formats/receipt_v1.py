"""A receipt as text: one small JSON document for a version and a consumer.

It goes by the digest of the consumer's name, which may be any text. What is not exactly such a
document is not read as one: a receipt that says nothing must not mean that nobody was there (P8).
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime

from imagectl.model.names import parse_image_ref
from imagectl.model.retention import Receipt
from imagectl.model.version import VersionRef

FORMAT = "imagectl-receipt-1"

SUFFIX = ".json"


def receipt_path(receipt: Receipt) -> str:
    """Where it is kept, below the folder of all receipts."""
    consumer = hashlib.sha256(receipt.consumer.encode(errors="backslashreplace")).hexdigest()
    ref = receipt.version
    return f"{ref.image}/{ref.version}/{consumer[:32]}{SUFFIX}"


def write_receipt(receipt: Receipt) -> bytes:
    """Its text."""
    content = {
        "format": FORMAT,
        "version": str(receipt.version),
        "consumer": receipt.consumer,
        "at": receipt.at.astimezone(UTC).isoformat(),
    }
    return json.dumps(content).encode() + b"\n"


def parse_receipt(data: bytes, path: str) -> Receipt:
    """The receipt in *data*, kept at *path*. Raises ValueError, saying what is wrong with it."""
    try:
        content = json.loads(data)
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r:.80}, not {FORMAT}")
        ref = parse_image_ref(content["version"])
        at = datetime.fromisoformat(content["at"])
        consumer = content["consumer"]
    except KeyError as error:
        raise ValueError(f"{error} is missing") from None
    except (TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"it is not a receipt: {error}") from None
    if ref.version is None or at.tzinfo is None or not isinstance(consumer, str):
        raise ValueError("it does not say which version, which consumer and when")
    receipt = Receipt(VersionRef(ref.image, ref.version), consumer, at.astimezone(UTC))
    if receipt_path(receipt) != path:
        raise ValueError(f"it belongs to {receipt_path(receipt)}")
    return receipt
