"""``services.ports.Inspector``, ``Comparer`` and ``Documents``: what is said of trees, for real and
in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.systems import canonical, image, workspace
from support.trees import ROOT, file

from imagectl.adapters.disk.compare import TreeComparer
from imagectl.adapters.inside import LocalInspector
from imagectl.adapters.inside.documents import StoredDocuments
from imagectl.adapters.store import FileStore
from imagectl.errors import Corrupt, NotFound
from imagectl.model.names import Sha256
from imagectl.model.version import Inside
from imagectl.services.ports.building import CanonicalTree
from imagectl.services.ports.looking_inside import Comparer, Documents, Inspector
from imagectl.services.ports.workspaces import Workspace
from imagectl.testing.build import RecordingProgress
from imagectl.testing.inside import MemoryComparer, MemoryInspector, memory_tree

Texts = dict[str, str]


def written(files: Texts, out: Path) -> CanonicalTree:
    """A canonical tar, for those that read one."""
    members = [ROOT, *(file(path.encode(), text.encode()) for path, text in files.items())]
    return canonical(members, out)


@dataclass(frozen=True)
class Looking:
    """One implementation of the ports, and the trees that it reads."""

    inspector: Inspector
    comparer: Comparer
    tree: Callable[[Texts, Path], CanonicalTree]


@pytest.fixture(params=["memory", "local"])
def looking(request: pytest.FixtureRequest, tmp_path: Path) -> Looking:
    if request.param == "memory":
        return Looking(MemoryInspector(), MemoryComparer(), memory_tree)
    return Looking(LocalInspector(tmp_path / "keys"), TreeComparer("host"), written)


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    return workspace(tmp_path / "work")


@dataclass(frozen=True)
class Kept:
    documents: Documents
    inside: Inside
    store: FileStore


def look(looking: Looking, files: Texts, work: Workspace, ports: tuple[str, ...] = ()) -> Kept:
    tree = looking.tree(files, work.folder / "tree.tar")
    found = looking.inspector.inspect(image(), tree, ports, work)
    store = FileStore(work.folder / "store")
    inside = Inside(
        contents=store.add(found.contents),
        manifest=store.add(found.manifest),
        spdx=store.add(found.spdx),
        cyclonedx=store.add(found.cyclonedx),
        provenance=Sha256("0" * 64),
    )
    return Kept(StoredDocuments(store), inside, store)


def test_what_was_found_can_be_read_again(looking: Looking, work: Workspace) -> None:
    kept = look(looking, {"a": "1", "b": "22"}, work, ("udp 68", "tcp 22"))
    said = kept.documents.contents(kept.inside)
    assert said.image == image().name
    assert said.ports == ("tcp 22", "udp 68")
    listed = {each.path: each.size for each in kept.documents.files(kept.inside)}
    assert listed.items() >= {"/a": 1, "/b": 2}.items()


def test_equal_trees_have_equal_documents(looking: Looking, tmp_path: Path) -> None:
    one = look(looking, {"a": "1", "b": "2"}, workspace(tmp_path / "one"))
    other = look(looking, {"b": "2", "a": "1"}, workspace(tmp_path / "other"))
    assert one.inside == other.inside


def test_another_tree_has_another_manifest(looking: Looking, tmp_path: Path) -> None:
    one = look(looking, {"a": "1"}, workspace(tmp_path / "one"))
    other = look(looking, {"a": "2"}, workspace(tmp_path / "other"))
    assert one.inside.manifest != other.inside.manifest
    assert one.inside.contents != other.inside.contents


def test_a_document_that_is_gone_or_changed_is_told_apart(
    looking: Looking, work: Workspace
) -> None:
    kept = look(looking, {"a": "1"}, work)
    path = kept.store.path(kept.inside.contents)
    path.chmod(0o644)
    path.write_text("{}")
    with pytest.raises(Corrupt):
        kept.documents.contents(kept.inside)
    path.unlink()
    with pytest.raises(NotFound):
        kept.documents.contents(kept.inside)


def test_equal_trees_do_not_differ(looking: Looking, work: Workspace) -> None:
    one = looking.tree({"a": "1"}, work.folder / "one")
    other = looking.tree({"a": "1"}, work.folder / "other")
    assert looking.comparer.compare(one.path, other.path, work, RecordingProgress()) == ()


def test_every_difference_is_named_in_order_with_advice(looking: Looking, work: Workspace) -> None:
    one = looking.tree({"a": "1", "b": "2", "c": "3"}, work.folder / "one")
    other = looking.tree({"b": "2", "c": "4", "d": "5"}, work.folder / "other")
    found = looking.comparer.compare(one.path, other.path, work, RecordingProgress())
    assert [each.path.strip("/") for each in found] == ["a", "c", "d"]
    assert all(each.detail and each.advice for each in found)
