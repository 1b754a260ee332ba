"""Operations of Compute Engine: each write begins one, and takes effect when it is DONE.

It comes nearer to that with each look at it, or at what it is about: tests need no clock.
"""

from __future__ import annotations

import copy
import hashlib
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from peers.google.calls import (
    Call,
    FailOperation,
    Trouble,
    invalid,
    missing,
)
from peers.google.discovery import Json
from peers.google.inventory import Inventory, check_labels, fingerprint, scope
from peers.google.listings import filtered, one_page


@dataclass
class Pending:
    """An operation that is not DONE. ``apply`` is what it does then; it may raise Failed."""

    resource: str
    apply: Callable[[], None]
    looks: int


class Failed(Exception):
    """What an operation was to do cannot be done."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


@dataclass
class Operations(Inventory):
    """The operations of all projects."""

    looks: int = 1
    """How many looks at an operation it takes until it is DONE; ``wait`` is one look, and so is
    one at what it is about."""
    operations: dict[str, Json] = field(default_factory=dict)
    pending: dict[str, Pending] = field(default_factory=dict)
    requests: dict[tuple[str, str, str], str] = field(default_factory=dict)
    """Which operation a request id has begun."""

    def settle(self) -> None:
        """Everything that is being done is finished."""
        with self._lock:
            for where in list(self.pending):
                self._finish(where)

    def _again(self, call: Call) -> Json | None:
        """The operation that the same request id has begun before."""
        given = call.query.get("requestId")
        if given is None:
            return None
        try:
            zero = uuid.UUID(given).int == 0
        except ValueError:
            zero = True
        if zero:
            raise invalid(f"Invalid value for field 'requestId': '{given}'. It is no UUID.")
        done = self.requests.get((call.path["project"], call.id, given))
        return None if done is None else self._answer(call, self.operations[done])

    def _begin(self, call: Call, word: str, path: str, apply: Callable[[], None]) -> Json:
        resource = self.resources[path]
        number = self._id()
        scope = path.rsplit("/", 2)[0]
        name = f"operation-{number}-{hashlib.sha256(str(number).encode()).hexdigest()[:8]}"
        where = f"{scope}/operations/{name}"
        fail = call.effect(FailOperation)
        if not isinstance(fail, FailOperation) and word != "insert":
            self._before[path] = copy.deepcopy(resource)
        operation: Json = {
            "kind": "compute#operation",
            "id": str(number),
            "name": name,
            "operationType": word,
            "targetLink": f"@/{path}",
            "targetId": resource["id"],
            "status": "RUNNING",
            "user": "tests@peer.example",
            "progress": 0,
            "insertTime": self._time(),
            "startTime": self._time(),
            "selfLink": f"@/{where}",
        }
        if found := re.search(r"/zones/([^/]+)$", scope):
            operation["zone"] = f"@/{scope}"
            assert found[1] in self.zones
        if found := re.search(r"/regions/([^/]+)$", scope):
            operation["region"] = f"@/{scope}"
            assert found[1] in self.regions
        self.operations[where] = operation
        if given := call.query.get("requestId"):
            self.requests[call.path["project"], call.id, given] = where
        if isinstance(fail, FailOperation):
            refused = fail

            def apply() -> None:
                if word == "insert":
                    if refused.leaves is None:
                        self.resources.pop(path, None)
                    else:
                        resource["status"] = refused.leaves
                raise Failed(refused.code, refused.message, refused.status)

        self.pending[where] = Pending(path, apply, self.looks)
        if self.looks == 0:
            self._finish(where)
        return self._answer(call, operation)

    def _look(self, path: str) -> None:
        """Somebody looks at a resource: what is being done to it comes nearer to its end."""
        for where in list(self.pending):
            if self.pending[where].resource == path:
                self._nearer(where)

    def _look_inside(self, where: str) -> None:
        for path in {each.resource for each in self.pending.values()}:
            if path.startswith(where + "/"):
                self._look(path)

    def _nearer(self, where: str) -> None:
        pending = self.pending.get(where)
        if pending is None:
            return
        pending.looks -= 1
        if pending.looks <= 0:
            self._finish(where)

    def _finish(self, where: str) -> None:
        operation, pending = self.operations[where], self.pending.pop(where)
        try:
            pending.apply()
        except Failed as failure:
            operation["error"] = {"errors": [{"code": failure.code, "message": failure.message}]}
            operation["httpErrorStatusCode"] = failure.status
            operation["httpErrorMessage"] = failure.code.replace("_", " ")
        operation |= {"status": "DONE", "progress": 100, "endTime": self._time()}

    def _delete(self, collection: str, parameter: str) -> Callable[[Call], Json]:
        def delete(call: Call) -> Json:
            if again := self._again(call):
                return again
            path, _ = self._existing(call, collection, parameter)
            return self._begin(call, "delete", path, lambda: self._drop(path))

        return delete

    def _set_labels(self, collection: str, parameter: str) -> Callable[[Call], Json]:
        def set_(call: Call) -> Json:
            path, resource = self._existing(call, collection, parameter)
            labels = call.body.get("labels", {})
            check_labels(labels)
            if call.body.get("labelFingerprint") != resource["labelFingerprint"]:
                raise Trouble(
                    412,
                    "conditionNotMet",
                    "Labels fingerprint either invalid or resource labels have changed",
                )

            def change() -> None:
                if resource["labelFingerprint"] != call.body.get("labelFingerprint"):
                    raise Failed("CONDITION_NOT_MET", "Labels have changed", 412)
                resource["labels"] = labels
                resource["labelFingerprint"] = fingerprint(labels)

            return self._begin(call, "setLabels", path, change)

        return set_

    def _operation(self, call: Call) -> str:
        name = call.path["operation"]
        where = f"{scope(call)}/operations/{name}"
        if name.isdigit():
            for path, each in self.operations.items():
                if each["id"] == name and path.startswith(scope(call)):
                    where = path
        if where not in self.operations:
            raise missing(where)
        return where

    def _operation_get(self, call: Call) -> Json:
        where = self._operation(call)
        self._nearer(where)
        return self._answer(call, self.operations[where])

    def _operation_list(self, call: Call) -> Json:
        where = f"{scope(call)}/operations"
        found = [each for path, each in self.operations.items() if path.startswith(where + "/")]
        page, token = one_page(call, filtered(call, found))
        answer: Json = {
            "kind": "compute#operationList",
            "id": where,
            "selfLink": f"{call.base}/compute/v1/{where}",
        }
        if page:
            answer["items"] = [self._answer(call, each) for each in page]
        if token:
            answer["nextPageToken"] = token
        return answer

    def _operation_delete(self, call: Call) -> None:
        where = self._operation(call)
        if where in self.pending:
            raise invalid("The operation is not DONE.")
        del self.operations[where]
