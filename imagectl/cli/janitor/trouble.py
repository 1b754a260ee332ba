"""What went wrong in a place, or was not seen of it, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imagectl.cli.invocation import Invocation

if TYPE_CHECKING:
    from imagectl.errors import ImagectlError
    from imagectl.services.janitor import Looked


def tell_error(invocation: Invocation, what: str, error: ImagectlError) -> None:
    """Warn that *what* is so, since *error* happened, of where, and of what to type: also in a
    service's log, which has warnings alone."""
    where = f" ({error.where})" if error.where else ""
    hint = f"; {error.hint}" if error.hint else ""
    invocation.out.warn(f"{what}: {error.said}{where}{hint}")


def tell_trouble(invocation: Invocation, looked: Looked) -> None:
    """Warn of a place that could not be read, or not wholly, and say what to type."""
    if looked.error is not None:
        tell_error(invocation, f"{looked.place} cannot be read", looked.error)
    tell_gaps(invocation, looked)


def tell_gaps(invocation: Invocation, looked: Looked) -> None:
    """Warn of a place that was not wholly seen."""
    if looked.view is not None and not looked.view.complete:
        invocation.out.warn(
            f"not everything of {looked.place} was seen: {'; '.join(looked.view.gaps)}"
        )
