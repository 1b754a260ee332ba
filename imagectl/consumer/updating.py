"""python-tuf's client with two things of our own: the time is an argument, and what it keeps is
durable.

Both reach into ``tuf.ngclient.Updater``, which has no other way in; nothing else here does. Whether
what is published may be trusted is decided by python-tuf alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from tuf.api.metadata import Root, Targets
from tuf.ngclient import Updater, UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface

from imagectl.consumer.cache import write


class DurableUpdater(Updater):
    """``tuf.ngclient.Updater`` at a given time, for a process that may lose its power.

    Like that one it wants to be alone with *folder*: whoever makes one holds a lock. *root* is the
    trusted root, None where the one in *folder* is trusted.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        fetcher: FetcherInterface,
        now: datetime | None,
        *,
        root: bytes | None,
        targets_folder: Path | None = None,
        targets_url: str | None = None,
        config: UpdaterConfig | None = None,
    ) -> None:
        super().__init__(
            str(folder),
            url,
            str(targets_folder) if targets_folder is not None else None,
            targets_url,
            fetcher,
            config,
            bootstrap=root,
        )
        if now is not None:
            self._trusted_set.reference_time = now

    @property
    def root(self) -> Root:
        """The newest trusted root."""
        return self._trusted_set.root

    @property
    def expires(self) -> datetime:
        """When the first of the signatures runs out that were needed so far."""
        return min(signed.expires for signed in self._trusted_set)

    @property
    def delegated(self) -> Sequence[str]:
        """The roles that targets gives documents to, in order. After ``refresh``."""
        delegations = self._trusted_set.targets.delegations
        return tuple(delegations.roles or ()) if delegations is not None else ()

    def documents_of(self, role: str) -> Sequence[str]:
        """The names of the documents that a delegated role has signed. After ``refresh``."""
        targets: Targets = self._load_targets(role, Targets.type)
        return tuple(targets.targets)

    def _persist_file(self, filename: str, data: bytes) -> None:
        write(Path(filename), data)
