"""The client of a published catalog: what a consumer can get, verified (P10).

Promises: nothing is believed that is not signed by those whom the root names; nothing older is
taken than what was seen before; it works while every server is down, until signatures run out.
It needs python-tuf, and neither the catalog's database nor a cloud's SDK::

    from datetime import UTC, datetime
    from pathlib import Path

    from imagectl.consumer import ResolutionRequest, open_catalog, pull, resolve
    from imagectl.model.names import ImageName

    now = datetime.now(UTC)
    tree = open_catalog(
        "https://images.example/public",
        root=Path("root.json").read_bytes(),
        cache=Path("/var/cache/acme/images"),
        now=now,
    )
    found = resolve(tree, ResolutionRequest(ImageName("debian-ci")), now)
    print(found.reference, found.sha256, *tree.notices)
    pull(found, Path("disk.qcow2"))

Errors are those of ``imagectl.errors``, with what, where, why and a hint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imagectl.consumer.pulling import Pulled, pull
    from imagectl.consumer.resolving import resolve
    from imagectl.consumer.tree import SignedTree, open_catalog
    from imagectl.policy.resolution import Resolution, ResolutionRequest

__all__ = [
    "Pulled",
    "Resolution",
    "ResolutionRequest",
    "SignedTree",
    "open_catalog",
    "pull",
    "resolve",
]

_MODULES = {
    "Pulled": "imagectl.consumer.pulling",
    "Resolution": "imagectl.policy.resolution",
    "ResolutionRequest": "imagectl.policy.resolution",
    "SignedTree": "imagectl.consumer.tree",
    "open_catalog": "imagectl.consumer.tree",
    "pull": "imagectl.consumer.pulling",
    "resolve": "imagectl.consumer.resolving",
}


def __getattr__(name: str) -> object:
    """Import what is asked for then: consumers run for a tenth of a second."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_MODULES[name]), name)
