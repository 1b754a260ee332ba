"""Says what is to be written next to a published tree. It writes nothing.

Promises: what is not changed is not signed again until less than half of its time is left; what
cannot be signed here stays as it is published, and its new content waits for its signers; no
version number is given twice, also where a tree was lost or a publisher killed: numbers are seconds
since 1970, or the number after any that there is a file of, whichever is more, but for those of
roots and of ``targets``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from imagectl.adapters.published.authority import delegated_roles, is_signed, no_key, sign
from imagectl.adapters.published.desiring import Desired
from imagectl.adapters.published.said import digest_of
from imagectl.adapters.published.verified import SHOWN, Signed, VerifiedTree, parse_metadata
from imagectl.adapters.signing_keys import SigningKeys
from imagectl.errors import Conflict, Corrupt
from imagectl.formats.tuf_roles import (
    BEHIND,
    CATALOG_ROLE,
    ROOT,
    SNAPSHOT,
    SPEC_VERSION,
    TARGETS,
    TIMESTAMP,
    channel_role,
    index_target,
    is_due,
    lifetime,
    metadata_path,
    role_of,
    target_path,
    warnings_target,
)
from imagectl.model.names import ChannelName, Sha256
from imagectl.model.published import PublishedCatalog

CHANNELS = channel_role(ChannelName(""))
"""How the names of the roles begin that sign what channels point to."""

_Top = TypeVar("_Top", Snapshot, Timestamp)


@dataclass(slots=True)
class Publication:
    """What is to be written, in this order: ``documents`` and ``metadata``, whose names are their
    own, then ``timestamp``, where anything is new. ``waiting`` is what lacks signatures, by role;
    ``done`` are roles that need wait no more."""

    documents: dict[str, bytes] = field(default_factory=dict)
    metadata: dict[str, bytes] = field(default_factory=dict)
    timestamp: bytes | None = None
    waiting: dict[str, bytes] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)


class Composer:
    """Makes what comes next. ``tree`` is what is there, None where nothing is; ``pending`` gives
    what waits for signatures of a role; ``targets`` is the newest list of who may sign what, also
    where the tree does not have it yet.

    ``repairing``: what of the tree is not as it was signed counts as not there. *numbers* are
    the highest versions that there are files of, by role. *frozen* are roles that say on what is
    published, and nothing new.
    """

    def __init__(
        self,
        tree: VerifiedTree | None,
        root: Signed[Root],
        targets: Signed[Targets],
        keys: SigningKeys,
        now: datetime,
        *,
        pending: Callable[[str], bytes | None],
        numbers: Mapping[str, int],
        repairing: bool,
        frozen: Collection[str] = (),
    ) -> None:
        self._tree = tree
        self._root = root
        self._targets = targets
        self._keys = keys
        self._now = now
        self._pending = pending
        self._numbers = numbers
        self._above = max((numbers[each] for each in numbers.keys() - {ROOT, TARGETS}), default=0)
        self._repairing = repairing
        self._frozen = frozen
        self._made = Publication()
        self.blocked: set[str] = set()
        """Roles whose new keys have not signed what they are to say: whoever may sign has changed,
        and cannot be told yet."""
        self._behind: dict[str, str] = {}
        self._metas: dict[str, MetaFile] = {}
        self._listed: dict[str, Mapping[str, TargetFile]] = {}

    def compose(self, desired: Desired | None) -> Publication:
        """What has to be written for *desired*; None: only what is due to be signed again."""
        made = self._made
        made.metadata[metadata_path(ROOT, self._root.signed.version)] = self._root.data
        self._keep(TARGETS, self._targets)
        roles = delegated_roles(self._targets.signed)
        shown = desired.shown if desired is not None else None
        if shown is None:
            assert self._tree is not None
            shown = self._tree.shown
        if desired is not None and desired.said is not None:
            assert self._tree is not None
            for role in {*roles} ^ {*self._tree.roles()}:
                if not role.startswith(CHANNELS):  # of a new channel, nothing is said yet
                    raise _others_sign(role)
        by_role = _by_role(desired, roles) if desired is not None else {}
        # What is said of versions depends on what indexes say: so that role comes last.
        for role in sorted(roles, key=lambda each: each == CATALOG_ROLE):
            if role == CATALOG_ROLE and desired is not None:
                self._say_what_indexes_do_not(desired, by_role.setdefault(role, {}), roles)
            self._compose_role(role, by_role.get(role, {}), desired)
        if desired is not None:
            self._finish(shown, desired.rendering, self._behind)
        else:
            assert self._tree is not None
            self._finish(shown, self._tree.rendering, self._tree.behind)
            # What waits there already says more than what is published for another while.
            for role in self._tree.behind:
                if self._pending(role) is not None:
                    made.waiting.pop(role, None)
        return made

    def _say_what_indexes_do_not(
        self, desired: Desired, targets: dict[str, bytes], roles: Collection[str]
    ) -> None:
        """An index that waits for its signer does not say yet what was deleted: warnings do."""
        for image, warnings in desired.documents.unindexed.items():
            target = index_target(image)
            listed = self._listed.get(role_of(target, roles), {}).get(target)
            if listed != _target_file(target, desired.documents.targets[target]):
                targets[warnings_target(image)] = warnings

    def _compose_role(
        self, role: str, documents: Mapping[str, bytes], desired: Desired | None
    ) -> None:
        before, damage = self._before(role)
        wanted: dict[str, TargetFile] = {}
        if desired is None:
            wanted |= {} if before is None else before.signed.targets
        elif desired.said is not None:
            absent = desired.documents.absent
            said = desired.said.targets(role)
            wanted |= {target: file for target, file in said.items() if target not in absent}
            waiting = desired.said.documents(role)
            waiting = {each: data for each, data in waiting.items() if each not in absent}
            documents = {**waiting, **documents}
        wanted |= {target: _target_file(target, data) for target, data in documents.items()}
        if role in self._frozen and before is not None:
            wanted = dict(before.signed.targets)
        stands = before is not None and is_signed(role, before.metadata, self._targets.signed)
        if desired is not None and desired.said is not None and before is not None and not stands:
            raise _others_sign(role)
        if desired is None and not stands:
            # Whoever may sign it was replaced: what former keys have signed is not signed unseen.
            self.blocked.add(role)
            return
        if (
            before is not None
            and stands
            and before.signed.targets == wanted
            and not is_due(role, before.signed.expires, self._now)
        ):
            self._take(role, before, wanted, documents)
            self._made.done.add(role)
            return
        if before is None or before.signed.targets != wanted:
            self._behind[role] = digest_of(wanted)
        made = self._signed(role, wanted, before, documents, stands=stands)
        if made is not None:
            self._behind.pop(role, None)
            self._take(role, made, wanted, documents)
            self._made.done.add(role)
        elif before is not None and not stands:
            self.blocked.add(role)
        elif role == CATALOG_ROLE and desired is not None:
            raise no_key(role, self._targets.signed, self._keys)
        elif before is not None:
            self._take(role, before, before.signed.targets, documents)
        elif damage is not None:
            raise damage

    def _before(self, role: str) -> tuple[Signed[Targets] | None, Corrupt | None]:
        """What the tree has of a role, and why that is not to be had."""
        if self._tree is None:
            return None, None
        try:
            return self._tree.role(role), None
        except Corrupt as damage:
            if not self._repairing:
                raise
            return None, damage

    def _signed(
        self,
        role: str,
        wanted: dict[str, TargetFile],
        before: Signed[Targets] | None,
        documents: Mapping[str, bytes],
        *,
        stands: bool,
    ) -> Signed[Targets] | None:
        """The role's new metadata, if all can sign it here who have to, or have done so before."""
        last = before.signed.version if before is not None else self._numbers.get(role, 0)
        metadata = self._waiting(role, wanted, last)
        if metadata is None:
            metadata = Metadata(
                Targets(
                    # New signers sign while those of until now may publish once more.
                    self._after(last) + (0 if stands else 1),
                    SPEC_VERSION,
                    self._now + lifetime(role),
                    targets=wanted,
                )
            )
        metadata.unrecognized_fields.clear()  # what was shown to those who sign is not published
        if not sign(role, metadata, self._targets.signed, self._keys):
            metadata.unrecognized_fields[SHOWN] = self._enclosed(role, wanted, before, documents)
            self._made.waiting[role] = metadata.to_bytes()
            return None
        return Signed(metadata, metadata.to_bytes())

    def _enclosed(
        self,
        role: str,
        wanted: Mapping[str, TargetFile],
        before: Signed[Targets] | None,
        documents: Mapping[str, bytes],
    ) -> dict[str, Any]:
        """What whoever signs has to be shown, also on a machine that has nothing else: what is
        published, who may sign, and the documents that differ, before and after."""
        published = {} if before is None else before.signed.targets
        changed = [
            target
            for target in sorted({*wanted, *published})
            if wanted.get(target) != published.get(target)
        ]
        former: dict[str, str] = {}
        for target in changed:
            if self._tree is not None and target in published:
                try:
                    found = self._tree.find(target)
                except Corrupt:
                    continue
                if found is not None:
                    former[target] = found[0].decode()
        return {
            "role": role,
            "documents": {each: documents[each].decode() for each in changed if each in documents},
            "before": former,
            "published": None if before is None else before.data.decode(),
            "signers": self._targets.data.decode(),
        }

    def _waiting(
        self, role: str, wanted: Mapping[str, TargetFile], last: int
    ) -> Metadata[Targets] | None:
        """What waits already, with the signatures that it has; None where it says another thing."""
        data = self._pending(role)
        if data is None:
            return None
        try:
            found = parse_metadata(Targets, data, f"pending {role}")
        except Corrupt:
            return None  # it is written again
        said = found.signed
        if said.targets != wanted or said.version <= last:
            return None
        return None if is_due(role, said.expires, self._now) else found.metadata

    def _take(
        self,
        role: str,
        chosen: Signed[Targets],
        listed: Mapping[str, TargetFile],
        documents: Mapping[str, bytes],
    ) -> None:
        """Publish that metadata, and those documents that it names."""
        self._keep(role, chosen)
        self._listed[role] = listed
        for target, data in documents.items():
            file = listed.get(target)
            if file is not None and file == _target_file(target, data):
                self._made.documents[target_path(target, Sha256(file.hashes["sha256"]))] = data

    def _keep(self, role: str, chosen: Signed[Targets]) -> None:
        version = chosen.signed.version
        self._made.metadata[metadata_path(role, version)] = chosen.data
        self._metas[f"{role}.json"] = _meta_file(version, chosen.data)

    def _finish(
        self, shown: PublishedCatalog, rendering: str | None, behind: Mapping[str, str]
    ) -> None:
        """The snapshot, and the timestamp, where anything is new."""
        said = _shown(shown, rendering, behind)
        snapshot, timestamp = self._last()
        if snapshot is not None and snapshot.signed.meta == self._metas:
            fresh = not is_due(SNAPSHOT, snapshot.signed.expires, self._now) and is_signed(
                SNAPSHOT, snapshot.metadata, self._root.signed
            )
        else:
            fresh = False
        if snapshot is None or not fresh:
            last = snapshot.signed.version if snapshot is not None else 0
            new = Metadata(
                Snapshot(
                    self._after(last), SPEC_VERSION, self._now + lifetime(SNAPSHOT), self._metas
                )
            )
            snapshot = self._signed_here(SNAPSHOT, new)
        path = metadata_path(SNAPSHOT, snapshot.signed.version)
        self._made.metadata[path] = snapshot.data
        meta = _meta_file(snapshot.signed.version, snapshot.data)
        if timestamp is not None and timestamp.signed.snapshot_meta == meta:
            due = is_due(TIMESTAMP, timestamp.signed.expires, self._now)
            stands = is_signed(TIMESTAMP, timestamp.metadata, self._root.signed)
            if stands and not due and timestamp.signed.unrecognized_fields.get(SHOWN) == said:
                return
        last = timestamp.signed.version if timestamp is not None else 0
        content = Timestamp(
            self._after(last),
            SPEC_VERSION,
            self._now + lifetime(TIMESTAMP),
            meta,
            {SHOWN: said},
        )
        self._made.timestamp = self._signed_here(TIMESTAMP, Metadata(content)).data

    def _last(self) -> tuple[Signed[Snapshot] | None, Signed[Timestamp] | None]:
        if self._tree is None:
            return None, None
        try:
            return self._tree.snapshot, self._tree.timestamp
        except Corrupt:
            if not self._repairing:
                raise
            return None, self._tree.timestamp

    def _signed_here(self, role: str, metadata: Metadata[_Top]) -> Signed[_Top]:
        if not sign(role, metadata, self._root.signed, self._keys):
            raise no_key(role, self._root.signed, self._keys)
        return Signed(metadata, metadata.to_bytes())

    def _after(self, last: int) -> int:
        return max(last + 1, self._above + 1, int(self._now.timestamp()))


def _others_sign(role: str) -> Conflict:
    """Others may sign a role by now. What those of before have signed, or whoever has got their
    keys, is not signed again unseen: all of it is said anew, by the catalog."""
    return Conflict(f"{role} is signed by others from now on", hint="`imagectl catalog publish`")


def _by_role(desired: Desired, roles: Collection[str]) -> dict[str, dict[str, bytes]]:
    found: dict[str, dict[str, bytes]] = {}
    for target, data in desired.documents.targets.items():
        found.setdefault(role_of(target, roles), {})[target] = data
    return found


def _target_file(target: str, data: bytes) -> TargetFile:
    return TargetFile(len(data), {"sha256": hashlib.sha256(data).hexdigest()}, target)


def _meta_file(version: int, data: bytes) -> MetaFile:
    return MetaFile(version, len(data), {"sha256": hashlib.sha256(data).hexdigest()})


def _shown(
    shown: PublishedCatalog, rendering: str | None, behind: Mapping[str, str]
) -> dict[str, object]:
    """What the timestamp says besides: see ``VerifiedTree``."""
    assert shown.at is not None
    return {
        **({} if rendering is None else {"rendering": rendering}),
        BEHIND: dict(behind),
        "catalog": shown.catalog_id,
        "generation": shown.generation,
        "event": shown.event,
        "at": shown.at.isoformat(),
    }
