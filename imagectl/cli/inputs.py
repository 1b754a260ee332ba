"""``imagectl inputs``: what builds were made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, TypedDict

import click

from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.text import size, table
from imagectl.cli.verb import Family, Verb
from imagectl.policy.wording import counted

if TYPE_CHECKING:
    from imagectl.model.names import ImageName
    from imagectl.services.inputs import Reached, Verdict


class InputFile(TypedDict):
    """A file of the input store."""

    sha256: Annotated[str, "its digest, which is its name"]
    size: Annotated[int, "bytes"]
    images: Annotated[list[str], "the images whose locks name it"]


class InputsOfImage(TypedDict):
    """What one image's lock needs."""

    image: Annotated[str, "the image"]
    files: Annotated[int, "how many of the files that it needs are here"]
    size: Annotated[int, "bytes of those"]
    missing: Annotated[int, "how many are not here; a build fetches them, if they are to be had"]


class InputList(TypedDict):
    """The input store."""

    folder: Annotated[str, "where it is"]
    files: Annotated[int, "how many files there are"]
    size: Annotated[int, "bytes of all of them"]
    images: Annotated[list[InputsOfImage], "what each image that has a lock needs"]
    unreached: Annotated[int, "how many files no lock of today names"]
    unreached_size: Annotated[int, "bytes of those"]
    contents: Annotated[list[InputFile] | None, "every file; null without `--all`"]


class DamagedInput(TypedDict):
    """A file that is not what its name says."""

    sha256: Annotated[str, "its name"]
    file: Annotated[str, "where it is"]
    why: Annotated[str, "what it is instead"]


class VerifiedInputs(TypedDict):
    """Whether the input store is sound."""

    sound: Annotated[bool, "true where every file is what its name says"]
    files: Annotated[int, "how many were hashed"]
    size: Annotated[int, "bytes of those"]
    damaged: Annotated[list[DamagedInput], "those that are not what their names say"]


@click.group("inputs", cls=Family)
def command() -> None:
    """Look at what builds were made from."""


@command.command(
    "list",
    cls=Verb,
    answers=InputList,
    exits={
        2: "bad usage, or a lock that cannot be read",
        5: "cannot tell: the input store cannot be read",
        6: "there is no project here",
    },
    examples=[
        ("imagectl inputs list", "how much there is, and which images need it"),
        ("imagectl inputs list --all", "every file"),
    ],
)
@click.option("--all", "every", is_flag=True, help="Also every file, with the images that need it.")
@pass_invocation
def list_inputs(invocation: Invocation, every: bool) -> None:
    """Show how much the input store holds, and which images need it.

    What no lock of today names may still be needed to rebuild a version that was built under an
    earlier lock. Nothing is ever deleted.
    """
    from imagectl.services.inputs import locks_of, needed, reach

    project = invocation.open_project()
    locks = locks_of(project.definitions, project.image_names)
    files = reach(project.inputs, locks)
    here = {each.sha256: each.size for each in files}
    images: list[InputsOfImage] = []
    for lock in locks:
        wanted = needed(lock)
        kept = wanted & here.keys()
        images.append(
            {
                "image": lock.image,
                "files": len(kept),
                "size": sum(here[each] for each in kept),
                "missing": len(project.inputs.missing(wanted)),
            }
        )
    unreached = [each for each in files if not each.images]
    found = InputList(
        folder=str(project.inputs.root),
        files=len(files),
        size=sum(here.values()),
        images=images,
        unreached=len(unreached),
        unreached_size=sum(each.size for each in unreached),
        contents=[
            {"sha256": each.sha256, "size": each.size, "images": list(each.images)}
            for each in files
        ]
        if every
        else None,
    )
    invocation.out.answer(found, _list_lines(found, files if every else ()))


def _list_lines(found: InputList, files: Sequence[Reached]) -> Iterator[str]:
    yield f"{counted(found['files'], 'file')}, {size(found['size'])}, in {found['folder']}"
    rows = [
        (
            each["image"],
            str(each["files"]),
            size(each["size"]),
            str(each["missing"]) if each["missing"] else "",
        )
        for each in found["images"]
    ]
    if found["unreached"]:
        rows.append(("(no lock)", str(found["unreached"]), size(found["unreached_size"]), ""))
    if rows:
        yield ""
        yield from table(("IMAGE", "FILES", "SIZE", "MISSING"), rows)
    if files:
        yield ""
        yield from table(
            ("SHA256", "SIZE", "NEEDED BY"),
            [(each.sha256, size(each.size), _users(each.images)) for each in files],
        )


def _users(images: Sequence[ImageName]) -> str:
    return ", ".join(images) or "-"


@command.command(
    "verify",
    cls=Verb,
    answers=VerifiedInputs,
    exits={
        0: "every file is what its name says",
        1: "some are not; each is named",
        5: "cannot tell: the input store cannot be read",
        6: "there is no project here",
    },
    examples=[("imagectl inputs verify", "hash every file again")],
)
@pass_invocation
def verify_inputs(invocation: Invocation) -> int:
    """Hash every file of the input store again.

    Changes nothing. A build does the same with each file that it uses: it moves a damaged one into
    the folder .damaged of the store, and fetches it again where it is still to be had.
    """
    from imagectl.services.inputs import verify

    project = invocation.open_project()
    with invocation.out.progress(project.clock) as progress:
        progress.stage("verify the input store")
        verdict = verify(project.inputs, progress)
    invocation.out.answer(
        VerifiedInputs(
            sound=not verdict.damaged,
            files=verdict.count,
            size=verdict.size,
            damaged=[
                {"sha256": each.sha256, "file": each.where, "why": each.why}
                for each in verdict.damaged
            ],
        ),
        _verdict_lines(verdict),
    )
    return 1 if verdict.damaged else 0


def _verdict_lines(verdict: Verdict) -> Iterator[str]:
    seen = f"{counted(verdict.count, 'file')}, {size(verdict.size)}"
    if not verdict.damaged:
        yield f"sound: {seen}"
        return
    yield f"NOT sound: {len(verdict.damaged)} of {seen}"
    for each in verdict.damaged:
        yield f"  - {each.where}"
        yield f"    {each.why}"
