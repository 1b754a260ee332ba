"""What people and editors are told about our files, all of it derived from their descriptions.

The JSON Schemas (draft 2020-12) beside this module are generated (``write_all``); a test proves
that they are up to date. An editor with a YAML language server completes and checks a file that
begins with such a line, the path being relative to the file::

    # yaml-language-server: $schema=../../.imagectl/schemas/image.schema.json
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from imagectl.formats.build_config import BUILD_CONFIG
from imagectl.formats.channels_yaml import POLICY
from imagectl.formats.image_yaml import IMAGE
from imagectl.formats.lock_schema import LOCK
from imagectl.formats.project_yaml import PROJECT
from imagectl.formats.reading import JsonSchema, Kind
from imagectl.formats.resolved_lock_v1 import RESOLVED
from imagectl.formats.schema import Record

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Described(NamedTuple):
    """A kind of file that people write or read: its short name, where it is, its description."""

    name: str
    file: str
    record: Record[Any]

    @property
    def schema_file(self) -> str:
        """The name of its JSON Schema."""
        return f"{self.name}.schema.json"


FILES = (
    Described("image", "images/<name>/image.yaml", IMAGE),
    Described("lock", "images/<name>/image.lock", LOCK),
    Described("project", "imagectl.yaml", PROJECT),
    Described("channels", "catalog/channels.yaml", POLICY),
    Described("build-config", ".imagectl.yaml", BUILD_CONFIG),
    Described("resolved", "resolve --lock FILE", RESOLVED),
)


def json_schema(described: Described) -> JsonSchema:
    """The JSON Schema of a file."""
    return {"$schema": DIALECT, "title": described.file, **described.record.json_schema()}


def write_all(folder: Path) -> tuple[Path, ...]:
    """Write every JSON Schema into *folder*, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for described in FILES:
        path = folder / described.schema_file
        text = json.dumps(json_schema(described), indent=2, ensure_ascii=False)
        path.write_text(f"{text}\n", encoding="utf-8")
        written.append(path)
    return tuple(written)


def reference_page(record: Record[Any], title: str) -> str:
    """The reference of a file in Markdown: a table with every key that can be written."""
    lines = [
        f"# {title}",
        "",
        record.meaning,
        "",
        "| key | value | default | meaning |",
        "|---|---|---|---|",
        *(f"| {' | '.join(_cell(text) for text in row)} |" for row in _rows(record, "")),
    ]
    return "\n".join(lines) + "\n"


def _rows(kind: Kind[Any], path: str) -> Iterator[tuple[str, str, str, str]]:
    for inner in kind.inner():
        below = f"{path}.{inner.name}".strip(".").replace(".[]", "[]") if inner.name else path
        yield f"`{below}`", inner.kind.says(), inner.default, inner.meaning
        yield from _rows(inner.kind, below)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
