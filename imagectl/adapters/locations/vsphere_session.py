"""A session with a vCenter: logging in, asking, reading properties in pages, waiting for tasks.

Requests are made one by one, each counted and within the limit (``calls.py``), and never by
reading an attribute of pyVmomi's objects, which asks the server each time. What can be repeated
as a whole goes through ``persist``: sessions end, connections break, and a vCenter that is being
started answers 503; then everything is read anew.
"""

from __future__ import annotations

import contextlib
import http.client
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar
from xml.parsers.expat import ExpatError

from imagectl.adapters.clock import SystemClock
from imagectl.adapters.locations.calls import Again, calls_of
from imagectl.adapters.locations.vsphere_faults import again, meaning, says, unreachable
from imagectl.adapters.locations.vsphere_sdk import sdk
from imagectl.errors import CannotTell, Denial, Denied, Failed, ImagectlError, NotFound
from imagectl.model.image import SecretRef
from imagectl.model.names import LocationName
from imagectl.model.place import VsphereLocation as Settings

if TYPE_CHECKING:
    from imagectl.adapters.locations import Surroundings

T = TypeVar("T")

API = "vim.version.v7_0"
"""The oldest that our OVAs can be used with; each vCenter knows those before its own."""

PER_SECOND = 50.0
"""Requests. VMware names no limit of its own; a template takes some fifty, once."""

PAGE = 1000
"""Objects read at once. Measured with 6,000: six named properties of each in 0.8 s."""

TIMEOUT = 60.0
"""Seconds without an answer after which a connection counts as broken."""

TASK_SECONDS = 3600.0
"""How long a task may take."""


@dataclass(frozen=True, slots=True)
class Read:
    """An object's properties. What it has not set, or nobody may see, is not in ``values``;
    ``missing`` says why, where the vCenter does."""

    ref: Any
    values: dict[str, Any]
    missing: tuple[str, ...] = ()


class Session:
    """Any number of threads may use it. Nothing is asked before it is needed."""

    def __init__(self, name: LocationName, settings: Settings, around: Surroundings) -> None:
        self._name = name
        self._settings = settings
        self._around = around
        self._calls = calls_of(name, around, PER_SECOND)
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self._requests = 0
        self._content: Any = None
        self._instance: Any = None
        self._key = self._user = ""
        self._ending: weakref.finalize[..., Session] | None = None
        self._clock = SystemClock()

    @property
    def host(self) -> str:
        """The vCenter's name."""
        return self._settings.host

    @property
    def port(self) -> int:
        """The vCenter's."""
        return self._settings.port

    @property
    def where(self) -> str:
        """The vCenter, for messages."""
        return f"location {self._name} ({self._settings.host}:{self._settings.port})"

    @property
    def requests(self) -> int:
        """How many were made in this process. (``calls.py`` counts what it repeats as a whole.)"""
        return self._requests

    @property
    def content(self) -> Any:
        """The vCenter's service content, of a session that is logged in."""
        with self._lock:
            if self._content is None:
                self._content = self._log_in()
            return self._content

    @property
    def key(self) -> str:
        """The session's own."""
        assert self.content is not None
        return self._key

    @property
    def user(self) -> str:
        """Who the vCenter takes us for."""
        assert self.content is not None
        return self._user

    def now(self) -> datetime:
        """What time it is by the vCenter's clock."""
        assert self.content is not None
        told: datetime = self.ask("reading the clock", self._instance.CurrentTime)
        return told

    def of_now(self, ref: Any) -> Any:
        """The same object, to be asked in the present session: one that was read before belongs to
        the session of then, which may have ended."""
        assert self.content is not None
        return type(ref)(ref._moId, self._instance._stub)

    def machine(self, reference: str) -> Any:
        """The machine or template that has that reference, whether it is there or not, to be asked
        in the present session."""
        assert self.content is not None
        return sdk().vim.VirtualMachine(reference, self._instance._stub)

    def ask(self, what: str, method: Callable[..., T], *given: object, **named: object) -> T:
        """One request, not repeated: *method* of an object of pyVmomi's, with its arguments.

        Errors are those of pyVmomi and of the network.
        """
        with self._counting:
            self._requests += 1
        try:
            return self._calls.run(what, lambda: method(*given, **named), lambda _: None)
        except OSError:
            raise  # a certificate that is not trusted is a ValueError too
        except (KeyError, TypeError, ValueError) as error:
            # pyVmomi lets those out where an answer is not what the API's description says.
            raise CannotTell(
                f"{what}: the vCenter's answer cannot be understood",
                where=self.where,
                why=f"{type(error).__name__}: {error}",
            ) from error

    def persist(
        self,
        what: str,
        attempt: Callable[[], T],
        otherwise: type[ImagectlError] = Failed,
        progressed: Callable[[], float] = lambda: 0.0,
    ) -> T:
        """What *attempt* returns, which can be repeated as a whole, and is, while that is worth it.

        *otherwise* is raised for what the vCenter itself says went wrong, and is not one of the
        usual: Failed where something was tried, CannotTell where it was only to be read.
        *progressed* says when it last got further than ever before (``calls.py``).
        """
        vmodl = sdk().vmodl
        try:
            return self._calls.run(what, attempt, self._again, progressed)
        except vmodl.MethodFault as fault:
            raise meaning(fault, what, self._name, self._settings, self.where, otherwise) from fault
        except (OSError, http.client.HTTPException, ExpatError) as error:
            raise unreachable(error, what, self._name, self.where) from error

    def find(self, path: str) -> Any | None:
        """What is at that path of the inventory; None where nothing is, or nobody may see it."""
        index = self.content.searchIndex
        return self.ask(f"looking for {path}", index.FindByInventoryPath, path)

    def read(self, refs: Sequence[Any], paths: Sequence[str]) -> list[Read]:
        """The named properties of these objects, whatever order they come in."""
        if not refs:
            return []
        query = sdk().vmodl.query.PropertyCollector
        spec = query.FilterSpec(
            objectSet=[query.ObjectSpec(obj=ref, skip=False) for ref in refs],
            propSet=[
                query.PropertySpec(type=kind, all=False, pathSet=list(paths))
                for kind in {type(ref) for ref in refs}
            ],
        )
        return list(self._collect(spec))

    def read_one(self, ref: Any, paths: Sequence[str]) -> Read:
        """The named properties of one object. Raises CannotTell where the vCenter says nothing."""
        found = self.read([ref], paths)
        if len(found) != 1:
            raise CannotTell(
                "the vCenter does not answer what it was asked",
                where=self.where,
                why=f"of one object, {ref._moId}, it told {len(found)}",
            )
        return found[0]

    def under(
        self, container: Any, kind: Any, paths: Sequence[str], *, deep: bool
    ) -> Iterator[Read | int]:
        """What a folder holds of that kind, page after page, below its folders too where *deep*;
        and somewhere among it how many that are, as the vCenter counts them (P3)."""
        pyvmomi = sdk()
        query, view_kind = pyvmomi.vmodl.query.PropertyCollector, pyvmomi.vim.view.ContainerView
        views = self.content.viewManager
        view = self.ask(
            "listing", views.CreateContainerView, container=container, type=[kind], recursive=deep
        )
        try:
            step = query.TraversalSpec(name="view", type=view_kind, path="view", skip=False)
            spec = query.FilterSpec(
                objectSet=[query.ObjectSpec(obj=view, skip=False, selectSet=[step])],
                propSet=[
                    query.PropertySpec(type=kind, all=False, pathSet=list(paths)),
                    query.PropertySpec(type=view_kind, all=False, pathSet=["view"]),
                ],
            )
            for each in self._collect(spec):
                yield len(each.values["view"]) if each.ref == view else each
        finally:
            # Where that fails, it goes with the session.
            with contextlib.suppress(Exception):
                self.ask("listing", view.DestroyView)

    def _collect(self, spec: Any) -> Iterator[Read]:
        """All that the filter selects, page after page."""
        query = sdk().vmodl.query.PropertyCollector
        collector = self.content.propertyCollector
        options = query.RetrieveOptions(maxObjects=PAGE)
        page = self.ask(
            "reading properties",
            collector.RetrievePropertiesEx,
            specSet=[spec],
            options=options,
        )
        while page is not None:
            for each in page.objects:
                yield Read(
                    each.obj,
                    {prop.name: prop.val for prop in each.propSet},
                    tuple(says(one.fault) for one in each.missingSet),
                )
            token = page.token
            if not token:
                return
            page = self.ask(
                "reading more properties",
                collector.ContinueRetrievePropertiesEx,
                token=token,
            )

    def wait(self, what: str, task: Any, within: float = TASK_SECONDS) -> Any:
        """The task's result. Raises the fault that it ended in, and CannotTell where it has not
        ended *within* so many seconds."""
        until = self._clock.monotonic() + within
        pause = 0.05
        while True:
            values = self.read_one(task, ("info.state", "info.error", "info.result")).values
            state = str(values.get("info.state"))
            if state == "success":
                return values.get("info.result")
            if state == "error":
                raise values["info.error"]
            if self._clock.monotonic() > until:
                raise CannotTell(
                    f"{what} takes too long",
                    where=self.where,
                    why=f"its task has not ended in {within / 60:.0f} min",
                    hint="look at it in vSphere's list of tasks",
                )
            time.sleep(pause)
            pause = min(pause * 1.5, 2.0)

    def trust(self) -> ssl.SSLContext:
        """How certificates are checked: the vCenter's, and those of its hosts."""
        settings = self._settings
        if settings.insecure:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        ca = None if settings.ca is None else self._around.project / settings.ca
        try:
            return ssl.create_default_context(cafile=ca)
        except (OSError, ssl.SSLError) as error:
            raise Failed(
                "the authorities to trust cannot be read",
                where=str(ca),
                why=str(error),
                hint=f"`ca` of location {self._name} names a PEM file",
            ) from error

    def _log_in(self) -> Any:
        settings, pyvmomi = self._settings, sdk()
        user, password = self.credentials()
        stub = pyvmomi.SoapStubAdapter(
            host=settings.host,
            port=settings.port,
            version=API,
            sslContext=self.trust(),
            httpConnectionTimeout=TIMEOUT,
        )
        try:
            instance = pyvmomi.vim.ServiceInstance("ServiceInstance", stub)
            content = self.ask("reading what the vCenter offers", instance.RetrieveContent)
            manager = content.sessionManager
            session = self.ask("logging in", manager.Login, user, password)
        except BaseException:
            stub.DropConnections()
            raise
        self._instance = instance
        self._key, self._user = session.key, session.userName
        if self._ending is not None and (before := self._ending.detach()) is not None:
            before[2][0].DropConnections()
        # A vCenter keeps sessions for half an hour, and has room for so many.
        self._ending = weakref.finalize(self, _log_out, stub, manager)
        return content

    def credentials(self) -> tuple[str, str]:
        """The user and the password, read anew. Raises Denied where they are not there."""
        settings = self._settings
        user = self._secret(settings.username, "user")
        return user, self._secret(settings.password, "password")

    def _secret(self, ref: SecretRef, what: str) -> str:
        try:
            return self._around.secret(ref)
        except (NotFound, Failed) as missing:
            raise Denied(
                f"the {what} of location {self._name} is not there",
                denial=Denial.MISSING,
                where=self.where,
                why=f"{missing}{f': {missing.why}' if missing.why else ''}",
                hint=missing.hint or "`imagectl doctor` checks every location's credentials",
            ) from missing

    def _again(self, error: Exception) -> Again | None:
        if isinstance(error, sdk().vim.fault.NotAuthenticated):
            with self._lock:
                self._content = None
        return again(error)


def _log_out(stub: Any, manager: Any) -> None:
    # Nobody waits for it long, and nobody minds that it fails: the vCenter ends it by itself.
    stub.DropConnections()
    stub.schemeArgs["timeout"] = 2
    with contextlib.suppress(Exception):
        manager.Logout()
    stub.DropConnections()
