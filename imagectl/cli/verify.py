"""``imagectl verify``: do channels still point to what works, and could one roll back?"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

import click

from imagectl.cli.arguments import CHANNEL, IMAGE
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.moves import BehindDocument, behind_document, tell_behind, watched
from imagectl.cli.text import stamp, table
from imagectl.cli.verb import Verb
from imagectl.errors import BadUsage, CannotTell, ImagectlError
from imagectl.policy.wording import counted, has_to, listed

if TYPE_CHECKING:
    from datetime import datetime

    from imagectl.model.names import ChannelName, ImageName, LocationName
    from imagectl.services.show import Behind
    from imagectl.services.verify import ChannelChecked, Checked, Verified


class CheckedDocument(TypedDict):
    """One version in one location that the channel requires."""

    version: Annotated[str, "the version"]
    location: Annotated[str, "the location"]
    state: Annotated[
        Literal["good", "missing", "corrupt", "revoked", "unknown"],
        "`missing`: certainly not there; `revoked`: there, but resolving the channel is an error; "
        "`unknown`: the location could not be asked",
    ]
    verified: Annotated[str | None, "when all of it was last seen there; null where it is not"]
    reasons: Annotated[list[str], "what is wrong, and what to type; empty where it is good"]


class ChannelDocument(TypedDict):
    """One channel of an image."""

    image: Annotated[str, "the image"]
    channel: Annotated[str, "the channel"]
    version: Annotated[str, "what it points to"]
    rollback: Annotated[list[str], "what one can roll back to, the nearest first"]
    required: Annotated[list[str], "the locations where all of these have to be"]
    checked: Annotated[list[CheckedDocument], "each version in each location"]


class VerifiedDocument(TypedDict):
    """What was found."""

    ok: Annotated[bool, "true where everything is where it has to be"]
    at: Annotated[str, "when"]
    generation: Annotated[int, "the catalog generation that records it"]
    channels: Annotated[list[ChannelDocument], "each channel of each image"]
    beside: Annotated[
        list[str],
        "locations where versions of these are that were not looked at, since no channel requires "
        "them there",
    ]
    behind: Annotated[
        list[BehindDocument], "whose own pointers (families) may not show what channels have"
    ]


@click.command(
    "verify",
    cls=Verb,
    answers=VerifiedDocument,
    exits={
        0: "everything is where it has to be",
        1: "something is missing, corrupt or revoked, or a family cannot be put right; each is "
        "named, with what to type",
        2: "bad usage, such as --metrics of some channels or images only, or a bad input file",
        4: "conflict: others kept changing the catalog, so nothing is recorded",
        5: "cannot tell: a location or the catalog cannot be read; what could be read is good",
        6: "there is no such channel or image",
    },
    examples=[
        ("imagectl verify", "every channel of every image"),
        ("imagectl verify stable --image debian-ci", "one channel of one image"),
        (
            "imagectl verify -q --metrics $TEXTFILES/imagectl-verify.prom",
            "from cron: says nothing while all is good",
        ),
    ],
)
@click.argument(
    "channels",
    metavar="[CHANNEL]...",
    nargs=-1,
    type=CHANNEL,
    help="Only these channels; all where none is named.",
)
@click.option(
    "--image",
    "images",
    metavar="IMAGE",
    type=IMAGE,
    multiple=True,
    help="Only this image; may be given several times.",
)
@click.option(
    "--metrics",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write what was found to FILE, for Prometheus. Of everything: not with a channel or "
    "--image.",
)
@pass_invocation
def command(
    invocation: Invocation,
    channels: tuple[ChannelName, ...],
    images: tuple[ImageName, ...],
    metrics: Path | None,
) -> int:
    """Read again, where channels require it, what they point to and what one would roll back to.

    What has to be where is decided by what channels require now. Optional locations are not looked
    at, nor are versions that no channel needs: `imagectl publish IMAGE@VERSION --to LOCATION` looks
    there. What is seen is recorded as verified. No channel moves, and nothing is put anywhere: each
    problem says what to type. Only what consumers are shown, in published trees and families, is
    made good where it is behind.
    """
    from imagectl.services.show import show
    from imagectl.services.verify import State, verify

    if metrics is not None and (channels or images):
        raise BadUsage(
            "--metrics is for all channels of all images",
            why="the file is replaced as a whole, so it would say nothing of all others (P8)",
            hint=f"`imagectl verify --metrics {shlex.quote(str(metrics))}`",
        )
    project = invocation.open_project()
    try:
        verified = verify(watched(invocation, project), project.policy, channels, images)
    except ImagectlError:
        _write(metrics, None, project.clock.now())
        raise
    _write(metrics, verified, verified.at)
    behind = show(project.releasing)
    missing, corrupt = verified.having(State.MISSING), verified.having(State.CORRUPT)
    revoked = verified.having(State.REVOKED)
    unknown = verified.having(State.UNKNOWN)
    late = [each.error for each in behind if each.required]
    ok = not missing and not corrupt and not revoked and not unknown and not late
    quiet = ok and invocation.out.quiet  # cron sends a mail for each line
    invocation.out.answer(_document(verified, behind, ok=ok), () if quiet else _lines(verified))
    tell_behind(invocation.out, behind)
    if missing:
        invocation.out.warn(
            f"{counted(len(missing), 'version')} not where {has_to(len(missing))} be; "
            f"{_backfill(missing)} puts there what is missing"
        )
    if corrupt:
        invocation.out.warn(
            f"{counted(len(corrupt), 'version')} corrupt where {has_to(len(corrupt))} be, and "
            "nothing is put over what is there: move that away for a look, or mend it as its "
            f"location says, then {_backfill(corrupt)}"
        )
    for ref in dict.fromkeys(each.version for each in revoked):
        invocation.out.warn(
            f"{ref} is revoked, and a channel points to it: its consumers get an error until "
            f"`imagectl rollback CHANNEL {ref.image}`"
        )
    if unknown:
        where = listed(sorted({each.location for each in unknown}))
        invocation.out.warn(f"it cannot be told what is in {where}: `imagectl doctor` says why")
    if missing or corrupt or revoked or any(not isinstance(each, CannotTell) for each in late):
        return 1
    return 5 if unknown or late else 0


def _backfill(wrong: Sequence[Checked]) -> str:
    return (
        f"`imagectl publish --backfill {' '.join(sorted({each.version.image for each in wrong}))}`"
    )


def _write(metrics: Path | None, verified: Verified | None, now: datetime) -> None:
    if metrics is not None:
        from imagectl.adapters.metrics import write_verified

        write_verified(metrics, verified, now)


def _document(verified: Verified, behind: Sequence[Behind], *, ok: bool) -> VerifiedDocument:
    return VerifiedDocument(
        ok=ok,
        at=stamp(verified.at),
        generation=verified.generation,
        channels=[
            ChannelDocument(
                image=channel.image,
                channel=channel.channel,
                version=str(channel.head),
                rollback=[str(each) for each in channel.window],
                required=list(channel.required),
                checked=[
                    CheckedDocument(
                        version=str(each.version.version),
                        location=each.location,
                        state=each.state.value,
                        verified=stamp(each.verified) if each.verified else None,
                        reasons=list(each.reasons),
                    )
                    for each in channel.checked
                ],
            )
            for channel in verified.channels
        ],
        beside=sorted({location for _, location in verified.beside}),
        behind=behind_document(behind),
    )


def _lines(verified: Verified) -> Iterator[str]:
    if not verified.channels:
        yield "no channel points to anything yet"
        return
    yield from table(
        ("CHANNEL", "POINTS TO", "ROLLBACK TO", "IN", "STATE"),
        [
            (
                f"{each.image}:{each.channel}",
                str(each.head),
                _rollback(each),
                ", ".join(each.required),
                _state(each),
            )
            for each in verified.channels
        ],
    )
    reasons = [
        reason
        for channel in verified.channels
        for each in channel.checked
        for reason in each.reasons
    ]
    for reason in dict.fromkeys(reasons):
        yield f"    - {reason}"
    if verified.beside:
        yield f"not verified: the copies in {_beside(verified)}, which no channel requires"


def _beside(verified: Verified) -> str:
    """Locations, and which versions in them where others there were looked at."""
    looked = {each.location for channel in verified.channels for each in channel.checked}
    versions: dict[LocationName, list[str]] = {}
    for ref, location in verified.beside:
        versions.setdefault(location, []).append(str(ref))
    return listed(
        f"{location} ({', '.join(refs)})" if location in looked else location
        for location, refs in sorted(versions.items())
    )


def _rollback(channel: ChannelChecked) -> str:
    if not channel.window:
        return "-"
    more = len(channel.window) - 1
    return f"{channel.window[0]}{f' (+{more})' if more else ''}"


def _state(channel: ChannelChecked) -> str:
    """The worst that was found, and where."""
    from imagectl.services.verify import State

    for state in (State.CORRUPT, State.MISSING, State.REVOKED, State.UNKNOWN):
        where = sorted({each.location for each in channel.checked if each.state is state})
        if where:
            word = state.value if state is State.UNKNOWN else state.value.upper()
            return f"{word} in {', '.join(where)}"
    return State.GOOD.value
