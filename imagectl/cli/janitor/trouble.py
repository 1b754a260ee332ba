"""What went wrong in a place, or was not seen of it, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imagectl.cli.invocation import Invocation

if TYPE_CHECKING:
    from imagectl.errors import ImagectlError
    from imagectl.services.janitor import Looked


def said(error: ImagectlError) -> str:
    """The error in one line, without what to type."""
    return error.what + (f": {error.why}" if error.why else "")


def tell_trouble(invocation: Invocation, looked: Looked) -> None:
    """Warn of a place that could not be read, or not wholly, and say what to type."""
    if looked.error is not None:
        invocation.out.warn(f"{looked.place} cannot be read: {said(looked.error)}")
        if looked.error.hint:
            invocation.out.say(looked.error.hint)
    tell_gaps(invocation, looked)


def tell_gaps(invocation: Invocation, looked: Looked) -> None:
    """Warn of a place that was not wholly seen."""
    if looked.view is not None and not looked.view.complete:
        invocation.out.warn(
            f"not everything of {looked.place} was seen: {'; '.join(looked.view.gaps)}"
        )
