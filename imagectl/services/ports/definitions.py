"""What the project says: its definitions, and whether they can be built."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from imagectl.model.image import Image
from imagectl.model.lock import (
    DefinitionDigests,
    Lock,
)
from imagectl.model.names import (
    ImageName,
)
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.workspaces import Workspace


@dataclass(frozen=True, slots=True)
class Sources:
    """What a source archive holds. ``project``: the folder that its paths are relative to."""

    image: Image
    lock: Lock
    project: Path


class Definitions(Protocol):
    """The project's image definitions, and their locks."""

    @property
    def project(self) -> Path:
        """The folder that the definitions' paths are relative to."""
        ...

    def load(self, names: Collection[ImageName]) -> tuple[Image, ...]:
        """The images named (all where empty), parents before their children.

        Raises NotFound for an unknown name and BadInput, with every problem, for bad files.
        """
        ...

    def digests(self, image: Image) -> DefinitionDigests:
        """Over the definition and everything of the project that its build reads.

        Raises BadInput for a file that cannot be read or leads out of the project.
        """
        ...

    def lock(self, name: ImageName) -> Lock | None:
        """The image's lock; None where it has none. Raises BadInput for one that is wrong."""
        ...

    def lock_text(self, lock: Lock) -> str:
        """The lock as ``write_lock`` writes it: equal locks, equal text."""
        ...

    def write_lock(self, lock: Lock) -> Path:
        """Make it the image's lock: before or after, never between, and durable on return."""
        ...

    def archive(
        self, image: Image, digests: DefinitionDigests, lock: Lock | None, work: Workspace
    ) -> Path:
        """A file in the workspace that holds what the project gives to a build of *image*, and its
        lock, where it has one. Equal content, equal bytes.

        Raises BuildFailed where what is there does not have these digests.
        """
        ...

    def unpack(self, archive: Path, name: ImageName, work: Workspace) -> Sources:
        """What ``archive`` wrote, in the workspace. Raises Corrupt for anything else, and BadInput
        for a definition or a lock that this imagectl cannot read."""
        ...


class Checks(Protocol):
    """Finds out what is wrong with a definition before anything long is begun."""

    def check(self, image: Image, progress: Progress) -> None:
        """The playbook's syntax, that each suite has tests, and the rendered Packer template.

        Raises BadInput with every problem, ToolMissing.
        """
        ...
