"""What signing a tree takes: keys, whose keys count, and what waits for others to sign."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imagectl.formats.tuf_roles import TARGETS

if TYPE_CHECKING:
    from imagectl.adapters.signing_keys import SigningKeys
    from imagectl.model.names import ChannelName

ROOT_FILE, TARGETS_FILE = "root.json", "targets.json"
"""As ``trust`` has them, in git: whose keys count, and who may sign what. A tree that was lost, or
another one, begins with these again, without the keys that are offline."""


@dataclass(frozen=True, slots=True)
class Signing:
    """What signing takes. ``trust`` is the folder of ``ROOT_FILE`` and ``TARGETS_FILE``;
    ``pending`` that of what waits for signatures; ``channels`` gives those that there may be
    anything in."""

    keys: SigningKeys
    trust: Path
    pending: Path
    channels: Callable[[], Collection[ChannelName]]

    def waiting(self) -> tuple[str, ...]:
        """The roles whose new content waits for signatures, sorted."""
        return tuple(sorted(path.stem for path in self.pending.glob("*.json")))

    def found(self, role: str) -> bytes | None:
        """What waits for signatures of a role, or had enough of them: another tree may lack it."""
        return _read(self._path(role)) or _read(self.complete / f"{role}.json")

    @property
    def complete(self) -> Path:
        """The folder of what waits no more."""
        return self.pending.with_name("signed")

    def remember(self, waiting: Mapping[str, bytes]) -> None:
        """What lacks signatures waits for whoever can give them."""
        for role, data in waiting.items():
            if _read(self._path(role)) != data:
                _put(self._path(role), data)

    def forget(self, role: str) -> None:
        """It waits no more. What people have signed is kept: another tree may lack it yet."""
        path = self._path(role)
        if (signed := _read(path)) is not None:
            if role != TARGETS:
                _put(self.complete / path.name, signed)
            path.unlink(missing_ok=True)

    def _path(self, role: str) -> Path:
        return self.pending / f"{role}.json"


def _read(path: Path) -> bytes | None:
    from imagectl.adapters.published.trust import read

    return read(path)


def _put(path: Path, data: bytes) -> None:
    from imagectl.adapters.published.trust import put

    put(path, data)
