"""VMware's own library, imported when it is first needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def sdk() -> Any:
    """pyVmomi, which takes 0.3 s. Its types are made when it is imported: a checker sees none."""
    return import_module("pyVmomi")
