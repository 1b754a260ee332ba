"""Loads a large package when it is first used, not when it is first imported.

securesystemslib imports boto3 wherever that is installed, for keys in AWS' KMS: 80 ms of each
``imagectl resolve``, which signs nothing. (``importlib.util.LazyLoader`` would load it at once: the
import statement itself looks at the module.)
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType


def defer(name: str) -> None:
    """Let the next ``import`` of the package cost nothing. It holds for the whole process, and so
    is for programs, not for libraries. Where it is not installed, or is in use, nothing is done."""
    if name not in sys.modules and (spec := importlib.util.find_spec(name)) is not None:
        stand_in = _StandIn(name)
        stand_in.__spec__ = spec
        sys.modules[name] = stand_in


class _StandIn(ModuleType):
    def __getattr__(self, attribute: str) -> object:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), attribute)
