"""What is in a version, as JSON: the documents ``contents`` and ``manifest``, version 1.

The same facts always give the same text, so equal trees have equal documents. A key that is not
known is ignored, so that keys can be added; anything else that is not as it has to be is Corrupt.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from imagectl.errors import Corrupt
from imagectl.model.contents import (
    Contents,
    DebianPackage,
    Group,
    LanguagePackage,
    Listed,
    SourcePackage,
    User,
)
from imagectl.model.names import Architecture, parse_image_name, parse_sha256

CONTENTS = "imagectl-contents-1"

T = TypeVar("T")


def write_contents(contents: Contents) -> str:
    """The document of *contents*, one fact a line where there are many."""
    document = {
        "format": CONTENTS,
        "image": contents.image,
        "architecture": contents.architecture.value,
        "tree": contents.tree,
        "size": contents.size,
        "files": contents.files,
        "system": dict(sorted(contents.system.items())),
        "packages": {
            "debian": [_debian(each) for each in contents.debian],
            "pip": [asdict(each) for each in contents.pip],
            "npm": [asdict(each) for each in contents.npm],
        },
        "services": list(contents.services),
        "masked": list(contents.masked),
        "users": [asdict(each) for each in contents.users],
        "groups": [asdict(each) for each in contents.groups],
        "kernels": list(contents.kernels),
        "ports": list(contents.ports),
    }
    return json.dumps(document, indent=1) + "\n"


def parse_contents(text: str, where: str) -> Contents:
    """The facts of a document. Raises Corrupt, naming *where* it was read."""

    def read(document: Mapping[str, Any]) -> Contents:
        if document["format"] != CONTENTS:
            raise ValueError(f"its format is {document['format']!r}, not {CONTENTS}")
        packages = document["packages"]
        return Contents(
            image=parse_image_name(document["image"]),
            architecture=Architecture(document["architecture"]),
            tree=parse_sha256(document["tree"]),
            size=int(document["size"]),
            files=int(document["files"]),
            system={str(key): str(value) for key, value in document["system"].items()},
            debian=tuple(_parsed_debian(each) for each in packages["debian"]),
            pip=tuple(_made(LanguagePackage, each) for each in packages["pip"]),
            npm=tuple(_made(LanguagePackage, each) for each in packages["npm"]),
            services=_texts(document["services"]),
            masked=_texts(document["masked"]),
            users=tuple(_made(User, each) for each in document["users"]),
            groups=tuple(
                Group(str(each["name"]), int(each["gid"]), _texts(each["members"]))
                for each in document["groups"]
            ),
            kernels=_texts(document["kernels"]),
            ports=_texts(document["ports"]),
        )

    return _parsed(text, where, read)


def write_listed(listed: Listed) -> str:
    """One line of a manifest, with its newline. What is empty is left out."""
    line: dict[str, object] = {
        "path": listed.path,
        "kind": listed.kind,
        "mode": f"{listed.mode:04o}",
        "uid": listed.uid,
        "gid": listed.gid,
    }
    if listed.sha256 is not None:
        line["size"] = listed.size
        line["sha256"] = listed.sha256
    if listed.target:
        line["target"] = listed.target
    if listed.device is not None:
        line["device"] = list(listed.device)
    if listed.xattrs:
        line["xattrs"] = dict(listed.xattrs)
    return json.dumps(line, separators=(",", ":")) + "\n"


def parse_manifest(lines: Iterable[str], where: str) -> Iterator[Listed]:
    """The paths of a manifest. Raises Corrupt, naming *where* it was read."""
    for number, line in enumerate(lines, start=1):
        yield _parsed(line, f"{where}:{number}", _listed)


def _listed(line: Mapping[str, Any]) -> Listed:
    device = line.get("device")
    return Listed(
        path=str(line["path"]),
        kind=str(line["kind"]),
        mode=int(line["mode"], 8),
        uid=int(line["uid"]),
        gid=int(line["gid"]),
        size=int(line.get("size", 0)),
        sha256=parse_sha256(line["sha256"]) if "sha256" in line else None,
        target=str(line.get("target", "")),
        device=(int(device[0]), int(device[1])) if device is not None else None,
        xattrs=dict(line["xattrs"]) if "xattrs" in line else None,
    )


def _debian(package: DebianPackage) -> dict[str, object]:
    document: dict[str, object] = {
        "name": package.name,
        "architecture": package.architecture,
        "version": package.version,
        "source": package.source.name,
        "source_version": package.source.version,
    }
    if package.built_using:
        document["built_using"] = [[each.name, each.version] for each in package.built_using]
    return document


def _parsed_debian(package: Mapping[str, Any]) -> DebianPackage:
    names = ("name", "architecture", "version", "source", "source_version")
    name, architecture, version, source, source_version = (str(package[key]) for key in names)
    used = package.get("built_using", [])
    return DebianPackage(
        name,
        architecture,
        version,
        SourcePackage(source, source_version),
        tuple(SourcePackage(str(name), str(version)) for name, version in used),
    )


def _made(kind: type[T], values: Mapping[str, Any]) -> T:
    """An instance of a fact whose fields are texts and whole numbers."""
    names: Iterable[str] = kind.__dataclass_fields__  # type: ignore[attr-defined]  # a dataclass
    made = {name: values[name] for name in names}
    for value in made.values():
        if not isinstance(value, str | int):
            raise TypeError(f"{value!r} is neither a text nor a number")
    return kind(**made)


def _texts(values: Iterable[object]) -> tuple[str, ...]:
    return tuple(str(value) for value in values)


def _parsed(text: str, where: str, read: Callable[[Mapping[str, Any]], T]) -> T:
    try:
        return read(json.loads(text))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as wrong:
        raise Corrupt(
            "a document about what is in a version cannot be read",
            where=where,
            why=f"{type(wrong).__name__}: {wrong}",
            hint="another version of imagectl may have written it",
        ) from None
