"""What this machine and its credentials must have, and what to type where they lack it.

``adapters/host.py`` looks at the machine and says what it saw; this module only judges that. A
finding is *ok*, *warn* (it works, but not well) or *fail* (something needed is missing), and each
that is not ok has a fix that can be pasted.
"""

from __future__ import annotations

import contextlib
import enum
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event

from imagectl.errors import ImagectlError
from imagectl.model.names import LocationName
from imagectl.policy.wording import counted, moment
from imagectl.services.abreast import abreast
from imagectl.services.credentials import RENEW, expiring
from imagectl.services.current import not_the_newest
from imagectl.services.ports.catalog import Catalog
from imagectl.services.ports.locations import Credential, Location
from imagectl.services.ports.published import Publisher
from imagectl.services.show import why_not_begun

GIB = 1 << 30

BUILD_SPACE = 8 * GIB
"""Bytes that one build needs at its widest: base, worn disk, canonical tree, artifacts, in the
run's folder. A Debian image of 850 MB of files was measured at under 4 GB; twice that is asked."""

KEEP_SPACE = 2 * GIB
"""Bytes that a folder which keeps results should have left."""

SMALL_SPACE = 1 << 26
"""Bytes for a folder of small documents."""

PROBE_PATIENCE = 20.0
"""Seconds for which a location that does not answer is asked again."""

SIGNED_FOR = timedelta(days=5)
"""For how much longer at least a published tree should be believed: as ``formats.tuf_roles``."""

BUILD_MEMORY = 2 * GIB
"""Bytes of memory: a build VM takes 1 GiB by default, and the tools beside it need some."""


class Level(enum.Enum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: its name, what was found, and the fix, empty where ok."""

    name: str
    level: Level
    what: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Tool:
    """A program that imagectl runs. ``asks`` are the arguments that make it tell its version;
    ``minimum`` is empty where any version does. ``package`` is Debian's."""

    name: str
    asks: tuple[str, ...]
    package: str
    why: str
    minimum: tuple[int, ...] = ()
    needed: bool = True


TOOLS: tuple[Tool, ...] = (
    Tool("packer", ("version",), "packer", "runs the build VM", (1, 6)),
    Tool("qemu-system-x86_64", ("--version",), "qemu-system-x86", "boots images", (7, 0)),
    Tool("qemu-img", ("--version",), "qemu-utils", "converts disks", (7, 0)),
    Tool("mmdebstrap", ("--version",), "mmdebstrap", "makes Debian bases", (1, 3)),
    Tool("unshare", ("--version",), "util-linux", "enters user namespaces", (2, 38)),
    Tool("newuidmap", (), "uidmap", "maps user ids into a namespace"),
    Tool("ssh", ("-V",), "openssh-client", "reaches the VMs", (8, 0)),
    Tool("ssh-keygen", (), "openssh-client", "makes the key of each build"),
    Tool("git", ("--version",), "git", "keeps the history of the definitions", needed=False),
)
"""Every program outside of the Python environment, as Debian 12 has it."""

ANSIBLE = Tool(
    "ansible-playbook", ("--version",), "", "provisions, from imagectl's own environment", (2, 17)
)
"""Comes with imagectl's Python environment, not from Debian."""


@dataclass(frozen=True, slots=True)
class SeenTool:
    """A program as it was found. ``path`` is empty where it is missing; ``said`` is its answer."""

    tool: Tool
    path: str
    said: str


@dataclass(frozen=True, slots=True)
class SeenFolder:
    """A folder of the project. ``free`` in bytes; ``trouble`` says why it cannot be written to,
    empty where it can. Where it does not exist yet, its nearest parent was looked at. ``empty``:
    there is nothing in it, or it is not there; ``placed`` is how many placements the catalog has in
    one that is empty. ``in_the_way``: what is there in place of it, or of a folder above it."""

    name: str
    path: Path
    free: int
    trouble: str
    space_needed: int
    empty: bool = False
    placed: int = 0
    in_the_way: Path | None = None


@dataclass(frozen=True, slots=True)
class SeenCatalog:
    """The catalog. ``generation`` is None where there never was one; ``trouble`` says why nothing
    can be done with it, None where all can."""

    generation: int | None
    trouble: ImagectlError | None = None


@dataclass(frozen=True, slots=True)
class SeenLocation:
    """What a location says of our credential, or why it says nothing. One of them is None."""

    name: LocationName
    credential: Credential | None
    trouble: ImagectlError | None


@dataclass(frozen=True, slots=True)
class SeenTree:
    """A published tree. ``signed``: until when the signatures of each role hold; empty where none
    is published. ``trouble``: why that is not known, None where it is."""

    where: str
    signed: Mapping[str, datetime]
    trouble: ImagectlError | None = None


@dataclass(frozen=True, slots=True)
class SeenAccelerator:
    """What executes guests: ``kvm`` or ``tcg``; empty where only a build can tell."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Seen:
    """The machine as it was found. A trouble is in words, and empty where there is none.

    ``project`` is the project's folder, None outside of one, as ``catalog``. ``memory`` is the
    machine's, in bytes.
    """

    imagectl: str
    user: str
    project: Path | None
    project_trouble: str
    tools: Sequence[SeenTool]
    namespaces_trouble: str
    namespaces_fix: str
    mirror: str
    mirror_trouble: str
    mirror_fix: str
    accelerator: SeenAccelerator
    folders: Sequence[SeenFolder]
    memory: int
    catalog: SeenCatalog | None
    locations: Sequence[SeenLocation]
    now: datetime
    trees: Sequence[SeenTree] = ()


def judge(seen: Seen) -> tuple[Finding, ...]:
    """What is right and wrong with this machine, in the order in which to mend it."""
    return tuple(_findings(seen))


def _findings(seen: Seen) -> Iterator[Finding]:
    yield Finding("imagectl", Level.OK, seen.imagectl)
    if seen.project_trouble:
        yield Finding("project", Level.FAIL, seen.project_trouble, "imagectl validate")
    elif seen.project is None:
        yield Finding("project", Level.WARN, "not in a project", "imagectl init DIR")
    else:
        yield Finding("project", Level.OK, str(seen.project))
    for tool in seen.tools:
        yield _tool(tool)
    if seen.namespaces_trouble:
        yield Finding("user namespaces", Level.FAIL, seen.namespaces_trouble, seen.namespaces_fix)
    else:
        yield Finding("user namespaces", Level.OK, f"may be made by {seen.user}")
    yield _accelerator(seen.accelerator)
    if seen.mirror_trouble:
        yield Finding(
            "Debian mirror",
            Level.FAIL,
            seen.mirror_trouble,
            seen.mirror_fix,
        )
    else:
        yield Finding("Debian mirror", Level.OK, seen.mirror)
    yield _memory(seen.memory)
    for folder in seen.folders:
        yield _folder(folder)
    if seen.catalog is not None:
        yield _catalog(seen.catalog)
    for tree in seen.trees:
        if tree.signed or tree.trouble is not None:
            yield _signatures(tree, seen.now)
    for location in seen.locations:
        yield _location(location, seen.now)


def probe_locations(locations: Mapping[LocationName, Location]) -> tuple[SeenLocation, ...]:
    """Log in to all of them, at the same time."""
    found: dict[LocationName, SeenLocation] = {}
    probes = {name: location.probe for name, location in locations.items()}
    with abreast(probes, Event()) as outcomes:
        for name, outcome in outcomes:
            if isinstance(outcome, ImagectlError):
                found[name] = SeenLocation(name, None, outcome)
            elif isinstance(outcome, Exception):
                raise outcome
            else:
                found[name] = SeenLocation(name, outcome, None)
    return tuple(found[name] for name in locations)


def see_catalog(catalog: Catalog, publishers: Sequence[Publisher]) -> SeenCatalog:
    """Read it, and compare it with what consumers are shown. Raises CannotTell."""
    trouble = not_the_newest(catalog, publishers)
    for each in publishers if trouble is None else ():
        with contextlib.suppress(ImagectlError):  # that it cannot be read is told with signatures
            if each.shown() is None:
                trouble = trouble or why_not_begun(each, catalog.snapshot())
    return SeenCatalog(catalog.snapshot(()).generation, trouble)


def see_trees(publishers: Sequence[Publisher]) -> tuple[SeenTree, ...]:
    """Until when consumers believe each of them."""
    found = []
    for each in publishers:
        try:
            found.append(SeenTree(each.where, each.signatures()))
        except ImagectlError as trouble:
            found.append(SeenTree(each.where, {}, trouble))
    return tuple(found)


def count_placed(catalog: Catalog, names: Collection[LocationName]) -> Mapping[LocationName, int]:
    """How many placements the catalog has in each of these locations."""
    counts = dict.fromkeys(names, 0)
    if not counts:
        return counts
    with catalog.stock() as stock:
        for each in stock.whereabouts():
            for kept in each.placed:
                if kept.location in counts:
                    counts[kept.location] += 1
    return counts


def parse_version(said: str) -> tuple[int, ...]:
    """The first thing in *said* that looks like a version: ``(7, 2, 22)``; empty where none."""
    match = re.search(r"(?<![0-9.])(\d+)\.(\d+)(?:\.(\d+))?", said)
    return tuple(int(part) for part in match.groups() if part) if match else ()


def _tool(seen: SeenTool) -> Finding:
    tool = seen.tool
    bad = Level.FAIL if tool.needed else Level.WARN
    fix = f"sudo apt-get install {tool.package}" if tool.package else "make setup"
    if not seen.path:
        return Finding(tool.name, bad, f"missing; it {tool.why}", fix)
    found = parse_version(seen.said)
    if not tool.minimum:
        return Finding(tool.name, Level.OK, ".".join(map(str, found)) or seen.path)
    wanted = ".".join(map(str, tool.minimum))
    if not found:
        return Finding(
            tool.name, bad, f"{seen.path} does not tell its version; {wanted} is needed", fix
        )
    got = ".".join(map(str, found))
    if found < tool.minimum:
        return Finding(tool.name, bad, f"{got} is too old; {wanted} is needed", fix)
    return Finding(tool.name, Level.OK, f"{got} ({wanted} or newer)")


def _accelerator(seen: SeenAccelerator) -> Finding:
    if seen.name == "kvm":
        return Finding("accelerator", Level.OK, f"kvm: {seen.reason}")
    if not seen.name:
        return Finding("accelerator", Level.OK, f"not probed yet: {seen.reason}")
    fix = "sudo adduser $USER kvm, then log in again" if "opened" in seen.reason else ""
    return Finding(
        "accelerator",
        Level.WARN,
        f"{seen.name}: {seen.reason}; guests run in emulation, several times slower",
        fix or "use a machine (or a VM with nested virtualisation) that has a working /dev/kvm",
    )


def _memory(memory: int) -> Finding:
    what = f"{memory / GIB:.1f} GiB"
    if memory < BUILD_MEMORY:
        return Finding(
            "memory",
            Level.WARN,
            f"{what}; {BUILD_MEMORY // GIB} GiB are needed for a build VM beside its tools",
            "say a smaller `build.memory` in image.yaml, or use a machine with more",
        )
    return Finding("memory", Level.OK, what)


def _location(seen: SeenLocation, now: datetime) -> Finding:
    """A credential that is missing, wrong, expired or too narrow is each told in its own words, by
    the location; one that will expire soon is told here."""
    name = f"login to {seen.name}"
    if seen.trouble is not None:
        fix = seen.trouble.hint or f"mend `locations: {{{seen.name}: ...}}` in imagectl.yaml"
        return Finding(name, Level.FAIL, seen.trouble.said, fix)
    assert seen.credential is not None
    who, expires = seen.credential.identity, seen.credential.expires
    if expires is None:
        return Finding(name, Level.OK, who)
    if warning := expiring(seen.credential, now):
        return Finding(name, Level.WARN, f"{who}: {warning}", RENEW)
    return Finding(name, Level.OK, f"{who}, until {moment(expires)}")


def _catalog(seen: SeenCatalog) -> Finding:
    """A copy that is not the newest takes no change, so nothing can be built or released."""
    if seen.trouble is not None:
        fix = seen.trouble.hint or "imagectl catalog verify"
        return Finding("catalog", Level.FAIL, seen.trouble.said, fix)
    if seen.generation is None:
        return Finding("catalog", Level.OK, "none yet: the first build makes it")
    return Finding("catalog", Level.OK, f"generation {seen.generation}")


def _signatures(seen: SeenTree, now: datetime) -> Finding:
    """Until when consumers believe a tree: as long as the first of its signatures holds."""
    name, fix = f"signatures of {seen.where}", "imagectl catalog refresh"
    if seen.trouble is not None:
        return Finding(name, Level.FAIL, seen.trouble.said, seen.trouble.hint or fix)
    role, until = min(seen.signed.items(), key=lambda item: item[1])
    what = f"believed until {moment(until)} ({role})"
    if until <= now:
        return Finding(name, Level.FAIL, f"not {what} any more: nobody can resolve", fix)
    if until - now < SIGNED_FOR:
        return Finding(name, Level.WARN, what, fix)
    return Finding(name, Level.OK, what)


def _folder(seen: SeenFolder) -> Finding:
    if seen.empty and seen.placed:
        return Finding(
            seen.name,
            Level.FAIL,
            f"nothing is in {seen.path}, where the catalog has {counted(seen.placed, 'placement')}",
            "mount it, or bring it back; `imagectl verify` says what is missing then",
        )
    if seen.in_the_way is not None:
        return Finding(
            seen.name,
            Level.FAIL,
            f"{seen.path}: {seen.in_the_way} is not a folder",
            f"see what that is, and move it away: mv {seen.in_the_way} {seen.in_the_way}.away",
        )
    if seen.trouble:
        return Finding(
            seen.name,
            Level.FAIL,
            f"{seen.path}: {seen.trouble}",
            f'sudo chown -R "$USER" {seen.path}',
        )
    free = f"{seen.free / GIB:.1f} GiB free"
    if seen.free < seen.space_needed:
        return Finding(
            seen.name,
            Level.FAIL,
            f"{seen.path}: {free}; {seen.space_needed / GIB:.1f} GiB are needed",
            f"df -h {seen.path}; make room there, or move the folder to a larger disk",
        )
    return Finding(seen.name, Level.OK, f"{seen.path}: {free}")
