"""Reads a published tree, and believes nothing in it that is not signed (P10).

Promises: everything that is given comes from who may sign it, by the root that is trusted and those
that it has handed over to; one changed byte is an error that names the file. Whether signatures are
over is asked where there is a *now*: whoever publishes reads what it is about to renew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from functools import cached_property
from typing import Any, Generic, TypeVar

from tuf.api.exceptions import LengthOrHashMismatchError, UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from imagectl.errors import CannotTell, Corrupt
from imagectl.formats.tuf_keys import counted_twice, under_a_strange_id
from imagectl.formats.tuf_roles import (
    BEHIND,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    TIMESTAMP_PATH,
    metadata_path,
    role_of,
    target_path,
    waits,
)
from imagectl.formats.tuf_roles import SHOWN as SHOWN_FIELD
from imagectl.model.names import BadName, Sha256, parse_sha256
from imagectl.model.published import PublishedCatalog

Fetch = Callable[[str], bytes | None]
"""Gets a file below the tree; None where it is not there. Raises CannotTell."""

SHOWN = SHOWN_FIELD

REPAIR = "`imagectl catalog publish` writes it again"

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)


class Signed(Generic[T]):
    """Metadata, and the very bytes that it was read from."""

    def __init__(self, metadata: Metadata[T], data: bytes) -> None:
        self.metadata: Metadata[T] = metadata
        self.signed: T = metadata.signed
        self.data = data


def parse_metadata(kind: type[T], data: bytes, where: str, hint: str = REPAIR) -> Signed[T]:
    """Metadata of that kind; whether anybody signed it is not asked.

    Raises Corrupt: with that *hint* where it cannot be read; with one of its own where one person
    would count as two by it, or be taken for another one, since somebody may have made it so.
    """
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(data)
    except (DeserializationError, RecursionError) as problem:
        raise _changed(where, f"it is not signed metadata: {problem}", hint) from problem
    if not isinstance(metadata.signed, kind):
        raise _changed(where, f"it says that it is {metadata.signed.type}", hint)
    if isinstance(metadata.signed, (Root, Targets)):
        why = under_a_strange_id(metadata.signed) or counted_twice(metadata.signed)
        if why:
            raise Corrupt(
                f"the list of keys in {where} is a forgery, or damaged",
                where=where,
                why=why,
                hint="nothing of it is used; find out who made it. What waits in .imagectl/pending "
                "is removed, and made anew by `imagectl catalog rotate-keys`, which makes no such "
                "list; catalog/ is brought back from git",
            )
    return Signed(metadata, data)


def trusted_root(data: bytes, where: str, hint: str = REPAIR) -> Signed[Root]:
    """The root that is trusted because of where it is. Raises Corrupt where it is none."""
    root = parse_metadata(Root, data, where, hint)
    check_signed(root.signed, ROOT, root, where, hint)
    return root


class VerifiedTree:
    """The metadata of a tree at *where*, and ``formats.published_v1.reading.Targets`` by it.

    What is not asked for is not read. *now* is None where signatures may be over. *follow*: the
    roots that *root* has handed over to count, and not itself.
    """

    def __init__(
        self,
        where: str,
        fetch: Fetch,
        root: Signed[Root],
        timestamp: bytes,
        now: datetime | None = None,
        *,
        follow: bool = True,
    ) -> None:
        self.where = where
        self._fetch = fetch
        self._now = now
        self._delegated: dict[str, Signed[Targets] | None] = {}
        self.root = self._newest(root) if follow else root
        self._check_time(ROOT, self.root)
        self.timestamp = parse_metadata(Timestamp, timestamp, self._at(TIMESTAMP_PATH))
        check_signed(self.root.signed, TIMESTAMP, self.timestamp, self._at(TIMESTAMP_PATH))
        self._check_time(TIMESTAMP, self.timestamp)

    @property
    def shown(self) -> PublishedCatalog:
        """What the tree shows, as the timestamp alone says it."""
        where = self._at(TIMESTAMP_PATH)
        try:
            said = self.timestamp.signed.unrecognized_fields[SHOWN]
            event = said["event"]
            return PublishedCatalog(
                str(said["catalog"]),
                int(said["generation"]),
                None if event is None else parse_sha256(event),
                datetime.fromisoformat(said["at"]),
            )
        except (KeyError, TypeError, ValueError, BadName) as problem:
            raise _changed(where, f"it does not say what the tree shows: {problem!r}") from problem

    @property
    def rendering(self) -> str | None:
        """How the documents of versions were made, as ``writing.rendering`` says it; None where
        that is not said: an earlier release has published it."""
        found = self._said("rendering")
        return found if isinstance(found, str) else None

    @property
    def behind(self) -> Mapping[str, str]:
        """The roles that had something else to say than what is published here, for want of
        signatures, and its digest: see ``said.digest_of``."""
        found = self._said(BEHIND)
        return found if isinstance(found, dict) else {}

    def lags(self) -> Mapping[str, bool]:
        """Whether each role waits, by its name; empty where nobody has said so of any."""
        if not isinstance(self._said(BEHIND), dict):
            return {}
        return {role: self.waits(role) for role in self.roles()}

    def waits(self, role: str) -> bool:
        return waits(self.timestamp.signed.unrecognized_fields.get(SHOWN), role)

    def _said(self, key: str) -> Any:
        said = self.timestamp.signed.unrecognized_fields.get(SHOWN)
        return said.get(key) if isinstance(said, dict) else None

    @cached_property
    def snapshot(self) -> Signed[Snapshot]:
        """Which version of each role's list belongs together."""
        return self._load(SNAPSHOT, Snapshot, self.timestamp.signed.snapshot_meta, self.root.signed)

    @cached_property
    def targets(self) -> Signed[Targets]:
        """Who may sign which documents."""
        meta = self.snapshot.signed.meta.get("targets.json")
        if meta is None:
            raise _changed(self._at("metadata"), "its snapshot names no targets")
        return self._load(TARGETS, Targets, meta, self.root.signed)

    def signatures(self, without: Collection[str] = ()) -> Mapping[str, datetime]:
        """Until when the signatures of each role hold. All metadata is read but that of the roles
        *without* which."""
        found = {
            ROOT: self.root.signed.expires,
            TIMESTAMP: self.timestamp.signed.expires,
            SNAPSHOT: self.snapshot.signed.expires,
            TARGETS: self.targets.signed.expires,
        }
        for name in self.roles():
            role = None if name in without else self.role(name)
            if role is not None:
                found[name] = role.signed.expires
        return found

    def named(self) -> Mapping[str, Sha256]:
        """The metadata that belongs to what is shown, by its path, and the digest of each, as far
        as that can be read."""
        metas = {SNAPSHOT: self.timestamp.signed.snapshot_meta}
        with contextlib.suppress(Corrupt):
            metas |= {
                name.removesuffix(".json"): meta for name, meta in self.snapshot.signed.meta.items()
            }
        return {
            metadata_path(role, meta.version): Sha256((meta.hashes or {}).get("sha256", ""))
            for role, meta in metas.items()
        }

    def documents(self) -> Collection[str]:
        """The paths of all documents that belong to what is shown, as far as lists can be read."""
        found: set[str] = set()
        with contextlib.suppress(Corrupt):
            for name in self.roles():
                with contextlib.suppress(Corrupt):
                    listed = self.role(name)
                    files = {} if listed is None else listed.signed.targets
                    for target, file in files.items():
                        found.add(target_path(target, Sha256(file.hashes["sha256"])))
        return found

    def role(self, name: str) -> Signed[Targets] | None:
        """What a role has signed; None where nothing of it was ever published."""
        if name not in self._delegated:
            meta = self.snapshot.signed.meta.get(f"{name}.json")
            self._delegated[name] = (
                None if meta is None else self._load(name, Targets, meta, self.targets.signed)
            )
        return self._delegated[name]

    def roles(self) -> Collection[str]:
        delegations = self.targets.signed.delegations
        return () if delegations is None or delegations.roles is None else tuple(delegations.roles)

    def names(self, role: str) -> Collection[str]:
        found = self.role(role)
        return () if found is None else found.signed.targets.keys()

    def target(self, target: str) -> TargetFile | None:
        """What is signed of a target: its length and digest."""
        try:
            role = role_of(target, self.roles())
        except ValueError:
            return None
        # Whatever other names a role may have signed, it speaks for its own paths only.
        if role not in self.roles() or not self._speaks_for(role, target):
            return None
        found = self.role(role)
        return None if found is None else found.signed.targets.get(target)

    def find(self, target: str) -> tuple[bytes, str] | None:
        file = self.target(target)
        if file is None:
            return None
        path = target_path(target, Sha256(file.hashes["sha256"]))
        data = self.fetch(path)
        try:
            file.verify_length_and_hashes(data)
        except LengthOrHashMismatchError as problem:
            raise _changed(self._at(path), str(problem)) from problem
        return data, self._at(path)

    def fetch(self, path: str) -> bytes:
        data = self._fetch(path)
        if data is None:
            raise Corrupt(
                f"{self._at(path)} is missing",
                where=self._at(path),
                why="the published catalog names it",
                hint=REPAIR,
            )
        return data

    def _speaks_for(self, role: str, target: str) -> bool:
        delegations = self.targets.signed.delegations
        assert delegations is not None
        assert delegations.roles is not None
        return delegations.roles[role].is_delegated_path(target)

    def _newest(self, root: Signed[Root]) -> Signed[Root]:
        """The last of the roots that each was handed over to by the one before."""
        while True:
            path = metadata_path(ROOT, root.signed.version + 1)
            data = self._fetch(path)
            if data is None:
                return root
            where = self._at(path)
            after = parse_metadata(Root, data, where)
            check_signed(root.signed, ROOT, after, where)
            check_signed(after.signed, ROOT, after, where)
            if after.signed.version != root.signed.version + 1:
                raise _changed(where, f"it says that it is version {after.signed.version}")
            root = after

    def _load(
        self, role: str, kind: type[T], meta: MetaFile, delegator: Root | Targets
    ) -> Signed[T]:
        path = metadata_path(role, meta.version)
        where = self._at(path)
        data = self.fetch(path)
        try:
            meta.verify_length_and_hashes(data)
        except LengthOrHashMismatchError as problem:
            raise _changed(where, str(problem)) from problem
        found = parse_metadata(kind, data, where)
        check_signed(delegator, role, found, where)
        if found.signed.version != meta.version:
            raise _changed(where, f"it says that it is version {found.signed.version}")
        self._check_time(role, found)
        return found

    def _check_time(self, role: str, found: Signed[T]) -> None:
        if self._now is not None and found.signed.is_expired(self._now):
            raise CannotTell(
                f"the signature of {role} in {self.where} is over",
                where=self.where,
                why=f"it held until {found.signed.expires:%Y-%m-%d %H:%M} UTC; nobody has renewed "
                "it, or an old state is played back",
                hint="whoever publishes types `imagectl catalog refresh`; check this machine's "
                "clock, too",
            )

    def _at(self, path: str) -> str:
        return f"{self.where}/{path}"


def check_signed(
    delegator: Root | Targets, role: str, found: Signed[T], where: str, hint: str = REPAIR
) -> None:
    """Raise Corrupt where too few of those have signed whose keys count for the role."""
    metadata = found.metadata
    try:
        delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except (UnsignedMetadataError, ValueError) as problem:
        raise _changed(
            where, f"it is not signed by those whose keys count: {problem}", hint
        ) from problem


def _changed(where: str, why: str, hint: str = REPAIR) -> Corrupt:
    return Corrupt(
        f"{where} was changed after it was signed, or somebody else has signed it",
        where=where,
        why=why,
        hint=hint,
    )
