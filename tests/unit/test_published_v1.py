"""The documents that consumers read: what is in them, and that nothing else is believed."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import BASE, BETA, CI, NOW, STABLE, change, digest, locked, opaque, ref
from support.releases import DC1, LOCAL, Book, catalogs

from imagectl.errors import CannotTell, Corrupt, Refused
from imagectl.formats.published_v1.layout import FORMAT, TREELESS
from imagectl.formats.published_v1.reading import (
    TreeReader,
    parse_catalog,
    parse_channel,
    parse_index,
    parse_version,
    parse_warnings,
)
from imagectl.formats.published_v1.writing import Documents
from imagectl.formats.published_v1.writing import render as render_at
from imagectl.formats.tuf_roles import (
    CATALOG_TARGET,
    channel_target,
    index_target,
    role_of,
    version_path,
    warnings_target,
)
from imagectl.model.change import RevokeVersion, StepVersion
from imagectl.model.fold import apply_change
from imagectl.model.names import ChannelName, ImageName, Sha256, VersionId
from imagectl.model.published import (
    PublishedHead,
    PublishedIndex,
    PublishedInside,
    PublishedOrigin,
    PublishedVersion,
    PublishedWarning,
    Warned,
)
from imagectl.model.retention import Stage
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Reproducible, Version, VersionRef
from imagectl.policy.readiness import can_be_had, withheld

Parse = Callable[[bytes, str], object]

ONE = "debian-ci@20261120.1"
TWO = "debian-ci@20261120.2"


def render(snapshot: Snapshot) -> Documents:
    return render_at(snapshot, NOW)


class Files:
    """The documents as ``reading.Targets``, believed as they are."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def find(self, target: str) -> tuple[bytes, str] | None:
        data = self._documents.targets.get(target)
        return None if data is None else (data, target)

    def names(self, role: str) -> Collection[str]:
        return {each for each in self._documents.targets if role_of(each, ()) == role}

    def roles(self) -> Collection[str]:
        return {role_of(each, ()) for each in self._documents.targets}

    def waits(self, role: str) -> bool:
        return role == "nobody"

    def fetch(self, path: str) -> bytes:
        return self._documents.versions[path]


def reader(tree: Documents) -> TreeReader:
    return TreeReader("tree", Files(tree))


def head_of(tree: TreeReader, channel: ChannelName, image: ImageName = CI) -> PublishedHead:
    head = tree.head(image, channel)
    assert head is not None
    return head


def index_of(tree: TreeReader, image: ImageName = CI) -> PublishedIndex:
    index = tree.index(image)
    assert index is not None
    return index


def released() -> Book:
    book = Book()
    book.built(ONE, needs=(LOCAL, DC1))
    book.built(TWO)
    book.moved(STABLE, ONE, reason="all good")
    return book


def test_what_is_published_is_what_is_read() -> None:
    book = released()
    tree = reader(render(book.snapshot))
    catalog = tree.catalog()
    assert (catalog.catalog_id, catalog.generation, catalog.at) == ("id", 3, NOW)
    assert set(tree.images()) == {CI}
    assert set(tree.channels(CI)) == {BETA, STABLE}
    head = head_of(tree, STABLE)
    move = book.channel(CI, STABLE).head
    assert (head.version, head.kind, head.at, head.reason, head.generation) == (
        move.version,
        move.kind,
        move.at,
        "all good",
        3,
    )
    assert index_of(tree).versions[move.version] == head.document
    version = tree.version(head.document)
    recorded = book.snapshot.versions[ref(ONE)]
    assert recorded.tree is not None
    assert (version.ref, version.created, version.summary, version.tree, version.tool) == (
        recorded.ref,
        recorded.created,
        recorded.summary,
        recorded.tree.sha256,
        recorded.tool,
    )
    assert [(each.location, each.reference, each.sha256) for each in version.placements] == [
        (each.location, each.reference, each.sha256) for each in book.snapshot.placed(ref(ONE))
    ]


def with_versions(snapshot: Snapshot, *versions: Version) -> Snapshot:
    """*snapshot*, in which these versions have always been what they are here."""
    return replace(
        snapshot, versions={**snapshot.versions, **{each.ref: each for each in versions}}
    )


def published(snapshot: Snapshot, text: str) -> tuple[Sha256, PublishedVersion]:
    tree = reader(render(snapshot))
    document = index_of(tree, ref(text).image).versions[ref(text).version]
    return document, tree.version(document)


def test_the_event_that_made_it_is_named_where_it_is_known() -> None:
    snapshot = released().snapshot
    event = Sha256("e" * 64)
    before, after = render(snapshot), render(replace(snapshot, event=event))
    assert reader(before).catalog().event is None
    assert reader(after).catalog() == replace(reader(before).catalog(), event=event)
    assert {**after.targets, CATALOG_TARGET: b""} == {**before.targets, CATALOG_TARGET: b""}
    assert after.versions == before.versions


def test_how_a_version_was_made_is_published() -> None:
    book = released()
    one = locked(ONE, Reproducible.NO, "path /etc/x differs")
    _, version = published(with_versions(book.snapshot, one), ONE)
    assert one.origin is not None
    assert one.inside is not None
    assert version.origin == PublishedOrigin(
        one.origin.epoch, one.origin.raw, Reproducible.NO, "path /etc/x differs"
    )
    assert version.inside == PublishedInside(
        one.inside.contents, one.inside.spdx, one.inside.cyclonedx, one.inside.provenance
    )
    assert version.tree == digest(f"{ONE} tree")


def test_where_a_plain_download_works_is_published() -> None:
    snapshot = released().snapshot
    before = render(snapshot)
    placed = snapshot.placed(ref(ONE))
    named = tuple(
        replace(each, provider_id=f"sha256/{each.sha256[:2]}/{each.sha256}") for each in placed
    )
    snapshot = replace(snapshot, placements={**snapshot.placements, ref(ONE): named})
    assert not _urls(render(snapshot)), "nobody has said that there is one"

    urls = {LOCAL: "https://cdn.example/disks/"}
    after = render_at(snapshot, NOW, urls)
    sha256 = placed[0].sha256
    assert _urls(after) == {f"https://cdn.example/disks/sha256/{sha256[:2]}/{sha256}"}
    relative = render_at(snapshot, NOW, {LOCAL: "artifacts"})
    assert _urls(relative) == {f"http://tree.example/artifacts/sha256/{sha256[:2]}/{sha256}"}

    # A file that is named in another way is not below that address; nothing else changes.
    assert render_at(released().snapshot, NOW, urls) == before


def _urls(documents: Documents) -> set[str]:
    tree = TreeReader("tree", Files(documents), "http://tree.example")
    versions = [tree.version(each) for each in index_of(tree).versions.values()]
    return {each.url for found in versions for each in found.placements if each.url is not None}


def test_names_of_no_image_are_nothing_to_ask_for() -> None:
    """Whoever may sign indexes could sign them, and a cleanup reads all that are there."""

    class Odd(Files):
        def names(self, role: str) -> Collection[str]:
            return {*super().names(role), "x", "images/UPPER CASE/index.json", "images/debian-ci/x"}

    documents = render(released().snapshot)
    assert TreeReader("tree", Odd(documents)).images() == {CI}


def test_what_was_recorded_before_locks_is_published_as_ever() -> None:
    """Byte for byte as the releases wrote it that knew of no locks: immutables do not change."""
    document, version = published(released().snapshot, ONE)
    assert document == "19d96b080221f3b41705f11666b9221dc19d57a0f382e2972b63f083167dbd21"
    assert version.origin is None
    assert version.inside is None


def test_a_version_without_a_tree_is_one_that_older_readers_do_not_know() -> None:
    book = released()
    document, version = published(with_versions(book.snapshot, opaque(ONE)), ONE)
    assert version.tree is None
    assert version.origin is not None
    assert version.origin.cause == "its file system is btrfs"
    tree = render(with_versions(book.snapshot, opaque(ONE)))
    content = json.loads(tree.versions[version_path(document)])
    assert content["format"] == TREELESS != FORMAT
    for path, data in {**tree.targets, **tree.versions}.items():
        known = json.loads(data)["format"] == FORMAT
        assert known is (path != version_path(document))


@pytest.mark.parametrize(
    "wrong",
    [
        {"tree": None},
        {"tree": 5},
        {"format": TREELESS, "tree": "x"},
        {"origin": 1},
        {"origin": {}},
        {"origin": {"epoch": "1", "raw": "0" * 64, "reproducible": "yes", "cause": ""}},
        {"origin": {"epoch": 1, "raw": "0" * 64, "reproducible": "maybe", "cause": ""}},
        {"origin": {"epoch": 1, "raw": "0" * 64, "reproducible": "yes", "cause": None}},
        {"inside": {"contents": "0" * 64}},
        {"inside": []},
    ],
)
def test_a_version_that_says_what_it_cannot_is_corrupt(wrong: dict[str, Any]) -> None:
    tree = render(with_versions(released().snapshot, locked(ONE)))
    document, _ = published(with_versions(released().snapshot, locked(ONE)), ONE)
    content = json.loads(tree.versions[version_path(document)])
    data = json.dumps({**content, **wrong}).encode()
    with pytest.raises(Corrupt, match="is not a document of a published catalog"):
        parse_version(data, Sha256(hashlib.sha256(data).hexdigest()), "x")


def test_who_did_it_is_not_published() -> None:
    tree = render(released().snapshot)
    assert not any(b"alice" in data for data in (*tree.targets.values(), *tree.versions.values()))


def test_a_promotion_changes_one_channel_document_and_the_catalogs_own() -> None:
    book = released()
    before = render(book.snapshot)
    book.moved(STABLE, TWO)
    after = render(book.snapshot)
    changed = {each for each, data in after.targets.items() if before.targets[each] != data}
    assert changed == {CATALOG_TARGET, channel_target(CI, STABLE)}
    assert after.versions == before.versions


def test_verifying_a_placement_again_changes_no_document() -> None:
    book = released()
    placed = book.snapshot.placements[ref(ONE)]
    later = tuple(replace(each, verified=each.verified.replace(year=2027)) for each in placed)
    again = replace(book.snapshot, placements={**book.snapshot.placements, ref(ONE): later})
    assert render(again) == render(book.snapshot)


OLD = "debian-ci@20261119.1"
QUARANTINED = (Stage.DEPRECATED, Stage.OBSOLETE, Stage.QUARANTINED)


def taken_down(book: Book, text: str, *stages: Stage) -> Snapshot:
    """The book's catalog after *text* was taken down by these stages."""
    snapshot = book.snapshot
    for stage in stages:
        step = change(stage.value, snapshot.generation, StepVersion(ref(text), stage))
        snapshot = apply_change(snapshot, step)
    return snapshot


def warnings(snapshot: Snapshot) -> Mapping[VersionId, PublishedWarning]:
    return reader(render(snapshot)).warnings(CI)


def with_old() -> Book:
    book = released()
    book.built(OLD, enters=False)
    return book


def test_what_is_going_can_be_had_with_a_warning() -> None:
    snapshot = taken_down(with_old(), OLD, Stage.DEPRECATED)
    assert ref(OLD).version in index_of(reader(render(snapshot))).versions
    assert warnings(snapshot) == {
        ref(OLD).version: PublishedWarning(Warned.DEPRECATED, NOW, "alice", "because")
    }
    assert not Warned.DEPRECATED.taken_away
    document, _ = published(snapshot, OLD)
    assert document == published(with_old().snapshot, OLD)[0], "documents of versions never change"


def test_what_is_taken_away_for_now_is_a_warning_and_no_change_of_the_index() -> None:
    before, after = with_old().snapshot, taken_down(with_old(), OLD, *QUARANTINED)
    assert warnings(after)[ref(OLD).version].warned is Warned.QUARANTINED
    assert render(after).targets[index_target(CI)] == render(before).targets[index_target(CI)]


def test_what_was_deleted_is_in_the_index_as_that() -> None:
    after = render(taken_down(with_old(), OLD, *QUARANTINED, Stage.DELETED))
    found = index_of(reader(after))
    assert ref(OLD).version not in found.versions
    assert found.deleted[ref(OLD).version].warned is Warned.DELETED
    assert warnings_target(CI) not in after.targets, "they stay few"
    alone = parse_warnings(after.unindexed[CI], "x")
    assert alone == found.deleted, "for as long as the index is not signed"


def test_a_revocation_is_graver_than_a_stage() -> None:
    for stages in (QUARANTINED, (*QUARANTINED, Stage.DELETED)):
        snapshot = taken_down(with_old(), OLD, *stages)
        revoked = change("revoke", snapshot.generation, RevokeVersion(ref(OLD)), reason="a hole")
        after = apply_change(snapshot, revoked)
        said = PublishedWarning(Warned.REVOKED, NOW, "alice", "a hole")
        assert warnings(after)[ref(OLD).version] == said
        for data in render(after).unindexed.values():
            assert parse_warnings(data, "x")[ref(OLD).version] == said


def test_without_warnings_there_is_no_document_of_them() -> None:
    tree = render(released().snapshot)
    assert warnings_target(CI) not in tree.targets
    assert json.loads(tree.targets[index_target(CI)]).keys() == {"format", "image", "versions"}
    assert tree.unindexed == {}


def test_versions_that_are_not_ready_are_not_published() -> None:
    book = released()
    book.built("debian-ci@20261120.3", failed=1, enters=False)
    book.built("debian-ci@20261120.4", placed=(), enters=False)
    book.built("debian-base@20261120.1", failed=1, enters=False)
    tree = reader(render(book.snapshot))
    assert set(tree.images()) == {CI}
    assert {str(each) for each in index_of(tree).versions} == {
        "20261120.1",
        "20261120.2",
    }


def test_a_channel_on_a_version_that_is_not_ready_is_never_published() -> None:
    book = Book()
    book.built("debian-base@20261120.1", failed=1)
    with pytest.raises(Refused, match="beta of debian-base cannot be published") as caught:
        render(book.snapshot)
    assert caught.value.reasons == ("20261120.1: 1 of 13 tests failed",)
    assert BASE in caught.value.where


@given(catalogs())
def test_a_catalog_is_published_whole_or_not_at_all(snapshot: Snapshot) -> None:
    ready = {each for each, made in snapshot.versions.items() if not withheld(made, snapshot)}
    heads = {at: channel.head for at, channel in snapshot.channels.items()}
    if any(VersionRef(image, head.version) not in ready for (image, _), head in heads.items()):
        with pytest.raises(Refused):
            render(snapshot)
        return
    tree = reader(render(snapshot))
    indexes = {image: index_of(tree, image) for image in tree.images()}
    documents = [each for index in indexes.values() for each in index.versions.values()]
    given_away = {each for each in ready if snapshot.stage(each) is not Stage.DELETED}
    assert sorted(tree.version(each).ref for each in documents) == sorted(given_away)
    warned = {
        VersionRef(image, version): each
        for image in tree.images()
        for version, each in {**indexes[image].deleted, **tree.warnings(image)}.items()
    }
    assert set(warned) == {*snapshot.stages, *snapshot.revoked}
    usable = {
        each for each in given_away if each not in warned or not warned[each].warned.taken_away
    }
    assert usable == {each for each in ready if can_be_had(each, snapshot)}
    found = {
        (image, channel): head_of(tree, channel, image)
        for image in tree.images()
        for channel in tree.channels(image)
    }
    assert {at: head.version for at, head in found.items()} == {
        at: head.version for at, head in heads.items()
    }


def test_a_changed_byte_is_found_in_a_versions_document() -> None:
    tree = render(released().snapshot)
    document = head_of(reader(tree), STABLE).document
    data = tree.versions[version_path(document)]
    parse_version(data, document, "x")
    with pytest.raises(Corrupt, match="was changed after it was published") as caught:
        parse_version(data.replace(b"20261120", b"20261121"), document, "x")
    assert caught.value.where == "x"


def test_unknown_keys_are_passed_over() -> None:
    data = render(released().snapshot).targets[CATALOG_TARGET]
    content = {**json.loads(data), "said_by": "somebody"}
    assert parse_catalog(json.dumps(content).encode(), "x") == parse_catalog(data, "x")


@pytest.mark.parametrize("parse", [parse_catalog, parse_channel, parse_index, parse_warnings])
def test_a_later_format_is_not_guessed_at(parse: Parse) -> None:
    with pytest.raises(CannotTell, match="format that this imagectl does not know"):
        parse(b'{"format": "imagectl-published-2"}', "x")


def written(**changes: Any) -> bytes:
    """A document that has every key of every one, with these changes."""
    content = {
        "format": FORMAT,
        "catalog": "id",
        "generation": 1,
        "event": None,
        "at": "2026-11-20T12:00:00Z",
        "image": "x",
        "channel": "beta",
        "version": "20261120.1",
        "document": digest("x"),
        "kind": "promote",
        "reason": "",
        "versions": {},
        "warnings": {},
        **changes,
    }
    return json.dumps(content).encode()


@pytest.mark.parametrize("parse", [parse_catalog, parse_channel, parse_index, parse_warnings])
@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[]", b"{}", b"null", b"[" * 100_000])
def test_anything_else_is_corrupt_and_names_the_file(parse: Parse, data: bytes) -> None:
    parse(written(), "x")
    with pytest.raises(Corrupt, match="x is not") as caught:
        parse(data, "x")
    assert caught.value.why


@pytest.mark.parametrize(
    ("parse", "wrong"),
    [
        (parse_catalog, {"generation": "1"}),
        (parse_catalog, {"generation": True}),
        (parse_catalog, {"catalog": None}),
        (parse_catalog, {"event": "00"}),
        (parse_catalog, {"at": "2026-11-20T12:00:00"}),
        (parse_channel, {"image": "../x"}),
        (parse_channel, {"channel": "Stable"}),
        (parse_channel, {"document": "00"}),
        (parse_channel, {"kind": "jump"}),
        (parse_index, {"versions": []}),
        (parse_index, {"versions": {"1": digest("x")}}),
        (parse_index, {"deleted": {"20261120.1": None}}),
        (parse_warnings, {"warnings": []}),
        (parse_warnings, {"warnings": {"20261120.1": {"warned": "never"}}}),
    ],
)
def test_a_document_that_says_what_it_cannot_is_corrupt(
    parse: Parse, wrong: dict[str, Any]
) -> None:
    with pytest.raises(Corrupt, match="is not a document of a published catalog"):
        parse(written(**wrong), "x")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["20261120.1", "warned", "at", "a"]), inner, max_size=3
            )
        ),
        max_leaves=10,
    )
)
def test_no_index_ever_ends_in_anything_but_an_index_or_corrupt(found: Any) -> None:
    for name in ("versions", "deleted"):
        with contextlib.suppress(Corrupt):
            parse_index(written(**{name: found}), "x")


def test_times_are_in_utc() -> None:
    tree = render(released().snapshot)
    assert head_of(reader(tree), STABLE).at.tzinfo is UTC
    content = json.loads(tree.targets[channel_target(CI, STABLE)])
    assert content["at"] == "2026-11-20T12:00:00Z"


def test_rendering_is_a_pure_function() -> None:
    snapshot = released().snapshot
    backwards = Snapshot(
        snapshot.catalog_id,
        snapshot.generation,
        dict(reversed(list(snapshot.versions.items()))),
        dict(reversed(list(snapshot.channels.items()))),
        dict(reversed(list(snapshot.placements.items()))),
    )
    assert render(backwards) == render(snapshot)
