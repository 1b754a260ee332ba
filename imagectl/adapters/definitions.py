"""The project's definitions, their locks, and the source archives that are kept with versions."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from imagectl.adapters import definition_digest, durable, project_files, sources
from imagectl.adapters.definition_files import playbook_files, suite_files, template_files
from imagectl.errors import BadInput, BuildFailed, Corrupt, NotFound, Problem
from imagectl.formats import lock_text
from imagectl.model.image import Image
from imagectl.model.lock import DefinitionDigests, Lock
from imagectl.model.names import ImageName
from imagectl.policy.ancestry import build_order
from imagectl.services.ports.definitions import Sources
from imagectl.services.ports.workspaces import Workspace


class FileDefinitions:
    """Implements ``services.ports.Definitions`` on the project's files."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def project(self) -> Path:
        return self._root

    def load(self, names: Collection[ImageName]) -> tuple[Image, ...]:
        if not names:
            return project_files.load_all(self._root)
        images: list[Image] = []
        problems: list[Problem] = []
        for name in sorted(set(names)):
            try:
                images.append(project_files.load_image(self._root, name))
            except BadInput as bad:
                problems += bad.problems
        if problems:
            raise BadInput(sorted(set(problems)))
        return build_order(images)

    def digests(self, image: Image) -> DefinitionDigests:
        return definition_digest.definition_digests(self._root, image)

    def lock(self, name: ImageName) -> Lock | None:
        return project_files.load_lock(self._root, name)

    def lock_text(self, lock: Lock) -> str:
        return lock_text.write_lock(lock)

    def write_lock(self, lock: Lock) -> Path:
        final = self._root / project_files.lock_file(lock.image)
        text = lock_text.write_lock(lock)
        folder = final.parent
        with durable.naming_failures(f"writing {final.name} of {lock.image}", folder, len(text)):
            # In the same folder, since another one may be on another file system.
            durable.write(folder, final, text.encode())
            with contextlib.suppress(OSError):  # another writer's file is in it
                (folder / durable.PARTIAL).rmdir()
        return final

    def archive(
        self, image: Image, digests: DefinitionDigests, lock: Lock | None, work: Workspace
    ) -> Path:
        out = work.folder / "source.tar"
        definition = project_files.image_file(image.name)
        texts = {definition: project_files.read_definition(self._root, image.name)}
        if lock is not None:
            texts[project_files.lock_file(image.name)] = lock_text.write_lock(lock).encode()
        entries = {
            each.path: each
            for each in (
                *playbook_files(self._root),
                *suite_files(self._root, image),
                *template_files(self._root, image),
            )
        }
        sources.write_archive(
            out,
            self._root,
            entries.values(),
            [(PurePosixPath(name), text) for name, text in texts.items()],
        )
        self._compare(image, digests, lock, out, work)
        return out

    def _compare(
        self,
        image: Image,
        digests: DefinitionDigests,
        lock: Lock | None,
        archive: Path,
        work: Workspace,
    ) -> None:
        """See that what was archived is what was built, whole: unpacked, it has the digests."""
        try:
            root = self._unpacked(archive, work, "archived")
            found = project_files.load_alone(root, image.name)
            found_digests = definition_digest.definition_digests(root, found)
            found_lock = project_files.load_lock(root, image.name)
        except (BadInput, NotFound, Corrupt) as problem:
            raise _changed(image, problem.what) from problem
        if (found, found_lock, found_digests) != (image, lock, digests):
            raise _changed(image, "its files are not those that the build began with")

    def unpack(self, archive: Path, name: ImageName, work: Workspace) -> Sources:
        root = self._unpacked(archive, work, "sources")
        lock = project_files.load_lock(root, name)
        if lock is None:
            raise Corrupt(f"the sources of {name} are without their lock", where=str(archive))
        return Sources(project_files.load_alone(root, name), lock, root)

    def _unpacked(self, archive: Path, work: Workspace, folder: str) -> Path:
        root = work.sub(folder)
        sources.unpack_archive(archive, root)
        return root


def _changed(image: Image, why: str) -> BuildFailed:
    return BuildFailed(
        f"the definition of {image.name} changed while it was being built",
        stage="keep",
        where=project_files.image_file(image.name),
        why=why,
        hint=f"nothing was recorded; build it again: imagectl build {image.name}",
    )
