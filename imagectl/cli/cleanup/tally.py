"""Counts what a cleanup plan says, while its entries go by: a plan may be too long to be held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imagectl.model.retention import Stage

if TYPE_CHECKING:
    from imagectl.model.cleanup import Because, Entry
    from imagectl.model.names import ImageName, LocationName
    from imagectl.model.version import VersionRef

EXAMPLES = 3
"""How many versions are named for each reason to keep some."""


@dataclass(slots=True)
class Tally:
    """Counts the entries of a plan while somebody reads them."""

    versions: int = 0
    deleted: int = 0
    """Those of them that are deleted already."""
    placements: int = 0
    kept: int = 0
    protected: int = 0
    reasons: Counter[Because] = field(default_factory=Counter)
    examples: dict[Because, list[str]] = field(default_factory=dict)
    missing: list[tuple[VersionRef, LocationName]] = field(default_factory=list)
    steps: list[Entry] = field(default_factory=list)
    images: set[ImageName] = field(default_factory=set)

    def over(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """The entries, counted as they go by."""
        for entry in entries:
            self.versions += 1
            self.images.add(entry.version.image)
            self.placements += len(entry.placed)
            if entry.stage is Stage.DELETED:
                self.deleted += 1
            elif entry.to is None:
                self.kept += 1
            else:
                self.steps.append(entry)
            self.protected += entry.protected
            for because in {each.because for each in entry.reasons}:
                self.reasons[because] += 1
                named = self.examples.setdefault(because, [])
                if len(named) < EXAMPLES:
                    named.append(_example(entry, because))
            self.missing += [(entry.version, each.location) for each in entry.missing]
            yield entry


def _example(entry: Entry, because: Because) -> str:
    detail = ", ".join(each.detail for each in entry.reasons if each.because is because)
    return f"{entry.version} ({detail})" if detail else str(entry.version)
