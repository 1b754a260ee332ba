"""``imagectl list``: what there is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

import click

from imagectl.cli.arguments import IMAGE
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.keeping import Keeping, in_short, keeping
from imagectl.cli.text import age, size, stamp, table
from imagectl.cli.verb import Verb
from imagectl.cli.waiting import tell_waiting
from imagectl.errors import NotFound
from imagectl.policy.announced import notice_of
from imagectl.policy.announcing import standing_announcements
from imagectl.policy.wording import counted, listed, nearest

if TYPE_CHECKING:
    from imagectl.model.names import ChannelName, ImageName
    from imagectl.model.snapshot import Snapshot


class ListedMove(TypedDict):
    """A move that consumers were told of before it happens."""

    version: Annotated[str, "what the channel will point to"]
    due: Annotated[str, "not before"]


class ListedChannel(TypedDict):
    """A channel of an image."""

    name: Annotated[str, "the channel"]
    version: Annotated[str | None, "what it points to; null where nothing was released there yet"]
    since: Annotated[str | None, "since when"]
    by: Annotated[str | None, "who moved it there"]
    coming: Annotated[ListedMove | None, "what was announced; null where nothing was"]


class ListedVersion(TypedDict):
    """A version of an image."""

    version: Annotated[str, "the version"]
    created: Annotated[str, "when it was built"]
    size: Annotated[int, "bytes of all its artifacts"]
    tests_passed: Annotated[int, "tests that passed on the booted image"]
    tests_failed: Annotated[int, "tests that failed; no channel gets such a version"]
    channels: Annotated[list[str], "the channels that point to it now"]
    unfinished: Annotated[list[str], "the locations where it was begun to be put and is not yet"]
    reproducible: Annotated[
        Literal["yes", "no", "unproven"] | None,
        "whether its lock is known to give the same bytes again; null where it has no lock",
    ]
    keeping: Annotated[Keeping, "what protects it, and how far it is on its way down"]


class ListedImage(TypedDict):
    """An image."""

    name: Annotated[str, "the image"]
    defined: Annotated[bool, "whether the project has a definition of it"]
    channels: Annotated[list[ListedChannel], "its channels, in the order of channels.yaml"]
    versions: Annotated[list[ListedVersion], "its versions, newest first"]


class Listed(TypedDict):
    """What the catalog holds."""

    generation: Annotated[int, "the catalog's generation; each change makes the next"]
    images: Annotated[list[ListedImage], "the images, by name"]


@click.command(
    "list",
    cls=Verb,
    answers=Listed,
    exits={5: "cannot tell: the catalog cannot be read", 6: "there is no such image or project"},
    examples=[
        ("imagectl list", "every image and what its channels point to"),
        ("imagectl list debian-ci", "every version of one image"),
        ("imagectl list --json", "all of it, for a program"),
    ],
)
@click.argument(
    "images", metavar="[IMAGE]...", nargs=-1, type=IMAGE, help="Show the versions of these images."
)
@pass_invocation
def command(invocation: Invocation, images: tuple[ImageName, ...]) -> None:
    """Show images, channels and versions.

    Without IMAGE, each image with what its channels point to; with IMAGE, each of its versions.
    """
    project = invocation.open_project()
    snapshot = project.catalog.snapshot()
    known = sorted({*snapshot.images, *project.image_names})
    for image in images:
        if image not in known:
            raise NotFound(
                f"there is no image {image}",
                why=f"there is {listed(known)}",
                hint=nearest(image, known),
            )
    names = sorted(set(images)) or known
    now = project.clock.now()
    document = Listed(
        generation=snapshot.generation,
        images=[
            _image(name, snapshot, project.policy.names, now, defined=name in project.image_names)
            for name in names
        ],
    )
    lines = _versions(document, now) if images else _channels(document, now)
    announced = standing_announcements(snapshot, names)
    told = [f"announced: {notice_of(each, now)}" for each in announced]
    invocation.out.answer(document, chain(lines, told))
    tell_waiting(invocation.out, project)
    if not names:
        invocation.out.say("there is no image yet: imagectl init shows what one looks like")


def _image(
    name: ImageName,
    snapshot: Snapshot,
    order: Sequence[ChannelName],
    now: datetime,
    *,
    defined: bool,
) -> ListedImage:
    known = [channel for image, channel in snapshot.channels if image == name]
    channels = [*order, *sorted(each for each in known if each not in order)]
    heads = {channel: snapshot.head(name, channel) for channel in channels}
    return ListedImage(
        name=name,
        defined=defined,
        channels=[_channel(name, channel, snapshot) for channel in channels],
        versions=[
            ListedVersion(
                version=str(version.id),
                created=stamp(version.created),
                size=sum(artifact.size for artifact in version.artifacts),
                tests_passed=version.tests.passed,
                tests_failed=version.tests.failed,
                channels=[channel for channel, head in heads.items() if head == version.id],
                unfinished=sorted({each.location for each in snapshot.intended(version.ref)}),
                reproducible=version.origin.reproducible.value if version.origin else None,
                keeping=keeping(snapshot, version.ref, now),
            )
            for version in reversed(snapshot.of(name))
        ],
    )


def _channel(image: ImageName, name: ChannelName, snapshot: Snapshot) -> ListedChannel:
    channel = snapshot.channel(image, name)
    told = snapshot.coming(image, name)
    coming = ListedMove(version=str(told.to), due=stamp(told.due)) if told else None
    if channel is None:
        return ListedChannel(name=name, version=None, since=None, by=None, coming=coming)
    head = channel.head
    return ListedChannel(
        name=name, version=str(head.version), since=stamp(head.at), by=head.by, coming=coming
    )


def _channels(document: Listed, now: datetime) -> Iterator[str]:
    rows = []
    for image in document["images"]:
        name, built = image["name"], counted(len(image["versions"]), "version")
        for channel in image["channels"]:
            since = channel["since"]
            ago = age(datetime.fromisoformat(since), now) if since else ""
            rows.append([name, built, channel["name"], channel["version"] or "-", ago])
            name, built = "", ""
    if rows:
        yield from table(["IMAGE", "BUILT", "CHANNEL", "POINTS TO", "SINCE"], rows)


def _versions(document: Listed, now: datetime) -> Iterator[str]:
    for number, image in enumerate(document["images"]):
        if number:
            yield ""
        if not image["versions"]:
            yield f"{image['name']}: not built yet"
            continue
        yield f"{image['name']}"
        states = [in_short(version["keeping"]) for version in image["versions"]]
        state = ["STATE"] if any(states) else []
        yield from table(
            ["VERSION", "BUILT", "SIZE", "TESTS", "REPRODUCIBLE", "CHANNELS", *state],
            [
                [
                    version["version"],
                    age(datetime.fromisoformat(version["created"]), now),
                    size(version["size"]),
                    _tests(version),
                    version["reproducible"] or "-",
                    ", ".join(version["channels"]),
                    *([said] if state else []),
                ]
                for version, said in zip(image["versions"], states, strict=True)
            ],
        )
        for version in image["versions"]:
            if version["unfinished"]:
                ref = f"{image['name']}@{version['version']}"
                to = " ".join(f"--to {name}" for name in version["unfinished"])
                yield (
                    f"{ref} was not finished in {listed(version['unfinished'])}: "
                    f"`imagectl publish {ref} {to}` goes on"
                )


def _tests(version: ListedVersion) -> str:
    failed = f", {version['tests_failed']} FAILED" if version["tests_failed"] else ""
    return f"{version['tests_passed']} passed{failed}"
