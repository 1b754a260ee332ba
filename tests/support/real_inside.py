"""What is said about the tree of a real Debian system, judged by Debian's own tools."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from imagectl.adapters.disk.tree import CanonicalTree
from imagectl.adapters.inside import LocalInspector
from imagectl.formats.contents_v1 import parse_contents, parse_manifest
from imagectl.services.ports.looking_inside import Findings
from support.systems import image, workspace


def check_inside(tree: CanonicalTree, folder: Path) -> None:
    """Look into *tree* twice, and compare with what dpkg and tar say of it."""
    first, again = _inspect(tree, folder / "first"), _inspect(tree, folder / "again")
    for name in ("contents", "manifest", "spdx", "cyclonedx"):
        assert getattr(first, name).read_bytes() == getattr(again, name).read_bytes(), name
    contents = parse_contents(first.contents.read_text(), "contents")
    packages = {(each.name, each.architecture, each.version) for each in contents.debian}
    assert packages == _by_dpkg(tree, folder / "dpkg")
    assert len(packages) > 100
    assert (contents.codename, contents.system["ID"]) == ("bookworm", "debian")
    assert "ssh.service" in contents.services
    assert {"root", "nobody"} <= {each.name for each in contents.users}
    (kernel,) = contents.kernels
    assert f"linux-image-{kernel}" in {each.name for each in contents.debian}
    assert (contents.pip, contents.npm) == ((), ())
    with first.manifest.open() as lines:
        paths = [each.path for each in parse_manifest(lines, "manifest")]
    assert len(paths) == tree.entries == contents.files
    listed = subprocess.run(["tar", "-tf", tree.path], check=True, capture_output=True)
    assert len(listed.stdout.splitlines()) == len(paths)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(first.cyclonedx.read_text()) is None
    assert validate_full_spdx_document(parse_file(str(first.spdx))) == []
    purls = {each["purl"] for each in json.loads(first.cyclonedx.read_text())["components"]}
    assert len({each for each in purls if not each.endswith("arch=source")}) == len(packages)


def _inspect(tree: CanonicalTree, folder: Path) -> Findings:
    return LocalInspector(folder / "keys").inspect(image(), tree, (), workspace(folder))


def _by_dpkg(tree: CanonicalTree, folder: Path) -> set[tuple[str, ...]]:
    folder.mkdir()
    subprocess.run(["tar", "-C", folder, "-xf", tree.path, "./var/lib/dpkg"], check=True)
    form = "${db:Status-Status} ${Package} ${Architecture} ${Version}\n"
    said = subprocess.run(
        ["dpkg-query", f"--admindir={folder}/var/lib/dpkg", "-W", f"-f={form}"],
        check=True,
        capture_output=True,
        text=True,
    )
    lines = (line.split() for line in said.stdout.splitlines())
    return {tuple(rest) for status, *rest in lines if status == "installed"}
