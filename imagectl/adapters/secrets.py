"""Reads secrets where a definition says they are. Their values go nowhere but to who asked."""

from __future__ import annotations

import os
from pathlib import Path

from imagectl.errors import Failed, NotFound, ToolMissing
from imagectl.model.image import SecretKind, SecretRef


def read_secret(ref: SecretRef, project: Path) -> str:
    """The secret's value. A file's path is relative to *project*; one newline at its end is not
    part of it. Raises NotFound where it is not there, Failed where it cannot be read."""
    match ref.kind:
        case SecretKind.ENV:
            value = os.environ.get(ref.name)
            if value is None:
                raise NotFound(
                    f"the secret {ref} is not set",
                    why=f"there is no environment variable {ref.name}",
                    hint=f"export {ref.name}=... and type the command again",
                )
            return value
        case SecretKind.FILE:
            return _from_file(ref, project / ref.name)
        case SecretKind.KEYRING:
            return _from_keyring(ref)


def _from_file(ref: SecretRef, path: Path) -> str:
    try:
        return path.read_text().removesuffix("\n")
    except FileNotFoundError:
        raise NotFound(f"the secret {ref} is not there", where=str(path)) from None
    except (OSError, UnicodeDecodeError) as problem:
        raise Failed(
            f"the secret {ref} cannot be read", where=str(path), why=str(problem)
        ) from problem


def _from_keyring(ref: SecretRef) -> str:
    try:
        import keyring
    except ModuleNotFoundError:
        raise ToolMissing(
            f"the secret {ref} needs the Python package keyring",
            hint="pip install 'imagectl[keyring]'",
        ) from None
    service, _, user = ref.name.partition("/")
    value: str | None = keyring.get_password(service, user)
    if value is None:
        raise NotFound(
            f"the secret {ref} is not in the keyring", hint=f"keyring set {service} {user}"
        )
    return value
