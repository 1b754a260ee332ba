"""Digests of everything in the project that an image is made from.

Equal digests mean that nothing of the definition has changed; see :mod:`definition_files` for what
is counted in. They are independent of the project's own place, of times and of owners.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from imagectl.adapters.definition_files import (
    Entry,
    Kind,
    playbook_files,
    reason,
    refused,
    suite_files,
    template_files,
)
from imagectl.adapters.disk.rules import RULES
from imagectl.model.digest import digest_of
from imagectl.model.image import Image, PackerTemplate
from imagectl.model.lock import DefinitionDigests
from imagectl.model.names import Sha256


def definition_digests(root: Path, image: Image) -> DefinitionDigests:
    """Over the definition, what its build may read of the project, and the volatile paths' rules.

    Raises BadInput for a file that cannot be read, or is somewhere else.
    """
    return DefinitionDigests(
        definition=_definition(root, image),
        playbooks=_digest(root, playbook_files(root)),
        suites=_digest(root, suite_files(root, image)),
        rules=digest_of((RULES, image.volatile)),
    )


def _definition(root: Path, image: Image) -> Sha256:
    said = replace(image, volatile=())
    if not isinstance(image.base, PackerTemplate):
        return digest_of(said)
    return digest_of((said, _digest(root, template_files(root, image))))


def _digest(root: Path, entries: Iterable[Entry]) -> Sha256:
    whole = hashlib.sha256(b"imagectl files 1\n")
    for entry in entries:
        said = os.fsencode(str(entry.path)), entry.kind.value.encode(), _content(root, entry)
        whole.update(b"".join(part + b"\0" for part in said))
    return Sha256(whole.hexdigest())


def _content(root: Path, entry: Entry) -> bytes:
    if entry.kind is Kind.FOLDER:
        return b""
    if entry.target is not None:
        return os.fsencode(str(entry.target))
    try:
        with (root / entry.path).open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest().encode()
    except OSError as error:
        raise refused(entry.path, f"cannot be read: {reason(error)}") from error
