"""Custom attributes of machines: what a vCenter keeps about them in its own database.

People can search and sort by them, and they can be read also where a machine's own configuration
cannot. A user that may not set them can do without.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from typing import Any

from imagectl.adapters.locations.vsphere_sdk import sdk
from imagectl.adapters.locations.vsphere_session import Session


def keys_of(session: Session) -> dict[str, int]:
    """The keys of all custom attributes, by name. None where a host has no vCenter."""
    manager = session.content.customFieldsManager
    if manager is None:
        return {}
    fields = session.read_one(manager, ("field",)).values.get("field", ())
    return {each.name: each.key for each in fields}


def set_attributes(session: Session, machine: Any, values: Mapping[str, str]) -> bool:
    """Set these, made where they are not there yet; whether the user may do that."""
    manager, fault = session.content.customFieldsManager, sdk().vim.fault
    if manager is None:
        return False
    try:
        keys = _made(session, values)
        for name, value in values.items():
            session.ask(f"setting {name}", manager.SetField, *(machine, keys[name], value))
    except fault.NotAuthenticated:
        raise  # a session that has ended, and not what it may do
    except fault.NoPermission:
        return False
    return True


def _made(session: Session, names: Collection[str]) -> dict[str, int]:
    """The keys, of which those that were not there have been made."""
    vim = sdk().vim
    keys = keys_of(session)
    missing = [name for name in names if name not in keys]
    for name in missing:
        # Where there is one by now, somebody else has made it.
        with contextlib.suppress(vim.fault.DuplicateName):
            session.ask(
                f"making the custom attribute {name}",
                *(session.content.customFieldsManager.AddCustomFieldDef, name, vim.VirtualMachine),
            )
    return keys_of(session) if missing else keys
