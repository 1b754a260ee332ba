"""What an image says must be made at first boot is not in it; a unit that makes it is."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from support.trees import ROOT, ListSource, contents, file, folder

from imagectl.adapters.disk.archive import TarSource
from imagectl.adapters.disk.canonical import write_tree
from imagectl.adapters.disk.first_boot import condition, first_boot_files, program, unit_text
from imagectl.adapters.disk.rules import Action, Rule
from imagectl.adapters.disk.tree import Kind, LayeredSource

EPOCH = 1_795_000_000
KEY = Rule("etc/app/key", Action.FIRST_BOOT, "a secret", command="make-key >/etc/app/key")


def test_the_path_is_not_in_the_tree_and_its_unit_is(tmp_path: Path) -> None:
    tree = [ROOT, folder(b"etc"), folder(b"etc/app"), file(b"etc/app/key", b"secret")]
    source = LayeredSource(ListSource(tree), first_boot_files([KEY], EPOCH))
    write_tree(source, [KEY], EPOCH, tmp_path / "tar")
    with TarSource(tmp_path / "tar") as written:
        found = contents(written)
    assert b"etc/app/key" not in found
    name = b"first-boot-etc-app-key"
    unit = found[b"usr/lib/systemd/system/" + name + b".service"]
    assert b"\nExecStart=/usr/lib/imagectl/" + name + b"\n" in unit[1]
    link = found[b"usr/lib/systemd/system/sysinit.target.wants/" + name + b".service"][0]
    assert (link.kind, link.target) == (Kind.SYMLINK, b"../" + name + b".service")
    assert found[b"usr/lib/imagectl/" + name][0].mode == 0o755
    assert {entry.mtime for entry, _ in found.values()} <= {1000, EPOCH}


def test_an_image_without_such_rules_gets_nothing() -> None:
    rules = [Rule("a", Action.DROP, "x"), Rule("b", Action.EMPTY, "x")]
    assert contents(first_boot_files(rules, EPOCH)) == {}


def test_paths_that_look_alike_have_units_of_their_own() -> None:
    rules = [
        Rule(path, Action.FIRST_BOOT, "x", command="c")
        for path in ("a/b", "a-b", "a-b-2", "ä", "ö")
    ]
    units = [path for path in contents(first_boot_files(rules, EPOCH)) if b"/system/first" in path]
    assert len(units) == len(rules)


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("a b/c", "ConditionPathExists=|!/a b/c"),
        ("a/100%", "ConditionPathExists=|!/a/100%%"),
        ("a/*.db", "ConditionPathExistsGlob=|!/a/*.db"),
        ("a/{b,c}", "ConditionPathExistsGlob=|!/a/{b,c}"),
        ("a/b/**", "ConditionDirectoryNotEmpty=|!/a/b"),
    ],
)
def test_the_condition_of_a_unit(path: str, wanted: str) -> None:
    assert condition(path) == wanted


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    for number, path in enumerate(("a b/c", "a/*.db", "a/b/**", "a/100%")):
        rule = Rule(path, Action.FIRST_BOOT, "50 % of\nit", command="c")
        text = unit_text(rule, "n").replace("ExecStart=/usr/lib/imagectl/n", "ExecStart=/bin/true")
        unit = tmp_path / f"u{number}.service"
        unit.write_text(text)
        said = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(unit)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert str(unit) not in said.stderr, said.stderr


def run(tmp_path: Path, command: str) -> int:
    """The unit's program, where its folder of unfinished things is below *tmp_path*."""
    text = program(Rule("x", Action.FIRST_BOOT, "a\nreason", command=command), "n")
    text = text.replace("/var/lib/imagectl/unfinished", str(tmp_path / "unfinished"))
    script = tmp_path / "script"
    script.write_text(text)
    return subprocess.run(["sh", str(script)], cwd=tmp_path, check=False).returncode


def test_what_was_begun_is_known_until_it_has_succeeded(tmp_path: Path) -> None:
    """P7. A machine that was switched off in between makes it again."""
    assert run(tmp_path, "echo half >x; false; echo whole >x") == 1
    assert os.listdir(tmp_path / "unfinished") == ["n"]
    assert (tmp_path / "x").read_text() == "half\n"
    assert run(tmp_path, "echo whole >x # done") == 0
    assert os.listdir(tmp_path / "unfinished") == []
    assert (tmp_path / "x").read_text() == "whole\n"
