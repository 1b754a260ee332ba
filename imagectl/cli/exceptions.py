"""Exceptions in ``catalog/channels.yaml`` for images that there are not: a typo, most likely."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from imagectl.policy.wording import nearest

if TYPE_CHECKING:
    from imagectl.cli.invocation import Invocation
    from imagectl.model.channel import ReleasePolicy
    from imagectl.model.names import ImageName


def strangers(invocation: Invocation, policy: ReleasePolicy, known: Collection[ImageName]) -> None:
    """Warn of each image that has a rule of its own and is not *known*."""
    named = {*policy.images, *(policy.retention.images or {})}
    for each in sorted(named.difference(known)):
        meant = nearest(each, known)
        invocation.out.warn(
            f"catalog/channels.yaml has rules for {each}, and there is no such image"
            f"{f'; {meant}' if meant else ''}"
        )
