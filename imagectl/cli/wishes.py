"""What a consumer asks for: its command line and its build config become requests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from imagectl.errors import BadUsage, Failed, NotFound

if TYPE_CHECKING:
    from imagectl.model.consumer import BuildConfig

CONFIG = ".imagectl.yaml"
"""The build config that is read where nothing else is said, if it is there."""


def read_config(directory: Path, config: Path | None) -> BuildConfig:
    """The build config *config*, or that of *directory*. Raises what is wrong with it."""
    from imagectl.formats.build_config import parse_build_config

    path = directory / (config or CONFIG)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        if config is None:
            raise BadUsage(
                "which image?",
                why=f"no IMAGE was given, and there is no {CONFIG} here",
                hint="`imagectl resolve IMAGE`, or `imagectl resolve --config FILE`",
            ) from None
        raise NotFound("the build config is not there", where=str(path)) from None
    except OSError as problem:
        raise Failed(
            "the build config cannot be read",
            where=str(path),
            why=problem.strerror or str(problem),
        ) from problem
    return parse_build_config(data, str(config or CONFIG))
