"""What Testinfra said about a booted artifact: the evidence that a version works."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Outcome(enum.Enum):
    """How a test ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class TestResult:
    """One test. ``said`` is its assertion or reason; ``output`` what it printed."""

    __test__ = False  # not a pytest class

    suite: str
    name: str
    outcome: Outcome
    seconds: float
    said: str = ""
    output: str = ""


@dataclass(frozen=True, slots=True)
class TestReport:
    """The results of all suites, in the order they ran."""

    __test__ = False  # not a pytest class

    results: tuple[TestResult, ...]

    def count(self, outcome: Outcome) -> int:
        """How many tests ended so."""
        return sum(result.outcome is outcome for result in self.results)

    def ran(self, suite: str) -> bool:
        """True where at least one test of the suite was not skipped."""
        return any(
            result.suite == suite and result.outcome is not Outcome.SKIPPED
            for result in self.results
        )

    @property
    def seconds(self) -> float:
        """The time that all tests took together."""
        return sum(result.seconds for result in self.results)

    @property
    def failures(self) -> tuple[TestResult, ...]:
        return tuple(each for each in self.results if each.outcome is Outcome.FAILED)
