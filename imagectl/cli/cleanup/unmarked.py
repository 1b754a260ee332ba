"""What still looks in its location as it did before, though the catalog says otherwise.

A verb that leaves such a placement names it, and does not end well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, TypedDict

from imagectl.cli.invocation import Invocation

if TYPE_CHECKING:
    from imagectl.services.marking import Unmarked


class UnmarkedDocument(TypedDict):
    """A placement that still looks there as it did before."""

    version: Annotated[str, "IMAGE@VERSION"]
    location: Annotated[str, "the location"]
    what: Annotated[str, "what went wrong"]


def unmarked_documents(unmarked: Sequence[Unmarked]) -> list[UnmarkedDocument]:
    """One document for each."""
    return [
        UnmarkedDocument(
            version=str(each.placement.version),
            location=each.placement.location,
            what=each.error.what,
        )
        for each in unmarked
    ]


def tell_unmarked(invocation: Invocation, unmarked: Sequence[Unmarked]) -> int:
    """The exit code: the catalog is right, and a location does not look like it."""
    for each in unmarked:
        invocation.out.warn(
            f"{each.placement.version} still looks as before in {each.placement.location}"
        )
        invocation.out.tell_error(each.error)
    return 1 if unmarked else 0
