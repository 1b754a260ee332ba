"""What a consumer gets (P6, P10).

Promises: a channel that was opted into and does not exist is an error, never silently another one;
a choice that the request leaves open is put back to the user, never made by order or by chance; and
the answer says why it is the answer. What was revoked, quarantined or deleted is given to nobody,
also where it is pinned. It is decided in steps, as a reader of the published tree goes: ``choose``
needs the request alone, ``check_head`` a channel's document or ``find_document`` the index, both
the image's warnings, ``resolve`` the version's document.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from imagectl.errors import BadUsage, ImagectlError, NotFound, Refused
from imagectl.model.names import (
    Architecture,
    ChannelName,
    Format,
    ImageName,
    LocationName,
    Sha256,
    VersionId,
)
from imagectl.model.published import (
    PublishedHead,
    PublishedIndex,
    PublishedPlacement,
    PublishedVersion,
    PublishedWarning,
    Warned,
)
from imagectl.model.version import VersionRef
from imagectl.policy.wording import listed, moment, nearest, span

DEFAULT_CHANNEL = ChannelName("stable")
"""What a consumer gets who opts into nothing."""


@dataclass(frozen=True, slots=True)
class ResolutionRequest:
    """What is asked for. A version wins over the branch's channel, that over the channel.

    ``branches`` says which channel to take on some branches of the consumer's repository, and
    ``branch`` which one it is on. Format, architecture and location may be left open where there is
    one only. ``notices``: the consumer wants to be told of what is coming; ``despite_brownout``: it
    is not refused in a brownout. ``said`` is where the location and the format were said, for
    people.
    """

    image: ImageName
    channel: ChannelName | None = None
    version: VersionId | None = None
    branches: Mapping[str, ChannelName] = field(default_factory=dict)
    branch: str | None = None
    max_age: timedelta | None = None
    format: Format | None = None
    architecture: Architecture | None = None
    location: LocationName | None = None
    notices: bool = False
    despite_brownout: bool = False
    said: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Choice:
    """The image, and either the channel to follow or the version that is pinned."""

    image: ImageName
    channel: ChannelName | None
    version: VersionId | None
    reason: str


@dataclass(frozen=True, slots=True)
class Resolution:
    """What the consumer gets: ``reference`` is what to pull, the rest how to check it and why."""

    ref: VersionRef
    channel: ChannelName | None
    reference: str
    location: LocationName
    format: Format
    architecture: Architecture
    sha256: Sha256
    size: int
    created: datetime
    age: timedelta
    reasons: tuple[str, ...]
    notices: tuple[str, ...] = ()
    """What the consumer should know though it is given the version."""
    url: str | None = None
    """The address where a plain download works; None where none is known."""


def choose(request: ResolutionRequest) -> Choice:
    """Which channel or version the request means."""
    if request.version is not None:
        return Choice(request.image, None, request.version, f"pinned to {request.version}")
    branch_channel = request.branches.get(request.branch) if request.branch is not None else None
    if branch_channel is not None:
        channel, reason = branch_channel, f"channel {branch_channel}, as on branch {request.branch}"
    elif request.channel is not None:
        channel, reason = request.channel, f"channel {request.channel}, as asked for"
    else:
        channel, reason = DEFAULT_CHANNEL, f"channel {DEFAULT_CHANNEL}, as nothing else was said"
    return Choice(request.image, channel, None, reason)


def no_image(image: ImageName, images: Collection[ImageName]) -> NotFound:
    """That consumers do not know of the image, where *images* are those that they know of."""
    return NotFound(
        f"there is no image {image} for consumers",
        why=f"the published catalog has {listed(sorted(images))}",
        hint=nearest(image, images)
        if images
        else "nothing is released yet: in the project, `imagectl build` makes the first version",
    )


def no_head(choice: Choice, channels: Collection[ChannelName], *, waits: bool = False) -> NotFound:
    """That the image has nothing in the chosen channel, where *channels* are those it is in.
    *waits*: something of that channel waits for signatures; it may be of another image."""
    why = f"{choice.reason}; it is in {listed(sorted(channels))}"
    hint = nearest(choice.channel or "", channels) or "; ".join(
        f"`imagectl resolve {choice.image}:{each}`" for each in sorted(channels)
    )
    if waits:
        why += "; a move of that channel waits for signatures, maybe of this image"
        sign = f"whoever releases {choice.image} types `imagectl sign`, which shows what waits"
        hint = f"{hint}; or {sign}" if hint else sign
    return NotFound(f"{choice.image} has nothing in channel {choice.channel}", why=why, hint=hint)


def check_head(
    head: PublishedHead, warning: PublishedWarning | None, *, waits: bool = False
) -> None:
    """Raise Refused where what the channel points to was revoked or taken away. That it was taken
    away means that the channel has left it, and waits for signatures to say so. *waits*: something
    of that channel does; it may be of another image.
    """
    if warning is None or not warning.warned.taken_away:
        return
    ref = VersionRef(head.image, head.version)
    where = f"{head.channel} of {head.image}"
    if warning.warned is Warned.REVOKED:
        back = f"`imagectl rollback {head.channel} {head.image}`"
        # A rollback would move a channel that has left it already away from the good version.
        mend = (
            f"`imagectl sign`, which shows what waits, and {back} only where no move of "
            f"{head.image} does"
            if waits
            else back
        )
        raise Refused(
            f"{where} points to a version that was revoked",
            reasons=(_warned(ref, warning),),
            where=str(ref),
            hint=f"pin another version; whoever releases {head.image} types {mend}",
        )
    raise Refused(
        f"{where} still points to a version that cannot be had any more",
        reasons=(
            _warned(ref, warning),
            f"what {where} points to now is not signed by enough people yet",
        ),
        where=str(ref),
        hint=f"pin another version; whoever releases {head.image} types `imagectl sign`, which "
        "shows what waits",
    )


def find_document(
    image: ImageName,
    version: VersionId,
    index: PublishedIndex,
    warning: PublishedWarning | None,
) -> Sha256:
    """The digest of the version's document. *warning*: what consumers are warned of it.

    Raises Refused where it was revoked or quarantined, and NotFound where it was deleted, or is not
    published.
    """
    ref = VersionRef(image, version)
    warning = warning or index.deleted.get(version)
    if warning is not None and warning.warned.taken_away:
        raise _taken_away(ref, warning, there=version in index.versions)
    found = index.versions.get(version)
    if found is None:
        newest = f"its newest is {max(index.versions)}" if index.versions else "it has none yet"
        raise NotFound(
            f"there is no {ref} for consumers",
            why=f"only versions that are tested and in all their places are published; {newest}",
            hint=nearest(str(version), [str(each) for each in index.versions]),
        )
    return found


def _taken_away(ref: VersionRef, warning: PublishedWarning, *, there: bool) -> ImagectlError:
    """*there*: it is in its places, as far as is published. One that is quarantined and is not was
    deleted, and only begun to be brought back; or it never got there."""
    said = _warned(ref, warning)
    match warning.warned:
        case Warned.DELETED:
            return NotFound(
                f"{ref} was deleted",
                where=str(ref),
                why=said,
                hint=f"`imagectl cleanup undelete {ref}` makes it again; "
                f"`imagectl resolve {ref.image}` says what its channel has",
            )
        case Warned.QUARANTINED:
            undo = (
                f"`imagectl cleanup undo {ref}` brings it back; or, where it was deleted, "
                f"`imagectl cleanup undelete {ref}`"
                if there
                else f"`imagectl cleanup undelete {ref}` brings it back, as it is not in all its "
                f"places; or, where it never was deleted, `imagectl cleanup undo {ref}`"
            )
        case _:
            undo = f"take another version: `imagectl resolve {ref.image}`"
    return Refused(f"{ref} cannot be had", reasons=(said,), where=str(ref), hint=undo)


def _warned(ref: VersionRef, warning: PublishedWarning) -> str:
    because = f": {warning.reason}" if warning.reason else ""
    return (
        f"{ref.version} is {warning.warned.value} since {moment(warning.at)}, "
        f"by {warning.by}{because}"
    )


def resolve(
    choice: Choice,
    head: PublishedHead | None,
    version: PublishedVersion,
    request: ResolutionRequest,
    now: datetime,
    warning: PublishedWarning | None = None,
) -> Resolution:
    """The one artifact that the request means. *warning* is what consumers are warned of it.

    Raises Refused where the version is too old, NotFound where it is not to be had in that form or
    place, and BadUsage, with what there is, where the request fits several artifacts.
    """
    age = now - version.created
    if request.max_age is not None and age > request.max_age:
        raise Refused(
            f"{version.ref} is too old",
            reasons=(
                f"built on {moment(version.created)}, {span(age)} ago; "
                f"max_age allows {span(request.max_age)}",
            ),
            hint="build and promote a newer one, or ask for another channel or a longer max_age",
        )
    found = _placement(version, request)
    reasons = [choice.reason]
    if head is not None:
        because = f": {head.reason}" if head.reason else ""
        reasons.append(
            f"{head.channel} points to {head.version} since {moment(head.at)} "
            f"({head.kind.value}{because})"
        )
    reasons.append(f"built {span(age)} ago, {version.tests_passed} tests passed")
    return Resolution(
        version.ref,
        choice.channel,
        found.reference,
        found.location,
        found.format,
        found.architecture,
        found.sha256,
        found.size,
        version.created,
        age,
        tuple(reasons),
        () if warning is None else (_move_on(version.ref, warning),),
        found.url,
    )


def _move_on(ref: VersionRef, warning: PublishedWarning) -> str:
    newer = f"`imagectl resolve {ref.image}` says what its channel has"
    return f"{_warned(ref, warning)}; it is on its way out: {newer}"


def _placement(version: PublishedVersion, request: ResolutionRequest) -> PublishedPlacement:
    asked = {
        "location": request.location,
        "format": request.format.value if request.format else None,
        "architecture": request.architecture.value if request.architecture else None,
    }
    fitting = [
        each
        for each in version.placements
        if all(wish is None or _trait(each, trait) == wish for trait, wish in asked.items())
    ]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        wishes = [f"{trait} {wish}" for trait, wish in asked.items() if wish is not None]
        raise NotFound(
            f"{version.ref} is not to be had with {listed(wishes)}",
            where=", ".join(filter(None, map(request.said.get, asked))),
            why=f"there is: {'; '.join(map(_described, version.placements))}",
            hint=_nearest_wish(version.placements, asked),
        )
    open_traits = {
        trait: sorted({_trait(each, trait) for each in fitting})
        for trait, wish in asked.items()
        if wish is None
    }
    options = [
        f"--{trait} {' or '.join(values)}"
        for trait, values in open_traits.items()
        if len(values) > 1
    ]
    raise BadUsage(
        f"{version.ref} is to be had in {len(fitting)} ways; say which",
        why="; ".join(map(_described, fitting)),
        hint=f"add {' and '.join(options)}",
    )


def _trait(placement: PublishedPlacement, trait: str) -> str:
    match trait:
        case "location":
            return placement.location
        case "format":
            return placement.format.value
        case _:
            return placement.architecture.value


def _described(placement: PublishedPlacement) -> str:
    return f"{placement.format.value} for {placement.architecture.value} in {placement.location}"


def _nearest_wish(
    placements: Collection[PublishedPlacement], asked: Mapping[str, str | None]
) -> str:
    for trait, wish in asked.items():
        known = {_trait(each, trait) for each in placements}
        if wish is not None and wish not in known:
            return nearest(wish, known)
    return ""
