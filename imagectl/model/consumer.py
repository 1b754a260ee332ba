"""What a consumer asks for: the build config in its own repository."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from imagectl.model.names import ChannelName, ImageName, VersionId


@dataclass(frozen=True, slots=True)
class BuildConfig:
    """``.imagectl.yaml``. A pinned ``version`` wins over ``branches``, and those over ``channel``.

    ``channel`` is None where nothing was chosen: only then does the default (stable) hold.
    ``max_age``: an image that was built longer ago is refused.
    """

    image: ImageName
    channel: ChannelName | None = None
    version: VersionId | None = None
    max_age: timedelta | None = None
    branches: Mapping[str, ChannelName] = field(default_factory=dict)
