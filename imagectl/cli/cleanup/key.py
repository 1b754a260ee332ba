"""``imagectl cleanup key``, and the key that this person signs plans with."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, TypedDict

import click

from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.verb import Verb

if TYPE_CHECKING:
    from imagectl.adapters.person_key import PersonKey


class KeyDocument(TypedDict):
    """Your key."""

    key: Annotated[str, "its public half: what goes into retention.approvers"]
    file: Annotated[str, "where the private half is"]


@click.command(
    "key",
    cls=Verb,
    answers=KeyDocument,
    exits={1: "failed: the key cannot be kept, or others can read it"},
    examples=[("imagectl cleanup key", "what to send to whoever keeps retention.approvers")],
)
@pass_invocation
def command(invocation: Invocation) -> None:
    """Show the public half of the key that you sign plans with; it is made where there is none.

    It is in the file that IMAGECTL_KEY names, else in imagectl/key.pem of your settings' folder.
    """
    from imagectl.adapters.person_key import key_file

    path = key_file(os.environ)
    public = own_key().public
    invocation.out.answer(KeyDocument(key=public, file=str(path)), [public])


def own_key() -> PersonKey:
    """The key to sign with; it is made where there is none."""
    from imagectl.adapters.person_key import key_file, open_key

    return open_key(key_file(os.environ))
