"""What vSphere's machines say of themselves, as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from imagectl.adapters.locations.vsphere_claims import copied_claim, first_claim, read_claim
from imagectl.adapters.locations.vsphere_marks import read_marks
from imagectl.model.resource import Claim

UNTIL = datetime(2026, 11, 21, 12, 15, tzinfo=UTC)
CLAIM = Claim("00000000-0000-4000-8000-000000000001", "1" * 32, UNTIL)
LATER = Claim(CLAIM.catalog, CLAIM.resource, UNTIL + timedelta(minutes=5))


def text(claim: Claim, machine: str) -> str:
    return f"{claim.catalog} {claim.resource} {claim.until.isoformat()} {machine}"


def test_what_is_written_is_read() -> None:
    line = first_claim(CLAIM, "debian ci.boot-1")
    assert "\n" not in line
    assert read_claim(f"ask Eve\n{line}\nbefore", "", "debian ci.boot-1", "vm-7") == CLAIM
    assert read_marks(line) is None


def test_it_is_about_the_machine_that_it_names() -> None:
    """A clone takes it along."""
    assert read_claim(first_claim(CLAIM, "a"), "", "b", "vm-7") is None
    line = f"imagectl-claim: {text(CLAIM, 'id=vm-7')}"
    assert read_claim(line, "", "whatever", "vm-7") == CLAIM
    assert read_claim(line, "", "whatever", "vm-8") is None
    assert read_claim("", text(CLAIM, "id=vm-7"), "whatever", "vm-7") == CLAIM
    assert read_claim("", text(CLAIM, "id=vm-7"), "whatever", "vm-77") is None


def test_a_claim_that_came_along_from_another_machine_is_told_apart() -> None:
    line = first_claim(CLAIM, "a")
    assert copied_claim(line, "", "a", "vm-7") is None, "its own"
    assert copied_claim(line, text(LATER, "id=vm-7"), "b", "vm-8") == LATER
    assert copied_claim(line, text(LATER, "id=vm-8"), "b", "vm-8") is None, "it has its own, too"
    assert copied_claim("ask Eve", "", "b", "vm-8") is None


def test_the_latest_counts() -> None:
    """A renewal may have reached one place and not the other."""
    line = f"imagectl-claim: {text(CLAIM, 'id=vm-7')}"
    assert read_claim(line, text(LATER, "id=vm-7"), "a", "vm-7") == LATER
    line = f"imagectl-claim: {text(LATER, 'id=vm-7')}"
    assert read_claim(line, text(CLAIM, "id=vm-7"), "a", "vm-7") == LATER


def test_every_time_zone_is_read() -> None:
    there = UNTIL.astimezone(timezone(timedelta(hours=-5)))
    line = f"imagectl-claim: {CLAIM.catalog} {CLAIM.resource} {there.isoformat()} id=vm-7"
    assert read_claim(line, "", "a", "vm-7") == CLAIM


@pytest.mark.parametrize(
    "said",
    [
        "",
        "imagectl-claim:",
        "imagectl-claim: one two",
        f"imagectl-claim: {CLAIM.catalog} {CLAIM.resource} soon id=vm-7",
        f"imagectl-claim: {CLAIM.catalog} {CLAIM.resource} 2026-11-21T12:15:00 id=vm-7",
        f"imagectl-claim: {CLAIM.catalog} {CLAIM.resource} {UNTIL.isoformat()}",
        f"x imagectl-claim: {text(CLAIM, 'id=vm-7')}",
    ],
)
def test_anything_else_is_no_claim(said: str) -> None:
    assert read_claim(said, said, "a", "vm-7") is None
