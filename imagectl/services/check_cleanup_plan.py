"""Whether a signed cleanup plan may be applied here and now.

Promises: one that has expired, is signed by too few, or takes down more than policy allows today is
not applied; nor is any on another catalog than its own, an older copy of it, or one that is not
sound (P3, P4).
"""

from __future__ import annotations

from datetime import datetime

from imagectl.errors import CannotTell, Refused
from imagectl.model.channel import ReleasePolicy
from imagectl.model.cleanup import CleanupPlan
from imagectl.model.signature import SignedPlan
from imagectl.policy.evidence import SKEW
from imagectl.policy.newest import NEWEST_COPY
from imagectl.policy.retention import check_signed
from imagectl.policy.wording import moment
from imagectl.services.cleanup import Cleaning
from imagectl.services.ports.catalog import Catalog

AGAIN = "`imagectl cleanup plan --out FILE` makes a new one"


def check_plan(cleaning: Cleaning, policy: ReleasePolicy, signed: SignedPlan) -> None:
    """See that the plan may be applied here and now. Raises Refused and CannotTell."""
    releasing, plan = cleaning.releasing, signed.plan
    now = releasing.clock.now()
    author = signed.author
    if author is None:
        raise Refused(
            "the plan is not signed by its author",
            reasons=[f"it takes exactly one author's signature, in the name of {plan.author}"],
            hint=AGAIN,
        )
    check_signed(policy.retention, author.key, [each.key for each in signed.approvals])
    check_expiry(policy, plan, now)
    if plan.made - now > SKEW:
        raise CannotTell(
            "the plan was made at a time that is still to come; nothing was done",
            why=f"it says {moment(plan.made)}, and it is {moment(now)}",
            hint="set this machine's clock right",
        )
    if len(signed.steps) > policy.retention.max_count:
        raise Refused(
            "the plan takes down more than catalog/channels.yaml allows now",
            reasons=[
                f"{len(signed.steps)} versions, and retention.max_count is "
                f"{policy.retention.max_count}"
            ],
            hint=AGAIN,
        )
    check_same_catalog(releasing.catalog, plan)
    if wrong := releasing.catalog.verify():
        raise CannotTell(
            "the catalog is not sound; nothing was done",
            why="\n".join(wrong[:10]),
            hint="`imagectl catalog verify` lists everything; change nothing until it is known how "
            "that came about",
        )


def check_same_catalog(catalog: Catalog, plan: CleanupPlan) -> None:
    """See that the plan is of that catalog, and that this is no older copy. Raises CannotTell."""
    head = catalog.snapshot(())
    if head.catalog_id != plan.catalog_id:
        raise CannotTell(
            "the plan is of another catalog; nothing was done",
            why=f"it is of catalog {plan.catalog_id}, and this is {head.catalog_id}",
            hint="see `catalog.url` in imagectl.yaml",
        )
    if head.generation < plan.generation:
        raise CannotTell(
            "the catalog is older than the plan; nothing was done",
            why=f"the plan was made at generation {plan.generation}, and the catalog is at "
            f"{head.generation}: it may be a backup that was brought back",
            hint=NEWEST_COPY,
        )


def check_expiry(policy: ReleasePolicy, plan: CleanupPlan, now: datetime) -> None:
    """See that the plan may still be applied. Raises Refused."""
    ends = min(plan.expires, plan.made + policy.retention.expires)
    if now >= ends:
        raise Refused(
            "the plan has expired",
            reasons=[f"it could be applied until {moment(ends)}"],
            hint=AGAIN,
        )
