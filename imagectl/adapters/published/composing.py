"""Says what is to be written next to a published tree. It writes nothing.

Promises: what is not changed is not signed again until less than half of its time is left; what
cannot be signed here stays as it is published, and its new content waits for its signers; no
version number is given twice, also where a tree was lost or a publisher killed: numbers are seconds
since 1970, or the number after any that there is a file of, whichever is more, but for those of
roots and of ``targets``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from imagectl.adapters.published.authority import (
    delegated_roles,
    is_signed,
    no_key,
    sign,
    sign_or_wait,
)
from imagectl.adapters.published.desiring import Desired
from imagectl.adapters.published.enclosing import shown_to_signers
from imagectl.adapters.published.recovering import intact, meta_file, parse_copy
from imagectl.adapters.published.said import digest_of
from imagectl.adapters.published.verified import SHOWN, Signed, VerifiedTree
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
    ``done`` are roles that need wait no more; ``damaged`` those whose list is damaged, and stays so
    until their signers have signed."""

    documents: dict[str, bytes] = field(default_factory=dict)
    metadata: dict[str, bytes] = field(default_factory=dict)
    timestamp: bytes | None = None
    waiting: dict[str, bytes] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    damaged: set[str] = field(default_factory=set)


class Composer:
    """Makes what comes next. ``tree`` is what is there, None where nothing is; ``pending`` gives
    what waits for signatures of a role, and ``elsewhere`` what enough have signed of it that the
    tree may lack; ``targets`` is the newest list of who may sign what, also where the tree does not
    have it yet.

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
        elsewhere: Callable[[str], Iterable[bytes]],
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
        self._elsewhere = elsewhere
        self._numbers = numbers
        self._above = max((numbers[each] for each in numbers.keys() - {ROOT, TARGETS}), default=0)
        self._repairing = repairing
        self._frozen = frozen
        self._made = Publication()
        self.blocked: set[str] = set()
        """Roles whose new keys have not signed what they are to say: whoever may sign has changed,
        and cannot be told yet."""
        self.waiting = self._made.waiting
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
        before, damage = self._published(role)
        if damage is not None:
            if desired is None:
                self._leave_to_its_signers(role, damage)
                return
            if not self._repairing:
                raise damage
            before = self._intact(role, documents)
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
        frozen = before is not None and role in self._frozen
        if frozen and before is not None and before.signed.targets != wanted:
            self._behind[role] = digest_of(wanted)  # consumers are told that it lags
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
            if not frozen:
                self._behind.pop(role, None)
            self._take(role, made, wanted, documents)
            self._made.done.add(role)
        elif (before is not None and not stands) or self._is_taken_over(role, wanted):
            self.blocked.add(role)
        elif role == CATALOG_ROLE and desired is not None:
            raise no_key(role, self._targets.signed, self._keys)
        elif before is not None:
            self._take(role, before, before.signed.targets, documents)
        elif damage is not None:
            self._leave(role, damage)

    def _is_taken_over(self, role: str, wanted: Collection[str]) -> bool:
        """Whether another role has published some of that, and this one is to do so from now on:
        told of it before it has signed, consumers would find them nowhere."""
        if self._tree is None:
            return False
        try:
            if role in self._tree.roles():
                return False
        except Corrupt:  # nothing tells who has signed what until now
            return False
        try:
            return any(self._tree.target(each) is not None for each in wanted)
        except Corrupt:  # its list is damaged, and written again by whom consumers know
            return True

    def _published(self, role: str) -> tuple[Signed[Targets] | None, Corrupt | None]:
        """What the tree has of a role; or why that is not to be had."""
        if self._tree is None:
            return None, None
        try:
            return self._tree.role(role), None
        except Corrupt as damage:
            return None, damage

    def _intact(self, role: str, documents: Mapping[str, bytes]) -> Signed[Targets] | None:
        """What a damaged list is mended with, where there is such a thing: see ``intact``."""
        assert self._tree is not None
        wanted = {target: _target_file(target, data) for target, data in documents.items()}
        number = self._numbers.get(role, 0)
        return intact(self._tree, role, wanted, number, self._targets.signed, self._elsewhere(role))

    def _leave_to_its_signers(self, role: str, damage: Corrupt) -> None:
        """Refresh all but a damaged list, which a publish has left to its signers. Raises Corrupt
        where none has, or where it need not wait for them."""
        if self._pending(role) is None or self._intact(role, {}) is not None:
            raise damage
        self._leave(role, damage)

    def _leave(self, role: str, damage: Corrupt) -> None:
        """Have all else go on while a damaged list waits for its signers: until then, consumers get
        nothing of it. Raises Corrupt where even that is not possible."""
        assert self._tree is not None
        try:
            named = self._tree.snapshot.signed.meta[f"{role}.json"]
        except (Corrupt, KeyError):
            hint = f"`imagectl sign {role}`: once enough have signed, it is written again"
            raise Corrupt(damage.what, where=damage.where, why=damage.why, hint=hint) from damage
        self._metas[f"{role}.json"] = named
        self._made.damaged.add(role)

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
        signing = sign if role == CATALOG_ROLE else sign_or_wait
        if not signing(role, metadata, self._targets.signed, self._keys):
            if before is None and (copy := self._signed_elsewhere(role, wanted, last)) is not None:
                return copy
            metadata.unrecognized_fields[SHOWN] = shown_to_signers(
                role, wanted, before, documents, self._targets, self._tree
            )
            self._made.waiting[role] = metadata.to_bytes()
            return None
        return Signed(metadata, metadata.to_bytes())

    def _signed_elsewhere(
        self, role: str, wanted: Mapping[str, TargetFile], last: int
    ) -> Signed[Targets] | None:
        """That it says this, as enough have signed it for another tree of the same project."""
        for data in self._elsewhere(role):
            copy = parse_copy(data, role)
            if (
                copy is not None
                and copy.signed.targets == wanted
                and copy.signed.version >= last
                and not is_due(role, copy.signed.expires, self._now)
                and is_signed(role, copy.metadata, self._targets.signed)
            ):
                return copy
        return None

    def _waiting(
        self, role: str, wanted: Mapping[str, TargetFile], last: int
    ) -> Metadata[Targets] | None:
        """What waits already, with the signatures that it has; None where it says another thing."""
        data = self._pending(role)
        found = None if data is None else parse_copy(data, role)
        if found is None:
            return None  # it is written again
        said = found.signed
        if said.targets != wanted or said.version <= last:
            return None
        # Somebody may have signed who does not count any more: nobody would sign beside a stranger.
        counts = self._targets.signed.get_delegated_role(role).keyids
        for keyid in found.metadata.signatures.keys() - counts:
            del found.metadata.signatures[keyid]
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
        self._metas[f"{role}.json"] = meta_file(version, chosen.data)

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
        meta = meta_file(snapshot.signed.version, snapshot.data)
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
