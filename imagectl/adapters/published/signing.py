"""What signing a tree takes: keys, whose keys count, and what waits for others to sign.

Promises: a signature that somebody has given to what waits stays, whatever is published meanwhile.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagectl.errors import Conflict
from imagectl.formats.tuf_roles import SHOWN, TARGETS

if TYPE_CHECKING:
    from imagectl.adapters.signing_keys import SigningKeys
    from imagectl.model.names import ChannelName

ROOT_FILE, TARGETS_FILE = "root.json", "targets.json"
"""As ``trust`` has them, in git: whose keys count, and who may sign what. A tree that was lost, or
another one, begins with these again, without the keys that are offline."""


LOCK_SECONDS = 60.0
"""How long to wait for another process that is just signing."""


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
        return _read(self._path(role)) or self.signed(role)

    def signed(self, role: str) -> bytes | None:
        """What had enough signatures of a role last."""
        return _read(self.complete / f"{role}.json")

    @property
    def complete(self) -> Path:
        """The folder of what waits no more."""
        return self.pending.with_name("signed")

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """One process at a time of this machine changes what waits. Not to be entered twice.

        Raises Conflict where another one does not end: a token may wait for somebody's touch.
        """
        from filelock import FileLock, Timeout

        from imagectl.adapters.durable import make_folder, naming_failures

        with naming_failures("keeping what waits for signatures", self.pending):
            make_folder(self.pending)
        lock = self.pending / ".lock"
        try:
            with FileLock(lock, timeout=LOCK_SECONDS):
                yield
        except Timeout as problem:
            if problem.lock_file != str(lock):
                raise
            raise Conflict(
                f"another process has been signing for {LOCK_SECONDS:g} s",
                where=str(lock),
                why="it may wait for a PIN, or for somebody to touch a token",
                hint="type the command again once it has ended",
            ) from None

    def remember(self, waiting: Mapping[str, bytes]) -> None:
        """What lacks signatures waits for whoever can give them. Those that somebody has given it
        since it was read stay."""
        if not waiting:
            return
        with self.alone():
            for role, data in waiting.items():
                there = _read(self._path(role))
                wanted = data if there is None else _with_signatures(role, data, there)
                if there != wanted:
                    _put(self._path(role), wanted)

    def forget(self, roles: Collection[str]) -> None:
        """They wait no more. What people have signed is kept: another tree may lack it yet."""
        if not any(self._path(role).exists() for role in roles):
            return
        with self.alone():
            for role in roles:
                path = self._path(role)
                if (signed := _read(path)) is not None:
                    if role != TARGETS:
                        _put(self.complete / path.name, signed)
                    path.unlink(missing_ok=True)

    def _path(self, role: str) -> Path:
        return self.pending / f"{role}.json"


def _with_signatures(role: str, data: bytes, there: bytes) -> bytes:
    """The metadata *data*, with the signatures that the same has in *there*, of those who may sign
    it by what is enclosed."""
    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import Metadata

    mine: Metadata[Any] = Metadata.from_bytes(data)
    try:
        other: Metadata[Any] = Metadata.from_bytes(there)
    except RepositoryError:
        return data
    if other.signed_bytes != mine.signed_bytes:
        return data
    enclosed = mine.unrecognized_fields[SHOWN]
    signers: Metadata[Any] = Metadata.from_bytes(enclosed["signers"].encode())
    for keyid in signers.signed.get_delegated_role(role).keyids:
        if keyid in other.signatures:
            mine.signatures.setdefault(keyid, other.signatures[keyid])
    return mine.to_bytes()


def _read(path: Path) -> bytes | None:
    from imagectl.adapters.published.trust import read

    return read(path)


def _put(path: Path, data: bytes) -> None:
    from imagectl.adapters.published.trust import put

    put(path, data)
