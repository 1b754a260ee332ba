"""Who changes things here, and with which imagectl."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


def tool_version() -> str:
    """imagectl's own version."""
    from importlib.metadata import version

    return version("imagectl")


def actor(environment: Mapping[str, str] = os.environ) -> str:
    """Who changes are recorded to be made by: ``IMAGECTL_ACTOR``, else ``user@host``."""
    from imagectl.adapters.host import user

    return environment.get("IMAGECTL_ACTOR", "").strip() or f"{user()}@{socket.gethostname()}"
