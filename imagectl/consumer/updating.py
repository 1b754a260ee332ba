"""python-tuf's client with three things of our own: the time is an argument, what it keeps is
durable, and one key under two ids is not two keys.

They reach into ``tuf.ngclient.Updater``, which has no other way in; nothing else here does. Whether
what is published may be trusted is decided by python-tuf in all other respects.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Root, Signed, TargetFile, Targets
from tuf.ngclient import Updater, UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface

from imagectl.consumer.cache import write
from imagectl.formats.tuf_keys import counted_twice
from imagectl.formats.tuf_roles import CATALOG_ROLE, IMAGES_ROLE, SHOWN, role_of


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
        self._has_all_lists = False
        _insist_keys_differ(self._trusted_set.root)
        load = self._trusted_set._load_data

        def load_insisting(*arguments: Any) -> Any:
            loaded = load(*arguments)
            _insist_keys_differ(loaded[0])
            return loaded

        self._trusted_set._load_data = cast(Any, load_insisting)

    @property
    def root(self) -> Root:
        """The newest trusted root."""
        return self._trusted_set.root

    @property
    def expires(self) -> datetime:
        """When the first of the signatures runs out that were needed so far."""
        return min(signed.expires for signed in self._trusted_set)

    @property
    def said(self) -> object:
        """What the timestamp says besides. After ``refresh``."""
        return self._trusted_set.timestamp.unrecognized_fields.get(SHOWN)

    @property
    def delegated(self) -> Sequence[str]:
        """The roles that targets gives documents to, in order, but for those of a channel or of one
        image that have signed nothing yet: people may take their time. What the catalog itself
        says, such as warnings, is never missing for that. After ``refresh``."""
        published = self._trusted_set.snapshot.meta
        return tuple(
            role
            for role in self._delegations
            if role in (CATALOG_ROLE, IMAGES_ROLE) or f"{role}.json" in published
        )

    @property
    def _delegations(self) -> Collection[str]:
        delegations = self._trusted_set.targets.delegations
        return (delegations.roles or ()) if delegations is not None else ()

    @property
    def has_all_lists(self) -> bool:
        """Whether every list of signed documents is here, so that nothing more is fetched."""
        if not self._has_all_lists and Targets.type in self._trusted_set:
            lists = [self._trusted_set.get(role) for role in self.delegated]
            self._has_all_lists = all(
                isinstance(each, Targets) and each.delegations is None for each in lists
            )
        return self._has_all_lists

    def documents_of(self, role: str) -> Sequence[str]:
        """The names of the documents that a delegated role has signed. After ``refresh``."""
        targets: Targets = self._load_targets(role, Targets.type)
        return tuple(targets.targets)

    def find(self, target: str) -> TargetFile | None:
        """What is signed of a target; None where that is nothing, or nothing yet."""
        try:
            role = role_of(target, self._delegations)
        except ValueError:
            role = CATALOG_ROLE
        if role in self._delegations and role not in self.delegated:
            return None
        return self.get_targetinfo(target)

    def signed_by(self, role: str) -> Root | Targets | None:
        """What root, targets or a role of targets says; None where nothing was ever published of
        it. After ``refresh``."""
        if role == Root.type:
            return self.root
        if role == Targets.type:
            return self._trusted_set.targets
        published = f"{role}.json" in self._trusted_set.snapshot.meta
        if not published or role not in self.delegated:
            return None
        found: Targets = self._load_targets(role, Targets.type)
        return found

    def _persist_file(self, filename: str, data: bytes) -> None:
        write(Path(filename), data)


def _insist_keys_differ(signed: Signed) -> None:
    """Raise RepositoryError where one person would count as two."""
    if isinstance(signed, (Root, Targets)) and (twice := counted_twice(signed)):
        raise RepositoryError(twice)
