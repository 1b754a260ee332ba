"""What waits for people's signatures, in a file that says for itself what signing it would change.

Promises: a signature of a stranger, a second one of the same key, and a file that was altered or
that is behind what it encloses are refused; nobody is asked to sign what is not shown to them. Such
a file can be carried to another machine, which needs nothing else to tell what it changes. What it
says of what is published nobody has signed: that is compared with what consumers see, or nothing is
left out because of it. Whether it is about what counts now is for ``ceremony`` to say.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuf.api.metadata import Metadata, Root, Targets

from imagectl.adapters.published.signers import Signer as Who
from imagectl.adapters.published.signers import key_of, signers_of
from imagectl.adapters.published.telling import altered, tell, tell_all, untold
from imagectl.adapters.published.trust import read
from imagectl.adapters.published.verified import SHOWN, parse_metadata
from imagectl.adapters.signing_keys import add_signature
from imagectl.errors import NotFound, Refused
from imagectl.formats.tuf_roles import ROOT, TARGETS
from imagectl.policy.wording import counted, listed

if TYPE_CHECKING:
    from securesystemslib.signer import Key, Signer


_SOME = 5
"""So many documents that are not shown are named."""


@dataclass(frozen=True, slots=True)
class Missing:
    """So many more signatures, each of another one of these."""

    count: int
    of: tuple[Who, ...]

    def __str__(self) -> str:
        all_of_them = self.count >= len(self.of)
        who = (" and " if all_of_them else " or ").join(map(str, self.of))
        return f"{counted(self.count, 'more signature')} of {who}"


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for signatures of a role. ``says``: what it would change, in plain words.
    ``delegators`` say whose keys count: by root, those of before and those of after. ``published``:
    what the role says until then, None where nothing. The first of the delegators and what is
    published are as the file has them: see ``check_published``."""

    role: str
    where: str
    metadata: Metadata[Any]
    delegators: tuple[Root | Targets, ...]
    says: tuple[str, ...]
    published: Root | Targets | None

    @property
    def by_it(self) -> tuple[str, ...]:
        """Everybody who may sign something by it, changed or not."""
        return tell_all(self.metadata.signed)

    @property
    def may_sign(self) -> tuple[Who, ...]:
        """Everybody whose key counts, by any of the delegators."""
        found: dict[str, Who] = {}
        for delegator in self.delegators:
            for each in signers_of(self.role, delegator).who:
                found.setdefault(each.keyid, each)
        return tuple(found.values())

    def key(self, keyid: str) -> Key:
        """The public key of one of those."""
        return next(
            key_of(keyid, delegator)
            for delegator in self.delegators
            if keyid in (each.keyid for each in signers_of(self.role, delegator).who)
        )

    @property
    def signed_by(self) -> tuple[Who, ...]:
        """Who has signed."""
        return tuple(each for each in self.may_sign if each.keyid in self.metadata.signatures)

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
        """Sign it. Raises as ``check`` does, and CannotTell where the key does not sign."""
        who = self.check(signer)
        add_signature(self.metadata, signer, self.role)
        return who

    def check(self, signer: Signer) -> Who:
        """Who would sign with that key. Raises Refused where it does not count, or has signed
        already."""
        keyid = signer.public_key.keyid
        may = {each.keyid: each for each in self.may_sign}
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
        return who


def read_carried(path: Path, now: datetime) -> Waiting:
    """What waits for signatures in a file, by what is in the file alone. Raises NotFound, Corrupt
    and Refused."""
    data = read(path)
    if data is None:
        raise NotFound("there is no such file to sign", where=str(path))
    return parse_waiting(data, str(path), now)


def parse_waiting(data: bytes, where: str, now: datetime) -> Waiting:
    """Metadata that waits, by what it encloses; its signatures are checked. Raises Corrupt and
    Refused, and CannotTell where a newer imagectl has made it."""
    enclosed = _enclosed(data, where)
    role = enclosed.role
    kind: Any = Root if role == ROOT else Targets
    found = parse_metadata(kind, data, where)
    signed = found.signed
    said = enclosed.published
    published = None if said is None else parse_metadata(kind, said, where).signed
    who: Any = Root if role in (ROOT, TARGETS) else Targets
    signers = parse_metadata(who, enclosed.signers, where).signed
    delegators = (signers, signed) if role == ROOT else (signers,)
    try:
        for each in delegators:
            each.get_delegated_role(role)
    except ValueError as problem:
        raise altered(where, f"nobody signs such a thing: {problem}") from problem
    if published is not None and signed.version <= published.version:
        raise behind(where, "a later one is published")
    if role == ROOT and signed.version != signers.version + 1:
        raise altered(where, "it does not come right after the root that it names")
    try:
        says = tell(role, signed, published, enclosed.documents, enclosed.before, where, now)
        waiting = Waiting(role, where, found.metadata, delegators, says, published)
        _check_signatures(waiting)
    except (AttributeError, KeyError, TypeError, ValueError) as problem:
        # python-tuf takes numbers for names, and the like.
        raise altered(where, f"something in it is not what it should be: {problem}") from problem
    return waiting


def check_published(
    waiting: Waiting, seen: Callable[[str], Root | Targets | None], where: str
) -> str:
    """See that what the file says of what is published is what consumers see at *where*.

    *seen* gives what a role says there. Returns what cannot be told, or nothing. Raises Refused
    where the file is behind, or was altered.
    """
    role = waiting.role
    if waiting.published != seen(role):
        raise behind(waiting.where, f"it is about another state of {role} than {where} shows")
    delegator = ROOT if role in (ROOT, TARGETS) else TARGETS
    known, said = seen(delegator), waiting.delegators[0]
    if said == known:
        return ""
    if role == TARGETS and known is not None and said.version == known.version + 1:
        return (
            f"whose keys count for targets, by root {said.version}: that root waits for signatures "
            "itself"
        )
    raise behind(waiting.where, f"by {where}, others may sign {role}")


def check_alone(waiting: Waiting) -> str:
    """See that nothing is left out because the file says that it is published already.

    Returns what cannot be told without anything to compare the file with. Raises Refused where more
    would be signed than it shows.
    """
    if more := untold(waiting.metadata.signed, waiting.published):
        some = [*more[:_SOME], f"{len(more) - _SOME} more"] if len(more) > _SOME else more
        raise Refused(
            f"{counted(len(more), 'document')} would be signed, too, that the file does not show",
            reasons=(
                f"{listed(some)}: they are published already, says the file, and whoever gave it "
                "to you may have made that up",
            ),
            where=waiting.where,
            hint="--catalog URL --root FILE compares it with what consumers see; a folder with a "
            "copy of the tree will do",
        )
    return (
        f"whose keys count for {waiting.role}, and what it says until now: that is as "
        f"{waiting.where} has it, and whoever gave you the file may have made it up; "
        "--catalog URL --root FILE compares it with what consumers see"
    )


def _check_signatures(waiting: Waiting) -> None:
    """Raise Refused where somebody has signed who may not, or something else."""
    may = {each.keyid: each for each in waiting.may_sign}
    for keyid, signature in waiting.metadata.signatures.items():
        if keyid not in may:
            raise Refused(
                f"somebody has signed {waiting.role} who may not",
                reasons=(f"a key {keyid[:12]}; those that count are {_names(may.values())}",),
                where=waiting.where,
                hint="find out whose it is; to begin again, remove that file and type `imagectl "
                "catalog publish`",
            )
        try:
            waiting.key(keyid).verify_signature(signature, waiting.metadata.signed_bytes)
        except Exception as problem:  # securesystemslib has several
            raise altered(waiting.where, f"it is not what {may[keyid]} has signed") from problem


def _names(signers: Iterable[Who]) -> str:
    return listed([str(each) for each in signers])


@dataclass(frozen=True, slots=True)
class _Enclosed:
    """What is enclosed for people."""

    role: str
    published: bytes | None
    signers: bytes
    documents: Mapping[str, bytes]
    before: Mapping[str, bytes]


def _enclosed(data: bytes, where: str) -> _Enclosed:
    try:
        found = json.loads(data)[SHOWN]
        published = found["published"]
        return _Enclosed(
            _text(found["role"]).decode(),
            None if published is None else _text(published),
            _text(found["signers"]),
            *(
                {target: _text(document) for target, document in found.get(each, {}).items()}
                for each in ("documents", "before")
            ),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise altered(
            where, "it does not say what it would change, or is no file to sign"
        ) from problem


def _text(value: Any) -> bytes:
    if not isinstance(value, str):
        raise ValueError("text is expected")
    return value.encode()  # ValueError: half of a surrogate pair


def behind(where: str, why: str) -> Refused:
    """What waits for signatures is not what there is to sign now."""
    return Refused(
        "what waits for signatures is not what there is to sign now: it is behind, or was altered",
        reasons=(why,),
        where=where,
        hint="`imagectl catalog publish` writes what the catalog has to say anew; a change of keys "
        "that is behind is removed, and made again by `imagectl catalog rotate-keys`",
    )
