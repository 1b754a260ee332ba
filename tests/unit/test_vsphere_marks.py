"""The marks on templates: what is written is read again, and nothing else is taken for them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from support.places.place import CATALOG_ID
from support.strategies import digests, texts, version_refs, wholes

from imagectl.adapters.locations.vsphere_marks import PREFIX, Marks, read_marks, write_marks
from imagectl.model.names import Architecture, Format
from imagectl.model.view import Ownership
from imagectl.services.ports.locations import Mark

owners = st.builds(
    Ownership,
    st.just(CATALOG_ID),
    version_refs,
    st.sampled_from(Format),
    st.sampled_from(Architecture),
    digests,
)
every = st.builds(Marks, owners, wholes, st.just("") | st.uuids().map(str), st.sampled_from(Mark))


@given(every, texts)
def test_what_is_written_is_read_again(marks: Marks, notes: str) -> None:
    assert read_marks(write_marks(marks, notes)) == marks


@given(every, every)
def test_later_marks_replace_earlier_ones_and_leave_notes_alone(one: Marks, other: Marks) -> None:
    notes = "ask Eve before you delete this\nimage of CI"
    text = write_marks(other, write_marks(one, notes))
    assert text == write_marks(other, notes)
    assert text.startswith(notes)


@given(every, st.data())
def test_a_line_less_and_they_are_no_marks(marks: Marks, data: st.DataObject) -> None:
    lines = write_marks(marks).splitlines()
    lines.remove(data.draw(st.sampled_from(lines)))
    assert read_marks("\n".join(lines)) is None


@given(texts)
def test_notes_are_no_marks(text: str) -> None:
    assert read_marks(text) is None
    assert read_marks(f"{PREFIX}{text}") is None
