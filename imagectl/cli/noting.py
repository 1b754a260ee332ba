"""Notes how a verb that runs again and again has ended, for ``imagectl metrics``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imagectl.errors import ImagectlError

if TYPE_CHECKING:
    from imagectl.bootstrap.project import Project
    from imagectl.cli.output import Output


@dataclass(slots=True)
class Ended:
    """How it has, as far as the verb knows. To be set where it has not raised and yet failed."""

    ok: bool = True


@contextmanager
def noting(out: Output, project: Project, what: str, place: str = "") -> Iterator[Ended]:
    """What the block does is noted as *what*, such as ``build``, at *place*: as a success only
    where it raises nothing. Noting that fails is told, and changes nothing else."""
    ended = Ended()
    try:
        yield ended
    except BaseException:
        ended.ok = False
        raise
    finally:
        try:
            project.outcomes.note(what, place, project.clock.now(), ok=ended.ok)
        except ImagectlError as problem:
            mend = "; ".join(filter(None, (problem.where, problem.hint)))
            out.warn(f"metrics will not tell how this ended: {problem} ({mend})")
