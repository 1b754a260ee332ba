"""Check definitions as thoroughly as can be done in seconds, without building anything."""

from __future__ import annotations

from collections.abc import Collection

from imagectl.errors import BadInput, Problem
from imagectl.model.image import Image
from imagectl.model.names import ImageName
from imagectl.services.ports.definitions import Checks, Definitions
from imagectl.services.ports.progress import Progress


def validate(
    definitions: Definitions, checks: Checks, names: Collection[ImageName], progress: Progress
) -> tuple[Image, ...]:
    """The images named (all where none is), after every check that needs no build.

    Raises BadInput with all problems that the tools find in all of them; but where a definition
    itself is wrong, that alone, since the tools would only stumble over it.
    """
    images = definitions.load(names)
    problems: list[Problem] = []
    for image in images:
        try:
            checks.check(image, progress)
        except BadInput as bad:
            problems += bad.problems
    if problems:
        raise BadInput(problems)
    return images
