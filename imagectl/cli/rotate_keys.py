"""``imagectl catalog rotate-keys``: change whose signatures count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, TypedDict

import click

from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.verb import Verb
from imagectl.cli.waiting import ceremony_of, lacks, publish_anew, settle, tell_waiting
from imagectl.errors import BadUsage
from imagectl.policy.wording import counted, listed

if TYPE_CHECKING:
    from imagectl.adapters.published.ceremony import Ceremony
    from imagectl.adapters.published.rotating import Rotation
    from imagectl.adapters.published.signers import Signers


_LOST = {
    "root": "where too few of them are left, no command mends that: a new tree begins, with a root "
    "that consumers are given by hand",
    "targets": "where they are lost, root replaces them: `imagectl catalog rotate-keys targets "
    "--new --remove targets --reason lost`",
}
"""What says whose keys count, and what becomes of it without its keys."""

_HAVE = {0: "no person has", 1: "1 person has"}


class KeyDocument(TypedDict):
    """A key that counts."""

    id: Annotated[str, "its id"]
    name: Annotated[str, "the name of the file that it came from; may be empty"]


class SignersDocument(TypedDict):
    """Who may sign, and how many of them have to."""

    keys: Annotated[list[KeyDocument], "the keys that count"]
    threshold: Annotated[int, "how many of them have to sign"]


class RotatedDocument(TypedDict):
    """Whose signatures count for a role."""

    role: Annotated[str, "the role"]
    roles: Annotated[list[str], "the roles of the signed metadata that it stands for"]
    before: Annotated[SignersDocument, "who could sign"]
    after: Annotated[SignersDocument, "who can sign, once it counts"]
    dry_run: Annotated[bool, "true where nothing was changed on purpose"]
    counts: Annotated[
        bool, "true where consumers go by it already; else it waits, or nothing changes"
    ]
    waiting: Annotated[list[str], "roles that wait for signatures"]


@click.command(
    "rotate-keys",
    cls=Verb,
    answers=RotatedDocument,
    exits={
        0: "done, or waiting for signatures that cannot be given here; or shown, without options",
        1: "not done: a key cannot be made, or the trees cannot be signed by the new keys here",
        3: "refused: nobody could sign any more; nothing was done",
        4: "conflict: another change of keys waits, or somebody else has published one",
        5: "cannot tell: the catalog or a key elsewhere cannot be read; or a tree cannot, and the "
        "others are written",
        6: "there is no such role or key, or no project here",
    },
    examples=[
        ("imagectl catalog rotate-keys root", "whose keys count for root?"),
        (
            "imagectl catalog rotate-keys channel-stable --add ann.pub --reason release",
            "ann may sign what stable points to",
        ),
        (
            "imagectl catalog rotate-keys channel-stable --add bob.pub --reason release",
            "so may bob",
        ),
        (
            "imagectl catalog rotate-keys channel-stable --remove online --reason people",
            "nothing signs it by itself any more",
        ),
        (
            "imagectl catalog rotate-keys channel-stable --threshold 2 --reason review",
            "both of them have to; one command may say all of this",
        ),
        (
            "imagectl catalog rotate-keys online --new --remove online --reason lost",
            "the online key was lost, or somebody else has it",
        ),
    ],
)
@click.argument(
    "role",
    metavar="ROLE",
    help="root, targets, online (timestamp, snapshot, catalog, and all without keys of its own), "
    "images, channel-NAME or image-NAME.",
)
@click.option(
    "--add",
    "added",
    metavar="PUBKEY",
    multiple=True,
    help="Let this key sign: a public key in a PEM file, or the URI of one in a KMS or HSM. Its "
    "file's name is what people are shown.",
)
@click.option("--new", is_flag=True, help="Let a key sign that is made here, in .imagectl/keys.")
@click.option(
    "--remove",
    "removed",
    metavar="KEYID",
    multiple=True,
    help="Do not let this key sign any more: its name, or how its id begins.",
)
@click.option(
    "--threshold",
    metavar="N",
    type=click.IntRange(min=1),
    help="So many of the keys have to sign.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be changed, and change nothing.")
@click.option(
    "--reason", metavar="TEXT", default="", help="Why; kept in what is signed. A change takes one."
)
@pass_invocation
def command(
    invocation: Invocation,
    role: str,
    added: tuple[str, ...],
    new: bool,
    removed: tuple[str, ...],
    threshold: int | None,
    dry_run: bool,
    reason: str,
) -> None:
    """Change whose signatures count for what consumers read; without options, show whose do.

    A new root is signed by enough of those who counted and of those who count from then on; every
    other change by those of root or targets. What cannot be signed here waits in .imagectl/pending
    for `imagectl sign`, and until then nothing changes. Consumers follow by themselves, from
    whatever root they have.
    """
    from dataclasses import replace

    from imagectl.adapters.published.rotating import Edit
    from imagectl.adapters.published.signers import read_public_key
    from imagectl.bootstrap.identity import actor

    asked = bool(added or new or removed or threshold is not None)
    if asked and not reason.strip():
        raise BadUsage("a change of keys takes a --reason", hint="it is kept where it is signed")
    project = invocation.open_project()
    ceremony = ceremony_of(project)
    keys = tuple(read_public_key(each) for each in added)
    edit = Edit(role, keys, removed, threshold, reason, actor())
    if new:
        if dry_run:
            raise BadUsage(
                "--new makes a key, and --dry-run changes nothing", hint="leave out one of them"
            )
        made, path = project.signing.keys.another(role)
        edit = replace(edit, add=(*keys, made))
        ceremony.rotate(edit, dry_run=True)  # refused before there is a key's file for it
        project.signing.keys.keep(made)
        where = "keep it offline, and a copy of it" if role in _LOST else "it stays on this machine"
        invocation.out.warn(f"a key of {role} was made, {path}: {where}")
    rotation = ceremony.rotate(edit, dry_run=dry_run)
    counts = told = False
    settled: Sequence[str] = ()
    if asked:
        _warn_of_machines(invocation, ceremony, rotation)
    if asked and not dry_run:
        for trouble in ceremony.trouble:
            invocation.out.warn(trouble.said)
        settled = settle(invocation.out, project, ceremony)
        wanted = {"root"} if rotation.root is not None else set()
        wanted |= {"targets"} if rotation.targets is not None else set()
        if settled:
            invocation.out.say("commit catalog/: it says whose keys count")
            publish_anew(invocation.out, project)
            told = ceremony.told()
        counts = wanted <= {*settled} and told
    waiting = list(tell_waiting(invocation.out, project)) if asked and not dry_run else []
    lacking = [each for each in waiting if lacks(project, each)]
    if settled and not told:
        invocation.out.warn(
            "consumers are told who may sign once the new signers have signed; until then they "
            "believe the former ones, whose keys sign nothing new here"
        )
    elif asked and not dry_run and not counts:
        invocation.out.say("nothing has changed yet")
        for each in lacking:
            if lost := _LOST.get(each):
                invocation.out.say(
                    f"bring the keys of {each} that are missing, or carry "
                    f"{project.signing.pending / each}.json to whoever has them; {lost}"
                )
    invocation.out.answer(
        RotatedDocument(
            role=role,
            roles=list(rotation.roles),
            before=_signers(rotation.before),
            after=_signers(rotation.after),
            dry_run=dry_run,
            counts=counts,
            waiting=waiting,
        ),
        _lines(rotation, lacking, changes=edit.changes, counts=counts),
    )


def _warn_of_machines(invocation: Invocation, ceremony: Ceremony, rotation: Rotation) -> None:
    """Say where fewer people have to sign than it seems."""
    after = rotation.after
    if after.threshold < 2 or not (alone := ceremony.unattended(after)):
        return
    people = max(0, after.threshold - len(alone))
    machines = "signs by itself" if len(alone) == 1 else "sign by themselves"
    invocation.out.warn(
        f"{listed(alone)} {machines}, so {_HAVE.get(people, f'{people} people have')} to sign "
        f"{after.role}; where {after.threshold} people are meant: --remove "
        f"{' --remove '.join(each.name or each.keyid for each in alone)}"
    )


def _signers(signers: Signers) -> SignersDocument:
    return SignersDocument(
        keys=[KeyDocument(id=each.keyid, name=each.name) for each in signers.who],
        threshold=signers.threshold,
    )


def _lines(
    rotation: Rotation, lacking: Sequence[str], *, changes: bool, counts: bool
) -> Iterator[str]:
    after = rotation.after
    yield f"{after.role} takes {counted(after.threshold, 'signature')} of:"
    for each in after.who:
        new = changes and each not in rotation.before.who
        yield f"  {each.keyid[:12]}  {each.name or '-'}{'  (new)' if new else ''}"
    for each in rotation.before.who:
        if each not in after.who:
            yield f"  {each.keyid[:12]}  {each.name or '-'}  (no more)"
    left = [each for each in lacking if each in ("root", "targets", *rotation.roles)]
    if left and not counts:
        signed = " and ".join(f"`imagectl sign {each}`" for each in left)
        yield f"this counts once enough have signed: {signed}"
