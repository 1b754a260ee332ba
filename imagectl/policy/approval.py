"""Whether somebody's approval of a cleanup plan would count: said before they give it."""

from __future__ import annotations

from imagectl.errors import Refused
from imagectl.model.retention import RetentionPolicy
from imagectl.policy.retention import ANEW, stranger
from imagectl.policy.wording import listed


def check_approver(policy: RetentionPolicy, author: str, key: str) -> None:
    """Raise Refused where a signature by *key* under a plan of *author* is worth nothing: also
    where none could make up for its author. Both are public keys; see
    ``policy.retention.check_signed`` for what is asked of all together."""
    if alone := stranger(policy, author):
        raise Refused("no signature makes this plan count", reasons=[alone], hint=ANEW)
    names = {each.key: each.name for each in policy.approvers}
    reasons = []
    if key == author or (key in names and names[key] == names.get(author)):
        reasons.append("it is your own plan: somebody else has to approve it")
    elif key not in names:
        known = listed(sorted(names.values())) if names else "nobody"
        reasons.append(f"retention.approvers names {known}, and not the key {key}")
    if reasons:
        raise Refused(
            "your signature would not count",
            reasons=reasons,
            hint="`imagectl cleanup key` shows your key, for catalog/channels.yaml",
        )
