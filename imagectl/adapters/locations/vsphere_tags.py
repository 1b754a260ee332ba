"""The tag that shows in vSphere's own pages which templates are a catalog's.

Tags have an API of their own, over REST. A clone does not get its template's tags, so people can
search by them and put permissions on them. Nothing depends on them: where the user may not make
tags, or the vCenter does not answer there, templates have none.
"""

from __future__ import annotations

import base64
import http.client
import json
from typing import Any

from imagectl.adapters.locations.vsphere_session import Session
from imagectl.errors import ImagectlError, Interrupted

CATEGORY = "imagectl"
TIMEOUT = 10.0
"""Seconds: nobody waits long for what nothing depends on."""

_BASE = "/rest/com/vmware/cis"
_TAGGING = f"{_BASE}/tagging"


class Tags:
    """The tag of one catalog, in the category ``imagectl``. Made when it is first needed."""

    def __init__(self, session: Session, catalog: str) -> None:
        self._session = session
        self._catalog = catalog

    def attach(self, machine: Any) -> bool:
        """Give the machine the tag; whether it has it now."""
        try:
            self._attach(machine._moId)
        except Interrupted:
            raise
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
            return False
        except ImagectlError:  # such as an answer that cannot be understood
            return False
        return True

    def _attach(self, machine: str) -> None:
        session = self._session
        connection = http.client.HTTPSConnection(
            session.host, session.port, timeout=TIMEOUT, context=session.trust()
        )
        try:
            user, password = session.credentials()
            basic = base64.b64encode(f"{user}:{password}".encode()).decode()
            login = {"Authorization": f"Basic {basic}"}
            given = self._ask(connection, login, "POST", f"{_BASE}/session")
            known = {"vmware-api-session-id": str(given)}
            try:
                tag = self._tag(connection, known)
                self._ask(
                    connection,
                    known,
                    "POST",
                    f"{_TAGGING}/tag-association/id:{tag}?~action=attach",
                    {"object_id": {"id": machine, "type": "VirtualMachine"}},
                )
            finally:
                self._ask(connection, known, "DELETE", f"{_BASE}/session")
        finally:
            connection.close()

    def _tag(self, connection: http.client.HTTPSConnection, known: dict[str, str]) -> str:
        """The tag's id, made where it is not there."""
        categories = self._ask(connection, known, "GET", f"{_TAGGING}/category")
        category = self._named(connection, known, "category", categories, CATEGORY)
        if category is None:
            spec = {
                "name": CATEGORY,
                "description": "Templates that imagectl has made, by catalog",
                "cardinality": "MULTIPLE",
                "associable_types": ["VirtualMachine"],
            }
            made = {"create_spec": spec}
            category = str(self._ask(connection, known, "POST", f"{_TAGGING}/category", made))
        listed = self._ask(
            connection,
            known,
            "POST",
            f"{_TAGGING}/tag/id:{category}?~action=list-tags-for-category",
            {"category_id": category},
        )
        tag = self._named(connection, known, "tag", listed, self._catalog)
        if tag is None:
            spec = {"name": self._catalog, "description": "A catalog", "category_id": category}
            made = {"create_spec": spec}
            tag = str(self._ask(connection, known, "POST", f"{_TAGGING}/tag", made))
        return tag

    def _named(
        self,
        connection: http.client.HTTPSConnection,
        known: dict[str, str],
        kind: str,
        ids: list[str] | None,
        name: str,
    ) -> str | None:
        """Which of these has that name. The API does not search."""
        for each in ids or ():
            found = self._ask(connection, known, "GET", f"{_TAGGING}/{kind}/id:{each}")
            if found["name"] == name:
                return each
        return None

    def _ask(
        self,
        connection: http.client.HTTPSConnection,
        headers: dict[str, str],
        method: str,
        path: str,
        body: object = None,
    ) -> Any:
        def request() -> Any:
            content = None if body is None else json.dumps(body)
            kind = {} if body is None else {"Content-Type": "application/json"}
            connection.request(method, path, content, {**headers, **kind})
            response = connection.getresponse()
            text = response.read()
            if response.status >= 300:
                raise http.client.HTTPException(f"{response.status} {response.reason}")
            return json.loads(text)["value"] if text else None

        return self._session.ask(f"tagging in {CATEGORY}", request)
