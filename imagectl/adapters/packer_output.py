"""What Packer says that it has made: in its machine-readable output, and in the file that its
post-processor ``manifest`` writes.

Both are read, since neither is always there: a template need not have the post-processor, and a
post-processor that keeps no artifact leaves only its own line in the output. Packer 1.6.6 ends an
HCL2 template that it cannot parse with status 0 and no artifact, so that alone is no success.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from imagectl.adapters.packer import Line
from imagectl.errors import BuildFailed

MANIFEST = "packer-manifest.json"
"""The name that the post-processor gives to its file where the template names none."""

DISK_SUFFIXES = (".raw", ".img", ".qcow2", ".vmdk", ".vdi", ".vhd", ".vhdx")


@dataclass(frozen=True, slots=True)
class Artifact:
    """One thing that a build made. ``builder``: what of Packer made it; ``id``: what that calls it;
    ``files``: on this machine, as Packer names them."""

    build: str
    builder: str
    id: str
    files: tuple[str, ...]

    def __str__(self) -> str:
        what = ", ".join(self.files) or self.id or "nothing"
        return f"{self.build}: {what} ({self.builder})"


@dataclass(slots=True)
class Artifacts:
    """Collects artifacts from lines of machine-readable output (packer.io, "Machine-Readable
    Output": ``artifact,INDEX,KEY,VALUE`` until ``artifact,INDEX,end``)."""

    _open: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    _files: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    _made: list[Artifact] = field(default_factory=list)

    def take(self, line: Line) -> None:
        """The next line. What cannot be understood is left out: ``made`` will be without it."""
        if line.type != "artifact" or len(line.data) < 2:
            return
        index, key, *values = line.data
        which = line.target, index
        if key == "end":
            said = self._open.pop(which, {})
            files = tuple(self._files.pop(which, ()))
            made = Artifact(line.target, said.get("builder-id", ""), said.get("id", ""), files)
            if made not in self._made:  # once for each post-processor that keeps it
                self._made.append(made)
        elif key == "file" and len(values) == 2:
            self._files.setdefault(which, []).append(values[1])
        elif values:
            self._open.setdefault(which, {})[key] = values[0]

    @property
    def made(self) -> tuple[Artifact, ...]:
        """Those that were said to their end."""
        return tuple(self._made)


@dataclass(frozen=True, slots=True)
class Manifests:
    """Manifests in some folders, as they were before a run: what is new in them is the run's."""

    folders: tuple[Path, ...]
    before: Mapping[Path, object]

    @staticmethod
    def seen(folders: Iterable[Path]) -> Manifests:
        """As they are now."""
        folders = tuple(folders)
        return Manifests(folders, {each: _last_run(_read(each)) for each in folders})

    def made(self) -> tuple[Artifact, ...]:
        """What the runs since then have written."""
        found: list[Artifact] = []
        for folder in self.folders:
            document = _read(folder)
            run = _last_run(document)
            if run is None or run == self.before[folder]:
                continue
            builds = document.get("builds")
            for each in builds if isinstance(builds, list) else []:
                if isinstance(each, dict) and each.get("packer_run_uuid") == run:
                    found.append(_manifested(each))
        return tuple(dict.fromkeys(found))


def _read(folder: Path) -> dict[str, object]:
    try:
        document = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}  # none, or not one of Packer's
    return document if isinstance(document, dict) else {}


def _last_run(document: Mapping[str, object]) -> object:
    return document.get("last_run_uuid")


def _manifested(build: Mapping[str, object]) -> Artifact:
    files = build.get("files")
    names = tuple(
        str(each["name"])
        for each in (files if isinstance(files, list) else [])
        if isinstance(each, dict) and "name" in each
    )
    name, builder, id = (
        str(build.get(key) or "") for key in ("name", "builder_type", "artifact_id")
    )
    return Artifact(name, builder, id, names)


def image_of(made: Iterable[Artifact], where: str) -> str:
    """What the builder calls the one image that it made elsewhere. Raises BuildFailed."""
    made = tuple(made)
    ids = {each.id: each for each in made if each.id and not each.files}
    if len(ids) == 1:
        return next(iter(ids))
    if ids:
        raise _unclear(f"made {len(ids)} images, and a version is one", ids.values(), where)
    if made:
        raise _unclear(
            "made no image in a location, only files",
            made,
            where,
            "without `builds` in image.yaml a disk in a file is what is taken",
        )
    raise _nothing(where)


def disk_of(made: Iterable[Artifact], cwd: Path, where: str) -> Path:
    """The one disk that was left on this machine. Raises BuildFailed."""
    made = tuple(made)
    files = {cwd / name: each for each in made for name in each.files}
    disks = [each for each in files if each.name.endswith(DISK_SUFFIXES)] or list(files)
    if len(disks) == 1:
        if not disks[0].is_file():
            raise _unclear(
                "says that it has made a disk, which is not there",
                made,
                where,
                "does a post-processor take it away?",
            )
        return disks[0]
    if disks:
        raise _unclear(
            f"left {len(disks)} files, and none or several of them look like a disk",
            made,
            where,
            f"a disk is a file that ends in {', '.join(DISK_SUFFIXES)}; `only` in image.yaml "
            "chooses one of several builds",
        )
    if made:
        raise _unclear(
            "made no disk on this machine",
            made,
            where,
            "an image that is made in a location needs `builds: LOCATION` in image.yaml",
        )
    raise _nothing(where)


def _unclear(what: str, made: Iterable[Artifact], where: str, hint: str = "") -> BuildFailed:
    return BuildFailed(
        f"the Packer template {what}",
        stage="template",
        where=where,
        why="; ".join(map(str, made)),
        hint=hint or "`only` in image.yaml chooses one of several builds",
    )


def _nothing(where: str) -> BuildFailed:
    return BuildFailed(
        "the Packer template made nothing",
        stage="template",
        where=where,
        why="Packer ended well, but names no artifact that can be read",
        hint="is `only` in image.yaml the name of a build? The build log has all that Packer said",
    )
