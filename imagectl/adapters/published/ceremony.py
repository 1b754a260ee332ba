"""Gathers the signatures of people: changes of keys, and what needs more than one of them.

Promises: nothing counts before enough of those have signed whose keys count, by root as it was and
as it will be; what waits and is not about what counts now is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tuf.api.metadata import Metadata, Root, Targets

from imagectl.adapters.published.authority import is_signed, sign
from imagectl.adapters.published.rotating import WITH_TARGETS, Edit, Rotation, plan_rotation
from imagectl.adapters.published.telling import altered
from imagectl.adapters.published.trust import (
    ROOT_FILE,
    TARGETS_FILE,
    enclose,
    hands_over,
    keep_root,
    put,
    read,
    read_root,
    read_targets,
)
from imagectl.adapters.published.verified import SHOWN, Signed, parse_metadata
from imagectl.adapters.published.waiting import Waiting, behind, parse_waiting
from imagectl.errors import Conflict, Corrupt, ImagectlError, NotFound, Refused
from imagectl.formats.tuf_roles import CATALOG_ROLE, ROOT, TARGETS, TIMESTAMP
from imagectl.policy.wording import listed

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

    from imagectl.adapters.published.signers import Signer as Who
    from imagectl.adapters.published.signers import Signers
    from imagectl.adapters.published.signing import Signing
    from imagectl.model.snapshot import Snapshot


class Tree(Protocol):
    """What a ceremony needs of a published tree."""

    @property
    def where(self) -> str: ...

    def root_version(self) -> int:
        """The number of its newest root; 0 where nothing is published."""
        ...

    def expected(self, role: str, snapshot: Snapshot) -> Mapping[str, bytes]:
        """What a role would have to sign."""
        ...

    def published(self, role: str) -> bytes | None:
        """What a role has signed; of targets, who may sign."""
        ...


class Ceremony:
    """The ceremonies of a project. ``trouble`` is why a key that was asked did not sign."""

    def __init__(self, signing: Signing, trees: Sequence[Tree], now: datetime) -> None:
        self._signing = signing
        self._trees = trees
        self._now = now
        self.trouble: list[ImagectlError] = []

    def rotate(self, edit: Edit, *, dry_run: bool) -> Rotation:
        """Change who may sign a role: signed with the keys that are here. What cannot be signed
        here waits.

        Raises Conflict where another change waits, or the trees know a later root; otherwise as
        ``plan_rotation`` does. A tree that cannot be read keeps nobody from replacing a stolen key.
        """
        root = read_root(self._signing.trust)
        targets = read_targets(self._signing.trust, root.signed)
        for tree in self._trees:
            if _root_version(tree) > root.signed.version:
                raise Conflict(
                    f"{tree.where} has a later root than this project",
                    where=str(self._signing.trust / ROOT_FILE),
                    why="somebody else has replaced keys",
                    hint="bring catalog/ of whoever did from git",
                )
        planned = plan_rotation(root, targets, edit, self._now)
        if not edit.changes:
            return planned
        with self._signing.alone():
            self._drop_what_counts(root.signed, targets.signed)
            self._drop_half(targets.signed)
            for role, known in ((ROOT, root), (TARGETS, targets)):
                self._insist_nothing_waits(role, known.signed)
            if dry_run:
                return planned
            signers = root
            if planned.root is not None:
                for each in (root.signed, planned.root.signed):
                    self._sign(ROOT, planned.root, each)
                data = planned.root.to_bytes()
                signers = Signed(planned.root, data)
                self._put(ROOT, enclose(ROOT, data, root.data, root.data))
            if planned.targets is not None:
                self._sign(TARGETS, planned.targets, signers.signed)
                data = planned.targets.to_bytes()
                self._put(TARGETS, enclose(TARGETS, data, targets.data, signers.data))
        return planned

    def unattended(self, signers: Signers) -> tuple[Who, ...]:
        """Those of them that sign without anybody who looks: what signs day and night, and the keys
        that are here."""
        online = read_root(self._signing.trust).signed.roles[TIMESTAMP].keyids
        return tuple(
            each for each in signers.who if each.keyid in online or self._is_here(each.keyid)
        )

    def _is_here(self, keyid: str) -> bool:
        try:
            return self._signing.keys.signer(keyid) is not None
        except ImagectlError:
            return False  # one elsewhere that does not answer does not sign

    def waiting(self, roles: Sequence[str], snapshot: Snapshot | None) -> tuple[Waiting, ...]:
        """What waits for signatures, of these roles or of all, checked against what it is about:
        documents against the catalog as it is in *snapshot*, where that is given.

        Raises NotFound where nothing of a role waits, Refused where it is altered or behind.
        """
        here = self._signing.waiting()
        found = []
        for role in roles or here:
            if role not in here:
                raise NotFound(
                    f"nothing of {role} waits for signatures",
                    why=f"{listed(here)} does" if here else "nothing waits at all",
                    hint="`imagectl catalog publish` writes what the catalog has to say",
                )
            path = self._path(role)
            data = read(path)
            if data is not None:
                waiting = parse_waiting(data, str(path), self._now)
                self._check(waiting, role, snapshot)
                found.append(waiting)
        return tuple(found)

    def sign(self, role: str, signers: Sequence[Signer], shown: Waiting) -> Waiting:
        """Add signatures to what waits of a role, which is what was *shown*. Raises as
        ``Waiting.add`` does, and Conflict where it is another one by now."""
        with self._signing.alone():
            path = self._path(role)
            data = read(path)
            waiting = None if data is None else parse_waiting(data, str(path), self._now)
            if waiting is None or waiting.metadata.signed_bytes != shown.metadata.signed_bytes:
                raise Conflict(
                    f"what {role} is to say has changed meanwhile",
                    where=str(path),
                    hint="nothing was signed; type the command again, and look at it again",
                )
            for signer in signers:
                waiting.add(signer)
            self._put(role, waiting.metadata.to_bytes())
        return waiting

    def take(self, carried: Waiting, snapshot: Snapshot | None) -> Waiting:
        """Take over the signatures of a file that was carried here."""
        with self._signing.alone():
            (mine,) = self.waiting([carried.role], snapshot)
            if mine.metadata.signed_bytes != carried.metadata.signed_bytes:
                raise Refused(
                    f"{carried.where} is not what waits for signatures of {carried.role} now",
                    reasons=("the catalog or its keys have changed since it was carried away",),
                    where=carried.where,
                    hint=f"carry {mine.where} to whoever signs, once more",
                )
            mine.metadata.signatures.update(carried.metadata.signatures)
            self._put(mine.role, mine.metadata.to_bytes())
        return mine

    def settle(self) -> tuple[str, ...]:
        """Have root and targets count that enough have signed. Which of them, in that order."""
        trust = self._signing.trust
        with self._signing.alone():
            root = read_root(trust)
            data = read(trust / TARGETS_FILE)
            if data is None:
                return ()
            # Not by root: a process may have been killed between the two.
            targets = parse_metadata(Targets, data, str(trust / TARGETS_FILE))
            self._drop_what_counts(root.signed, targets.signed)
            self._drop_half(targets.signed)
            return self._count(root, targets)

    def _count(self, root: Signed[Root], targets: Signed[Targets]) -> tuple[str, ...]:
        trust = self._signing.trust
        done: list[str] = []
        next_root: Signed[Root] | None = self._next(ROOT, Root, root.signed)
        if next_root is not None and not hands_over(root.signed, next_root):
            next_root = None
        next_targets: Signed[Targets] | None = self._next(TARGETS, Targets, targets.signed)
        for by in filter(None, (next_root, root)):
            # A root counts from when the list of signers is signed by it, too.
            for each in filter(None, (next_targets, targets)):
                if not is_signed(TARGETS, each.metadata, by.signed):
                    continue
                if by is next_root:
                    keep_root(trust, by)
                    done.append(ROOT)
                if each is next_targets:
                    put(trust / TARGETS_FILE, each.data)
                    done.append(TARGETS)
                for role in done:
                    self._path(role).unlink(missing_ok=True)
                return tuple(done)
        return ()

    def _drop_what_counts(self, *known: Root | Targets) -> None:
        """Remove what waits and counts already: a process was killed before it had done so."""
        for each in known:
            path = self._path(each.type)
            data = read(path)
            if data is None:
                continue
            try:
                waits: Signed[Any] = parse_metadata(type(each), data, str(path))
            except Corrupt:
                continue  # whoever signs it is told
            if waits.signed.version <= each.version:
                path.unlink(missing_ok=True)

    def _drop_half(self, targets: Targets) -> None:
        """Remove a root that waits without the list of signers that it was made with: a process was
        killed between the two. Counted alone, keys that it replaces would go on to count there."""
        path = self._path(ROOT)
        data = read(path)
        try:
            half = None if data is None else parse_metadata(Root, data, str(path)).signed
            waits = self._next(TARGETS, Targets, targets)
        except Corrupt:
            return  # whoever signs it is told
        why = None if half is None else half.unrecognized_fields.get(SHOWN)
        number = why.get(WITH_TARGETS) if isinstance(why, dict) else None
        there = targets.version if waits is None else waits.signed.version
        if isinstance(number, int) and there < number:
            path.unlink(missing_ok=True)

    def told(self) -> bool:
        """Whether every tree says who may sign by now. Else roles wait for their new signers."""
        known = read(self._signing.trust / TARGETS_FILE)
        return all(tree.published(TARGETS) == known for tree in self._trees)

    def _next(self, role: str, kind: type[Any], known: Root | Targets) -> Signed[Any] | None:
        """What waits to come after that one, without what was enclosed for people."""
        path = self._path(role)
        data = read(path)
        if data is None:
            return None
        found = parse_metadata(kind, data, str(path))
        if found.signed.version != known.version + 1:
            return None
        found.metadata.unrecognized_fields.clear()
        return Signed(found.metadata, found.metadata.to_bytes())

    def _check(self, waiting: Waiting, role: str, snapshot: Snapshot | None) -> None:
        """That a file of ours is about what is there now."""
        where = waiting.where
        if waiting.role != role:
            raise altered(where, f"it says that it is of {waiting.role}")
        signers = waiting.delegators[0]
        trust = self._signing.trust
        root = read_root(trust)
        if role in (ROOT, TARGETS):
            known: Signed[Any] = root if role == ROOT else read_targets(trust, root.signed)
            if waiting.published != known.signed:
                raise behind(where, f"it does not come after the {role} that counts now")
            by = [root.signed]
            if role == TARGETS and (next_root := self._next(ROOT, Root, root.signed)):
                by.append(next_root.signed)
            if signers not in by:
                raise behind(where, "others may sign by now")
            return
        if role == CATALOG_ROLE:
            may_sign = [str(each) for each in waiting.may_sign]
            raise Refused(
                "what the catalog itself says is signed by its online key alone",
                reasons=(f"nobody looks at each change: {listed(may_sign)} signs",),
                where=where,
                hint="bring that key here, and type `imagectl catalog publish`; where it is lost: "
                "`imagectl catalog rotate-keys online --new --remove KEYID --reason lost`",
            )
        if signers != read_targets(trust, root.signed).signed:
            raise behind(where, "others may sign by now")
        said = {
            target: (file.length, file.hashes.get("sha256"))
            for target, file in waiting.metadata.signed.targets.items()
        }
        published: list[Targets | None] = []
        trouble: ImagectlError | None = None
        for tree in self._trees:
            try:
                documents = None if snapshot is None else tree.expected(role, snapshot)
                published.append(_parsed(tree.published(role), tree.where))
            except ImagectlError as error:  # whoever writes it will be told
                trouble = error
                continue
            if documents is not None and said != _files(documents):
                raise behind(where, "the catalog says another thing")
        if trouble is not None and not published:
            raise trouble
        if published and waiting.published not in published:
            raise behind(where, "another state is published by now")

    def _insist_nothing_waits(self, role: str, known: Root | Targets) -> None:
        try:
            waits = self._next(role, type(known), known) is not None
        except Corrupt:
            waits = True
        if waits:
            raise Conflict(
                f"another change of {role} waits for signatures",
                where=str(self._path(role)),
                hint=f"`imagectl sign {role}` first; or remove that file, if it is not wanted",
            )

    def _sign(self, role: str, metadata: Metadata[Any], delegator: Root | Targets) -> None:
        try:
            sign(role, metadata, delegator, self._signing.keys)
        except ImagectlError as trouble:
            self.trouble.append(trouble)

    def _path(self, role: str) -> Path:
        return self._signing.pending / f"{role}.json"

    def _put(self, role: str, data: bytes) -> None:
        put(self._path(role), data)


def _root_version(tree: Tree) -> int:
    """As the tree has it, as far as it can be read: whoever writes it will be told."""
    try:
        return tree.root_version()
    except ImagectlError:
        return 0


def _parsed(data: bytes | None, where: str) -> Targets | None:
    return None if data is None else parse_metadata(Targets, data, where).signed


def _files(documents: Mapping[str, bytes]) -> Mapping[str, tuple[int, str]]:
    return {
        target: (len(document), hashlib.sha256(document).hexdigest())
        for target, document in documents.items()
    }
