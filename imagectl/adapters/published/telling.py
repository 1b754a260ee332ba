"""Says in plain words what somebody is about to sign: what is published, and what would be.

Only what is signed is told, and only by documents whose digests are signed. What would not be shown
is refused: nobody signs what they have not seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from tuf.api.metadata import Root, Targets

from imagectl.adapters.published.authority import delegated_roles
from imagectl.adapters.published.signers import Signers, signers_of
from imagectl.adapters.published.verified import SHOWN
from imagectl.errors import Refused
from imagectl.formats.published_v1.reading import parse_channel, parse_index
from imagectl.formats.tuf_roles import (
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    delegated_paths,
    delegation_order,
    is_due,
    lifetime,
    role_of,
)
from imagectl.policy.wording import counted, listed

_NOTHING = "nothing"
_SLACK = timedelta(days=1)
"""By how much the clock of who made it may be ahead of ours."""


def tell(
    role: str,
    signed: Root | Targets,
    published: Root | Targets | None,
    documents: Mapping[str, bytes],
    before: Mapping[str, bytes],
    where: str,
    now: datetime,
) -> tuple[str, ...]:
    """What signing it would change. Raises Refused where that cannot be said, or it is over."""
    _check_time(role, signed, where, now)
    lines: Iterator[str]
    if isinstance(signed, Root):
        if not isinstance(published, Root):
            raise altered(where, "it does not say which root it comes after")
        lines = _root(signed, published, where)
    elif role == TARGETS:
        if not isinstance(published, Targets):
            raise altered(where, "it does not say which list of signers it comes after")
        lines = _targets(signed, published, where)
    else:
        if published is not None and not isinstance(published, Targets):
            raise altered(where, "it does not say what is published")
        lines = _documents(role, signed, published, documents, before, where)
    return (*lines, f"it would hold until {signed.expires:%Y-%m-%d}")


def tell_all(signed: Root | Targets) -> tuple[str, ...]:
    """Everybody who may sign something by it, for whoever cannot tell what is published already."""
    if isinstance(signed, Root):
        roles: Collection[str] = (ROOT, TARGETS, TIMESTAMP, SNAPSHOT)
    else:
        roles = delegated_roles(signed)
    found = (signers_of(role, signed) for role in roles)
    return tuple(
        f"{each.role} takes {counted(each.threshold, 'signature')} of {listed(each.who)}"
        for each in found
    )


def untold(signed: Root | Targets, published: Root | Targets | None) -> tuple[str, ...]:
    """The documents that would be signed once more, as nothing of them changes: they are not told.
    Sorted."""
    if not isinstance(signed, Targets) or not isinstance(published, Targets):
        return ()
    said = published.targets
    return tuple(sorted(each for each, file in signed.targets.items() if said.get(each) == file))


def altered(where: str, why: str) -> Refused:
    """What waits for signatures is not what was to be signed."""
    return Refused(
        "what waits for signatures is not signed: somebody has altered it, or it is damaged",
        reasons=(why,),
        where=where,
        hint=f"remove {where}, and type `imagectl catalog publish` or `imagectl catalog "
        "rotate-keys` again, which write it anew; ask who had it in hands",
    )


def _check_time(role: str, signed: Root | Targets, where: str, now: datetime) -> None:
    if signed.expires > now + lifetime(role) + _SLACK:
        raise altered(where, f"it would hold until {signed.expires:%Y-%m-%d}, longer than may be")
    if is_due(role, signed.expires, now):
        raise Refused(
            "what waits for signatures is too old to be signed",
            reasons=(f"it would hold until {signed.expires:%Y-%m-%d} only",),
            where=where,
            hint="`imagectl catalog publish` writes it anew",
        )


def _documents(
    role: str,
    signed: Targets,
    published: Targets | None,
    documents: Mapping[str, bytes],
    before: Mapping[str, bytes],
    where: str,
) -> Iterator[str]:
    if signed.delegations is not None:
        raise altered(where, f"{role} would say who may sign, which only targets does")
    known = {} if published is None else published.targets
    changed = sorted(
        each for each in {*known, *signed.targets} if known.get(each) != signed.targets.get(each)
    )
    for target in changed:
        try:
            whose = role_of(target, (role,))
        except ValueError:
            whose = ""
        if whose != role:
            raise altered(where, f"{role} would sign {target}, which is not its own")
        after = _checked(target, signed, documents, where)
        if target in signed.targets and after is None:
            raise altered(where, f"it does not have {target}, which would be signed")
        former = None if published is None else _checked(target, published, before, where)
        yield _change(target, former, after, where)
    if not changed:
        yield f"nothing changes for consumers: what {role} says until now is signed anew"


def _checked(
    target: str, signed: Targets, documents: Mapping[str, bytes], where: str
) -> bytes | None:
    """A document, if it is there, and the one that is signed."""
    data = documents.get(target)
    file = signed.targets.get(target)
    if data is None or file is None:
        return None
    if hashlib.sha256(data).hexdigest() != file.hashes.get("sha256") or len(data) != file.length:
        raise altered(where, f"{target} in it is not the one that would be signed")
    return data


def _change(target: str, before: bytes | None, after: bytes | None, where: str) -> str:
    parts = target.split("/")
    match parts:
        case ["images", image, "channels", name]:
            channel = name.removesuffix(".json")
            return f"{channel} of {image}: {_head(before, where)} -> {_head(after, where)}"
        case ["images", image, "index.json"]:
            return f"{image}: {_index(before, after, where)}"
        case _:
            return f"{target} changes"


def _head(data: bytes | None, where: str) -> str:
    if data is None:
        return _NOTHING
    head = parse_channel(data, where)
    return f"{head.version} ({head.reason})" if head.reason else str(head.version)


def _index(before: bytes | None, after: bytes | None, where: str) -> str:
    old = parse_index(before, where) if before is not None else None
    new = parse_index(after, where) if after is not None else None
    old_versions = {} if old is None else old.versions
    new_versions = {} if new is None else new.versions
    said = []
    if added := sorted(new_versions.keys() - old_versions.keys()):
        said.append(f"adds {listed(list(map(str, added)))}")
    if gone := sorted(old_versions.keys() - new_versions.keys()):
        said.append(f"takes away {listed(list(map(str, gone)))}")
    other = [each for each in old_versions if each in new_versions]
    if moved := sorted(each for each in other if old_versions[each] != new_versions[each]):
        said.append(f"says other things, such as places, of {listed(list(map(str, moved)))}")
    return "; ".join(said) or "what was deleted"


def _root(signed: Root, published: Root, where: str) -> Iterator[str]:
    if not signed.consistent_snapshot:
        raise altered(where, "it is not a root as imagectl makes them")
    yield from _why(signed)
    said = False
    for role in (ROOT, TARGETS, TIMESTAMP, SNAPSHOT):
        for line in _difference(signers_of(role, published), signers_of(role, signed)):
            said = True
            yield line
    if not said:
        yield "the same keys count, for another year"


def _targets(signed: Targets, published: Targets, where: str) -> Iterator[str]:
    roles = delegated_roles(signed)
    delegations = signed.delegations
    if signed.targets or delegations is None or delegations.roles is None:
        raise altered(where, "targets says who may sign, and nothing else")
    for name, each in delegations.roles.items():
        try:
            paths = list(delegated_paths(name))
        except ValueError:
            paths = []
        if not paths or each.paths != paths or not each.terminating:
            raise altered(where, f"{name} could sign what is not its own")
    if tuple(roles) != delegation_order(roles):
        raise altered(where, "one role could speak for another: their order is not ours")
    yield from _why(signed)
    said = False
    former = delegated_roles(published)
    for name in (*former, *(each for each in roles if each not in former)):
        old = signers_of(name, published) if name in former else Signers(name, (), 0)
        new = signers_of(name, signed) if name in roles else Signers(name, (), 0)
        for line in _difference(old, new):
            said = True
            yield line
    if not said:
        yield "the same may sign, for another year"


def _why(signed: Root | Targets) -> Iterator[str]:
    why: Any = signed.unrecognized_fields.get(SHOWN)
    if isinstance(why, dict):
        yield f"{why.get('by', 'somebody')}, {str(why.get('at', ''))[:16]}: {why.get('reason', '')}"


def _difference(before: Signers, after: Signers) -> Iterator[str]:
    for each in after.who:
        if each not in before.who:
            yield f"{each} may sign {after.role} from then on"
    for each in before.who:
        if each not in after.who:
            yield f"{each} may NOT sign {before.role} any more"
    if before.threshold != after.threshold and before.threshold:
        yield (
            f"{after.role} takes {counted(after.threshold, 'signature')}, not "
            f"{before.threshold} as until now"
        )
