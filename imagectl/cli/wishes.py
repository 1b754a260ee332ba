"""What a consumer asks for: its command line, its environment and its build config together."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from imagectl.errors import Failed, NotFound

if TYPE_CHECKING:
    from imagectl.model.consumer import BuildConfig, Variables
    from imagectl.model.names import Format, ImageRef, LocationName
    from imagectl.policy.opting import Branch, Opted

CONFIG = ".imagectl.yaml"
"""The build config that is read where no other is named, if it is there."""

MAX_BYTES = 1 << 20
"""A larger file is not read any further than this."""


@dataclass(frozen=True, slots=True)
class Where:
    """Where the catalog is, as was said: None where it was not; what is heard of it, and what is
    taken of all images.

    ``catalog`` is an address or an absolute path; ``root`` an absolute path. ``said`` is where each
    of these was said, for people.
    """

    catalog: str | None
    root: str | None
    min_generation: int
    notices: bool = False
    despite_brownout: bool = False
    location: LocationName | None = None
    disk_format: Format | None = None
    said: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Asked:
    """Everything that is asked for."""

    opted: Opted
    where: Where


def read_wishes(
    directory: Path,
    typed: Sequence[ImageRef],
    config: Path | None,
    branch: str | None,
    *,
    needed: bool = True,
    environment: Mapping[str, str] = os.environ,
) -> Asked:
    """What is asked for, by the command line, the *environment* and the build config.

    *config* was named; where it is None, that of *directory* is read, if it is there. Where it is
    not *needed* that anything is asked for, there may be no wish. Raises BadInput and BadUsage for
    what is wrong with any of them.
    """
    from imagectl.policy.opting import Opted, opt, opting

    variables = _variables(opting(environment))
    found = read_config(directory, config)
    if not (needed or typed or found or variables.image):
        return Asked(Opted((), "", False), Where(None, None, variables.min_generation or 0))
    insisted = str(config) if config is not None else None
    opted = opt(
        typed, variables, found, find_branch(directory, branch, environment), insisted=insisted
    )
    where = _where(directory, config or Path(CONFIG), found, variables.min_generation or 0)
    return Asked(opted, where)


def _variables(found: Mapping[str, str]) -> Variables:
    from imagectl.model.consumer import Variables

    if not found:
        return Variables()
    from imagectl.formats.ci_variables import parse_environment

    return parse_environment(found)


def read_config(directory: Path, config: Path | None) -> BuildConfig | None:
    """The build config that was named, or else that of *directory*, None where it has none."""
    path = directory / (config or CONFIG)
    data = read_input(path, "the build config")
    if data is None:
        if config is None:
            return None
        raise NotFound("the build config is not there", where=str(path))
    from imagectl.formats.build_config import parse_build_config

    return parse_build_config(data, str(config or CONFIG))


def read_input(path: Path, what: str) -> bytes | None:
    """The bytes of a file, never many more than are read of one; None where it is not there."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise Failed(
            f"{what} cannot be read", where=str(path), why=problem.strerror or str(problem)
        ) from problem


def find_branch(directory: Path, said: str | None, environment: Mapping[str, str]) -> Branch:
    """The branch that the consumer's repository is on: as said, as its CI service has it, or as
    git has it checked out."""
    from imagectl.policy.opting import Branch

    if said is not None:
        return Branch(said)
    if environment.get("GITHUB_REF_TYPE") == "tag" or environment.get("CI_COMMIT_TAG"):
        return Branch("")
    for name in (
        *("GITHUB_HEAD_REF", "GITHUB_REF_NAME"),
        *("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "CI_COMMIT_BRANCH"),
        *("CHANGE_BRANCH", "BRANCH_NAME", "TRAVIS_PULL_REQUEST_BRANCH", "TRAVIS_BRANCH"),
    ):
        if environment.get(name):
            return Branch(environment[name])
    for folder in (directory.absolute(), *directory.absolute().parents):
        try:
            head = (folder / ".git" / "HEAD").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as problem:
            return Branch(None, f"{folder / '.git' / 'HEAD'}: {problem.strerror}")
        on = re.fullmatch(r"ref: refs/heads/(\S+)\n?", head)
        return Branch(on[1]) if on else Branch(None, f"{folder} has no branch checked out")
    return Branch(None, f"no CI service names it, and {directory.absolute()} is in no checkout")


def _where(directory: Path, file: Path, config: BuildConfig | None, min_generation: int) -> Where:
    if config is None:
        return Where(None, None, min_generation)
    base = directory if config.variables else (directory / file).parent
    return Where(
        _at(config.catalog, base),
        _at(config.root, base),
        max(config.min_generation, min_generation),
        config.notices,
        config.despite_brownout,
        config.location,
        config.format,
        config.said,
    )


def _at(said: str | None, base: Path) -> str | None:
    if said is None or re.match(r"[A-Za-z][A-Za-z0-9+.\-]*:", said):
        return said
    return str((base / said).absolute())
