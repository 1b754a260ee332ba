"""What the faults of a vCenter mean, and connections to it that break: whether the same may work a
little later, and which of ours each is.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from typing import Any
from xml.parsers.expat import ExpatError

from imagectl.adapters.locations.calls import Again
from imagectl.adapters.locations.vsphere_sdk import sdk
from imagectl.errors import CannotTell, Conflict, Denial, Denied, ImagectlError, NoSpace
from imagectl.model.names import LocationName
from imagectl.model.place import VsphereLocation as Settings

BUSY = ("429", "503")


def again(error: Exception) -> Again | None:
    """For ``Calls.run``: what may work when everything is read anew."""
    pyvmomi = sdk()
    vim, vmodl = pyvmomi.vim, pyvmomi.vmodl
    if isinstance(error, vim.fault.NotAuthenticated):
        return Again(None, False, "the session was ended")
    if isinstance(
        error,
        vim.fault.ConcurrentAccess | vim.fault.TaskInProgress | vmodl.fault.HostCommunication,
    ):
        return Again(None, False, says(error))
    if isinstance(error, vmodl.fault.ManagedObjectNotFound):
        # It went away between two requests. What there is now is read anew.
        return Again(None, False, says(error))
    if isinstance(error, ssl.SSLCertVerificationError):
        return None
    if isinstance(error, socket.gaierror):
        # Only this one may be gone in a moment (getaddrinfo(3)).
        return Again(None, False, str(error)) if error.errno == socket.EAI_AGAIN else None
    if isinstance(error, http.client.HTTPException):
        # pyVmomi raises those with the status and its reason, and nothing of the headers.
        said = str(error) or type(error).__name__
        if said.startswith("4") and not said.startswith(BUSY):
            return None
        return Again(None, said.startswith(BUSY), said)
    if isinstance(error, OSError | ExpatError):
        return Again(None, False, str(error) or type(error).__name__)
    return None


def meaning(
    fault: Any,
    what: str,
    name: LocationName,
    settings: Settings,
    where: str,
    otherwise: type[ImagectlError],
) -> ImagectlError:
    """The error of ours that a fault is; *otherwise* where it is not one of the usual."""
    vim = sdk().vim
    said = says(fault)
    if isinstance(fault, vim.fault.PasswordExpired):
        return Denied(
            f"the password of location {name} has expired",
            denial=Denial.EXPIRED,
            where=where,
            why=said,
            hint="set a new one in vCenter, and then where `password` refers to",
        )
    if isinstance(fault, vim.fault.InvalidLogin):
        return Denied(
            f"the user or the password of location {name} is wrong",
            denial=Denial.WRONG,
            where=where,
            why=said,
            hint=f"they are read from {settings.username} and {settings.password}",
        )
    if isinstance(fault, vim.fault.NoPermission):
        return Denied(
            f"{what}: the user of location {name} may not do that",
            denial=Denial.TOO_NARROW,
            where=where,
            why=f"it lacks the privilege {fault.privilegeId}: {said}",
            hint="docs/how-to/vsphere.md has the whole list",
        )
    if isinstance(fault, vim.fault.InsufficientStorageSpace | vim.fault.NoDiskSpace):
        return NoSpace(
            f"{what}: no space left",
            where=f"datastore {settings.datastore} of {where}",
            why=said,
            hint="make room there, and type the command again",
        )
    if isinstance(fault, vim.fault.DuplicateName):
        return Conflict(
            f"{what}: somebody has taken the name {fault.name}",
            where=where,
            why=said,
            hint="type the command again",
        )
    return otherwise(f"{what} did not work", where=where, why=said)


def unreachable(error: Exception, what: str, name: LocationName, where: str) -> CannotTell:
    """What it means that the vCenter did not answer, or not in its own language."""
    hint = "`imagectl doctor` checks every location"
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = f"`ca` of location {name} names a file of the authorities to trust"
    return CannotTell(
        f"{what}: the vCenter cannot be reached",
        where=where,
        why=str(error) or type(error).__name__,
        hint=hint,
    )


def says(fault: Any) -> str:
    """A fault in the vCenter's own words."""
    return str(getattr(fault, "msg", "") or "") or type(fault).__name__.rpartition(".")[2]
