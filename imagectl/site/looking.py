"""What is in versions, as far as it is known; and why not, where it is not (P8)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from imagectl.errors import CannotTell, Corrupt, ImagectlError, NotFound
from imagectl.model.comparison import Comparison
from imagectl.model.contents import Contents, Listed
from imagectl.model.security import SecurityData
from imagectl.model.version import Inside, TestSummary, Version
from imagectl.services.diff import compare, look
from imagectl.services.ports.looking_inside import Documents
from imagectl.services.scan import Scanned, scan, suite_of
from imagectl.site.sources import Sources

REMEMBERED = 4
"""Documents: a version's are needed for its own page, and for those of its neighbours."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something that could not be found out."""

    why: str


class Looking:
    """Looks into versions, each document once where versions are asked for in their order."""

    def __init__(self, sources: Sources) -> None:
        self._documents = _Remembering(sources.documents)
        self._security = sources.security
        self._data: dict[str, SecurityData | CannotTell] = {}

    def contents(self, version: Version) -> Contents | Unknown:
        """What is in the version."""
        try:
            (seen,) = look(self._documents, version)
        except (CannotTell, Corrupt) as trouble:
            return _unseen(trouble)
        return seen.contents

    def outcomes(self, version: Version) -> Mapping[str, str] | Unknown:
        """How each of its tests ended."""
        try:
            return self._documents.outcomes(version.tests)
        except (NotFound, Corrupt) as trouble:
            return Unknown(f"the report is not in the store any more: {trouble.what}")

    def vulnerabilities(self, version: Version) -> Scanned | Unknown:
        """Which known vulnerabilities it has, by the data that is kept here."""
        contents = self.contents(version)
        if isinstance(contents, Unknown):
            return Unknown(f"what is in it is not known: {contents.why}")
        try:
            return scan(contents, self.data(suite_of(contents, str(version.ref))))
        except CannotTell as trouble:
            return Unknown(f"{trouble.what}{f': {trouble.why}' if trouble.why else ''}")

    def data(self, suite: str) -> SecurityData:
        """Debian's data about a suite. Raises CannotTell."""
        if suite not in self._data:
            try:
                self._data[suite] = self._security(suite)
            except CannotTell as trouble:
                self._data[suite] = trouble
        found = self._data[suite]
        if isinstance(found, CannotTell):
            raise found
        return found

    def suites(self) -> tuple[str, ...]:
        """The suites about which data was asked for."""
        return tuple(sorted(self._data))

    def compare(
        self, before: Version, after: Version, *, files: bool = False
    ) -> Comparison | Unknown:
        """In what they differ; in files only where that is asked for, as it takes a second."""
        try:
            return compare(self._documents, before, after, files=files)
        except (CannotTell, Corrupt) as trouble:
            return Unknown(trouble.why or trouble.what)


def _unseen(trouble: ImagectlError) -> Unknown:
    """Why nobody can look into a version, on a page that says of which."""
    return Unknown(trouble.why.removeprefix(f"{trouble.where}: ") or trouble.what)


class _Remembering:
    """``Documents`` that are read once in a row."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._contents: OrderedDict[Inside, Contents] = OrderedDict()
        self._outcomes: OrderedDict[TestSummary, Mapping[str, str]] = OrderedDict()

    def contents(self, inside: Inside) -> Contents:
        if inside not in self._contents:
            self._contents[inside] = self._documents.contents(inside)
            if len(self._contents) > REMEMBERED:
                self._contents.popitem(last=False)
        self._contents.move_to_end(inside)
        return self._contents[inside]

    def outcomes(self, tests: TestSummary) -> Mapping[str, str]:
        if tests not in self._outcomes:
            self._outcomes[tests] = self._documents.outcomes(tests)
            if len(self._outcomes) > REMEMBERED:
                self._outcomes.popitem(last=False)
        self._outcomes.move_to_end(tests)
        return self._outcomes[tests]

    def files(self, inside: Inside) -> Iterator[Listed]:
        return self._documents.files(inside)
