"""Software bills of materials: SPDX 2.3 and CycloneDX 1.6, as JSON.

debsbom (https://github.com/siemens/debsbom) makes them from dpkg's database; what pip and npm have
installed is added here. The same tree gives the same bytes: times are the build's epoch, and what
has to be unique follows from the tree's digest. debsbom goes through sets, whose order, and with it
which package a virtual dependency is resolved to, changes with the seed of Python's hashes: so it
runs as a program of its own (``debsbom_entry.py``), with a fixed seed. That also keeps its imports
(0.5 s) and memory (60 MB) out of this process.
"""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagectl.adapters import process
from imagectl.adapters.disk.files import whole_file
from imagectl.adapters.inside.dpkg import status_text
from imagectl.adapters.inside.tree import Tree
from imagectl.model.contents import Contents, LanguagePackage

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_OID, "imagectl-sbom-1")
"""Makes our identifiers different from those that others derive from the same digest."""


@dataclass(frozen=True, slots=True)
class Bills:
    """The two documents."""

    spdx: Path
    cyclonedx: Path


def write_bills(tree: Tree, contents: Contents, summary: str, epoch: int, folder: Path) -> Bills:
    """The bills of materials of *tree*, in *folder*. ``epoch`` is in seconds since 1970."""
    root = folder / "root"
    _prepare(tree, root, contents)
    spdx, cyclonedx = folder / "spdx-debian.json", folder / "cyclonedx-debian.json"
    request = {
        "root": str(root),
        "name": contents.image,
        "summary": summary,
        "version": contents.system.get("PRETTY_NAME", ""),
        "architecture": contents.architecture.value,
        "epoch": epoch,
        "uuid": str(uuid.uuid5(NAMESPACE, f"{contents.image} {contents.tree}")),
        "spdx": str(spdx),
        "cyclonedx": str(cyclonedx),
    }
    process.run(
        [sys.executable, "-m", "imagectl.adapters.inside.debsbom_entry"],
        what="listing the software in the image",
        input=json.dumps(request).encode(),
        env={"PYTHONHASHSEED": "0"},
    )
    bills = Bills(folder / "spdx.json", folder / "cyclonedx.json")
    added = [*_added(contents.pip, "pypi"), *_added(contents.npm, "npm")]
    _write(bills.spdx, _spdx(_read(spdx), added))
    _write(bills.cyclonedx, _cyclonedx(_read(cyclonedx), added))
    return bills


def _prepare(tree: Tree, root: Path, contents: Contents) -> None:
    """As much of a root folder as debsbom reads."""
    dpkg, apt = root / "var/lib/dpkg", root / "var/lib/apt"
    dpkg.mkdir(parents=True, exist_ok=True)
    apt.mkdir(parents=True, exist_ok=True)
    (dpkg / "status").write_text(status_text(tree), encoding="utf-8")
    (dpkg / "arch-native").write_text(f"{contents.architecture.value}\n")
    states = tree.text(b"var/lib/apt/extended_states")
    if states:
        (apt / "extended_states").write_text(states, encoding="utf-8")


@dataclass(frozen=True, slots=True)
class _Added:
    """A package that debsbom does not know of: its package URL and where it was found."""

    purl: str
    name: str
    version: str
    folders: tuple[str, ...]


def _added(packages: tuple[LanguagePackage, ...], kind: str) -> Iterator[_Added]:
    from packageurl import PackageURL

    folders: dict[tuple[str, str], list[str]] = {}
    for each in packages:
        folders.setdefault((each.name, each.version), []).append(_clean(each.folder))
    for (name, version), found in sorted(folders.items()):
        scope, slash, rest = name.partition("/")
        purl = PackageURL(
            kind, scope if slash else None, rest if slash else name, version or None
        ).to_string()
        yield _Added(purl, _clean(name), version, tuple(found))


def _clean(text: str) -> str:
    """Text that any reader of JSON takes: no half characters."""
    return text.encode("utf-8", "backslashreplace").decode()


def _spdx(document: dict[str, Any], added: list[_Added]) -> dict[str, Any]:
    (described,) = [
        each["relatedSpdxElement"]
        for each in document["relationships"]
        if each["relationshipType"] == "DESCRIBES"
    ]
    for each in added:
        element = f"SPDXRef-{uuid.uuid5(NAMESPACE, each.purl)}"
        package = {
            "SPDXID": element,
            "name": each.name,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": False,
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": "NOASSERTION",
            "copyrightText": "NOASSERTION",
            "primaryPackagePurpose": "LIBRARY",
            "comment": f"in {', '.join(each.folders)}",
            "externalRefs": [
                {
                    "referenceCategory": "PACKAGE_MANAGER",
                    "referenceType": "purl",
                    "referenceLocator": each.purl,
                }
            ],
        }
        if each.version:
            package["versionInfo"] = each.version
        document["packages"].append(package)
        document["relationships"].append(
            {
                "spdxElementId": element,
                "relationshipType": "PACKAGE_OF",
                "relatedSpdxElement": described,
            }
        )
    document["packages"].sort(key=lambda each: str(each["SPDXID"]))
    document["relationships"].sort(key=_text)
    return document


def _cyclonedx(document: dict[str, Any], added: list[_Added]) -> dict[str, Any]:
    components = document.setdefault("components", [])
    for each in added:
        component: dict[str, Any] = {
            "type": "library",
            "bom-ref": each.purl,
            "name": each.name,
            "purl": each.purl,
            "evidence": {"occurrences": [{"location": folder} for folder in each.folders]},
        }
        if each.version:
            component["version"] = each.version
        components.append(component)
        document["dependencies"].append({"ref": each.purl})
    top = document["metadata"]["component"]["bom-ref"]
    for dependency in document["dependencies"]:
        if dependency["ref"] == top and added:
            needed = {*dependency.get("dependsOn", []), *(each.purl for each in added)}
            dependency["dependsOn"] = sorted(needed)
    components.sort(key=lambda each: str(each["bom-ref"]))
    document["dependencies"].sort(key=_text)
    return document


def _read(file: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return document


def _write(out: Path, document: Mapping[str, Any]) -> None:
    with whole_file(out) as unfinished:
        unfinished.write_text(_text(document, indent=1) + "\n", encoding="utf-8")


def _text(value: object, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent, sort_keys=True)
