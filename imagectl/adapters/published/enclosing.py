"""What is enclosed with what waits for signatures: all that whoever signs has to be shown, on a
machine that has nothing else, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuf.api.metadata import TargetFile, Targets

from imagectl.adapters.published.verified import Signed, VerifiedTree
from imagectl.errors import Corrupt


def shown_to_signers(
    role: str,
    wanted: Mapping[str, TargetFile],
    before: Signed[Targets] | None,
    documents: Mapping[str, bytes],
    signers: Signed[Targets],
    tree: VerifiedTree | None,
) -> dict[str, Any]:
    """What is published, who may sign, and the documents that differ, before and after: where a
    role is to say *wanted*, and has said *before* in the *tree*."""
    published = {} if before is None else before.signed.targets
    changed = [
        target
        for target in sorted({*wanted, *published})
        if wanted.get(target) != published.get(target)
    ]
    former: dict[str, str] = {}
    for target in changed:
        if tree is not None and target in published:
            try:
                found = tree.find(target)
            except Corrupt:
                continue
            if found is not None:
                former[target] = found[0].decode()
    return {
        "role": role,
        "documents": {each: documents[each].decode() for each in changed if each in documents},
        "before": former,
        "published": None if before is None else before.data.decode(),
        "signers": signers.data.decode(),
    }
