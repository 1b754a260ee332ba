"""What is in a version is read from its tree alone, and is the same for the same tree."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import HealthCheck, given, settings
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
from support.systems import EPOCH, PASSWD, Files, canonical, image, stanza, system, workspace
from support.trees import ROOT, file, folder, made, trees

from imagectl.adapters.disk.tree import Entry, Kind
from imagectl.adapters.inside import LocalInspector
from imagectl.adapters.inside.contents import users
from imagectl.adapters.inside.tree import Tree
from imagectl.errors import Corrupt
from imagectl.formats.contents_v1 import parse_contents, parse_manifest, write_contents
from imagectl.model.contents import (
    Contents,
    DebianPackage,
    Group,
    LanguagePackage,
    Listed,
    SourcePackage,
    User,
)
from imagectl.services.ports.looking_inside import Findings


def inspect(files: Files, where: Path, ports: tuple[str, ...] = ("tcp 22",)) -> Findings:
    work = workspace(where)
    tree = canonical(files, where / "tree.tar")
    return LocalInspector(where / "keys").inspect(image(), tree, ports, work)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    return inspect(system(), tmp_path_factory.mktemp("inside"))


@pytest.fixture(scope="module")
def contents(found: Findings) -> Contents:
    return parse_contents(found.contents.read_text(), "contents.json")


@pytest.fixture(scope="module")
def manifest(found: Findings) -> Mapping[str, Listed]:
    lines = parse_manifest(found.manifest.read_text().splitlines(), "manifest")
    return {each.path: each for each in lines}


def test_debian_packages_are_those_installed(contents: Contents) -> None:
    assert [each.name for each in contents.debian] == [
        *("dpkg", "exim4", "libc6", "linux-image-6.1.0-31-amd64", "nginx", "postfix"),
        "python3-yaml",
    ]
    assert contents.debian[2] == DebianPackage(
        "libc6", "amd64", "2.36-9+deb12u10", SourcePackage("glibc", "2.36-9+deb12u10")
    )
    assert contents.debian[4].source == SourcePackage("nginx", "1.22.1-9")


def test_a_signed_kernel_names_the_kernel_that_it_was_built_using(contents: Contents) -> None:
    (kernel,) = (each for each in contents.debian if each.name.startswith("linux-image"))
    assert kernel.source == SourcePackage("linux-signed-amd64", "6.1.129+1")
    assert kernel.built_using == (SourcePackage("linux", "6.1.129-1"),)


def test_packages_of_languages_are_those_that_debian_did_not_install(contents: Contents) -> None:
    assert contents.pip == (
        LanguagePackage("Flask", "/opt/app/lib/python3.11/site-packages", "3.1.0"),
        LanguagePackage("requests", "/usr/lib/python3/dist-packages", "2.32.3"),
    )
    assert contents.npm == (
        LanguagePackage("@scope/tool", "/srv/app/node_modules", "1.2.3"),
        LanguagePackage("broken", "/srv/app/node_modules", ""),
        LanguagePackage("left-pad", "/srv/app/node_modules", "1.3.0"),
    )


def test_the_system_itself(contents: Contents) -> None:
    assert contents.codename == "bookworm"
    assert contents.system["NAME"] == "Debian GNU/Linux"
    assert "BROKEN" not in contents.system
    assert contents.services == ("apt-daily.timer", "docker.socket", "ssh.service")
    assert contents.masked == ("bluetooth.service",)
    assert contents.users == (
        User("ci", 1000, 1000, "/home/ci", "/bin/sh"),
        User("root", 0, 0, "/root", "/bin/bash"),
    )
    assert contents.groups == (Group("docker", 104, ("ci", "zoe")), Group("root", 0, ()))
    assert contents.kernels == ("6.1.0-31-amd64",)
    assert contents.ports == ("tcp 22",)


def test_the_password_of_a_user_is_not_told(found: Findings) -> None:
    assert users(PASSWD.decode().replace(":x:", ":secret-hash:")) == users(PASSWD.decode())
    assert "secret-hash" not in write_contents(
        parse_contents(found.contents.read_text(), "contents.json")
    )


def test_packages_without_dpkg_itself_are_found_in_status_d(tmp_path: Path) -> None:
    files = [
        ROOT,
        file(b"var/lib/dpkg/status.d/tzdata", b"Package: tzdata\nVersion: 2025b-0\n"),
        file(b"var/lib/dpkg/status.d/tzdata.md5sums", b"Package: x\n"),
    ]
    files += [folder(b"var"), folder(b"var/lib"), folder(b"var/lib/dpkg")]
    files += [folder(b"var/lib/dpkg/status.d")]
    findings = inspect(files, tmp_path)
    facts = parse_contents(findings.contents.read_text(), "contents.json")
    assert facts.debian == (
        DebianPackage("tzdata", "", "2025b-0", SourcePackage("tzdata", "2025b-0")),
    )


def test_a_tree_with_nothing_in_it_has_whole_documents(tmp_path: Path) -> None:
    findings = inspect([ROOT], tmp_path)
    facts = parse_contents(findings.contents.read_text(), "contents.json")
    assert (facts.debian, facts.pip, facts.users, facts.files) == ((), (), (), 1)
    check_spdx(findings.spdx)
    check_cyclonedx(findings.cyclonedx)


def test_the_manifest_has_every_path_with_all_that_is_its(manifest: Mapping[str, Listed]) -> None:
    ping = manifest["/usr/bin/ping"]
    assert (ping.kind, ping.mode, ping.size) == ("file", 0o755, 4)
    assert ping.sha256 == hashlib.sha256(b"ping").hexdigest()
    assert ping.xattrs == {"security.capability": "0100"}
    assert manifest["/usr/bin/ping6"].sha256 == ping.sha256
    assert manifest["/etc/os-release"].target == "../usr/lib/os-release"
    assert (manifest["/dev/null"].device, manifest["/dev/null"].sha256) == ((1, 3), None)
    assert manifest["/srv/caf\udce9"].size == 7
    assert manifest["/"].kind == "directory"


everything = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30
)


@everything
@given(trees())
def test_the_manifest_loses_nothing_of_any_tree(
    tmp_path: Path, files: list[tuple[Entry, bytes]]
) -> None:
    from imagectl.adapters.inside.manifest import write_manifest

    tree = canonical(files, tmp_path / "tree.tar")
    with Tree(tree.path) as opened:
        write_manifest(opened, tmp_path / "manifest")
        entries = opened.entries
    lines = (tmp_path / "manifest").read_text(encoding="ascii").split("\n")
    assert lines.pop() == ""
    listed = list(parse_manifest(lines, "manifest"))
    assert [each.path.encode("utf-8", "surrogateescape")[1:] for each in listed] == list(entries)
    contents = {entry.path: content for entry, content in files}
    for each, entry in zip(listed, entries.values(), strict=True):
        assert (each.kind, each.mode, each.uid, each.gid, each.size) == (
            *(entry.kind.value, entry.mode, entry.uid, entry.gid, entry.size),
        )
        assert each.target.encode("utf-8", "surrogateescape") == entry.target
        assert (each.device or (0, 0)) == entry.device
        assert len(each.xattrs or {}) == len(entry.xattrs)
        if entry.kind is Kind.FILE:
            assert each.sha256 == hashlib.sha256(contents[entry.path]).hexdigest()


def check_spdx(path: Path) -> None:
    problems = validate_full_spdx_document(parse_file(str(path)))
    assert [each.validation_message for each in problems] == []


def check_cyclonedx(path: Path) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(path.read_text()) is None


def test_the_bills_of_materials_are_valid_and_whole(found: Findings) -> None:
    check_spdx(found.spdx)
    check_cyclonedx(found.cyclonedx)
    spdx = json.loads(found.spdx.read_text())
    cyclonedx = json.loads(found.cyclonedx.read_text())
    purls = {
        each["referenceLocator"] for it in spdx["packages"] for each in it.get("externalRefs", [])
    }
    assert purls == {each["purl"] for each in cyclonedx["components"]}
    for purl in (
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64",
        "pkg:deb/debian/glibc@2.36-9%2Bdeb12u10?arch=source",
        "pkg:pypi/flask@3.1.0",
        "pkg:npm/%40scope/tool@1.2.3",
        "pkg:npm/broken",
    ):
        assert purl in purls
    assert not any("vim" in purl for purl in purls)
    assert spdx["creationInfo"]["created"] == cyclonedx["metadata"]["timestamp"].replace(
        "+00:00", "Z"
    )
    assert spdx["documentNamespace"] == cyclonedx["serialNumber"]


def test_equal_trees_have_equal_documents(found: Findings, tmp_path: Path) -> None:
    again = inspect(system(), tmp_path / "another folder")
    for name in ("contents", "manifest", "spdx", "cyclonedx"):
        one, other = (getattr(each, name).read_bytes() for each in (found, again))
        assert one == other, name


def test_other_trees_have_other_identities(found: Findings, tmp_path: Path) -> None:
    other = inspect(system(more=[file(b"etc/hostname", b"other\n")]), tmp_path)
    serials = [json.loads(each.cyclonedx.read_text())["serialNumber"] for each in (found, other)]
    assert serials[0] != serials[1]


def test_several_architectures_do_not_leave_anything_to_chance(tmp_path: Path) -> None:
    dpkg = "\n".join(
        [
            stanza("dpkg", "1.21.22"),
            stanza("libfoo", "1.0", architecture="amd64", more="Multi-Arch: same\n"),
            stanza("libfoo", "1.0", architecture="i386", more="Multi-Arch: same\n"),
            stanza("game", "1.0", architecture="i386", more="Depends: libfoo\n"),
        ]
    )
    texts = {
        inspect(system(dpkg=dpkg), tmp_path / str(number)).cyclonedx.read_text()
        for number in range(3)
    }
    assert len(texts) == 1


def test_links_are_followed_inside_the_tree_only(tmp_path: Path) -> None:
    files = [
        ROOT,
        folder(b"a"),
        file(b"a/file", b"found"),
        made(b"up", Kind.SYMLINK, target=b"../../../../a/file"),
        made(b"host", Kind.SYMLINK, target=b"/etc/passwd"),
        made(b"loop", Kind.SYMLINK, target=b"loop"),
        made(b"a/absolute", Kind.SYMLINK, target=b"/a"),
    ]
    with Tree(canonical(files, tmp_path / "tree.tar").path) as tree:
        assert tree.text(b"up") == "found"
        assert tree.text(b"a/absolute/file") == "found"
        assert tree.text(b"host") == ""
        assert tree.text(b"loop") == ""
        assert tree.text(b"a") == ""


@pytest.mark.parametrize(
    "change",
    [
        {"format": "imagectl-contents-2"},
        {"tree": "not a digest"},
        {"size": None},
        {"packages": {"debian": [{"name": "x"}], "pip": [], "npm": []}},
        {"users": [{"name": ["x"], "uid": 0, "gid": 0, "home": "", "shell": ""}]},
        {"system": []},
    ],
)
def test_a_document_that_is_not_as_it_has_to_be_is_corrupt(
    found: Findings, change: dict[str, Any]
) -> None:
    document = {**json.loads(found.contents.read_text()), **change}
    with pytest.raises(Corrupt, match="cannot be read") as caught:
        parse_contents(json.dumps(document), "contents.json")
    assert caught.value.where == "contents.json"


def test_a_document_of_a_later_imagectl_may_tell_more(found: Findings, contents: Contents) -> None:
    document = {**json.loads(found.contents.read_text()), "more": 1}
    assert parse_contents(json.dumps(document), "contents.json") == contents


def test_a_damaged_line_of_a_manifest_is_named() -> None:
    good = '{"path":"/","kind":"directory","mode":"0755","uid":0,"gid":0}'
    with pytest.raises(Corrupt) as caught:
        list(parse_manifest([good, good[:-5]], "manifest"))
    assert caught.value.where == "manifest:2"


def test_times_in_documents_are_the_builds_epoch(found: Findings) -> None:
    created = json.loads(found.spdx.read_text())["creationInfo"]["created"]
    assert created == "2026-09-21T14:13:20Z"
    assert EPOCH == 1_790_000_000
