"""Secrets by reference: ``{env: NAME}``, ``{file: PATH}`` or ``{keyring: SERVICE/USER}``.

A secret itself is never in a file of the project: :func:`refuse_literal` finds those that were
typed in all the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Generic, TypeVar

from imagectl.formats.paths import FOLDER_PATTERN, parse_folder
from imagectl.formats.reading import (
    HIDDEN,
    Bad,
    Inner,
    JsonSchema,
    Kind,
    Reading,
    Unfit,
    says_nothing,
)
from imagectl.formats.scalars import Text, in_python
from imagectl.formats.schema import As, OneOf
from imagectl.formats.yaml_strict import Node, Scalar, shown
from imagectl.model.image import SecretKind, SecretRef

T = TypeVar("T")

_ENV_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
_KEYRING_PATTERN = r"^[^\u0000-\u0020\u007f-\u009f]+/[^\u0000-\u0020\u007f-\u009f/]+$"

_SECRET_NAME = re.compile(
    r"(?i)(?:^|[_.-])(?:password|passwd|passphrase|secret|token|credential"
    r"|(?:private|secret|access|api)[_-]?key)s?\Z"
)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY")


def _env(text: str) -> str:
    if not re.search(in_python(_ENV_PATTERN), text):
        raise Unfit(f"{shown(text)} is not the name of an environment variable")
    return text


def _keyring(text: str) -> str:
    if not re.search(in_python(_KEYRING_PATTERN), text):
        raise Unfit(f"{shown(text)} is not an entry of a keyring", "write SERVICE/USER")
    return text


def _file(text: str) -> str:
    return str(parse_folder(text))


_REFERENCE: OneOf[SecretRef] = OneOf(
    {
        "env": (
            As(
                Text(_env, "the name of an environment variable", _ENV_PATTERN),
                lambda name: SecretRef(SecretKind.ENV, name),
            ),
            "An environment variable of the process that runs imagectl.",
        ),
        "file": (
            As(
                Text(_file, "the path of a file", FOLDER_PATTERN),
                lambda name: SecretRef(SecretKind.FILE, name),
            ),
            "A file with nothing in it but the secret, relative to the project or absolute.",
        ),
        "keyring": (
            As(
                Text(_keyring, "`SERVICE/USER` in a keyring", _KEYRING_PATTERN),
                lambda name: SecretRef(SecretKind.KEYRING, name),
            ),
            "An entry of the system's keyring, as SERVICE/USER.",
        ),
    }
)


@dataclass(slots=True, eq=False, repr=False)
class Unshown(Generic[T]):
    """A kind whose messages show nothing that was typed but the words in ``but``."""

    kind: Kind[T]
    but: tuple[str, ...]

    def read(self, node: Node, reading: Reading) -> T | Bad:
        if isinstance(node, Scalar) and not says_nothing(node) and node.text not in self.but:
            hint = "write {env: NAME}, {file: PATH} or {keyring: SERVICE/USER}; a secret that was"
            what = f"{HIDDEN}, where {self.kind.says()} is expected"
            return reading.report(node, what, f"{hint} typed in here is known to others by now")
        return self.kind.read(node, reading.hiding(node, self.but))

    def json_schema(self) -> JsonSchema:
        return self.kind.json_schema()

    def says(self) -> str:
        return self.kind.says()

    def inner(self) -> tuple[Inner, ...]:
        return self.kind.inner()


SECRET: Kind[SecretRef] = Unshown(_REFERENCE, tuple(_REFERENCE.options))


def refuse_literal(node: Scalar, reading: Reading) -> None:
    """Report a value that looks like a secret, by the keys it stands under or by itself.

    What is empty, a switch (``true``, ``false``, ``null``) or a template that fetches the secret
    from elsewhere is none.
    """
    hint = "put it under 'secrets', by reference: {env: NAME}, {file: PATH} or {keyring: ...}"
    if _PRIVATE_KEY.search(node.text):
        reading.report(node, "a private key", hint)
    elif any(isinstance(step, str) and _SECRET_NAME.search(step) for step in reading.path):
        switch = node.plain and (says_nothing(node) or node.text in ("true", "false"))
        if node.text and not switch and "{{" not in node.text:
            reading.report(node, "looks like a secret", hint)
