"""When a credential ends, in words: nobody else says so before it has ended."""

from __future__ import annotations

from datetime import datetime, timedelta

from imagectl.policy.wording import moment, span
from imagectl.services.ports.locations import Credential

EXPIRES_SOON = timedelta(days=14)
"""How long before a credential expires one is warned: long enough for a holiday."""

RENEW = "renew the credential before that, and write its new day into imagectl.yaml"


def expiring(credential: Credential, now: datetime) -> str:
    """What to say of a credential that ends soon, or should have; empty for all others."""
    expires = credential.expires
    if expires is None or expires - now > EXPIRES_SOON:
        return ""
    if expires <= now:
        return f"should have expired on {moment(expires)}, {span(now - expires)} ago"
    return f"expires in {span(expires - now)}, {moment(expires)}"
