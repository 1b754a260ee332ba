"""What the documents of the tree say they are."""

from __future__ import annotations

FORMAT = "imagectl-published-1"

TREELESS = "imagectl-published-2"
"""Of a version's document, where ``tree`` is null. All else is as in format 1."""
