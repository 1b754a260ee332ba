"""What a consumer gets as programs take it that read no nested JSON: lines, or texts alone."""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from imagectl.cli.text import stamp
from imagectl.errors import Corrupt

if TYPE_CHECKING:
    from imagectl.policy.resolution import Resolution


class Plain(enum.Enum):
    """A form of the answer."""

    ENV = "env"
    """``IMAGE_REFERENCE=...`` lines, as GitHub, GitLab and systemd read them: without quotes."""
    STRINGS = "strings"
    """A JSON object whose values are texts, as Terraform and Packer read it."""


def plain(found: Sequence[Resolution], form: Plain, *, several: bool) -> str:
    """In that form. Where there are *several*, names begin with the image's.

    Raises Corrupt where a value has a line break or other controls in it: what reads lines would
    take the rest for variables of its own.
    """
    if form is Plain.ENV:
        lines = []
        for each in found:
            start = "IMAGE_" + (f"{each.ref.image}_" if several else "")
            lines += [f"{_variable(start + name)}={text}" for name, text in _texts(each).items()]
        return "\n".join(lines)
    strings: dict[str, str] = {}
    for each in found:
        start = f"{each.ref.image}." if several else ""
        strings |= {start + name: text for name, text in _texts(each).items()}
    return json.dumps(strings, indent=2)


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")


def _texts(found: Resolution) -> Mapping[str, str]:
    texts = {
        "name": str(found.ref.image),
        "version": str(found.ref.version),
        "channel": found.channel or "",
        "reference": found.reference,
        "url": found.url or "",
        "sha256": found.sha256,
        "size": str(found.size),
        "location": str(found.location),
        "format": found.format.value,
        "architecture": found.architecture.value,
        "created": stamp(found.created),
    }
    for name, text in texts.items():
        if re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", text):
            raise Corrupt(
                f"the {name} of {found.ref} is not one line",
                why=f"it is {text!r:.200}",
                hint="`--json` has it as it is; whoever publishes it should know",
            )
    return texts
