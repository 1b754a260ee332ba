"""Cleanup plans as if a file had held them, signed: for tests of what acts on them."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from imagectl.formats.plan_v1 import plan_lines
from imagectl.model.cleanup import CleanupPlan
from imagectl.model.names import Sha256
from imagectl.model.signature import Role, Signature, SignedPlan, oldest_first


def signed(plan: CleanupPlan, *approvals: str, key: str = "a" * 64) -> SignedPlan:
    """The plan, kept and signed by its author with *key*, and approved by other keys. While its
    entries can be had. No signature in it is a real one: those are checked where files are read."""
    kept = replace(plan, entries=tuple(plan.entries))
    text = "".join(plan_lines(kept)).encode()
    author = Signature(Role.AUTHOR, plan.author, key, plan.made, "0" * 128)
    others = (Signature(Role.APPROVAL, each[:8], each, plan.made, "0" * 128) for each in approvals)
    digest = Sha256(hashlib.sha256(text).hexdigest())
    return SignedPlan(kept, oldest_first(kept.entries), digest, (author, *others))
