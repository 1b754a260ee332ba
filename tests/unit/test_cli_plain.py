"""What was resolved as lines that a shell or a CI system reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from imagectl.cli.plain import Plain, plain
from imagectl.errors import Corrupt
from imagectl.model.names import (
    Architecture,
    Format,
    ImageName,
    LocationName,
    Sha256,
    parse_version_id,
)
from imagectl.model.version import VersionRef
from imagectl.policy.resolution import Resolution


def test_a_line_break_in_a_reference_sets_no_variable() -> None:
    """Else a catalog could set LD_PRELOAD in the jobs of its consumers."""
    found = Resolution(
        VersionRef(ImageName("a"), parse_version_id("20261120.1")),
        None,
        "/x\nLD_PRELOAD=/evil.so",
        LocationName("local"),
        Format.RAW,
        Architecture.AMD64,
        Sha256("0" * 64),
        1,
        datetime(2026, 11, 20, tzinfo=UTC),
        timedelta(),
        (),
    )
    for form in Plain:
        with pytest.raises(Corrupt, match="is not one line"):
            plain([found], form, several=False)
