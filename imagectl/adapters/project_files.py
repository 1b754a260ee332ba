"""Reads a project's own files: settings, release policy and definitions.

Every problem of every file is collected before anything is raised, with the line and column of the
value that is wrong, be it in a file or between two files. Nothing is read through a symbolic link
that leads out of the project.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TypeVar

from imagectl.errors import BadInput, Failed, NotFound, Problem
from imagectl.formats import lock_text
from imagectl.formats.channels_yaml import parse_policy
from imagectl.formats.cross_checks import (
    Defined,
    check_families,
    check_locations,
    check_parent,
    check_pointers,
    check_policy,
    check_template,
)
from imagectl.formats.image_yaml import parse_image
from imagectl.formats.lock_text import parse_lock
from imagectl.formats.project_yaml import parse_project
from imagectl.formats.reading import Path as YamlPath
from imagectl.formats.reading import Source, did_you_mean
from imagectl.formats.yaml_strict import MAX_BYTES
from imagectl.model.channel import ReleasePolicy
from imagectl.model.image import DiskBase, Image, PackerTemplate
from imagectl.model.lock import Lock
from imagectl.model.names import BadName, ImageName, parse_image_name
from imagectl.model.project import Project
from imagectl.policy.ancestry import build_order
from imagectl.policy.wording import nearest

T = TypeVar("T")

PROJECT_FILE = "imagectl.yaml"
POLICY_FILE = "catalog/channels.yaml"
IMAGES = "images"
ROLES = PurePosixPath("playbooks/roles")


def image_file(name: ImageName) -> str:
    """The path of an image's definition, relative to the project."""
    return f"{IMAGES}/{name}/image.yaml"


def lock_file(name: ImageName) -> str:
    """The path of an image's lock, relative to the project."""
    return f"{IMAGES}/{name}/image.lock"


def find_project(start: Path) -> Path:
    """The root of the project that *start* is in. Raises NotFound."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if os.path.isfile(folder / PROJECT_FILE):
            return folder
    raise NotFound(
        "this is not in a project",
        where=str(start),
        why=f"there is no {PROJECT_FILE} here or in a folder above",
        hint="`imagectl init` makes a project",
    )


def load_project(root: Path) -> Project:
    """``imagectl.yaml``. Raises BadInput, NotFound where it is missing, Failed where unreadable."""
    return _load_project(root)[0]


def _load_project(root: Path) -> tuple[Project, Source]:
    return parse_project(_read(root, PROJECT_FILE), PROJECT_FILE)


def load_policy(root: Path) -> ReleasePolicy:
    """``catalog/channels.yaml``. Raises like ``load_project``, and where a location of the project
    is to show a channel that there is not."""
    policy = _load_policy(root)[0]
    problems = list(check_pointers(*_load_project(root), policy))
    if problems:
        raise BadInput(problems)
    return policy


def _load_policy(root: Path) -> tuple[ReleasePolicy, Source]:
    return parse_policy(_read(root, POLICY_FILE), POLICY_FILE)


def image_names(root: Path) -> tuple[ImageName, ...]:
    """The images that are defined, sorted; whether their definitions are right is not asked.

    Raises BadInput for a definition in a folder whose name cannot be an image's.
    """
    names, problems = _image_names(root)
    if problems:
        raise BadInput(problems)
    return names


def load_image(root: Path, name: ImageName) -> Image:
    """One image, checked against the rest of the project but for its parent's own definition.

    Raises BadInput with all its problems, and NotFound where there is no such image.
    """
    names, _ = _image_names(root)
    if name not in names:
        hint = did_you_mean(name, names) if names else "`imagectl init` shows how to define one"
        raise NotFound(f"there is no image {name!r}", where=f"{root / IMAGES}", hint=hint)
    project, policy = load_project(root), load_policy(root)
    defined = _define(root, name)
    problems = list(_check_one(root, defined, names, project, policy))
    if problems:
        raise BadInput(problems)
    return defined.image


def read_definition(root: Path, name: ImageName) -> bytes:
    """The text of an image's definition. Raises like ``load_project``."""
    return _read(root, image_file(name))


def load_alone(root: Path, name: ImageName) -> Image:
    """One definition, with nothing of the project around it looked at. Raises like ``load_image``.

    For a version's own sources: neither settings nor policy are among them.
    """
    return _define(root, name).image


def load_lock(root: Path, name: ImageName) -> Lock | None:
    """The image's lock; None where it has none. Raises BadInput."""
    file = lock_file(name)
    if not os.path.lexists(root / file):
        return None
    return parse_lock(_read(root, file, lock_text.MAX_BYTES), file)


def load_all(root: Path) -> tuple[Image, ...]:
    """Every image, parents before children, after a check of the whole project.

    Raises BadInput with all problems of all files.
    """
    names, problems = _image_names(root)
    settings = _collect(problems, PROJECT_FILE, partial(_load_project, root))
    project = settings and settings[0]
    policy = _collect(problems, POLICY_FILE, partial(_load_policy, root))
    images: dict[ImageName, Defined] = {}
    for name in names:
        defined = _collect(problems, image_file(name), partial(_define, root, name))
        if defined is not None:
            images[name] = defined
            problems += _check_one(root, defined, names, project, policy and policy[0])
    if policy is not None:
        problems += check_policy(*policy, names)
        if settings is not None:
            problems += check_pointers(*settings, policy[0])
    problems += check_families(images)
    if problems:
        raise BadInput(problems)
    return build_order(defined.image for defined in images.values())


def _collect(problems: list[Problem], file: str, read: Callable[[], T]) -> T | None:
    """What *read* returns; where it cannot, None, and why among the problems."""
    try:
        return read()
    except BadInput as error:
        problems += error.problems
    except (NotFound, Failed) as error:
        problems.append(Problem(file, 0, 0, error.what, error.hint))
    return None


def _define(root: Path, name: ImageName) -> Defined:
    file = image_file(name)
    return Defined(*parse_image(_read(root, file), file, name))


def _image_names(root: Path) -> tuple[tuple[ImageName, ...], list[Problem]]:
    """The names, sorted, and what is wrong with the others. A folder without a definition is none:
    another branch's lock may be left in it. Raises Failed where that cannot be seen."""
    names: list[ImageName] = []
    problems: list[Problem] = []
    for name in _listed(root / IMAGES):
        folder = root / IMAGES / name
        inside = _listed(folder) if folder.is_dir() else ()
        place = f"{IMAGES}/{name if name.isprintable() else repr(name)[1:-1]}"
        if "image.yaml" not in inside:
            if "image.yml" in inside:
                hint = "rename it to image.yaml"
                problems.append(Problem(f"{place}/image.yml", 0, 0, "is not read", hint))
            continue
        try:
            names.append(parse_image_name(name))
        except BadName as error:
            hint = "the folder's name is the image's name"
            problems.append(Problem(f"{place}/image.yaml", 0, 0, str(error), hint))
    return tuple(names), problems


def _listed(folder: Path) -> tuple[str, ...]:
    """What is in a folder, sorted; nothing where there is no such folder."""
    try:
        return tuple(sorted(os.listdir(folder)))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise Failed("a folder cannot be read", where=str(folder), why=_reason(error)) from error


def _check_one(
    root: Path,
    defined: Defined,
    names: tuple[ImageName, ...],
    project: Project | None,
    policy: ReleasePolicy | None,
) -> Iterator[Problem]:
    if project is not None:
        yield from check_locations(defined, project)
        yield from check_template(defined, project)
    yield from check_parent(defined, names, policy)
    yield from _check_files(root, defined)


def _check_files(root: Path, defined: Defined) -> Iterator[Problem]:
    """Every file that the definition names is there, and inside the project."""
    # Consumers read settings through this module on each of their builds, and build nothing.
    from imagectl.adapters.ansible import SHIPPED_ROLES

    image, source = defined
    wanted: list[tuple[YamlPath, PurePosixPath, bool]] = []
    if image.provision.playbook is not None:
        wanted.append((("provision", "playbook"), image.provision.playbook, False))
    for index, role in enumerate(image.provision.roles):
        if (SHIPPED_ROLES / role).is_dir() and not (root / ROLES / role).is_dir():
            continue
        wanted.append((("provision", "roles", index), ROLES / role, True))
    for index, suite in enumerate(image.suites):
        wanted.append((("suites", index), suite, False))
    if isinstance(image.base, DiskBase) and "://" not in image.base.source:
        wanted.append((("base", "disk", "source"), PurePosixPath(image.base.source), False))
    if isinstance(image.base, PackerTemplate):
        wanted.append((("packer", "template"), image.base.template, False))
    for where, path, folder in wanted:
        found = root / path
        try:
            there = found.is_dir() if folder else found.is_file()
            inside = found.resolve().is_relative_to(root.resolve())
        except (OSError, RuntimeError) as error:
            yield source.problem(where, f"{str(path)!r} cannot be read: {_reason(error)}")
            continue
        if not there:
            kind = "folder" if folder else "file"
            yield source.problem(where, f"there is no {kind} {str(path)!r}", _beside(found))
        elif not inside:
            yield source.problem(where, f"{str(path)!r} leads out of the project")


def _beside(missing: Path) -> str:
    """Which file of that folder may have been meant."""
    try:
        return nearest(missing.name, _listed(missing.parent))
    except Failed:
        return ""


def _read(root: Path, file: str, most: int = MAX_BYTES) -> bytes:
    """The bytes of one of the project's files; one byte more than *most*, of one too large."""
    path = root / file
    try:
        if not path.resolve().is_relative_to(root.resolve()):
            raise BadInput([Problem(file, 0, 0, "leads out of the project", "copy it here")])
        if path.exists() and not path.is_file():
            raise BadInput([Problem(file, 0, 0, "is not a file")])
        with path.open("rb") as opened:
            return opened.read(most + 1)
    except FileNotFoundError:
        raise NotFound(
            f"{file} is missing",
            where=str(path),
            hint="`imagectl init DIR` makes a project to copy it from",
        ) from None
    except (OSError, RuntimeError) as error:
        raise Failed(f"{file} cannot be read", where=str(path), why=_reason(error)) from error


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
