"""What ``imagectl doctor`` says of machines, good and bad."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import jsonschema
import pytest
from click.testing import Result
from support.examples import NOW
from support.projects import new_project, release

from imagectl.adapters import host
from imagectl.bootstrap.doctor import examine
from imagectl.bootstrap.project import open_project
from imagectl.cli.doctor import Examined
from imagectl.cli.documents import schema
from imagectl.errors import CannotTell, Denial, Denied
from imagectl.model.names import LocationName
from imagectl.services.doctor import (
    BUILD_SPACE,
    GIB,
    TOOLS,
    Finding,
    Level,
    Seen,
    SeenAccelerator,
    SeenCatalog,
    SeenFolder,
    SeenLocation,
    SeenTool,
    SeenTree,
    Tool,
    judge,
    parse_version,
    probe_locations,
)
from imagectl.services.ports.locations import Credential
from imagectl.testing.locations import MemoryLocation

Run = Callable[..., Result]

PACKER = Tool("packer", ("version",), "packer", "runs the build VM", (1, 6))
GIT = Tool("git", ("--version",), "git", "names commits", needed=False)
GOOD = Seen(
    imagectl="0.1.0 on Python 3.11.7",
    user="ana",
    project=Path("/p"),
    project_trouble="",
    tools=(SeenTool(PACKER, "/usr/bin/packer", "Packer v1.6.6\n"),),
    namespaces_trouble="",
    namespaces_fix="",
    mirror="http://mirror.example/debian",
    mirror_trouble="",
    mirror_fix="",
    accelerator=SeenAccelerator("kvm", "a kernel was booted with it"),
    folders=(SeenFolder("store", Path("/p/.imagectl/store"), 90 * GIB, "", 2 * GIB),),
    memory=8 * GIB,
    catalog=SeenCatalog(7),
    locations=(SeenLocation(LocationName("local"), Credential("user 1000"), None),),
    now=NOW,
)


def test_nothing_is_wrong_with_a_good_machine() -> None:
    findings = judge(GOOD)
    assert {each.level for each in findings} == {Level.OK}
    assert [each.name for each in findings] == [
        "imagectl",
        "project",
        "packer",
        "user namespaces",
        "accelerator",
        "Debian mirror",
        "memory",
        "store",
        "catalog",
        "login to local",
    ]


def _only_bad(seen: Seen) -> Finding:
    (bad,) = (each for each in judge(seen) if each.level is not Level.OK)
    return bad


def _tool(tool: Tool, path: str, said: str) -> Seen:
    return replace(GOOD, tools=(SeenTool(tool, path, said),))


def _folder(free: int, trouble: str) -> Seen:
    return replace(GOOD, folders=(SeenFolder("store", Path("/s"), free, trouble, BUILD_SPACE),))


@pytest.mark.parametrize(
    ("seen", "level", "what", "fix"),
    [
        (_tool(PACKER, "", ""), Level.FAIL, "missing", "sudo apt-get install packer"),
        (_tool(PACKER, "/p", "Packer v1.3.4"), Level.FAIL, "1.3.4 is too old; 1.6", "apt-get"),
        (_tool(PACKER, "/p", "cracklib"), Level.FAIL, "does not tell its version", "apt-get"),
        (_tool(GIT, "", ""), Level.WARN, "missing", "sudo apt-get install git"),
        (replace(GOOD, project=None), Level.WARN, "not in a project", "imagectl init"),
        (replace(GOOD, project_trouble="2 problems"), Level.FAIL, "2 problems", "validate"),
        (
            replace(GOOD, namespaces_trouble="not allowed", namespaces_fix="sudo sysctl -w x=1"),
            Level.FAIL,
            "not allowed",
            "sudo sysctl -w x=1",
        ),
        (
            replace(GOOD, mirror_trouble="none found", mirror_fix="name one"),
            Level.FAIL,
            "none found",
            "name one",
        ),
        (
            replace(GOOD, accelerator=SeenAccelerator("tcg", "it may not be opened by ana")),
            Level.WARN,
            "tcg: it may not be opened",
            "sudo adduser $USER kvm",
        ),
        (
            replace(GOOD, accelerator=SeenAccelerator("tcg", "there is no /dev/kvm")),
            Level.WARN,
            "there is no /dev/kvm",
            "a working /dev/kvm",
        ),
        (replace(GOOD, memory=GIB), Level.WARN, "1.0 GiB", "image.yaml"),
        (_folder(GIB, ""), Level.FAIL, "1.0 GiB free; 8.0 GiB are needed", "df -h /s"),
        (_folder(0, "cannot be written to"), Level.FAIL, "cannot be written", "chown"),
        (
            replace(
                GOOD,
                folders=(replace(GOOD.folders[0], in_the_way=Path("/p/.imagectl")),),
            ),
            Level.FAIL,
            "/p/.imagectl is not a folder",
            "mv /p/.imagectl /p/.imagectl.away",
        ),
        (
            replace(GOOD, catalog=SeenCatalog(None, CannotTell("it is damaged", why="page 3"))),
            Level.FAIL,
            "it is damaged: page 3",
            "imagectl catalog verify",
        ),
    ],
)
def test_each_thing_that_is_wrong_has_its_fix(
    seen: Seen, level: Level, what: str, fix: str
) -> None:
    bad = _only_bad(seen)
    assert bad.level is level
    assert what in bad.what
    assert fix in bad.fix


def test_an_accelerator_that_cannot_be_probed_yet_is_not_wrong() -> None:
    seen = replace(GOOD, accelerator=SeenAccelerator("", "no kernel to try it with"))
    assert {each.level for each in judge(seen)} == {Level.OK}


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("Packer v1.6.6\n", (1, 6, 6)),
        ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)", (7, 2, 22)),
        ("OpenSSH_9.2p1 Debian-2+deb12u6, OpenSSL 3.0.19 27 Jan 2026", (9, 2)),
        ("ansible-playbook [core 2.19.14]\n  python version = 3.11.7", (2, 19, 14)),
        ("mmdebstrap 1.3.5", (1, 3, 5)),
        ("no version here", ()),
    ],
)
def test_versions_are_found_in_what_tools_say(said: str, version: tuple[int, ...]) -> None:
    assert parse_version(said) == version


def test_every_tool_that_is_needed_is_installed_by_make_setup() -> None:
    listed = Path(__file__).parents[2] / "requirements" / "debian.txt"
    packages = {line.partition("#")[0].strip() for line in listed.read_text().splitlines()}
    essential = {"util-linux"}  # every Debian has it
    assert {tool.package for tool in TOOLS if tool.needed} - essential - packages == set()


def test_a_tool_that_hangs_or_breaks_is_only_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, script in (("packer", "#!/bin/sh\nsleep 60\n"), ("qemu-img", "not a program")):
        program = tmp_path / name
        program.write_text(script)
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(host, "ANSWER_SECONDS", 0.2)
    seen = {each.tool.name: each for each in host.see_tools()}
    assert parse_version(seen["packer"].said) == ()
    assert parse_version(seen["qemu-img"].said) == ()


def test_a_folder_that_is_not_there_yet_is_judged_by_its_parent(tmp_path: Path) -> None:
    (seen,) = host.see_folders([("store", tmp_path / "a" / "b", GIB)])
    assert seen.trouble == ""
    assert seen.free > 0
    assert not (tmp_path / "a").exists()


def test_a_folder_below_a_file_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (seen,) = host.see_folders([("store", tmp_path / "file" / "b", GIB)])
    assert seen.in_the_way == tmp_path / "file"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that has released a version to its location, and shows consumers so."""
    monkeypatch.setattr(host, "see_tools", tuple)  # Ansible takes seconds to tell its version
    made = new_project(tmp_path / "images")
    release(made, "debian-base@20261118.1")
    made.close()
    return made.root


def _found(project: Path) -> dict[str, Finding]:
    return {each.name: each for each in examine(project)}


def test_it_says_that_the_catalog_is_as_consumers_are_shown_it(project: Path) -> None:
    found = _found(project)["catalog"]
    assert (found.level, found.fix) == (Level.OK, "")
    assert found.what.startswith("generation ")


def test_a_file_in_place_of_a_folder_is_moved_away_and_not_given_to_somebody(project: Path) -> None:
    folder = project / ".imagectl" / "locations" / "local"
    folder.rename(folder.with_name("away"))
    folder.write_text("a backup")
    (found,) = (each for each in _found(project).values() if "is not a folder" in each.what)
    assert (found.level, str(folder) in found.what) == (Level.FAIL, True)
    assert found.fix.endswith(f": mv {folder} {folder}.away")


def test_a_project_without_a_catalog_is_not_given_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "see_tools", tuple)
    made = new_project(tmp_path / "images")
    found = _found(made.root)["catalog"]
    assert (found.level, found.what) == (Level.OK, "none yet: the first build makes it")
    assert not (made.root / ".imagectl" / "catalog.sqlite3").exists()


def test_an_older_catalog_than_the_published_one_is_told(project: Path, tmp_path: Path) -> None:
    catalog = project / ".imagectl" / "catalog.sqlite3"
    copy = shutil.copy(catalog, tmp_path / "backup")
    with closing(open_project(project)) as later:
        release(later, "debian-base@20261120.1")
    shutil.copy(copy, catalog)
    found = _found(project)["catalog"]
    assert found.level is Level.FAIL
    assert "it may be a backup that was brought back" in found.what
    assert "bring back the newest copy" in found.fix


def test_a_tree_that_is_not_mounted_is_told(project: Path) -> None:
    with closing(open_project(project)) as later:
        release(later, "debian-base@20261120.1")
    public = project / "catalog" / "public"
    public.rename(project / "disk")
    public.mkdir()
    found = _found(project)["catalog"]
    assert found.level is Level.FAIL
    assert f"nothing is published in {public}, although channels have moved before" in found.what
    assert found.fix.startswith("mount it; ")


def test_a_lost_catalog_is_told(project: Path) -> None:
    (project / ".imagectl" / "catalog.sqlite3").unlink()
    found = _found(project)["catalog"]
    assert found.level is Level.FAIL
    assert "not there, but consumers are shown one" in found.what
    assert not (project / ".imagectl" / "catalog.sqlite3").exists()


@pytest.mark.parametrize("mounted", [True, False])
def test_a_location_whose_folder_is_gone_is_told(project: Path, *, mounted: bool) -> None:
    """A folder that is not there yet is no trouble; one that has had placements is."""
    folder = project / ".imagectl" / "locations" / "local"
    assert _found(project)["location local"].level is Level.OK
    shutil.rmtree(folder)
    if mounted:
        folder.mkdir()
    found = _found(project)["location local"]
    assert found.level is Level.FAIL
    assert found.what == f"nothing is in {folder}, where the catalog has 1 placement"
    assert "mount it" in found.fix


def test_the_verb_ends_with_1_where_something_needed_is_missing(
    imagectl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "imagectl.services.doctor.judge", lambda _: (Finding("x", Level.FAIL, "gone", "get it"),)
    )
    result = imagectl("-C", str(tmp_path), "doctor")
    assert result.exit_code == 1
    assert result.stdout == "fail  x  gone\n         fix: get it\n"


def test_the_verb_looks_at_this_machine(imagectl: Run, tmp_path: Path) -> None:
    result = imagectl("-C", str(tmp_path), "doctor", "--json")
    said = json.loads(result.stdout)
    jsonschema.validate(said, schema(Examined))
    named = {each["name"] for each in said["findings"]}
    assert {"packer", "ansible-playbook", "user namespaces", "memory", "builds"} <= named
    assert said["ok"] is (result.exit_code == 0)


@pytest.mark.parametrize(
    ("days", "level", "says"),
    [
        (None, Level.OK, "ci@acme"),
        (15, Level.OK, "ci@acme, until 2026-12-05 12:00 UTC"),
        (14, Level.WARN, "ci@acme: expires in 14 d, 2026-12-04 12:00 UTC"),
        (1.5, Level.WARN, "ci@acme: expires in 1 d 12 h, 2026-11-22 00:00 UTC"),
        (-2, Level.WARN, "ci@acme: should have expired on 2026-11-18 12:00 UTC, 2 d ago"),
    ],
)
def test_a_credential_that_expires_soon_is_a_warning(
    days: float | None, level: Level, says: str
) -> None:
    expires = None if days is None else NOW + timedelta(days=days)
    seen = SeenLocation(LocationName("cloud"), Credential("ci@acme", expires), None)
    found = judge(replace(GOOD, locations=(seen,)))[-1]
    assert (found.name, found.level, found.what) == ("login to cloud", level, says)
    assert bool(found.fix) is (level is Level.WARN)


def test_each_location_is_asked_and_says_itself_what_is_wrong() -> None:
    class Shut(MemoryLocation):
        def probe(self) -> Credential:
            raise Denied(
                "cloud does not know this key", denial=Denial.WRONG, why="401", hint="a new key"
            )

    names = LocationName("local"), LocationName("cloud")
    seen = probe_locations({names[0]: MemoryLocation(names[0]), names[1]: Shut(names[1])})
    good, bad = judge(replace(GOOD, locations=seen))[-2:]
    assert (good.level, good.what) == (Level.OK, "memory")
    assert (bad.level, bad.what, bad.fix) == (
        Level.FAIL,
        "cloud does not know this key: 401",
        "a new key",
    )


@pytest.mark.parametrize(
    ("left", "level"),
    [(timedelta(days=6), Level.OK), (timedelta(days=4), Level.WARN), (timedelta(0), Level.FAIL)],
)
def test_it_tells_how_long_consumers_believe_what_is_published(
    left: timedelta, level: Level
) -> None:
    signed = {"root": NOW + timedelta(days=300), "timestamp": NOW + left}
    found = next(
        each
        for each in judge(replace(GOOD, now=NOW, trees=(SeenTree("/p", signed),)))
        if each.name == "signatures of /p"
    )
    assert found.level is level
    assert "timestamp" in found.what
    assert bool(found.fix) is (level is not Level.OK)


def test_it_tells_that_signatures_cannot_be_read() -> None:
    tree = SeenTree("/p", {}, CannotTell("a disk does not answer"))
    found = {each.name: each for each in judge(replace(GOOD, trees=(tree,)))}
    assert found["signatures of /p"].level is Level.FAIL


def test_a_tree_that_is_not_there_yet_has_no_signatures() -> None:
    found = judge(replace(GOOD, trees=(SeenTree("/p", {}),)))
    assert not [each for each in found if each.name.startswith("signatures")]
