"""What imagectl writes on the machines that it makes to be thrown away: whose they are, and until
when they are needed (P2).

It is one line in the machine's annotation, written in the very call that makes it, so that none is
ever without; and, as soon as the machine is there, a custom attribute of the same name. A vCenter
keeps that one itself: of a machine that is inaccessible, invalid or orphaned it has no
configuration to show, and so no annotation (VirtualMachineConnectionState in the API reference).

A template carries the line while it is being imported, and no attribute: the same change of its
annotation that says that it is whole takes the line away, and nothing else can be left of it.

A clone takes both with it. Hence each names the machine that it was written on, and says nothing of
any other: by its reference in the vCenter's inventory where that is known, which no other machine
ever gets; before that, by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from imagectl.adapters.locations.vsphere_attributes import set_attributes
from imagectl.adapters.locations.vsphere_sdk import sdk
from imagectl.adapters.locations.vsphere_session import TASK_SECONDS, Session
from imagectl.errors import CannotTell, ImagectlError
from imagectl.model.resource import Claim
from imagectl.services.ports.janitor import Leased

NAME = "imagectl-claim"
"""Of the attribute, and what the line in the annotation begins with."""

_LINE = f"{NAME}: "

RENEWAL_SECONDS = 20.0
"""How long a renewal may keep an import waiting, whose lease at the vCenter ends without bytes."""


def first_claim(claim: Claim, name: str) -> str:
    """The line for a machine that is yet to be made under that name."""
    return _LINE + _text(claim, f"name={name}")


def read_claim(annotation: str, attribute: str, name: str, reference: str) -> Claim | None:
    """The claim on the machine of that name and reference: the latest of those that are about it,
    since a renewal may have reached one place and not the other. None where there is none."""
    return _latest(_claims(annotation, attribute, name, reference)[0])


def copied_claim(annotation: str, attribute: str, name: str, reference: str) -> Claim | None:
    """The claim of another machine that the machine of that name and reference carries. None where
    it has one of its own, or none at all."""
    own, of_others = _claims(annotation, attribute, name, reference)
    return None if own else _latest(of_others)


def show_claim(session: Session, machine: Any, claim: Claim) -> None:
    """Write the claim on a machine that is there; what people have noted beside it stays."""
    _note(session, machine, claim, TASK_SECONDS)
    set_attributes(session, machine, {NAME: _text(claim, f"id={machine._moId}")})


class ImportClaim:
    """The claim of a template that is being imported, written anew by whoever sends its disks.

    That is the one who says at the end that it is whole: no renewal can come later than that, and
    make a half import of it again.
    """

    def __init__(self, session: Session, leased: Leased, name: str) -> None:
        self._session = session
        self._leased = leased
        self._shown = leased.claim
        self._refused = False
        self.line = first_claim(self._shown, name)

    def renew(self, machine: Any) -> None:
        """Write it on the machine, where the lease was renewed.

        A vCenter may refuse that as long as it holds its own lease on the import, or do it only
        when that has ended. Until then it refuses to delete the machine, too (HttpNfcLease in the
        API reference). No bytes are sent meanwhile, so it is not waited for long.
        """
        claim = self._leased.claim
        if claim == self._shown or self._refused:
            return
        try:
            _note(self._session, machine, claim, RENEWAL_SECONDS)
        except (ImagectlError, sdk().vmodl.MethodFault):
            self._refused = True  # each refusal is shown to people among the vCenter's tasks
        self._shown = claim


def _claims(
    annotation: str, attribute: str, name: str, reference: str
) -> tuple[list[Claim], list[Claim]]:
    """Those that are about the machine, and those that are about others."""
    here = (f"name={name}", f"id={reference}")
    lines = [line.removeprefix(_LINE) for line in annotation.splitlines() if line.startswith(_LINE)]
    own: list[Claim] = []
    of_others: list[Claim] = []
    for machine, claim in map(_parsed, [*lines, attribute]):
        if claim is not None:
            (own if machine in here else of_others).append(claim)
    return own, of_others


def _latest(claims: list[Claim]) -> Claim | None:
    return max(claims, key=lambda each: each.until, default=None)


def _note(session: Session, machine: Any, claim: Claim, within: float) -> None:
    """Write the claim into the annotation. What is not done *within* so many seconds is given up:
    done later, it would write over what the notes say by then."""
    name = "noting until when a machine is needed"
    text = _text(claim, f"id={machine._moId}")
    values = session.read_one(machine, ("config.annotation",)).values
    notes = (values.get("config.annotation") or "").splitlines()
    kept = [line for line in notes if not line.startswith(_LINE)]
    spec = sdk().vim.vm.ConfigSpec(annotation="\n".join([*kept, _LINE + text]))
    task = session.ask(name, machine.ReconfigVM_Task, spec=spec)
    try:
        session.wait(name, task, within)
    except CannotTell:
        with suppress(ImagectlError, sdk().vmodl.MethodFault):
            session.ask("giving that up", task.CancelTask)
        raise


def attribute_of(values: Mapping[str, Any], keys: Mapping[str, int]) -> str:
    """What the attribute says, among a machine's properties; empty where it says nothing."""
    key = keys.get(NAME)
    found = [each for each in values.get("customValue", ()) if each.key == key]
    return str(getattr(found[-1], "value", "")) if found else ""


def _text(claim: Claim, machine: str) -> str:
    until = claim.until.astimezone(UTC).isoformat(timespec="seconds")
    return f"{claim.catalog} {claim.resource} {until} {machine}"


def _parsed(text: str) -> tuple[str, Claim | None]:
    """What a text says, and of which machine."""
    try:
        catalog, resource, until, machine = text.strip().split(" ", 3)
        moment = datetime.fromisoformat(until)
    except ValueError:
        return "", None
    if moment.tzinfo is None:
        return "", None
    return machine, Claim(catalog, resource, moment.astimezone(UTC))
