"""``imagectl sign``: sign what waits for people's signatures."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import click
from click.core import ParameterSource

from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.verb import Verb
from imagectl.cli.waiting import (
    WaitingDocument,
    ceremony_of,
    publish_anew,
    settle,
    tell_waiting,
    waiting_document,
)
from imagectl.errors import BadUsage, ImagectlError, NotFound, Refused

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

    from imagectl.adapters.published.waiting import Waiting
    from imagectl.bootstrap.project import Project


class SignedDocument(TypedDict):
    """What was signed."""

    signed: Annotated[list[WaitingDocument], "each role or file, as it is after signing"]
    generation: Annotated[
        int | None, "the catalog generation that was published since enough have signed, or null"
    ]
    waiting: Annotated[list[str], "roles that wait for further signatures"]
    unchecked: Annotated[
        list[str], "what was believed because a file says so, as nothing here tells; else empty"
    ]


@click.command(
    "sign",
    cls=Verb,
    answers=SignedDocument,
    exits={
        0: "signed; published where enough have signed",
        1: "not done: a key or a file cannot be read, or what is signed cannot be published",
        3: "refused: the key does not count or has signed already, you said no, or what waits is "
        "behind the catalog, was altered, or is more than is shown; nothing was signed",
        4: "conflict: what waits has changed meanwhile; nothing was signed",
        5: "cannot tell: the catalog cannot be read, or a key elsewhere does not answer",
        6: "nothing waits, there is no such key or file, or no project here",
    },
    examples=[
        ("imagectl sign channel-stable --key ~/keys/alice.pem", "look at it, and sign it"),
        (
            "imagectl sign root.json --key hsm:2 --catalog s3://images --root our.json",
            "elsewhere, after seeing that the file is about what consumers see",
        ),
        ("imagectl sign /media/stick/root.json --key hsm:2", "offline: the file alone is believed"),
        ("imagectl sign /media/stick/root.json", "back home: take its signatures, and publish"),
    ],
)
@click.argument(
    "what",
    metavar="[ROLE|FILE]...",
    nargs=-1,
    help="Only these; all that waits where none is named. A FILE, with a / or .json in its name, "
    "is one of .imagectl/pending that was carried here or elsewhere.",
)
@click.option(
    "--key",
    "keys",
    metavar="FILE|URI",
    multiple=True,
    help="Sign with this key: a PEM file, or a key in a KMS or HSM (gcpkms:..., hsm:2). The keys "
    "of this project where none is named.",
)
@click.option(
    "--catalog",
    metavar="URL",
    envvar="IMAGECTL_CATALOG",
    help="With FILE and --key: refuse a FILE that is not about what consumers see there now. An "
    "address or a folder, such as a copy of the tree. IMAGECTL_CATALOG says it too.",
)
@click.option(
    "--root",
    metavar="FILE",
    envvar="IMAGECTL_ROOT",
    type=click.Path(path_type=Path),
    help="With --catalog: the signer's own copy of the project's catalog/root.json, which says "
    "whose signatures count there. IMAGECTL_ROOT says it too.",
)
@click.option("--yes", is_flag=True, help="Do not ask. What is signed is shown all the same.")
@pass_invocation
def command(
    invocation: Invocation,
    what: tuple[str, ...],
    keys: tuple[str, ...],
    catalog: str | None,
    root: Path | None,
    yes: bool,
) -> None:
    """Sign what waits for signatures, after looking at it in plain words.

    Changes of keys wait for those whose keys count; moves of a channel that takes two signatures
    wait for two people. Once enough have signed, it is published. What waits is in
    .imagectl/pending: such a file can be carried to a machine without a project or a network and
    back. There, what is published and whose keys count is believed as the file has it, and a
    warning says so, unless --catalog and --root name what to compare it with. A file that would
    have more signed than it shows is refused without them.
    """
    from imagectl.adapters.signing_keys import read_private_key

    named = [each for each in what if "/" in each or each.endswith(".json")]
    if named and len(named) < len(what):
        raise BadUsage("both roles and files are named", hint="first the one, then the other")
    files = [invocation.directory / each for each in named]
    signers = [read_private_key(each) for each in keys]
    if files and keys:
        compare = _comparing(invocation, catalog, root)
        _sign_files(invocation, files, signers, compare, yes=yes)
        return
    _insist_unused(catalog, root)
    try:
        project = invocation.open_project()
    except NotFound as problem:
        if not files:
            raise
        raise NotFound(
            problem.what,
            where=problem.where,
            why=f"without --key, the signatures of {files[0].name} are taken over into its project",
            hint="name the key to sign it with here, with --key; or type it in that project",
        ) from problem
    ceremony = ceremony_of(project)
    settled = [*settle(invocation.out, project, ceremony)]  # what a killed one has left
    snapshot = project.catalog.snapshot()
    done: list[Waiting] = []
    if files:
        from imagectl.adapters.published.waiting import read_carried

        carried = [read_carried(each, project.clock.now()) for each in files]
        done = [ceremony.take(each, snapshot) for each in carried]
    else:
        shown = ceremony.waiting(what, snapshot)
        if not shown and not settled:
            raise NotFound("nothing waits for signatures")
        chosen: list[tuple[Waiting, Sequence[Signer]]] = []
        for each in shown:  # all of them before the first is signed: a no is about all
            using = signers or _here(project, each)
            if using or each.missing():
                _show(invocation, each, yes=yes or not _can_sign(using, each))
            if not using and each.missing():
                raise NotFound(
                    f"no key that is missing for {each.role} is here",
                    why=f"it waits for {' and '.join(map(str, each.missing()))}",
                    hint=f"name one with --key; or carry {each.where} to whoever has one",
                )
            for signer in using:
                each.check(signer)
            chosen.append((each, using))
        done = [ceremony.sign(each.role, using, each) if using else each for each, using in chosen]
    generation = None
    settled += settle(invocation.out, project, ceremony)
    if settled:
        invocation.out.say("commit catalog/: it says whose keys count")
    if settled or any(not each.missing() for each in done):
        generation = publish_anew(invocation.out, project)
    waiting = list(tell_waiting(invocation.out, project))
    invocation.out.answer(
        SignedDocument(
            signed=[waiting_document(each) for each in done],
            generation=generation,
            waiting=waiting,
            unchecked=[],
        ),
        _lines(done, generation),
    )


def _insist_unused(catalog: str | None, root: Path | None) -> None:
    """What waits in a project is compared with the project. What is exported is for others."""
    context = click.get_current_context()
    for name, given in (("catalog", catalog), ("root", root)):
        source = context.get_parameter_source(name)
        if given is not None and source is ParameterSource.COMMANDLINE:
            raise BadUsage(
                f"--{name} goes with a FILE and a --key",
                why="in its project, what waits is compared with the catalog and its trees anyway",
                hint=f"leave out --{name}, or name both",
            )


def _comparing(
    invocation: Invocation, catalog: str | None, root: Path | None
) -> Callable[[Waiting], str]:
    """How to see that a file is about what is published; gives what cannot be told."""
    from imagectl.adapters.clock import SystemClock
    from imagectl.adapters.published.waiting import check_alone, check_published
    from imagectl.bootstrap.consumer import follow_elsewhere

    if catalog is None:
        return check_alone
    tree = follow_elsewhere(invocation.directory, catalog, root, SystemClock().now())
    for notice in tree.notices:
        invocation.out.warn(notice)
    return lambda waiting: check_published(waiting, tree.signed_by, tree.where)


def _sign_files(
    invocation: Invocation,
    files: Sequence[Path],
    signers: Sequence[Signer],
    compare: Callable[[Waiting], str],
    *,
    yes: bool,
) -> None:
    """On a machine that has nothing else: the signatures go into the files."""
    from imagectl.adapters.clock import SystemClock
    from imagectl.adapters.published.trust import put
    from imagectl.adapters.published.waiting import read_carried

    now = SystemClock().now()
    done, unchecked = [], []
    for path in files:
        waiting = read_carried(path, now)
        unknown = compare(waiting)
        _show(invocation, waiting, unknown, yes=yes or not _can_sign(signers, waiting))
        if unknown:
            unchecked.append(unknown)
        for signer in signers:
            waiting.check(signer)
        done.append(waiting)
    for path, waiting in zip(files, done, strict=True):
        for signer in signers:
            waiting.add(signer)
        put(path, waiting.metadata.to_bytes())
    invocation.out.answer(
        SignedDocument(
            signed=[waiting_document(each) for each in done],
            generation=None,
            waiting=[each.role for each in done if each.missing()],
            unchecked=unchecked,
        ),
        _lines(done, None),
    )
    invocation.out.say(f"carry it back, and type there: imagectl sign {' '.join(map(str, files))}")


def _here(project: Project, waiting: Waiting) -> list[Signer]:
    """The keys of this project that it waits for, no more than are missing."""
    found: dict[str, Signer] = {}
    for missing in waiting.missing():
        count = 0
        for who in missing.of:
            if count == missing.count:
                break
            try:
                signer = found.get(who.keyid) or project.signing.keys.signer(who.keyid)
            except ImagectlError:
                continue  # one elsewhere that does not answer: others may be enough
            if signer is not None:
                found[who.keyid] = signer
                count += 1
    return [*found.values()]


def _can_sign(signers: Sequence[Signer], waiting: Waiting) -> bool:
    """Whether there is anything to ask about: what no key here may sign, or has signed already, is
    refused without a question."""
    from imagectl.adapters.published.signers import signers_of

    may = {who.keyid for by in waiting.delegators for who in signers_of(waiting.role, by).who}
    return any(each.public_key.keyid in may - {*waiting.metadata.signatures} for each in signers)


def _show(invocation: Invocation, waiting: Waiting, unknown: str = "", *, yes: bool) -> None:
    """Show what is about to be signed, and what nobody here can tell of it, and ask. With ``-q``,
    too: nobody signs what is not shown."""
    out = replace(invocation, quiet=False).out
    out.say(f"{waiting.role} would say from then on:")
    for line in waiting.says:
        out.say(f"  {line}")
    for who in waiting.signed_by:
        out.say(f"  signed by {who}")
    if unknown:
        out.warn(f"NOT CHECKED: {unknown}")
        for line in waiting.by_it:
            out.say(f"  {line}")
    if not yes and not _agreed(waiting):
        raise Refused("nothing was signed", reasons=("you said no",), where=waiting.where)


def _agreed(waiting: Waiting) -> bool:
    try:
        return click.confirm("Sign this?", err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise  # Ctrl-C
        raise Refused(
            "nothing was signed",
            reasons=("nobody is at a terminal here to say yes",),
            where=waiting.where,
            hint="type it at a terminal; or --yes, where what is shown above was looked at before",
        ) from None


def _lines(done: Sequence[Waiting], generation: int | None) -> Iterator[str]:
    for each in done:
        left = each.missing()
        state = f"waits for {' and '.join(map(str, left))}" if left else "enough have signed"
        yield f"{each.role}: {state}"
    if generation is not None:
        yield f"published: generation {generation}"
