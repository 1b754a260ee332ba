"""The documents that consumers read: what is in them, and that nothing else is believed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import BASE, BETA, CI, NOW, STABLE, change, digest, locked, opaque, ref
from support.releases import DC1, LOCAL, Book, catalogs

from imagectl.errors import CannotTell, Corrupt, Refused
from imagectl.formats.published_v1.layout import (
    ENTRY,
    FORMAT,
    REVOKED,
    TREELESS,
    channel_path,
    index_path,
    version_path,
)
from imagectl.formats.published_v1.reading import (
    TreeReader,
    parse_channel,
    parse_entry,
    parse_index,
    parse_version,
)
from imagectl.formats.published_v1.writing import Tree, render
from imagectl.model.change import RevokeVersion, StepVersion
from imagectl.model.fold import apply_change
from imagectl.model.names import ChannelName, ImageName, Sha256
from imagectl.model.published import (
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

ONE = "debian-ci@20261120.1"
TWO = "debian-ci@20261120.2"


def reader(tree: Tree) -> TreeReader:
    return TreeReader("tree", lambda path: {**tree.documents, ENTRY: tree.entry}[path])


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
    assert (catalog.catalog_id, catalog.generation) == ("id", 3)
    image = catalog.images[CI]
    assert set(image.channels) == {BETA, STABLE}
    head = tree.head(image, STABLE)
    move = book.channel(CI, STABLE).head
    assert (head.version, head.kind, head.at, head.reason, head.generation) == (
        move.version,
        move.kind,
        move.at,
        "all good",
        3,
    )
    assert tree.index(image).versions[move.version] == head.document
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
    document = tree.index(tree.catalog().images[ref(text).image]).versions[ref(text).version]
    return document, tree.version(document)


def test_the_entry_names_the_event_that_made_it_and_need_not() -> None:
    snapshot = released().snapshot
    event = Sha256("e" * 64)
    before, after = render(snapshot), render(replace(snapshot, event=event))
    assert reader(before).catalog().event is None
    assert reader(after).catalog() == replace(reader(before).catalog(), event=event)
    assert after.documents == before.documents
    named = json.loads(after.entry)
    del named["event"]
    assert named == json.loads(before.entry)


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
    content = json.loads(tree.documents[version_path(document)])
    assert content["format"] == TREELESS != FORMAT
    for path, data in tree.documents.items():
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
    content = json.loads(tree.documents[version_path(document)])
    data = json.dumps({**content, **wrong}).encode()
    with pytest.raises(Corrupt, match="is not a document of a published catalog"):
        parse_version(data, Sha256(hashlib.sha256(data).hexdigest()), "x")


def test_who_did_it_is_not_published() -> None:
    tree = render(released().snapshot)
    assert not any(b"alice" in data for data in (tree.entry, *tree.documents.values()))


def test_a_promotion_changes_one_channel_document_and_the_entry() -> None:
    book = released()
    before = render(book.snapshot)
    book.moved(STABLE, TWO)
    after = render(book.snapshot)
    new = after.documents.keys() - before.documents.keys()
    assert [path.split("/")[:3] for path in new] == [["images", "debian-ci", "channels"]]
    assert after.entry != before.entry


def test_verifying_a_placement_again_changes_no_document() -> None:
    book = released()
    placed = book.snapshot.placements[ref(ONE)]
    later = tuple(replace(each, verified=each.verified.replace(year=2027)) for each in placed)
    again = replace(book.snapshot, placements={**book.snapshot.placements, ref(ONE): later})
    assert render(again).documents == render(book.snapshot).documents


OLD = "debian-ci@20261119.1"
QUARANTINED = (Stage.DEPRECATED, Stage.OBSOLETE, Stage.QUARANTINED)


def taken_down(book: Book, text: str, *stages: Stage) -> Snapshot:
    """The book's catalog after *text* was taken down by these stages."""
    snapshot = book.snapshot
    for stage in stages:
        step = change(stage.value, snapshot.generation, StepVersion(ref(text), stage))
        snapshot = apply_change(snapshot, step)
    return snapshot


def index(snapshot: Snapshot) -> PublishedIndex:
    tree = reader(render(snapshot))
    return tree.index(tree.catalog().images[CI])


def with_old() -> Book:
    book = released()
    book.built(OLD, enters=False)
    return book


def test_what_is_going_can_be_had_with_a_warning() -> None:
    snapshot = taken_down(with_old(), OLD, Stage.DEPRECATED)
    found = index(snapshot)
    assert ref(OLD).version in found.versions
    assert found.warnings == {
        ref(OLD).version: PublishedWarning(Warned.DEPRECATED, NOW, "alice", "because")
    }
    assert not Warned.DEPRECATED.taken_away
    document, _ = published(snapshot, OLD)
    assert document == published(with_old().snapshot, OLD)[0], "documents of versions never change"


@pytest.mark.parametrize("stages", [QUARANTINED, (*QUARANTINED, Stage.DELETED)])
def test_what_was_taken_away_is_among_the_warnings_only(stages: tuple[Stage, ...]) -> None:
    before, after = with_old().snapshot, taken_down(with_old(), OLD, *stages)
    found = index(after)
    assert ref(OLD).version not in found.versions
    assert found.warnings[ref(OLD).version].warned is Warned(stages[-1].value)
    path = version_path(published(before, OLD)[0])
    assert path in render(before).documents
    assert path not in render(after).documents


def test_a_revocation_is_graver_than_a_stage() -> None:
    snapshot = taken_down(with_old(), OLD, *QUARANTINED)
    revoked = change("revoke", snapshot.generation, RevokeVersion(ref(OLD)), reason="a hole")
    found = index(apply_change(snapshot, revoked))
    assert found.warnings[ref(OLD).version] == PublishedWarning(
        Warned.REVOKED, NOW, "alice", "a hole"
    )


def test_a_channel_on_a_revoked_version_is_one_that_older_readers_do_not_know() -> None:
    book = released()
    revoked = change("revoke", book.snapshot.generation, RevokeVersion(ref(ONE)))
    tree = render(apply_change(book.snapshot, revoked))
    image = reader(tree).catalog().images[CI]
    content = json.loads(tree.documents[channel_path(CI, STABLE, image.channels[STABLE])])
    assert content["format"] == REVOKED != FORMAT
    head = reader(tree).head(image, STABLE)
    assert head.revoked == PublishedWarning(Warned.REVOKED, NOW, "alice", "because")
    other = json.loads(tree.documents[channel_path(CI, BETA, image.channels[BETA])])
    assert other["format"] == FORMAT
    assert reader(tree).head(image, BETA).revoked is None


def test_a_channel_that_says_revoked_without_saying_why_is_corrupt() -> None:
    tree = render(released().snapshot)
    image = reader(tree).catalog().images[CI]
    content = json.loads(tree.documents[channel_path(CI, STABLE, image.channels[STABLE])])
    data = json.dumps({**content, "format": REVOKED}).encode()
    with pytest.raises(Corrupt, match="is not a document of a published catalog"):
        parse_channel(data, Sha256(hashlib.sha256(data).hexdigest()), "x")


def test_without_warnings_an_index_is_as_it_ever_was() -> None:
    tree = render(released().snapshot)
    image = reader(tree).catalog().images[CI]
    content = json.loads(tree.documents[index_path(CI, image.index)])
    assert content.keys() == {"format", "image", "versions"}
    assert reader(tree).index(image).warnings == {}


def test_versions_that_are_not_ready_are_not_published() -> None:
    book = released()
    book.built("debian-ci@20261120.3", failed=1, enters=False)
    book.built("debian-ci@20261120.4", placed=(), enters=False)
    book.built("debian-base@20261120.1", failed=1, enters=False)
    tree = reader(render(book.snapshot))
    assert set(tree.catalog().images) == {CI}
    assert {str(each) for each in tree.index(tree.catalog().images[CI]).versions} == {
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
    catalog = tree.catalog()
    documents = [
        document
        for image in catalog.images.values()
        for document in tree.index(image).versions.values()
    ]
    given_away = {each for each in ready if can_be_had(each, snapshot)}
    assert sorted(tree.version(document).ref for document in documents) == sorted(given_away)
    warned = {
        VersionRef(image.name, version)
        for image in catalog.images.values()
        for version in tree.index(image).warnings
    }
    assert warned == {*snapshot.stages, *snapshot.revoked}
    found = {
        (image.name, channel): tree.head(image, channel)
        for image in catalog.images.values()
        for channel in image.channels
    }
    assert {at: head.version for at, head in found.items()} == {
        at: head.version for at, head in heads.items()
    }
    for (image_name, _), each in found.items():
        revoked = VersionRef(image_name, each.version) in snapshot.revoked
        assert (each.revoked is not None) is revoked


def paths(tree: Tree) -> dict[str, tuple[Sha256, Callable[[bytes, Sha256, str], Any]]]:
    image = parse_entry(tree.entry, ENTRY).images[CI]
    head = reader(tree).head(image, STABLE)
    return {
        index_path(CI, image.index): (image.index, parse_index),
        channel_path(CI, STABLE, image.channels[STABLE]): (image.channels[STABLE], parse_channel),
        version_path(head.document): (head.document, parse_version),
    }


def test_a_changed_byte_is_found_in_every_document() -> None:
    tree = render(released().snapshot)
    for path, (sha256, parse) in paths(tree).items():
        data = tree.documents[path]
        parse(data, sha256, path)
        with pytest.raises(Corrupt, match="was changed after it was published") as caught:
            parse(data.replace(b"20261120", b"20261121"), sha256, path)
        assert caught.value.where == path


def test_unknown_keys_are_passed_over() -> None:
    tree = render(released().snapshot)
    content = json.loads(tree.entry)
    content["signed_by"] = "somebody"
    assert parse_entry(json.dumps(content).encode(), ENTRY) == parse_entry(tree.entry, ENTRY)


def test_a_later_format_is_not_guessed_at() -> None:
    with pytest.raises(CannotTell, match="format that this imagectl does not know"):
        parse_entry(b'{"format": "imagectl-published-2"}', ENTRY)


def entry(**changes: Any) -> bytes:
    content = {"format": FORMAT, "catalog": "id", "generation": 1, "images": {}, **changes}
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"null",
        b"[" * 100_000,
        entry(generation="1"),
        entry(generation=True),
        entry(catalog=None),
        entry(images=[]),
        entry(images={"../x": {}}),
        entry(images={"x": {"index": "00", "channels": {}}}),
        entry(images={"x": {"index": digest("x"), "channels": {"Stable": digest("x")}}}),
        entry(images={"x": None}),
    ],
)
def test_anything_else_is_corrupt_and_names_the_file(data: bytes) -> None:
    with pytest.raises(Corrupt, match=ENTRY) as caught:
        parse_entry(data, ENTRY)
    assert caught.value.why


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["images", "index", "channels", "a"]), inner, max_size=3
            )
        ),
        max_leaves=10,
    )
)
def test_no_entry_ever_ends_in_anything_but_a_catalog_or_corrupt(images: Any) -> None:
    try:
        found = parse_entry(entry(images=images), ENTRY)
    except Corrupt:
        return
    assert set(found.images) <= {ImageName(each) for each in images}


def test_times_are_in_utc() -> None:
    tree = render(released().snapshot)
    head = reader(tree).head(parse_entry(tree.entry, ENTRY).images[CI], STABLE)
    assert head.at.tzinfo is UTC
    path = channel_path(CI, STABLE, parse_entry(tree.entry, ENTRY).images[CI].channels[STABLE])
    assert json.loads(tree.documents[path])["at"] == "2026-11-20T12:00:00Z"


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


def test_paths_hold_nothing_but_names_and_digests() -> None:
    sha256 = digest("x")
    assert channel_path(CI, ChannelName("beta"), sha256) == (
        f"images/debian-ci/channels/{sha256}.beta.json"
    )
    assert index_path(CI, sha256) == f"images/debian-ci/{sha256}.index.json"
    assert version_path(sha256) == f"versions/sha256/{sha256[:2]}/{sha256}.json"
