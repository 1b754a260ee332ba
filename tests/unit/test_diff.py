"""In what two versions differ, and never "nothing" where that is not known (P8)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from support.examples import NOW, digest, version
from support.insides import described, lose, record
from support.systems import DPKG, GROUP, OS_RELEASE, PASSWD, links, stanza, system
from support.trees import file

from imagectl.bootstrap.project import Project
from imagectl.cli.diff import Diff
from imagectl.cli.documents import schema
from imagectl.errors import Corrupt
from imagectl.model.change import Change, MoveChannel
from imagectl.model.channel import MoveKind
from imagectl.model.comparison import ChangeKind
from imagectl.model.contents import Listed
from imagectl.model.names import ChannelName
from imagectl.model.version import Origin, Reproducible, Version
from imagectl.services.diff import compare_files

Run = Callable[..., Result]
OLD, NEW = "debian-base@20261118.1", "debian-base@20261120.1"

NEW_DPKG = "\n".join(
    [
        DPKG.replace("2.36-9+deb12u10", "2.36-9+deb12u9")
        .replace("1.22.1-9+b2", "1.22.1-10")
        .replace(stanza("postfix", "3.7.11-0", more="Provides: mailer\n"), ""),
        stanza("curl", "7.88.1-10+deb12u8"),
    ]
)


@pytest.fixture
def project(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("COLUMNS", "100")
    return project


@pytest.fixture
def two(project: Project) -> tuple[Version, Version]:
    """An older and a newer version that differ in something of everything."""
    old = described(
        project,
        OLD,
        system(more=[file(b"etc/gone|x", b"1"), file(b"etc/new\nline", b"")]),
        tests={"a.py::one": "passed", "a.py::two": "passed", "a.py::old": "skipped"},
    )
    new = described(
        project,
        NEW,
        system(
            dpkg=NEW_DPKG,
            more=[
                file(b"etc/passwd", PASSWD.replace(b"/bin/sh", b"/bin/bash") + b"app:x:9:9::/:/\n"),
                file(b"etc/group", GROUP.replace(b"zoe,ci", b"zoe")),
                file(b"boot/vmlinuz-6.1.0-32-amd64", b"kernel"),
                file(b"usr/lib/os-release", OS_RELEASE + b"BUILD_ID=7\n"),
                file(b"usr/bin/ping", b"ping", mode=0o4755, uid=7),
                file(
                    b"opt/app/lib/python3.11/site-packages/Flask-3.1.0.dist-info/METADATA",
                    b"Name: Flask\nVersion: 3.2.0\n",
                ),
                *links("nginx.service", "multi-user.target"),
            ],
        ),
        ports=("tcp 22", "tcp 80"),
        tests={"a.py::one": "passed", "a.py::two": "failed", "a.py::new": "passed"},
        size=280 << 20,
    )
    return old, new


def move(project: Project, channel: str, to: Version) -> None:
    generation = project.catalog.snapshot(()).generation
    operation = MoveChannel(to.image, ChannelName(channel), to.id, MoveKind.PROMOTE)
    project.catalog.commit(
        Change(f"{channel} {to.ref}", generation, "a", "promote", "r", NOW, (operation,))
    )


def answer(result: Result) -> Any:
    said = json.loads(result.stdout)
    jsonschema.validate(said, schema(Diff))
    return said


def test_packages_are_told_by_the_order_of_debians_versions(
    two: tuple[Version, Version], imagectl: Run
) -> None:
    said = answer(imagectl("diff", OLD, NEW, "--json"))
    told = {
        each["name"]: (each["kind"], each["before"], each["after"]) for each in said["packages"]
    }
    assert told == {
        "curl": ("added", None, "7.88.1-10+deb12u8"),
        "libc6": ("downgraded", "2.36-9+deb12u10", "2.36-9+deb12u9"),
        "nginx": ("upgraded", "1.22.1-9+b2", "1.22.1-10"),
        "postfix": ("removed", "3.7.11-0", None),
        "Flask": ("changed", "3.1.0", "3.2.0"),
    }


def test_everything_that_differs_is_in_the_document(
    two: tuple[Version, Version], imagectl: Run
) -> None:
    said = answer(imagectl("diff", OLD, NEW, "--json", "--files"))

    def told(aspect: str) -> list[tuple[Any, ...]]:
        return [(each["name"], each["kind"], *each["details"]) for each in said[aspect]]

    assert (said["before"], said["after"], said["identical"]) == (OLD, NEW, False)
    assert told("services") == [("nginx.service", "added")]
    assert told("masked") == []
    assert told("ports") == [("tcp 80", "added")]
    assert told("kernels") == [("6.1.0-32-amd64", "added")]
    assert told("users") == [("app", "added"), ("ci", "changed", "shell /bin/sh -> /bin/bash")]
    assert told("groups") == [("docker", "changed", "members ci,zoe -> zoe")]
    assert told("system") == [("BUILD_ID", "added")]
    files = {each["name"]: each for each in said["files"]["paths"]}
    assert files["/usr/bin/ping"]["details"] == [
        "attribute security.capability 0100 -> none",
        "mode 0755 -> 4755",
        "owner 0:0 -> 7:0",
    ]
    assert files["/etc/gone|x"]["kind"] == "removed"
    assert "content" in files["/etc/passwd"]["details"]
    assert (said["files"]["added"], said["files"]["removed"]) == (2, 2)
    sizes = {each["name"]: (each["before"], each["after"]) for each in said["sizes"]}
    assert sizes["qcow2"] == (300 << 20, 280 << 20)
    assert sizes["tree"][0] is not None
    assert said["tests"]["changes"] == [
        {"name": "a.py::new", "before": None, "after": "passed"},
        {"name": "a.py::old", "before": "skipped", "after": None},
        {"name": "a.py::two", "before": "passed", "after": "failed"},
    ]


def test_text_for_people(two: tuple[Version, Version], imagectl: Run) -> None:
    text = imagectl("diff", OLD, NEW).stdout
    for line in (
        f"{OLD} -> {NEW}",
        "packages: 1 added, 1 removed, 1 upgraded, 1 downgraded, 1 changed",
        "  ! libc6 2.36-9+deb12u10 -> 2.36-9+deb12u9  DOWNGRADED",
        "  + curl 7.88.1-10+deb12u8 (amd64)",
        "  ~ Flask [pip] 3.1.0 -> 3.2.0",
        "  ~ ci: shell /bin/sh -> /bin/bash",
        "  + tcp 80",
        "  qcow2: 300 MiB -> 280 MiB (-20.0 MiB)",
        "tests: 2 passed, 1 FAILED (before: 2 passed)",
        "  ~ a.py::two: passed -> failed",
        "the same: masked services",
    ):
        assert line in text.splitlines()
    assert "/usr/bin: " in text
    assert "/usr/bin/ping" not in text
    assert "--files names them all" in text


def test_files_are_all_named_on_demand(two: tuple[Version, Version], imagectl: Run) -> None:
    text = imagectl("diff", OLD, NEW, "--files").stdout
    assert "  ~ /usr/bin/ping: attribute security.capability 0100 -> none, mode" in text
    assert "  - /etc/new\\nline" in text


def test_release_notes_are_markdown(two: tuple[Version, Version], imagectl: Run) -> None:
    lines = imagectl("diff", OLD, NEW, "--markdown", "--files").stdout.splitlines()
    assert lines[0] == f"## {NEW}"
    assert f"Changes since {OLD}" in lines[2]
    assert "| nginx (debian, amd64) | 1.22.1-9+b2 | 1.22.1-10 | upgraded |" in lines
    assert "- added: `nginx.service`" in lines
    assert "- removed: `/etc/gone|x`" in lines
    tables = [line for line in lines if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in tables} == {5}


def test_an_image_alone_is_what_promoting_would_bring(
    project: Project, two: tuple[Version, Version], imagectl: Run
) -> None:
    old, new = two
    assert imagectl("diff", "debian-base").exit_code == 6
    move(project, "beta", new)
    result = imagectl("diff", "debian-base")
    assert (result.exit_code, "debian-base:stable points to nothing yet" in result.stderr) == (
        *(6, True),
    )
    move(project, "stable", old)
    said = answer(imagectl("diff", "debian-base", "--json"))
    assert (said["before"], said["after"]) == (OLD, NEW)
    by_name = answer(imagectl("diff", "debian-base:stable", "debian-base:beta", "--json"))
    assert by_name == said


def test_equal_trees_are_identical(project: Project, imagectl: Run) -> None:
    described(project, OLD, system())
    described(project, NEW, system())
    said = answer(imagectl("diff", OLD, NEW, "--json"))
    assert said["identical"]
    assert said["packages"] == said["services"] == []
    assert said["files"] == {"added": 0, "removed": 0, "changed": 0, "paths": None}
    assert "the same: packages, kernels," in imagectl("diff", OLD, NEW).stdout


def test_versions_of_which_nothing_is_known_are_no_empty_difference(
    project: Project, imagectl: Run
) -> None:
    described(project, NEW, system())
    record(project, version(OLD))
    origin = Origin(1, digest("l"), digest("s"), digest("r"), Reproducible.NO, "the disk has LVM")
    opaque = replace(version("debian-base@20261119.1"), tree=None, origin=origin)
    record(project, opaque)
    result = imagectl("diff", OLD, NEW)
    assert (result.exit_code, result.stdout) == (5, "")
    assert f"it is not known what is in {OLD}" in result.stderr
    assert "did not look into versions" in result.stderr
    result = imagectl("diff", OLD, str(opaque.ref))
    assert result.exit_code == 5
    for part in (OLD, str(opaque.ref), "the disk has LVM"):
        assert part in result.stderr


def test_documents_that_are_gone_are_no_empty_difference(
    project: Project, two: tuple[Version, Version], imagectl: Run
) -> None:
    old, new = two
    assert old.inside is not None
    assert new.inside is not None
    lose(project, old.tests.report)
    said = answer(imagectl("diff", OLD, NEW, "--json"))
    assert said["tests"]["changes"] is None
    assert said["tests"]["before_passed"] == 2
    assert "is not known: a report is not in the store" in imagectl("diff", OLD, NEW).stdout
    lose(project, old.inside.manifest)
    result = imagectl("diff", OLD, NEW)
    assert (result.exit_code, "not known which files differ" in result.stderr) == (5, True)
    lose(project, new.inside.contents)
    result = imagectl("diff", OLD, NEW)
    assert (result.exit_code, f"it is not known what is in {NEW}" in result.stderr) == (5, True)


def test_a_changed_document_is_corrupt(
    project: Project, two: tuple[Version, Version], imagectl: Run
) -> None:
    old, _ = two
    assert old.inside is not None
    path = project.store.path(old.inside.contents)
    text = path.read_text()
    path.chmod(0o644)
    path.write_text(text.replace("nginx", "nginy"))
    result = imagectl("diff", OLD, NEW)
    assert (result.exit_code, "is not what its name says" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["debian-bse", "debian-base:beta"], 6, "did you mean debian-base?"),
        (["debian-base:stabel", NEW], 6, "points to nothing yet"),
        (["debian-base@20261101.1", NEW], 6, "the catalog has no debian-base@20261101.1"),
        (["debian-base", NEW], 2, "which version of debian-base?"),
        ([NEW], 2, "with what is debian-base@20261120.1 to be compared?"),
        ([OLD, NEW, OLD], 2, "two versions can be compared, not 3"),
        ([OLD, NEW, "--markdown", "--json"], 2, "two answers"),
        (["debian-bse"], 6, "did you mean debian-base?"),
    ],
)
def test_what_is_typed_wrongly_is_told(
    two: tuple[Version, Version], imagectl: Run, arguments: list[str], code: int, said: str
) -> None:
    result = imagectl("diff", *arguments)
    assert (result.exit_code, said in result.stderr) == (code, True)


paths = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=4).map(
        "/{}".format
    ),
    max_size=8,
    unique=True,
)
manifests = paths.flatmap(
    lambda names: st.tuples(
        *(st.builds(Listed, st.just(name), st.just("file"), st.integers(0, 2), st.just(0),
                    st.just(0)) for name in sorted(names, key=lambda name: name.encode()))
    )
)  # fmt: skip


@given(manifests, manifests)
def test_file_changes_are_what_two_manifests_do_not_share(
    one: tuple[Listed, ...], other: tuple[Listed, ...]
) -> None:
    changes = {each.path: each.kind for each in compare_files(one, other)}
    before, after = ({each.path: each for each in its} for its in (one, other))
    for path in {*before, *after}:
        expected = {
            (True, False): ChangeKind.REMOVED,
            (False, True): ChangeKind.ADDED,
        }.get((path in before, path in after))
        if expected is None and before[path] != after[path]:
            expected = ChangeKind.CHANGED
        assert changes.pop(path, None) is expected
    assert changes == {}


def test_a_manifest_out_of_order_is_corrupt() -> None:
    wrong = [Listed("/b", "file", 0, 0, 0), Listed("/a", "file", 0, 0, 0)]
    with pytest.raises(Corrupt, match="not in order"):
        list(compare_files(wrong, []))
