"""The table of safety guards: what it names is there. ``make test-guards`` takes them out."""

from __future__ import annotations

import pytest
from support.guards import ROOT, Guard, guards, place, without


@pytest.mark.parametrize("guard", guards(), ids=lambda guard: guard.name)
def test_it_names_what_is_there(guard: Guard) -> None:
    text = place(guard).read_text()
    assert without(guard, text) != text
    assert guard.tests
    for test in guard.tests:
        assert (ROOT / test.partition("::")[0]).is_file()


def test_each_has_a_name_of_its_own() -> None:
    names = [each.name for each in guards()]
    assert len(set(names)) == len(names)
