"""Paths and addresses, as kinds.

A path in a file of ours has one spelling only and never leads upwards, so that two that look
different are different, and none leaves the project.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from imagectl.formats.reading import Unfit
from imagectl.formats.scalars import Text, in_python
from imagectl.formats.yaml_strict import shown

_NO_ODD_PARTS = r"(?!~)(?!(.*/)?\.{1,2}(/|$))(?!.*//)(?!.+/$)"
NO_CONTROLS = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
PATH_PATTERN = rf"^(?!/){_NO_ODD_PARTS}[^{NO_CONTROLS}\\]+$"
FOLDER_PATTERN = rf"^{_NO_ODD_PARTS}[^{NO_CONTROLS}\\:]+$"
URL_PATTERN = r"^https?://[A-Za-z0-9.\-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~!\u0024&'()*+,;=:@%/?\-]*)?$"

BELOW_PATTERN = r"^(?!(.*/)?\.{1,2}(/|$))[A-Za-z0-9._\-]+(/[A-Za-z0-9._\-]+)*/?$"

_URL = re.compile(in_python(URL_PATTERN))
_BELOW = re.compile(in_python(BELOW_PATTERN))


def parse_path(text: str) -> PurePosixPath:
    """A path inside the project, relative to its root, in its one normal spelling."""
    _refuse_odd_path(text)
    if text.startswith("/"):
        hint = "paths are relative to the folder of imagectl.yaml"
        raise Unfit(f"{shown(text)} is an absolute path", hint)
    return PurePosixPath(text)


def parse_folder(text: str) -> PurePosixPath:
    """A folder on this machine: relative to the project's root, or absolute."""
    if ":" in text:
        raise Unfit(f"{shown(text)} is not a folder", "only folders of this machine are known here")
    _refuse_odd_path(text)
    return PurePosixPath(text)


def _refuse_odd_path(text: str) -> None:
    if "\\" in text:
        raise Unfit(f"{shown(text)} holds a backslash", "write / between folders")
    if re.search(f"[{NO_CONTROLS}]", text):
        raise Unfit(f"{shown(text)} holds a control character")
    if text.startswith("~"):
        raise Unfit(f"{shown(text)} begins with ~, which only a shell understands")
    if ".." in text.split("/"):
        raise Unfit(f"{shown(text)} leads upwards", "'..' is not allowed in a path")
    normal = str(PurePosixPath(text)).replace("//", "/")
    if text != normal:
        raise Unfit(f"{shown(text)} has a simpler spelling", f"write {normal!r}")
    if text == ".":
        raise Unfit("the project itself cannot be meant")


def parse_url(text: str) -> str:
    """An http or https URL without a user, a password or a fragment."""
    if not _URL.match(text):
        hint = "secrets do not belong into a URL" if "@" in text.partition("?")[0] else ""
        raise Unfit(f"{shown(text)} is not a URL such as https://mirror.example/debian", hint)
    return text


def parse_below(text: str) -> str:
    """An http or https URL, or a path below something else, both without a slash at the end."""
    simple = text.rstrip("/")
    if "://" in text:
        if "?" in text:
            raise Unfit(f"{shown(text)} cannot have files below it", "leave out what follows the ?")
        return parse_url(simple)
    if not _BELOW.match(simple):
        raise Unfit(
            f"{shown(text)} is not an address",
            "write https://mirror.example/images, or a path below the published tree's address",
        )
    return str(parse_path(simple))


def parse_source(text: str) -> str:
    """A URL, or a path inside the project."""
    return parse_url(text) if "://" in text else str(parse_path(text))


PATH = Text(parse_path, "a path inside the project", PATH_PATTERN)
FOLDER = Text(parse_folder, "a folder", FOLDER_PATTERN)
URL = Text(parse_url, "an http or https URL", URL_PATTERN, 1000)
SOURCE = Text(
    parse_source,
    "a URL or a path inside the project",
    f"({URL_PATTERN})|({PATH_PATTERN})",
    1000,
)
BELOW = Text(
    parse_below,
    "a URL or a path below the published tree's",
    f"({URL_PATTERN})|({BELOW_PATTERN})",
    1000,
)
