"""The digest of a definition: whatever a build may read changes it, and nothing else does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from imagectl.adapters.definition_digest import definition_digests
from imagectl.errors import BadInput
from imagectl.model.image import (
    DebianBase,
    DiskBase,
    Image,
    ParentBase,
    Provision,
    SecretKind,
    SecretRef,
)
from imagectl.model.names import (
    Architecture,
    Format,
    ImageName,
    LocationName,
    Sha256,
    parse_image_ref,
)

IMAGE = Image(
    name=ImageName("debian-ci"),
    summary="x",
    base=DebianBase("bookworm", ("git",)),
    architecture=Architecture.AMD64,
    disk_size=4 << 30,
    provision=Provision(PurePosixPath("playbooks/ci.yml"), ("one",), {"a": [1, None]}, {}),
    suites=(PurePosixPath("tests/images/test_ci.py"),),
    formats=(Format.QCOW2,),
    required_locations=(LocationName("local"),),
)

FILES = (
    "playbooks/ci.yml",
    "playbooks/requirements.yml",
    "playbooks/roles/one/tasks/main.yml",
    "playbooks/roles/unnamed/files/deep/down/file.bin",
    "playbooks/.hidden",
    "tests/images/test_ci.py",
    "tests/images/conftest.py",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for path in (*FILES, "tests/images/test_other.py", "tests/conftest.py", "README.md"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
    return root


def test_the_same_project_elsewhere_and_later_has_the_same_digest(
    root: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "other" / "place"
    shutil.copytree(root, elsewhere, copy_function=shutil.copyfile)
    os.utime(elsewhere / "playbooks/ci.yml", (1, 1))
    assert definition_digests(root, IMAGE) == definition_digests(elsewhere, IMAGE)


@pytest.mark.parametrize(
    ("path", "change"),
    [
        (path, change)
        for path in FILES
        for change in ("content", "made a program", "removed", "renamed")
        # a suite that is gone is an error, see below
        if path != str(IMAGE.suites[0]) or change in ("content", "made a program")
    ],
)
def test_a_change_of_anything_that_a_build_may_read_changes_it(
    root: Path, path: str, change: str
) -> None:
    before = definition_digests(root, IMAGE)
    file = root / path
    if change == "content":
        file.write_text("other")
    elif change == "made a program":
        file.chmod(0o755)
    elif change == "removed":
        file.unlink()
    else:
        os.rename(file, file.with_name("renamed"))
    assert definition_digests(root, IMAGE) != before


def test_what_pytest_loads_for_the_projects_own_code_is_not_of_it(root: Path) -> None:
    before = definition_digests(root, IMAGE)
    (root / "tests/conftest.py").write_text("other")
    (root / "conftest.py").write_text("new")
    assert definition_digests(root, IMAGE) == before


def test_what_is_between_two_suites_counts(root: Path) -> None:
    """Both are run at once, and pytest loads for one what the other's folder has above it."""
    image = replace(IMAGE, suites=(*IMAGE.suites, PurePosixPath("tests/test_all.py")))
    (root / "tests/test_all.py").write_text("x")
    before = definition_digests(root, image)
    (root / "tests/conftest.py").write_text("other")
    assert definition_digests(root, image) != before


def test_a_new_file_changes_it(root: Path) -> None:
    before = definition_digests(root, IMAGE)
    (root / "playbooks/roles/one/defaults").mkdir()
    assert definition_digests(root, IMAGE) != before
    (root / "playbooks/roles/one/defaults/main.yml").write_text("{}")
    assert definition_digests(root, IMAGE) != before


@pytest.mark.parametrize(
    "image",
    [
        replace(IMAGE, name=ImageName("other")),
        replace(IMAGE, summary="y"),
        replace(IMAGE, base=DebianBase("trixie", ("git",))),
        replace(IMAGE, base=DebianBase("bookworm", ("git", "curl"))),
        replace(IMAGE, base=DiskBase("bookworm", Sha256("0" * 64))),
        replace(IMAGE, base=ParentBase(parse_image_ref("a:stable"))),
        replace(IMAGE, base=ParentBase(parse_image_ref("a@20261120.1"))),
        replace(IMAGE, architecture=Architecture.ARM64),
        replace(IMAGE, disk_size=8 << 30),
        replace(IMAGE, provision=replace(IMAGE.provision, playbook=None)),
        replace(IMAGE, provision=replace(IMAGE.provision, roles=())),
        replace(IMAGE, provision=replace(IMAGE.provision, variables={"a": ["1", None]})),
        replace(IMAGE, provision=replace(IMAGE.provision, variables={"a": [True, None]})),
        replace(
            IMAGE,
            provision=replace(IMAGE.provision, secrets={"s": SecretRef(SecretKind.ENV, "S")}),
        ),
        replace(IMAGE, formats=(Format.QCOW2, Format.RAW)),
        replace(IMAGE, required_locations=(LocationName("lab"),)),
        replace(IMAGE, optional_locations=(LocationName("lab"),)),
        replace(IMAGE, build_memory=2 << 30),
        replace(IMAGE, build_cpus=1),
        replace(IMAGE, test_memory=2 << 30),
        replace(IMAGE, suites=(*IMAGE.suites, PurePosixPath("tests/images/test_other.py"))),
    ],
)
def test_every_part_of_the_definition_counts(root: Path, image: Image) -> None:
    assert definition_digests(root, image) != definition_digests(root, IMAGE)


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        "tests/images/test_other.py",
        "playbooks/__pycache__/x.pyc",
        "playbooks/roles/one/x.pyc",
        "playbooks/ci.yml~",
        "playbooks/.ci.yml.swp",
        "playbooks/#ci.yml#",
        "playbooks/ci.retry",
        "playbooks/.git/HEAD",
        "images/debian-ci/image.lock",
    ],
)
def test_what_no_build_reads_and_what_editors_leave_does_not_count(root: Path, path: str) -> None:
    before = definition_digests(root, IMAGE)
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text("other")
    assert definition_digests(root, IMAGE) == before


def test_an_editors_lock_which_is_a_link_to_nowhere_does_not_count(root: Path) -> None:
    before = definition_digests(root, IMAGE)
    os.symlink("me@host.1234", root / "playbooks/.#ci.yml")
    assert definition_digests(root, IMAGE) == before


def test_what_a_link_leads_to_counts_even_outside_of_playbooks(root: Path) -> None:
    (root / "shared").mkdir()
    (root / "shared/file").write_text("one")
    os.symlink("../shared", root / "playbooks/files")
    linked = definition_digests(root, IMAGE)
    (root / "shared/file").write_text("two")
    changed = definition_digests(root, IMAGE)
    os.rename(root / "playbooks/files", root / "playbooks/templates")
    renamed = definition_digests(root, IMAGE)
    (root / "playbooks/templates").unlink()
    os.symlink("../tests", root / "playbooks/templates")
    assert len({linked, changed, renamed, definition_digests(root, IMAGE)}) == 4


def test_links_in_a_circle_end(root: Path) -> None:
    os.symlink("..", root / "playbooks/roles/up")
    os.symlink("../..", root / "playbooks/roles/top")
    assert definition_digests(root, IMAGE) == definition_digests(root, IMAGE)


def _outside(root: Path) -> None:
    os.symlink("/etc/hostname", root / "playbooks/files")


def _outside_folder(root: Path) -> None:
    os.symlink("../..", root / "playbooks/files")


def _nowhere(root: Path) -> None:
    os.symlink("gone", root / "playbooks/files")


def _itself(root: Path) -> None:
    os.symlink("files", root / "playbooks/files")


def _pipe(root: Path) -> None:
    os.mkfifo(root / "playbooks/files")


def _suite_outside(root: Path) -> None:
    (root / "tests/images/test_ci.py").unlink()
    os.symlink("/etc/hostname", root / "tests/images/test_ci.py")


def _no_suite(root: Path) -> None:
    (root / "tests/images/test_ci.py").unlink()


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (_outside, "playbooks/files: leads out of the project, to /etc/hostname"),
        (_outside_folder, "playbooks/files: leads out of the project, to "),
        (_nowhere, "playbooks/files: is not there, or leads nowhere"),
        (_itself, "playbooks/files: cannot be read: "),
        (_pipe, "playbooks/files: is neither a file nor a folder"),
        (_suite_outside, "tests/images/test_ci.py: leads out of the project, to /etc/hostname"),
        (_no_suite, "tests/images/test_ci.py: is not there, or leads nowhere"),
    ],
)
def test_what_cannot_be_counted_in_is_refused(
    root: Path, break_it: Callable[[Path], None], said: str
) -> None:
    break_it(root)
    with pytest.raises(BadInput) as caught:
        definition_digests(root, IMAGE)
    assert str(caught.value.problems[0]).startswith(said)


@pytest.mark.parametrize(
    ("path", "changed"), [("playbooks/ci.yml", "playbooks"), ("tests/images/conftest.py", "suites")]
)
def test_each_digest_is_of_its_own_part(root: Path, path: str, changed: str) -> None:
    before = definition_digests(root, IMAGE)
    (root / path).write_text("other")
    after = definition_digests(root, IMAGE)
    differ = [name for name in before.__slots__ if getattr(before, name) != getattr(after, name)]
    assert differ == [changed]
    renamed = definition_digests(root, replace(IMAGE, summary="y"))
    assert renamed == replace(after, definition=renamed.definition)


def test_a_name_that_is_no_text_is_counted_in(root: Path) -> None:
    before = definition_digests(root, IMAGE)
    (root / "playbooks" / os.fsdecode(b"\xff")).write_text("x")
    assert definition_digests(root, IMAGE) != before


def test_a_project_without_playbooks_has_a_digest(root: Path) -> None:
    shutil.rmtree(root / "playbooks")
    image = replace(IMAGE, provision=Provision())
    assert len(definition_digests(root, image).playbooks) == 64
