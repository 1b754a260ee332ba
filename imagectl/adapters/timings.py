"""How long each stage took last time, in one small JSON file. Losing it loses nothing."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from imagectl.model.names import ImageName


class FileTimings:
    """Implements ``services.ports.Timings`` with a file; an unreadable one counts as empty."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def expected(self, image: ImageName, stage: str) -> float | None:
        known = self._read().get(f"{image}/{stage}")
        return float(known) if isinstance(known, int | float) else None

    def record(self, image: ImageName, stage: str, seconds: float) -> None:
        known = {**self._read(), f"{image}/{stage}": round(seconds, 1)}
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}")
            fresh.write_text(json.dumps(known, indent=1, sort_keys=True))
            fresh.replace(self._path)

    def _read(self) -> dict[str, object]:
        try:
            known = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}
