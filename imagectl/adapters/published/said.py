"""What a tree says by now, and what it has to say as soon as enough have signed: on top of that, a
change is said, without saying all the rest anew.

Promises: what waits for signatures is a file of this project, and is believed where the tree's own
timestamp, which is signed, names it by its digest (P10); where it does not, or a document of it is
missing, that is a Conflict, and all is said anew from the catalog. So nothing is left out that
changed while people had not signed yet.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import TargetFile, Targets

from imagectl.adapters.published.verified import SHOWN, Signed, VerifiedTree, parse_metadata
from imagectl.errors import Conflict, Corrupt
from imagectl.formats.tuf_roles import role_of


class Said:
    """What *tree* says, and what of a role waits by what *found* gives."""

    def __init__(self, tree: VerifiedTree, found: Callable[[str], bytes | None]) -> None:
        self._tree = tree
        self._found = found
        self._known: dict[str, tuple[Mapping[str, TargetFile], Mapping[str, bytes]]] = {}

    def targets(self, role: str) -> Mapping[str, TargetFile]:
        """Every document that the role has to sign by now."""
        return self._of(role)[0]

    def documents(self, role: str) -> Mapping[str, bytes]:
        """Those of them that are not published yet."""
        return self._of(role)[1]

    def find(self, target: str) -> tuple[bytes, str] | None:
        """The last that was said of a target, and where; None where that is nothing."""
        role = role_of(target, self._tree.roles())
        listed, waiting = self._of(role)
        if target in waiting:
            return waiting[target], f"pending {role}"
        return self._tree.find(target) if target in listed else None

    def _of(self, role: str) -> tuple[Mapping[str, TargetFile], Mapping[str, bytes]]:
        if role not in self._known:
            self._known[role] = self._read(role)
        return self._known[role]

    def _read(self, role: str) -> tuple[Mapping[str, TargetFile], Mapping[str, bytes]]:
        signed = self._tree.role(role)
        published = {} if signed is None else signed.signed.targets
        digest = self._tree.behind.get(role)
        if digest is None:
            return published, {}
        waiting = self._waiting(role)
        if waiting is None or digest_of(waiting.signed.targets) != digest:
            raise self._unknown(role)
        enclosed = waiting.metadata.unrecognized_fields.get(SHOWN)
        texts = enclosed.get("documents") if isinstance(enclosed, dict) else None
        documents: dict[str, bytes] = {}
        for target, file in waiting.signed.targets.items():
            if published.get(target) == file:
                continue
            text = texts.get(target) if isinstance(texts, dict) else None
            data = text.encode() if isinstance(text, str) else b""
            try:
                file.verify_length_and_hashes(data)
            except LengthOrHashMismatchError as problem:
                raise self._unknown(role) from problem
            documents[target] = data
        return waiting.signed.targets, documents

    def _waiting(self, role: str) -> Signed[Targets] | None:
        data = self._found(role)
        if data is None:
            return None
        try:
            return parse_metadata(Targets, data, f"pending {role}")
        except Corrupt:
            return None

    def _unknown(self, role: str) -> Conflict:
        return Conflict(
            f"{self._tree.where} lacks what others have to sign of {role}, and it is not here",
            where=self._tree.where,
            hint="`imagectl catalog publish`",
        )


def digest_of(targets: Mapping[str, TargetFile]) -> str:
    """One sha256 for all that a role signs, whoever signs it and when."""
    said = sorted((name, file.length, file.hashes["sha256"]) for name, file in targets.items())
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()
