"""What somebody is about to sign is said in plain words, and what could not be said is refused."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from support.published_documents import head_document
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Root, TargetFile, Targets

from imagectl.adapters.published.waiting import Waiting, check_alone, parse_waiting
from imagectl.adapters.signing_keys import NAME
from imagectl.errors import ImagectlError, Refused
from imagectl.formats.tuf_roles import (
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    delegated_paths,
    delegation_order,
    lifetime,
)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
STABLE = "channel-stable"
ROLES = delegation_order(["catalog", "images", "image-debian-ci", "channel-beta", STABLE])
HEAD = "images/debian-ci/channels/stable.json"

ONLINE, ALICE = (CryptoSigner.generate_ed25519().public_key for _ in range(2))
ONLINE.unrecognized_fields[NAME] = "online"
ALICE.unrecognized_fields[NAME] = "alice"


class Pending:
    """A file that waits: ``signed`` is to be signed, ``published`` is what there is until then."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.signers: Root | Targets
        self.published: Root | Targets | None
        self.signed: Any
        self.documents: dict[str, str] = {}
        self.before: dict[str, str] = {}
        if role == ROOT:
            self.signers = self.published = root(1)
            self.signed = root(2)
        elif role == TARGETS:
            self.signers, self.published, self.signed = root(1), listing(1), listing(2)
        else:
            self.signers, self.published, self.signed = listing(1), role_of_heads(1), None
            self.signed = role_of_heads(2)
            self.published.targets[HEAD] = self.head(self.before, "20261119.1")
            self.signed.targets[HEAD] = self.head(self.documents, "20261120.1")

    def head(self, among: dict[str, str], version: str, target: str = HEAD) -> TargetFile:
        data = head_document("debian-ci", "stable", version, "0" * 64, "2026-11-20T00:00:00Z")
        among[target] = data.decode()
        return TargetFile(len(data), {"sha256": hashlib.sha256(data).hexdigest()}, target)

    def enclosed(self) -> dict[str, Any]:
        return {
            "role": self.role,
            "documents": self.documents,
            "before": self.before,
            "published": None if self.published is None else text(self.published),
            "signers": text(self.signers),
        }

    def content(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(text(self.signed))
        return content | {"imagectl": self.enclosed()}

    def read(self) -> Waiting:
        return read(self.content())


def read(content: object) -> Waiting:
    return parse_waiting(json.dumps(content).encode(), "a file", NOW)


def root(version: int) -> Root:
    made = Root(version, expires=NOW + lifetime(ROOT), consistent_snapshot=True)
    for role in (ROOT, TARGETS, SNAPSHOT, TIMESTAMP):
        made.add_key(ONLINE, role)
    return made


def listing(version: int) -> Targets:
    roles = {
        name: DelegatedRole(
            name, [ONLINE.keyid], 1, terminating=True, paths=list(delegated_paths(name))
        )
        for name in ROLES
    }
    delegations = Delegations({ONLINE.keyid: ONLINE}, roles)
    return Targets(version, expires=NOW + lifetime(TARGETS), delegations=delegations)


def role_of_heads(version: int) -> Targets:
    return Targets(version, expires=NOW + lifetime(STABLE))


def text(signed: Root | Targets) -> str:
    return Metadata[Any](signed).to_bytes().decode()


def delegated(pending: Pending) -> dict[str, DelegatedRole]:
    roles = pending.signed.delegations.roles
    assert roles is not None
    return dict(roles)


def test_what_a_channel_would_point_to_is_said() -> None:
    assert Pending(STABLE).read().says == (
        "stable of debian-ci: 20261119.1 -> 20261120.1",
        "it would hold until 2027-02-18",
    )


def test_who_might_sign_is_said() -> None:
    pending = Pending(TARGETS)
    pending.signed.add_key(ALICE, STABLE)
    pending.signed.delegations.roles[STABLE].threshold = 2
    assert pending.read().says[:2] == (
        f"alice ({ALICE.keyid[:12]}) may sign channel-stable from then on",
        "channel-stable takes 2 signatures, not 1 as until now",
    )


def test_whose_keys_would_count_is_said() -> None:
    pending = Pending(ROOT)
    pending.signed.add_key(ALICE, TARGETS)
    pending.signed.revoke_key(ONLINE.keyid, TARGETS)
    assert pending.read().says[:2] == (
        f"alice ({ALICE.keyid[:12]}) may sign targets from then on",
        f"online ({ONLINE.keyid[:12]}) may NOT sign targets any more",
    )


def test_another_year_is_said() -> None:
    assert Pending(ROOT).read().says[0] == "the same keys count, for another year"
    assert Pending(TARGETS).read().says[0] == "the same may sign, for another year"


def all_paths(pending: Pending) -> None:
    delegated(pending)[STABLE].paths = ["images/*/*"]


def one_path_more(pending: Pending) -> None:
    paths = delegated(pending)[STABLE].paths
    assert paths is not None
    paths.append("catalog.json")


def hashed_paths(pending: Pending) -> None:
    role = delegated(pending)[STABLE]
    role.paths, role.path_hash_prefixes = None, ["0"]


def not_final(pending: Pending) -> None:
    delegated(pending)[STABLE].terminating = False


def unknown_role(pending: Pending) -> None:
    role = DelegatedRole("mine", [ONLINE.keyid], 1, terminating=True, paths=["catalog.json"])
    pending.signed.delegations.roles = {**delegated(pending), "mine": role}


def another_order(pending: Pending) -> None:
    """The role of all images before that of one: its keepers would not be asked."""
    roles = delegated(pending)
    pending.signed.delegations.roles = {"images": roles.pop("images"), **roles}


def documents_of_its_own(pending: Pending) -> None:
    pending.signed.targets[HEAD] = pending.head(pending.documents, "20261120.1")


def nobody(pending: Pending) -> None:
    pending.signed.delegations = None


@pytest.mark.parametrize(
    ("alter", "why"),
    [
        (all_paths, "channel-stable could sign what is not its own"),
        (one_path_more, "channel-stable could sign what is not its own"),
        (hashed_paths, "channel-stable could sign what is not its own"),
        (not_final, "channel-stable could sign what is not its own"),
        (unknown_role, "mine could sign what is not its own"),
        (another_order, "one role could speak for another"),
        (documents_of_its_own, "targets says who may sign, and nothing else"),
        (nobody, "targets says who may sign, and nothing else"),
    ],
)
def test_no_list_is_signed_that_gives_more_than_is_said(
    alter: Callable[[Pending], None], why: str
) -> None:
    refused(TARGETS, alter, why)


def reused_names(pending: Pending) -> None:
    pending.signed.consistent_snapshot = False


def test_no_root_is_signed_that_is_not_as_ours_are() -> None:
    """Without consistent snapshots, files are replaced under the eyes of who reads them."""
    refused(ROOT, reused_names, "it is not a root as imagectl makes them")


def warnings(pending: Pending) -> None:
    target = "images/debian-ci/warnings.json"
    pending.signed.targets[target] = pending.head(pending.documents, "20261120.1", target)


def another_channel(pending: Pending) -> None:
    target = "images/debian-ci/channels/beta.json"
    pending.signed.targets[target] = pending.head(pending.documents, "20261120.1", target)


def no_document_of_ours(pending: Pending) -> None:
    pending.signed.targets["x"] = pending.head(pending.documents, "20261120.1", "x")


def a_list(pending: Pending) -> None:
    pending.signed.delegations = listing(1).delegations


def nothing_to_show(pending: Pending) -> None:
    pending.documents.clear()


def another_document(pending: Pending) -> None:
    pending.head(pending.documents, "20261118.1")


def another_one_before(pending: Pending) -> None:
    pending.head(pending.before, "20261118.1")


def behind(pending: Pending) -> None:
    pending.signed.version = 1


def further_ahead(pending: Pending) -> None:
    pending.signed.version = 3


@pytest.mark.parametrize("role", [ROOT, TARGETS, STABLE])
def test_nothing_is_signed_that_is_behind(role: str) -> None:
    refused(role, behind, "a later one is published")


def test_no_root_is_signed_that_leaves_one_out() -> None:
    """Consumers follow them one by one."""
    refused(ROOT, further_ahead, "it does not come right after the root that it names")


@pytest.mark.parametrize(
    ("alter", "why"),
    [
        (warnings, "warnings.json, which is not its own"),
        (another_channel, "beta.json, which is not its own"),
        (no_document_of_ours, "x, which is not its own"),
        (a_list, "would say who may sign, which only targets does"),
        (nothing_to_show, f"it does not have {HEAD}, which would be signed"),
        (another_document, f"{HEAD} in it is not the one that would be signed"),
        (another_one_before, f"{HEAD} in it is not the one that would be signed"),
    ],
)
def test_nothing_is_signed_that_is_not_shown(alter: Callable[[Pending], None], why: str) -> None:
    refused(STABLE, alter, why)


@pytest.mark.parametrize("role", [ROOT, TARGETS, STABLE])
def test_nothing_is_signed_for_longer_than_may_be(role: str) -> None:
    """What holds for ten years is played back for ten years."""

    def longer(pending: Pending) -> None:
        pending.signed.expires += timedelta(days=2)

    refused(role, longer, "longer than may be")


@pytest.mark.parametrize("role", [ROOT, TARGETS, STABLE])
def test_what_is_about_to_end_is_not_signed(role: str) -> None:
    def older(pending: Pending) -> None:
        pending.signed.expires = NOW + lifetime(role) / 2 - timedelta(days=1)

    refused(role, older, " only")


def test_what_is_signed_once_more_is_named() -> None:
    """The file says that it is published; nobody has signed that."""
    pending = Pending(STABLE)
    assert check_alone(pending.read())
    for number in range(7):
        target = f"images/other-{number}/channels/stable.json"
        file = pending.head({}, "20261118.1", target)
        pending.signed.targets[target] = file
        assert pending.published is not None
        assert isinstance(pending.published, Targets)
        pending.published.targets[target] = file
    waiting = pending.read()
    with pytest.raises(Refused) as caught:
        check_alone(waiting)
    assert "7 documents would be signed, too" in caught.value.what
    [reason] = caught.value.reasons
    assert "images/other-4/channels/stable.json and 2 more: they are published" in reason


@pytest.mark.parametrize(("role", "of"), [(ROOT, ROOT), (TARGETS, STABLE)])
def test_everybody_is_named_whom_the_file_says_to_be_known(role: str, of: str) -> None:
    pending = Pending(role)
    for each in (pending.signed, pending.published):
        assert isinstance(each, (Root, Targets))
        each.add_key(ALICE, of)
    waiting = pending.read()
    assert not any("alice" in line for line in waiting.says)
    alice, online = f"alice ({ALICE.keyid[:12]})", f"online ({ONLINE.keyid[:12]})"
    assert f"{of} takes 1 signature of {alice} and {online}" in waiting.by_it
    assert len(waiting.by_it) == (4 if role == ROOT else len(ROLES))


WRONG: tuple[Any, ...] = (None, -1, 1.5, "x", "\ud800", [], ["x"], {}, {"x": {}})


@pytest.mark.parametrize("role", [ROOT, TARGETS, STABLE])
def test_whatever_is_in_the_file_it_is_no_internal_error(role: str) -> None:
    """Each value of it in turn is something else, also in the JSON that is enclosed as text."""
    pending = Pending(role)
    pending.signed.unrecognized_fields["imagectl"] = {"by": "ann", "at": "now", "reason": "so"}
    if role != STABLE:
        pending.signed.add_key(ALICE, TARGETS if role == ROOT else STABLE)
    content = pending.content()
    content["signatures"].append({"keyid": ONLINE.keyid, "sig": "00"})
    altered = 0
    for wrong in WRONG:
        for changed in each_replaced(content, wrong):
            with contextlib.suppress(ImagectlError):
                waiting = read(changed)
                assert waiting.missing() or waiting.signed_by
            altered += 1
    assert altered > 500


def each_replaced(content: Any, wrong: object) -> Iterator[Any]:
    """The same many times, each time with another one of its values replaced."""
    yield wrong
    if isinstance(content, dict):
        for key, value in content.items():
            for changed in each_replaced(value, wrong):
                yield {**content, key: changed}
        yield {**content, "x": wrong}
    elif isinstance(content, list):
        for number, value in enumerate(content):
            for changed in each_replaced(value, wrong):
                yield [*content[:number], changed, *content[number + 1 :]]
    elif isinstance(content, str) and content.startswith("{"):
        for changed in each_replaced(json.loads(content), wrong):
            yield json.dumps(changed)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"5", b"[]", b"{}", b"null", b"[" * 100_000, b'{"imagectl": ' + b"9" * 5000],
    ids=["nothing", "no text", "number", "list", "empty", "null", "deep", "long"],
)
def test_what_is_no_such_file_is_refused(data: bytes) -> None:
    with pytest.raises(Refused) as caught:
        parse_waiting(data, "a file", NOW)
    assert "is no file to sign" in caught.value.reasons[0]


def refused(role: str, alter: Callable[[Pending], None], why: str) -> None:
    pending = Pending(role)
    pending.read()  # sound until it is altered
    alter(pending)
    with pytest.raises(Refused) as caught:
        pending.read()
    [reason] = caught.value.reasons
    assert why in reason
    assert caught.value.where == "a file"
    assert caught.value.hint
