"""Writes a signed tree to a place for files.

Promises: what nobody replaces is written first and the timestamp last, each file whole, so that a
reader finds one whole state or the next (P7); a tree never goes back to an older generation, nor
over to another catalog; what was published lately can still be followed by whoever reads slowly.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from imagectl.adapters.published.past import known_past, with_past
from imagectl.adapters.published.place import side_by_side
from imagectl.adapters.published.signing import ROOT_FILE
from imagectl.adapters.published.whose_keys import trusted_here, whose_keys
from imagectl.errors import CannotTell, Conflict, Corrupt, Failed, ImagectlError, Refused
from imagectl.formats.tuf_roles import (
    METADATA,
    ROOT,
    TARGETS,
    TIMESTAMP,
    TIMESTAMP_PATH,
    metadata_path,
)
from imagectl.model.excerpt import Excerpt
from imagectl.model.published import PublishedCatalog
from imagectl.policy.newest import BRING_BACK

if TYPE_CHECKING:
    from tuf.api.metadata import Root

    from imagectl.adapters.published.desiring import Desired
    from imagectl.adapters.published.place import Place
    from imagectl.adapters.published.signing import Signing
    from imagectl.adapters.published.verified import Signed, VerifiedTree
    from imagectl.model.event import Event
    from imagectl.model.names import ChannelName, LocationName, Sha256
    from imagectl.model.snapshot import Snapshot

KEPT_STATES = 20
"""How many states of a tree can be followed: a reader that begins with an older timestamp must
still find what that one names."""


class TreePublisher:
    """``services.ports.Publisher`` on a place. *clock* says what time it is; *public_urls* below
    which address there are plain downloads of what is in a location; *events* gives those of the
    catalog after a generation, where the tree is to carry its history; *others* gives the trees of
    the same project, this one or not."""

    def __init__(
        self,
        place: Place,
        signing: Signing,
        clock: Callable[[], datetime],
        public_urls: Mapping[LocationName, str] = MappingProxyType({}),
        events: Callable[[int], Iterable[Event]] | None = None,
        others: Callable[[], Iterable[TreePublisher]] = tuple,
    ) -> None:
        self._place = place
        self._signing = signing
        self._clock = clock
        self._public_urls = public_urls
        self._events = events
        self._others = others
        self._timestamp: bytes | None = None
        """As it was when the tree was read last, whoever has signed it."""
        self.mended: list[str] = []
        """What was found damaged, for people: it was written again, or waits for its signers."""
        self.damaged: frozenset[str] = frozenset()
        """The roles whose list is damaged, and stays so until their signers have signed it again,
        as far as the last ``publish`` or ``refresh`` has seen."""

    @property
    def where(self) -> str:
        return self._place.where

    def shown(self) -> PublishedCatalog | None:
        return self._said_by(self._tree())

    def publish(self, told: Snapshot | Excerpt) -> None:
        now = self._clock()
        repairing = not isinstance(told, Excerpt)
        before = self._tree(repairing=repairing)
        if not self._may_show(before, told):
            return
        desired = self._desired(told, before, now)
        with self._place.locked(desired.size):
            tree = self._tree(repairing=repairing)
            if not self._may_show(tree, told):
                return
            if isinstance(told, Excerpt):
                if _state(tree) == _state(before):
                    tree = before  # which has read its lists already
                else:
                    desired = self._desired(told, tree, now)
            snapshot = told.snapshot if isinstance(told, Excerpt) else told
            if self._events is not None:
                known = known_past(tree) if isinstance(told, Excerpt) else None
                documents = with_past(desired.documents, snapshot, known, self._events, self.where)
                desired = replace(desired, documents=documents)
            self._write(tree, desired, {channel for _, channel in snapshot.channels}, now)

    def _desired(
        self, told: Snapshot | Excerpt, tree: VerifiedTree | None, now: datetime
    ) -> Desired:
        from imagectl.adapters.published.desiring import desire

        shown = self._said_by(tree)
        return desire(told, tree, shown, now, self._public_urls, self._signing.found)

    def _may_show(self, tree: VerifiedTree | None, told: Snapshot | Excerpt) -> bool:
        """Whether the tree can be made to show that; not where it shows a later generation. Raises
        Refused where it is another catalog's, and Conflict where an excerpt is not enough."""
        from imagectl.formats.published_v1.writing import rendering

        snapshot = told.snapshot if isinstance(told, Excerpt) else told
        shown = self._said_by(tree)
        if shown is not None and shown.catalog_id != snapshot.catalog_id:
            raise Refused(
                f"{self.where} shows another catalog, and is left as it is",
                reasons=(f"it has catalog {shown.catalog_id}, not {snapshot.catalog_id}",),
                where=self.where,
                hint="name another folder in `catalog.publish`, or remove this one's content",
            )
        if shown is not None and shown.generation > snapshot.generation:
            if _is_recovered(tree):
                raise CannotTell(
                    f"{self.where} is damaged, and shows a later state than this catalog",
                    where=self.where,
                    why=f"it had generation {shown.generation}, and the catalog is only at "
                    f"{snapshot.generation}: it may be a backup that was brought back",
                    hint=BRING_BACK,
                )
            return False
        if not isinstance(told, Excerpt):
            return True
        if tree is None or shown is None or shown.generation < told.since:
            raise Conflict(
                f"{self.where} does not show generation {told.since} any more",
                where=self.where,
                hint="`imagectl catalog publish`",
            )
        # Whoever had former keys can have signed anything; and where locations have other addresses
        # by now, the documents of all versions are others.
        if self._is_of_former_keys(tree) or tree.rendering != rendering(self._public_urls):
            raise Conflict(
                f"{self.where} is of former keys, or of former addresses of locations",
                where=self.where,
                hint="`imagectl catalog publish`",
            )
        return True

    def refresh(self) -> bool:
        """Sign again what has less than half of its time left. Whether anything was.

        Nothing is done where nothing is published. What is damaged is mended by ``publish`` alone:
        it is an error here, but for lists that wait for their signers since. They are in
        ``damaged``, and hold up nothing else. Raises as ``publish`` does.
        """
        with self._place.locked(0):
            tree = self._tree()
            if tree is None:
                return False
            if self._is_of_former_keys(tree):
                # Whoever had one of those could have written it: it is not signed again unseen.
                raise Failed(
                    f"keys were replaced, and {self.where} is signed by the former ones yet",
                    where=self.where,
                    hint="`imagectl catalog publish`",
                )
            return self._write(tree, None, (), self._clock())

    def signatures(self, without: Collection[str] = ()) -> Mapping[str, datetime]:
        """Until when the signatures of each role hold, but those *without* which; empty where
        nothing is published."""
        tree = self._tree()
        return {} if tree is None else tree.signatures(without)

    def lags(self) -> Mapping[str, bool]:
        tree = self._tree()
        return {} if tree is None else tree.lags()

    def _tree(self, *, repairing: bool = False) -> VerifiedTree | None:
        """What is there now; only its timestamp is read yet. *repairing*: what nobody has signed
        who counts is as good as not there."""
        data = self._timestamp = self._place.read(TIMESTAMP_PATH)
        if data is None:
            return None
        root = trusted_here(self._signing.trust)
        if root is None:
            raise CannotTell(
                f"it is not known whose signatures count in {self.where}",
                where=str(self._signing.trust / ROOT_FILE),
                why="that file is missing, and there is a published tree",
                hint="bring it back from git; to begin anew, remove the tree's content",
            )
        from imagectl.adapters.published.recovering import later_roots, recover
        from imagectl.adapters.published.trust import earlier_roots
        from imagectl.adapters.published.verified import VerifiedTree

        if repairing:
            root = (root, *later_roots(self._place, root))[-1]
        read = partial(VerifiedTree, self.where, self._place.read)
        # Keys may have been replaced, and this tree not have been signed by the new ones yet. What
        # is taken from one of before is said anew: see ``_may_show``.
        before = earlier_roots(self._signing.trust)
        for each in (root, *before) if before else ():
            try:
                tree = read(each, data, follow=each is root and not repairing)
                _ = tree.targets
            except Corrupt:
                continue
            return tree
        try:
            return read(root, data, follow=not repairing)
        except Corrupt:
            if not repairing:
                raise
            return recover(self._place, (root, *before), data)

    def _is_of_former_keys(self, tree: VerifiedTree) -> bool:
        root = trusted_here(self._signing.trust)
        return root is not None and tree.root.signed.version < root.signed.version

    def _said_by(self, tree: VerifiedTree | None) -> PublishedCatalog | None:
        """What the tree shows, where somebody says so whose keys count. Whoever has got a key that
        was replaced could say of any generation that it is shown, and of any catalog, so that
        nothing would ever be published over it."""
        from imagectl.adapters.published.authority import is_signed
        from imagectl.adapters.published.recovering import RecoveredTree

        if tree is None:
            return None
        root = trusted_here(self._signing.trust)
        if isinstance(tree, RecoveredTree):
            former = root is not None and tree.root.signed.version < root.signed.version
            return None if former else tree.said
        if root is None or tree.root.signed.version >= root.signed.version:
            return tree.shown
        counts = is_signed(TIMESTAMP, tree.timestamp.metadata, root.signed)
        return tree.shown if counts else None

    def expected(self, role: str, snapshot: Snapshot) -> Mapping[str, bytes]:
        """The documents that a role would have to sign for the catalog as it is in *snapshot*."""
        from imagectl.adapters.published.authority import delegated_roles
        from imagectl.adapters.published.trust import read_targets
        from imagectl.formats.published_v1.writing import render
        from imagectl.formats.tuf_roles import role_of

        tree = self._tree()
        roles: Collection[str]
        try:
            roles = () if tree is None else (*tree.roles(), role)
        except Corrupt:  # it is mended by what is to be signed: by those who count here
            root = trusted_here(self._signing.trust)
            assert root is not None  # or the tree had not been read
            roles = delegated_roles(read_targets(self._signing.trust, root.signed).signed)
        found = render(snapshot, self._clock(), self._public_urls).targets
        return {target: data for target, data in found.items() if role_of(target, roles) == role}

    def published(self, role: str) -> bytes | None:
        """The metadata of a role that may sign documents, or of targets, as the tree has it; None
        where it has none, or that of the role is damaged."""
        tree = self._tree()
        if tree is not None and role == TARGETS:
            return tree.targets.data
        try:
            found = None if tree is None else tree.role(role)
        except Corrupt:  # whoever signs what is to come next mends it
            return None
        return None if found is None else found.data

    def _elsewhere(self, role: str) -> Iterator[bytes]:
        """What enough have signed of a role and this tree may lack, or have only damaged."""
        if (signed := self._signing.signed(role)) is not None:
            yield signed
        for other in self._others():
            with contextlib.suppress(ImagectlError):  # whoever writes that one will be told
                found = None if other.where == self.where else other.published(role)
                if found is not None:
                    yield found

    def root_version(self) -> int:
        """The number of the newest root that the tree has; 0 where nothing is published."""
        tree = self._tree()
        return 0 if tree is None else tree.root.signed.version

    def _write(
        self,
        tree: VerifiedTree | None,
        desired: Desired | None,
        channels: Collection[ChannelName],
        now: datetime,
    ) -> bool:
        from imagectl.adapters.published.new_signers import compose
        from imagectl.adapters.published.trust import enclose

        repairing = desired is not None and desired.said is None
        channels = {*channels, *self._signing.channels()}
        root, targets, waiting = whose_keys(
            self._signing, self._place, tree, channels, now, repairing=repairing
        )
        made = compose(
            tree, root, targets, self._signing, self._elsewhere, now, desired, self._numbers()
        )
        if waiting is not None:
            made.waiting[TARGETS] = enclose(TARGETS, waiting, targets.data, root.data)
        elif self._signing.found(TARGETS) is not None:
            made.done.add(TARGETS)
        # The same generation again: somebody wants it repaired, so every byte is compared. So it is
        # where there are files, and nobody has said what they show.
        again = desired is not None and self._said_by(tree) in (None, desired.shown)
        damaged = self._timestamp is not None and (tree is None or _is_recovered(tree))
        thoroughly = repairing and (again or damaged)
        versions = desired.documents.versions if desired is not None else {}
        self._hand_over(root, repairing=repairing)
        # Lists before what they name: whoever removes old files spares what is claimed by now.
        named = {} if tree is None else tree.named()
        lists = {path: data for path, data in made.metadata.items() if data != root.data}
        self._claim(lists, named, believed=not repairing)
        self._write_all(versions, made.documents, tree, thoroughly=thoroughly)
        self._signing.remember(made.waiting)
        self.damaged = frozenset(made.damaged)
        for role in sorted(made.damaged):
            self.mended.append(
                f"what {self.where} has of {role} is damaged, and its signers are needed to write "
                f"it again: consumers get nothing of it until then; `imagectl sign {role}`"
            )
        if made.timestamp is not None:
            self._place.replace(TIMESTAMP_PATH, made.timestamp, self._timestamp)
            if damaged:
                self._mend(TIMESTAMP_PATH)
        # Not before: what others have signed cannot be had again without them.
        self._signing.forget(made.done - made.waiting.keys())
        if made.timestamp is None:
            return False
        self._thin_out(made.metadata, named)
        return True

    def _claim(
        self, metadata: Mapping[str, bytes], named: Mapping[str, Sha256], *, believed: bool
    ) -> None:
        """Write lists, one after the other, so that of those who claim the same names at once one
        comes through. What the tree names already is nobody else's to write otherwise; *believed*:
        that was read just now."""
        for path, data in metadata.items():
            if named.get(path) != hashlib.sha256(data).hexdigest():
                self._place.claim(path, data)
            elif not believed and self._place.read(path) != data:
                self._place.write(path, data)

    def _write_all(
        self,
        versions: Mapping[str, bytes],
        documents: Mapping[str, bytes],
        tree: VerifiedTree | None,
        *,
        thoroughly: bool,
    ) -> None:
        """Write those that are not there, in no order that anybody may count on; all are durable on
        return. *versions* are files that are never removed."""
        files = {**versions, **documents}
        missing = self._missing(files, thoroughly=thoroughly)
        there = documents.keys() - missing.keys()
        if tree is not None and there:
            # Only an old state names these, and old states go.
            again = there - set(tree.documents())
            if again:
                self._place.settled()
                missing |= self._missing({path: files[path] for path in again}, thoroughly=False)
        side_by_side(lambda path: self._place.write(path, missing[path]), missing)

    def _missing(self, files: Mapping[str, bytes], *, thoroughly: bool) -> dict[str, bytes]:
        if thoroughly:
            there = side_by_side(self._place.read, files)
            pairs = zip(files.items(), there, strict=True)
            return {path: data for (path, data), found in pairs if found != data}
        sizes = self._place.sizes(files.keys())
        return {path: data for path, data in files.items() if sizes.get(path) != len(data)}

    def _hand_over(self, root: Signed[Root], *, repairing: bool) -> None:
        """Write the roots by which consumers get from theirs to the newest one. Raises Conflict
        where the tree has another one with the same number, which they believe: two have replaced
        keys at once. *repairing*: what they cannot follow is removed."""
        from imagectl.adapters.published.recovering import (
            insist_is_no_root,
            insist_on_those_between,
            remove_what_is_no_root,
        )
        from imagectl.adapters.published.trust import earlier_roots

        roots = {each.signed.version: each for each in (root, *earlier_roots(self._signing.trust))}
        before: Root | None = None
        for version, ours in sorted(roots.items()):
            path = metadata_path(ROOT, version)
            there = self._place.read(path)
            if before is not None:
                insist_on_those_between(self._place, before.version, version)
            if there is None:
                self._place.claim(path, ours.data)
            elif there != ours.data:
                insist_is_no_root(self._place, there, before, ours.signed)
                self._place.write(path, ours.data)
                self._mend(path)
            before = ours.signed
        if repairing and (removed := remove_what_is_no_root(self._place, root.signed)):
            self._mend(removed)

    def _mend(self, path: str) -> None:
        self.mended.append(
            f"{self.where}/{path} was damaged, or written by somebody who may not: it was put "
            "right; see who may write there"
        )

    def _numbers(self) -> Mapping[str, int]:
        """The highest version of each role's metadata that there is a file of."""
        found: dict[str, int] = {}
        for each in self._place.names(METADATA):
            number, _, name = each.partition(".")
            role = name.removesuffix(".json")
            if number.isdecimal() and role != name:
                found[role] = max(found.get(role, 0), int(number))
        return found

    def _thin_out(self, metadata: Collection[str], named: Collection[str]) -> None:
        """Remove what only states name that are no longer kept; *named* was shown until now."""
        from imagectl.adapters.published.thinning import snapshot_number, thin_out

        newest = max(map(snapshot_number, metadata))
        thin_out(self._place, KEPT_STATES, newest, {*map(snapshot_number, named)})


def _is_recovered(tree: VerifiedTree | None) -> bool:
    from imagectl.adapters.published.recovering import RecoveredTree

    return isinstance(tree, RecoveredTree)


def _state(tree: VerifiedTree | None) -> tuple[bytes, bytes] | None:
    """What all else in a tree follows from."""
    return None if tree is None else (tree.root.data, tree.timestamp.data)
