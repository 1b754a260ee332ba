"""Gathers the signatures of people: changes of keys, and what needs more than one of them.

Promises: nothing counts before enough of those have signed whose keys count, by root as it was and
as it will be; a signature of a stranger, a second one of the same key, and a file that was altered
or that is behind what it is about are refused; nobody is asked to sign what is not shown to them.
What waits can be carried to another machine, which needs nothing else to tell what is signed.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, Targets

from imagectl.adapters.published.authority import is_signed, sign
from imagectl.adapters.published.rotating import Edit, Rotation, plan_rotation
from imagectl.adapters.published.signers import Signer as Who
from imagectl.adapters.published.signers import key_of, signers_of
from imagectl.adapters.published.telling import altered, tell
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
from imagectl.errors import CannotTell, Conflict, Corrupt, ImagectlError, NotFound, Refused
from imagectl.formats.tuf_roles import CATALOG_ROLE, ROOT, TARGETS
from imagectl.policy.wording import counted, listed

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

    from imagectl.adapters.published.publisher import Signing
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
        """What a role has signed."""
        ...


@dataclass(frozen=True, slots=True)
class Missing:
    """So many more signatures, each of another one of these."""

    count: int
    of: tuple[Who, ...]

    def __str__(self) -> str:
        return f"{counted(self.count, 'more signature')} of {' or '.join(map(str, self.of))}"


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for signatures of a role. ``says``: what it would change, in plain words.
    ``delegators`` say whose keys count: by root, those of before and those of after."""

    role: str
    where: str
    metadata: Metadata[Any]
    delegators: tuple[Root | Targets, ...]
    says: tuple[str, ...]

    @property
    def signed_by(self) -> tuple[Who, ...]:
        """Who has signed."""
        return tuple(each for each in _all_signers(self) if each.keyid in self.metadata.signatures)

    def missing(self) -> tuple[Missing, ...]:
        """What it waits for; nothing where enough have signed."""
        found: list[Missing] = []
        payload, signatures = self.metadata.signed_bytes, self.metadata.signatures
        for delegator in self.delegators:
            result = delegator.get_verification_result(self.role, payload, signatures)
            if result:
                continue
            asked = signers_of(self.role, delegator)
            others = tuple(each for each in asked.who if each.keyid not in result.signed)
            more = Missing(asked.threshold - len(result.signed), others)
            if more not in found:
                found.append(more)
        return tuple(found)

    def add(self, signer: Signer) -> Who:
        """Sign it. Raises Refused where that key does not count, or has signed already, and
        CannotTell where it does not sign."""
        keyid = signer.public_key.keyid
        may = {each.keyid: each for each in _all_signers(self)}
        who = may.get(keyid)
        if who is None:
            raise Refused(
                f"this key may not sign {self.role}",
                reasons=(f"its id is {keyid[:12]}; those that count are {_names(may.values())}",),
                where=self.where,
                hint="take another key with --key; to let this one count: `imagectl catalog "
                "rotate-keys`",
            )
        if keyid in self.metadata.signatures:
            left = self.missing()
            raise Refused(
                f"{who} has signed {self.role} already",
                reasons=(
                    "each key counts once; "
                    + (f"it waits for {listed([*map(str, left)])}" if left else "none is missing"),
                ),
                where=self.where,
                hint="let somebody else sign" if left else "`imagectl catalog publish`",
            )
        try:
            self.metadata.sign(signer, append=True)
        except UnsignedMetadataError as problem:
            raise CannotTell(
                f"that key does not sign {self.role}", why=str(problem), where=self.where
            ) from problem
        return who


def read_carried(path: Path, now: datetime) -> Waiting:
    """What waits for signatures in a file, by what is in the file alone. Raises NotFound, Corrupt
    and Refused."""
    data = read(path)
    if data is None:
        raise NotFound("there is no such file to sign", where=str(path))
    return _parse(data, str(path), now)


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
        ``plan_rotation`` does.
        """
        root = read_root(self._signing.trust)
        targets = read_targets(self._signing.trust, root.signed)
        for tree in self._trees:
            if tree.root_version() > root.signed.version:
                raise Conflict(
                    f"{tree.where} has a later root than this project",
                    where=str(self._signing.trust / ROOT_FILE),
                    why="somebody else has replaced keys",
                    hint="bring catalog/ of whoever did from git",
                )
        planned = plan_rotation(root, targets, edit, self._now)
        if not edit.changes:
            return planned
        with self._alone():
            for role, known in ((ROOT, root), (TARGETS, targets)):
                self._insist_nothing_waits(role, known.signed.version)
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
                waiting = _parse(data, str(path), self._now)
                self._check(waiting, role, data, snapshot)
                found.append(waiting)
        return tuple(found)

    def sign(self, role: str, signers: Sequence[Signer], shown: Waiting) -> Waiting:
        """Add signatures to what waits of a role, which is what was *shown*. Raises as
        ``Waiting.add`` does, and Conflict where it is another one by now."""
        with self._alone():
            path = self._path(role)
            data = read(path)
            waiting = None if data is None else _parse(data, str(path), self._now)
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
        (mine,) = self.waiting([carried.role], snapshot)
        if mine.metadata.signed_bytes != carried.metadata.signed_bytes:
            raise Refused(
                f"{carried.where} is not what waits for signatures of {carried.role} now",
                reasons=("the catalog or its keys have changed since it was carried away",),
                where=carried.where,
                hint=f"carry {mine.where} to whoever signs, once more",
            )
        with self._alone():
            mine.metadata.signatures.update(carried.metadata.signatures)
            self._put(mine.role, mine.metadata.to_bytes())
        return mine

    def settle(self) -> tuple[str, ...]:
        """Have root and targets count that enough have signed. Which of them, in that order."""
        done: list[str] = []
        with self._alone():
            trust = self._signing.trust
            root = read_root(trust)
            data = read(trust / TARGETS_FILE)
            if data is None:
                return ()
            # Not by root: a process may have been killed between the two.
            targets = parse_metadata(Targets, data, str(trust / TARGETS_FILE))
            next_root: Signed[Root] | None = self._next(ROOT, Root, root.signed.version)
            if next_root is not None and not hands_over(root.signed, next_root):
                next_root = None
            next_targets: Signed[Targets] | None
            next_targets = self._next(TARGETS, Targets, targets.signed.version)
            roots = [each for each in (next_root, root) if each is not None]
            lists = [each for each in (next_targets, targets) if each is not None]
            for by in roots:
                # A root counts from when the list of signers is signed by it, too.
                for each in lists:
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

    def _next(self, role: str, kind: type[Any], version: int) -> Signed[Any] | None:
        """What waits to come after that version, without what was enclosed for people."""
        path = self._path(role)
        data = read(path)
        if data is None:
            return None
        found = parse_metadata(kind, data, str(path))
        if found.signed.version != version + 1:
            return None
        found.metadata.unrecognized_fields.clear()
        return Signed(found.metadata, found.metadata.to_bytes())

    def _check(self, waiting: Waiting, role: str, data: bytes, snapshot: Snapshot | None) -> None:
        """That a file of ours is about what is there now."""
        where = waiting.where
        if waiting.role != role:
            raise altered(where, f"it says that it is of {waiting.role}")
        enclosed = _enclosed(data, where)
        trust = self._signing.trust
        root = read_root(trust)
        if role in (ROOT, TARGETS):
            now = root.data if role == ROOT else read_targets(trust, root.signed).data
            by = root.data
            if role == TARGETS and (next_root := self._next(ROOT, Root, root.signed.version)):
                by = next_root.data
            if not _same(enclosed.get("published"), now):
                raise _behind(where, f"it does not come after the {role} that counts now")
            if not _same(enclosed.get("signers"), by, root.data):
                raise _behind(where, "others may sign by now")
            return
        if role == CATALOG_ROLE:
            raise Refused(
                "what the catalog itself says is signed by its online key alone",
                reasons=(f"nobody looks at each change: {_names(_all_signers(waiting))} signs",),
                where=where,
                hint="bring that key here, and type `imagectl catalog publish`; where it is lost: "
                "`imagectl catalog rotate-keys online --new --remove KEYID`",
            )
        signers = enclosed.get("signers")
        if not _same(signers, read_targets(trust, root.signed).data):
            raise _behind(where, "others may sign by now")
        if snapshot is not None:
            said = {
                target: (file.length, file.hashes.get("sha256"))
                for target, file in waiting.metadata.signed.targets.items()
            }
            for tree in self._trees:
                wanted = {
                    target: (len(document), _sha256(document))
                    for target, document in tree.expected(role, snapshot).items()
                }
                if said != wanted:
                    raise _behind(where, "the catalog says another thing")
        if self._trees and all(
            not _same(enclosed.get("published"), tree.published(role)) for tree in self._trees
        ):
            raise _behind(where, "another state is published by now")

    def _insist_nothing_waits(self, role: str, version: int) -> None:
        try:
            waits = self._next(role, Root if role == ROOT else Targets, version) is not None
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

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One ceremony at a time on this machine."""
        from filelock import FileLock

        self._signing.pending.mkdir(parents=True, exist_ok=True)
        with FileLock(self._signing.pending / ".lock", timeout=60):
            yield


def _parse(data: bytes, where: str, now: datetime) -> Waiting:
    """Metadata that waits, by what it encloses; its signatures are checked."""
    enclosed = _enclosed(data, where)
    role = str(enclosed.get("role", ""))
    kind: Any = Root if role == ROOT else Targets
    found = parse_metadata(kind, data, where)
    signed = found.signed
    signers: Any
    try:
        said = enclosed.get("published")
        published = None if said is None else parse_metadata(kind, said.encode(), where).signed
        by_root = role in (ROOT, TARGETS)
        who: Any = Root if by_root else Targets
        signers = parse_metadata(who, enclosed["signers"].encode(), where).signed
        delegators = (signers, signed) if role == ROOT else (signers,)
        for each in delegators:
            each.get_delegated_role(role)
        documents, before = enclosed.get("documents", {}), enclosed.get("before", {})
    except (KeyError, AttributeError, ValueError) as problem:
        raise altered(where, f"what is enclosed for people cannot be read: {problem}") from problem
    if published is not None and signed.version <= published.version:
        raise _behind(where, "a later one is published")
    if role == ROOT and signed.version != signers.version + 1:
        raise altered(where, "it does not come right after the root that it names")
    says = tell(role, signed, published, documents, before, where, now)
    waiting = Waiting(role, where, found.metadata, delegators, says)
    _check_signatures(waiting)
    return waiting


def _check_signatures(waiting: Waiting) -> None:
    """Raise Refused where somebody has signed who may not, or something else."""
    may = {each.keyid: each for each in _all_signers(waiting)}
    for keyid, signature in waiting.metadata.signatures.items():
        if keyid not in may:
            raise Refused(
                f"somebody has signed {waiting.role} who may not",
                reasons=(f"a key {keyid[:12]}; those that count are {_names(may.values())}",),
                where=waiting.where,
                hint="find out whose it is; to begin again, remove that file and type `imagectl "
                "catalog publish`",
            )
        key = next(
            key_of(keyid, each)
            for each in waiting.delegators
            if keyid in each.get_delegated_role(waiting.role).keyids
        )
        try:
            key.verify_signature(signature, waiting.metadata.signed_bytes)
        except Exception as problem:  # securesystemslib has several
            raise altered(waiting.where, f"it is not what {may[keyid]} has signed") from problem


def _all_signers(waiting: Waiting) -> tuple[Who, ...]:
    found: dict[str, Who] = {}
    for delegator in waiting.delegators:
        for each in signers_of(waiting.role, delegator).who:
            found.setdefault(each.keyid, each)
    return tuple(found.values())


def _names(signers: Iterable[Who]) -> str:
    return listed([str(each) for each in signers])


def _enclosed(data: bytes, where: str) -> Mapping[str, Any]:
    try:
        found = json.loads(data)[SHOWN]
    except (ValueError, KeyError, TypeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise altered(where, "it does not say what it would change, or is no file to sign")
    return found


def _same(said: Any, *data: bytes | None) -> bool:
    """Whether it is the metadata that one of these is, whoever has signed it, and however it is
    written."""
    return any(_signed_part(said) == _signed_part(each) for each in data)


def _signed_part(data: Any) -> Any:
    return None if data is None else json.loads(data)["signed"]


def _sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def _behind(where: str, why: str) -> Refused:
    return Refused(
        "what waits for signatures is not what there is to sign now: it is behind, or was altered",
        reasons=(why,),
        where=where,
        hint="`imagectl catalog publish` writes what the catalog has to say anew; a change of keys "
        "that is behind is removed, and made again by `imagectl catalog rotate-keys`",
    )
