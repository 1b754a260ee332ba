"""Reads the documents about versions from the artifact store, each checked against its digest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from imagectl.errors import Corrupt
from imagectl.formats.contents_v1 import parse_contents, parse_manifest
from imagectl.model.contents import Contents, Listed
from imagectl.model.version import Inside, TestSummary
from imagectl.services.ports.stores import ArtifactStore


class StoredDocuments:
    """Implements ``services.ports.Documents``."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store

    def contents(self, inside: Inside) -> Contents:
        path = self._store.verify(inside.contents)
        return parse_contents(path.read_text(encoding="utf-8", errors="replace"), str(path))

    def files(self, inside: Inside) -> Iterator[Listed]:
        path = self._store.verify(inside.manifest)
        with path.open(encoding="utf-8", errors="replace") as lines:
            yield from parse_manifest(lines, str(path))

    def outcomes(self, tests: TestSummary) -> Mapping[str, str]:
        path = self._store.verify(tests.report)
        try:
            results = json.loads(path.read_bytes())["results"]
            return {f"{each['suite']}::{each['test']}": str(each["outcome"]) for each in results}
        except (KeyError, TypeError, ValueError, RecursionError) as wrong:
            raise Corrupt(
                "a test report cannot be read", where=str(path), why=f"{wrong!r}"
            ) from None
