"""Who signs what of the published tree, where its files are, and for how long signatures hold.

The tree is a repository of TUF (The Update Framework) with consistent snapshots: each file but
``metadata/timestamp.json`` has its version or the digest of its bytes in its name, and is never
replaced by another. The roles, in plain words:

============  ==================================================================================
root          whose keys count, and for what; signed offline
targets       signs no document itself: says which of the roles below may sign which documents
timestamp     which snapshot is the newest one
snapshot      which version of each role's list belongs together
catalog       the state of the catalog, announcements, warnings, history
images        by image, which versions there are; an image may have a role of its own
channel-NAME  what that channel of each image points to
============  ==================================================================================

So a warning never waits for people's signatures, also where a channel needs those of two.
Pure: names, numbers, nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from imagectl.model.names import BadName, ChannelName, ImageName, Sha256, parse_image_name

ROOT, TARGETS, SNAPSHOT, TIMESTAMP = "root", "targets", "snapshot", "timestamp"
"""The roles that TUF itself gives names to."""

CATALOG_ROLE, IMAGES_ROLE = "catalog", "images"

SPEC_VERSION = "1.0.31"
"""Of TUF's specification, as metadata says it."""

METADATA = "metadata"
"""The folder of signed metadata, below the tree."""

TIMESTAMP_PATH = f"{METADATA}/timestamp.json"
"""The one file of the tree that is ever replaced, and the last one that is written (P7)."""

CATALOG_TARGET = "catalog.json"
ANNOUNCEMENTS_TARGET = "announcements.json"
HISTORY_TARGET = "history/events.json"
"""The newest events of the catalog, where a tree carries them, and where the ones before are."""

LIFETIMES: Mapping[str, timedelta] = {
    TIMESTAMP: timedelta(days=14),
    SNAPSHOT: timedelta(days=14),
    TARGETS: timedelta(days=365),
    ROOT: timedelta(days=365),
}
"""For how long a signature holds; of a role that is not here, ``DELEGATED_LIFETIME``."""

DELEGATED_LIFETIME = timedelta(days=90)

SHOWN = "imagectl"
"""The key of a timestamp under which it says what the tree shows: so that one small file tells."""

BEHIND = "behind"
"""Of what is there: the roles that have something else to say than what is published here, for want
of signatures, each with a digest of that."""

ALARM = timedelta(days=5)
"""With less than that left of any signature, somebody has to look."""


def channel_role(channel: ChannelName) -> str:
    """Who signs what that channel points to."""
    return f"channel-{channel}"


def image_role(image: ImageName) -> str:
    """Who signs the versions of an image that has keys of its own."""
    return f"image-{image}"


def index_target(image: ImageName) -> str:
    """An image's index, as targets are named."""
    return f"images/{image}/index.json"


def image_of_index(target: str) -> ImageName | None:
    """Whose index that target is; None where it is none's: a name that is no image's is nothing to
    ask for."""
    match target.split("/"):
        case ["images", name, "index.json"]:
            try:
                return parse_image_name(name)
            except BadName:
                return None
        case _:
            return None


def warnings_target(image: ImageName) -> str:
    """What consumers of an image are warned of; absent where there is nothing."""
    return f"images/{image}/warnings.json"


def channel_target(image: ImageName, channel: ChannelName) -> str:
    """What one channel of an image points to."""
    return f"images/{image}/channels/{channel}.json"


def delegated_paths(role: str) -> tuple[str, ...]:
    """What a role below ``targets`` may sign; ``*`` stands for anything without a slash."""
    if role == CATALOG_ROLE:
        return (CATALOG_TARGET, ANNOUNCEMENTS_TARGET, "images/*/warnings.json", "history/*")
    if role == IMAGES_ROLE:
        return ("images/*/index.json",)
    kind, _, name = role.partition("-")
    if kind == "channel" and name:
        return (f"images/*/channels/{name}.json",)
    if kind == "image" and name:
        return (f"images/{name}/index.json",)
    raise ValueError(f"{role} is not a role of a published catalog")


def delegation_order(roles: Iterable[str]) -> tuple[str, ...]:
    """The roles below ``targets`` in the order in which they are asked: an image's own role comes
    before that of all images, since every delegation is final."""
    own = {role for role in roles if role.startswith("image-")}
    return (CATALOG_ROLE, *sorted(own), *sorted({*roles, IMAGES_ROLE} - own - {CATALOG_ROLE}))


def role_of(target: str, roles: Iterable[str]) -> str:
    """Which of the *roles* signs that target. Raises ValueError where it is none of ours."""
    parts = target.split("/")
    match parts:
        case ["images", image, "index.json"]:
            own = image_role(ImageName(image))
            return own if own in roles else IMAGES_ROLE
        case ["images", _, "channels", name] if name.endswith(".json"):
            return f"channel-{name.removesuffix('.json')}"
        case ["catalog.json"] | ["announcements.json"] | ["history", _]:
            return CATALOG_ROLE
        case ["images", _, "warnings.json"]:
            return CATALOG_ROLE
        case _:
            raise ValueError(f"{target} is not a document of a published catalog")


def metadata_path(role: str, version: int) -> str:
    """Where one version of a role's metadata is, below the tree."""
    return TIMESTAMP_PATH if role == TIMESTAMP else f"{METADATA}/{version}.{role}.json"


def target_path(target: str, digest: Sha256) -> str:
    """Where a target with that digest is, below the tree."""
    folder, slash, name = target.rpartition("/")
    return f"{folder}{slash}{digest}.{name}"


def version_path(digest: Sha256) -> str:
    """Where a version's document is, below the tree. Indexes and channels name its digest."""
    return f"versions/sha256/{digest[:2]}/{digest}.json"


def history_path(digest: Sha256) -> str:
    """Where earlier events are, below the tree. The document of the events that follow names its
    digest."""
    return f"history/sha256/{digest[:2]}/{digest}.json"


def lifetime(role: str) -> timedelta:
    """For how long a signature of that role holds."""
    return LIFETIMES.get(role, DELEGATED_LIFETIME)


def is_due(role: str, expires: datetime, now: datetime) -> bool:
    """Whether it is time to sign anew what that role signed: less than half its life is left."""
    return expires - now < lifetime(role) / 2


def waits(said: object, role: str) -> bool:
    """Whether a role has something else to say, and waits for signatures, by what a timestamp has
    *said* under ``SHOWN``. Where it has not said so of any role, that is not known: then it may."""
    behind = said.get(BEHIND) if isinstance(said, dict) else None
    return role in behind if isinstance(behind, dict) else True
