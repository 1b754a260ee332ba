"""What the services need from the outside world. Each port's docstring is its contract.

Errors are those of :mod:`imagectl.errors`. A port says which error means "it is not there"
(:class:`~imagectl.errors.NotFound`) and which means "could not tell"
(:class:`~imagectl.errors.CannotTell`); an implementation never turns one into the other.
Implementations are in ``imagectl.adapters`` and, in memory, in ``imagectl.testing``; one contract
suite in ``tests/contract`` runs over all implementations of a port.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

from imagectl.model.catalog import Change, Snapshot
from imagectl.model.contents import Contents, Listed
from imagectl.model.event import Event
from imagectl.model.image import Image
from imagectl.model.lock import (
    Access,
    Archive,
    DefinitionDigests,
    Inputs,
    Lock,
    LockedDiskBase,
    LockedToolchain,
)
from imagectl.model.names import (
    ChannelName,
    Format,
    ImageName,
    LocationName,
    Sha256,
)
from imagectl.model.proof import TestReport
from imagectl.model.published import (
    PublishedCatalog,
    PublishedHead,
    PublishedImage,
    PublishedIndex,
    PublishedVersion,
)
from imagectl.model.retention import Receipt
from imagectl.model.security import SecurityData
from imagectl.model.stock import Stock
from imagectl.model.version import (
    Artifact,
    Inside,
    Placement,
    TestSummary,
    Version,
    VersionRef,
)
from imagectl.model.view import View


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never going back."""
        ...


@dataclass(frozen=True, slots=True)
class Committed:
    """A change is in the catalog. ``replayed``: it was there already, under the same key."""

    generation: int
    replayed: bool


class Catalog(Protocol):
    """The truth: versions, channels, placements, and the chain of events that made them.

    Every commit takes the one head row for writing, so commits are serial; each bumps the
    generation by one and appends one event. Reads see one generation, never a mixture.
    """

    def snapshot(self, images: Collection[ImageName] | None = None) -> Snapshot:
        """All that is known of *images* (of all images where None), at one generation.

        Raises CannotTell where the catalog cannot be read.
        """
        ...

    def commit(self, change: Change) -> Committed:
        """Apply *change*, whole or not at all, durable on return.

        Idempotent by ``change.key``: a key that is already in the catalog changes nothing and
        returns the generation it made then. Raises Conflict where ``change.based_on`` is not the
        current generation, and ImpossibleChange where it contradicts what is recorded; nothing is
        done in both cases. Never retries a conflict by itself.
        """
        ...

    def events(self, after: int = 0) -> Iterator[Event]:
        """The events with a generation above *after*, oldest first."""
        ...

    def stock(self, images: Collection[ImageName] | None = None) -> AbstractContextManager[Stock]:
        """What a cleanup looks at, of *images* or of all, at one generation, for as long as the
        block runs. Of a million versions, one image's at a time is in memory.

        Raises CannotTell where the catalog cannot be read.
        """
        ...

    def verify(self) -> tuple[str, ...]:
        """Everything wrong: a broken hash chain, a gap in the generations, tables that differ from
        the fold of the events. Empty means sound."""
        ...


Moved = Callable[[int], None]
"""Is told how many bytes of an artifact have been moved so far, from any thread."""


@dataclass(frozen=True, slots=True)
class Credential:
    """Who a location takes us for. ``expires`` is aware, in UTC; None: never, or nobody tells."""

    identity: str
    expires: datetime | None = None


class Mark(enum.Enum):
    """How consumers are warned off an artifact in its location. Each can be taken back."""

    ACTIVE = "active"
    DEPRECATED = "deprecated"
    OBSOLETE = "obsolete"
    QUARANTINED = "quarantined"
    """It is about to go: where the location can, it gives it to nobody any more."""


@dataclass(frozen=True, slots=True)
class Booted:
    """A throw-away machine that runs an artifact, and how to get in over SSH.

    ``key`` is the private key's file; ``known_hosts`` that of the host's key, or None where the
    location cannot tell it beforehand.
    """

    host: str
    port: int
    user: str
    key: Path
    known_hosts: Path | None


Begin = Callable[[], None]
"""Says that something is about to be taken away. What it raises ends the deletion, in which nothing
has been taken away since it was called before."""


def at_once() -> None:
    """Whoever deletes asks nobody."""


class Location(Protocol):
    """A place that consumers pull artifacts from.

    Every method may take long, retries what is worth retrying (throttling, 5xx, lost connections)
    until a deadline, and is safe to call again after any failure or kill: names are derived from
    the version and the location, so that what was made before is found and not made twice. Only
    what carries this catalog's ownership marks is ever changed (P2). Beside what each method says,
    all raise Denied where the credentials do not do, Throttled where the provider asked for
    patience longer than the deadline, and CannotTell where the location could not be read.
    """

    @property
    def name(self) -> LocationName:
        """The name it has in ``imagectl.yaml``."""
        ...

    @property
    def takes(self) -> frozenset[Format]:
        """The formats that it can hold."""
        ...

    @property
    def unproven(self) -> tuple[str, ...]:
        """What verifying here cannot prove, for people. Empty where it reads the bytes."""
        ...

    def named(self, version: VersionRef, artifact: Artifact) -> str:
        """What the artifact will be called there. Needs no network: it is written down before
        anything is made (P7)."""
        ...

    def put(
        self, version: VersionRef, artifact: Artifact, source: Path, now: datetime, moved: Moved
    ) -> Placement:
        """Place the artifact, verify it there, and say how it is named there.

        Idempotent: the same artifact again changes nothing and returns an equal placement (but for
        ``verified``). Atomic: never a half file under a final name. A big upload goes on where it
        was broken off. Raises Corrupt where *source* is not the artifact or other bytes have its
        place, Conflict where something that is not ours has its name, NoSpace or Failed where it
        could not be placed.
        """
        ...

    def verify(self, placement: Placement, now: datetime) -> Placement:
        """Re-read it live, by its provider id, and return it with ``verified`` renewed.

        Raises NotFound where it is certainly gone, or was placed when the location's settings meant
        another place; Corrupt where the bytes are others; CannotTell where the location could not
        be read.
        """
        ...

    def fetch(self, placement: Placement, to: Path, moved: Moved) -> None:
        """Bring the artifact back as the new file *to*, checked against its digest: whole, or not
        there. Raises Unsupported where the location does not give bytes back, else as ``verify``.
        """
        ...

    def view(self, now: Callable[[], datetime]) -> View:
        """All that is there, foreign things too, every page of every scope (P3).

        What could not be read is a gap of the view, not an error; raises Denied and CannotTell only
        where nothing could be read at all.
        """
        ...

    def probe(self) -> Credential:
        """Log in, and see whether the credential can do all that is needed. Changes nothing.

        Raises Denied (missing, wrong, expired or too narrow, in words of their own).
        """
        ...

    def boot(
        self, placement: Placement, work: Workspace, progress: Progress
    ) -> AbstractContextManager[Booted]:
        """A throw-away machine of the artifact, removed when the block is left, whatever happens.

        Raises Unsupported where the location does not run machines, GuestUnreachable where it does
        not come up, else as ``verify``.
        """
        ...

    def point(self, image: ImageName, heads: Mapping[ChannelName, Placement]) -> None:
        """Make the location's own pointers (families) show the channels' heads, and nothing for a
        channel that *heads* does not have. Idempotent. Nothing happens where there are no such
        pointers."""
        ...

    def mark(self, placement: Placement, mark: Mark) -> None:
        """Warn consumers off, or take the warning back. Idempotent. Nothing happens where the
        location has no such marks. Raises NotFound."""
        ...

    def delete(self, placement: Placement, begin: Begin = at_once) -> None:
        """Delete what the placement names, after reading live that it is ours, and that artifact
        (P2). Idempotent: what is gone already is no error. Raises Conflict where it is not ours.

        *begin* is called just before each request that takes something away, and nothing is asked
        or read between the two; such a request is tried again for ``patience`` at most."""
        ...


@runtime_checkable
class Workshop(Protocol):
    """A location in which cloud builders make images: beside what ``Location`` asks, it describes
    them. To such a location ``put`` of a NATIVE artifact makes nothing: it reads the thing that the
    description in *source* names, marks it as ours, and returns its placement, whose
    ``provider_id`` is the description's ``id`` and whose ``sha256`` and ``size`` are those of the
    description. ``verify`` reads the thing again: where it has another description now, it is
    Corrupt. ``fetch`` is Unsupported."""

    def describe(self, built: str, to: Path) -> None:
        """Write the description (``formats.native_v1``) of what a builder made here to the new file
        *to*. *built* is what the builder calls it: an image's name, a template's. Changes nothing.

        Raises NotFound where there is no such thing, and what every method of a location raises.
        """
        ...


class ArtifactStore(Protocol):
    """Content-addressed files of the project: artifacts, trees, reports and logs."""

    def add(self, source: Path) -> Sha256:
        """Keep a copy of *source* under its digest, durable on return. Idempotent, atomic."""
        ...

    def adopt(self, source: Path) -> Sha256:
        """Like ``add``, but *source* itself moves in and its old name is gone: for a finished file
        that nobody writes to any more."""
        ...

    def path(self, sha256: Sha256) -> Path:
        """Where it is kept, after a check that it exists. Raises NotFound."""
        ...

    def verify(self, sha256: Sha256) -> Path:
        """Like ``path``, after hashing it again. Raises NotFound or Corrupt."""
        ...

    def digests(self) -> Iterator[tuple[Sha256, int]]:
        """Everything that is kept, with its size in bytes. Raises CannotTell."""
        ...

    def remove(self, sha256: Sha256) -> None:
        """Keep it no more. Idempotent. Whether somebody needs it is for the caller to know."""
        ...


class Receipts(Protocol):
    """Which versions consumers have resolved, and when last."""

    def add(self, receipt: Receipt) -> None:
        """Note it, in place of that consumer's earlier one for that version. Atomic."""
        ...

    def latest(self) -> Mapping[VersionRef, datetime]:
        """When each version was resolved last, by any consumer. Raises CannotTell where they, or
        one of them, cannot be read: not knowing is not "nobody" (P8)."""
        ...


class InputFiles(Protocol):
    """The files that builds were made from, by digest.

    Each method raises CannotTell where they cannot be read: never fewer than there are (P3).
    """

    def digests(self) -> Iterator[tuple[Sha256, int]]:
        """Every file that is here, with its size in bytes. None where there never was a store."""
        ...

    def check(self, sha256: Sha256) -> Path:
        """Hash the file that is here again. Raises NotFound, Corrupt."""
        ...

    def missing(self, digests: Collection[Sha256]) -> frozenset[Sha256]:
        """Those that are not to be had, neither here nor in a shared store behind it."""
        ...


class Publisher(Protocol):
    """Writes the static tree that consumers read, from a snapshot of the catalog."""

    def publish(self, snapshot: Snapshot) -> None:
        """Make the tree show *snapshot*: immutables first, the entry document last, each atomic.

        Idempotent. A tree that already shows a later generation is left as it is.
        """
        ...

    @property
    def where(self) -> str:
        """Where the tree is, for people."""
        ...

    def shown(self) -> PublishedCatalog | None:
        """What the tree shows; None where nothing is published yet. It reads one small file.

        Raises CannotTell where that cannot be read, and Corrupt where it is not what was written.
        """
        ...


class PublishedTree(Protocol):
    """What a publisher has written, as a consumer reads it.

    Everything but the entry is reached by digest and checked against it: Corrupt, naming the file,
    where bytes are others or missing. CannotTell where the tree cannot be read.
    """

    def catalog(self) -> PublishedCatalog:
        """The entry document, read anew. Raises NotFound where nothing is published."""
        ...

    def head(self, image: PublishedImage, channel: ChannelName) -> PublishedHead:
        """What one of the image's channels points to."""
        ...

    def index(self, image: PublishedImage) -> PublishedIndex:
        """Every published version of the image, with the digest of its document, and warnings."""
        ...

    def version(self, document: Sha256) -> PublishedVersion:
        """The version that has that document."""
        ...


class Progress(Protocol):
    """Where long work tells how it is getting on. Never raises, never blocks."""

    def stage(self, name: str, expected_seconds: float | None = None) -> None:
        """A new stage has begun, and ends the one before."""
        ...

    def step(self, text: str) -> None:
        """What the current stage is doing now, such as the Ansible task."""
        ...

    def note(self, text: str) -> None:
        """A line that the user should see and that stays."""
        ...

    def moved(self, what: str, done: int, total: int) -> None:
        """*done* of the *total* bytes of *what* have been moved so far in the current stage; from
        any thread, as often as one likes."""
        ...


@dataclass(frozen=True, slots=True)
class CanonicalTree:
    """A file tree as its canonical tar, which is a build's identity.

    ``sha256`` and ``size`` (bytes) are those of the file ``path``; ``entries`` counts its members.
    """

    path: Path
    sha256: Sha256
    size: int
    entries: int


@dataclass(frozen=True, slots=True)
class Workspace:
    """What one build may use: a private folder, removed afterwards, and a log, kept.

    ``sockets`` is a second private folder with a short path, for sockets. ``epoch``, in seconds
    since 1970: no file of the image is newer (SOURCE_DATE_EPOCH). It is when the build began, until
    a lock says otherwise.
    """

    id: str
    folder: Path
    sockets: Path
    log: Path
    epoch: int

    def sub(self, name: str) -> Path:
        """A private folder of that name inside ``folder``, created where absent."""
        path = self.folder / name
        path.mkdir(mode=0o700, exist_ok=True)
        return path


@dataclass(frozen=True, slots=True)
class Leftover:
    """An image that a template has made in a location, and that the catalog has not recorded.

    ``built`` is what its builder calls it, ``sha256`` that of its description, None before that is
    written. It may carry the marks of ``version``.
    """

    version: VersionRef
    location: LocationName
    built: str
    since: datetime
    sha256: Sha256 | None = None


class Workspaces(Protocol):
    """Gives out workspaces, one for each image at a time."""

    def open(self, image: ImageName, *, wait: bool) -> AbstractContextManager[Workspace]:
        """A workspace; what dead builds have left is ended and removed first.

        While another build of *image* runs, wait for it, or raise Conflict.
        """
        ...

    def keep_failed(self, image: ImageName, disk: Path, disk_format: Format) -> Path:
        """Keep the disk of a build whose tests failed, replacing the one before; its new path."""
        ...

    def failed_disk(self, image: ImageName) -> tuple[Path, Format] | None:
        """What ``keep_failed`` kept last; None where nothing is."""
        ...

    def leftovers(self, image: ImageName) -> tuple[Leftover, ...]:
        """What ``keep_leftovers`` kept last. Raises CannotTell where that cannot be read."""
        ...

    def keep_leftovers(self, image: ImageName, leftovers: Sequence[Leftover]) -> None:
        """Write down what there is, in place of what was written before; durable on return (P7).
        Only for who has the image's workspace."""
        ...


@dataclass(frozen=True, slots=True)
class Sources:
    """What a source archive holds. ``project``: the folder that its paths are relative to."""

    image: Image
    lock: Lock
    project: Path


class Definitions(Protocol):
    """The project's image definitions, and their locks."""

    @property
    def project(self) -> Path:
        """The folder that the definitions' paths are relative to."""
        ...

    def load(self, names: Collection[ImageName]) -> tuple[Image, ...]:
        """The images named (all where empty), parents before their children.

        Raises NotFound for an unknown name and BadInput, with every problem, for bad files.
        """
        ...

    def digests(self, image: Image) -> DefinitionDigests:
        """Over the definition and everything of the project that its build reads.

        Raises BadInput for a file that cannot be read or leads out of the project.
        """
        ...

    def lock(self, name: ImageName) -> Lock | None:
        """The image's lock; None where it has none. Raises BadInput for one that is wrong."""
        ...

    def lock_text(self, lock: Lock) -> str:
        """The lock as ``write_lock`` writes it: equal locks, equal text."""
        ...

    def write_lock(self, lock: Lock) -> Path:
        """Make it the image's lock: before or after, never between, and durable on return."""
        ...

    def archive(
        self, image: Image, digests: DefinitionDigests, lock: Lock | None, work: Workspace
    ) -> Path:
        """A file in the workspace that holds what the project gives to a build of *image*, and its
        lock, where it has one. Equal content, equal bytes.

        Raises BuildFailed where what is there does not have these digests.
        """
        ...

    def unpack(self, archive: Path, name: ImageName, work: Workspace) -> Sources:
        """What ``archive`` wrote, in the workspace. Raises Corrupt for anything else, and BadInput
        for a definition or a lock that this imagectl cannot read."""
        ...


class Checks(Protocol):
    """Finds out what is wrong with a definition before anything long is begun."""

    def check(self, image: Image, progress: Progress) -> None:
        """The playbook's syntax, that each suite has tests, and the rendered Packer template.

        Raises BadInput with every problem, ToolMissing.
        """
        ...


class Bases(Protocol):
    """Makes the file trees that builds begin with."""

    def make(
        self, image: Image, parent: Version | None, work: Workspace, progress: Progress
    ) -> Base:
        """The base, in the workspace. ``parent`` has a tree. Raises BuildFailed, CannotTell,
        NotFound, Corrupt."""
        ...


@dataclass(frozen=True, slots=True)
class OpaqueDisk:
    """A raw disk whose layout is not understood, kept as it is. ``cause`` says why, for people."""

    path: Path
    cause: str


Base = CanonicalTree | OpaqueDisk
Finished = CanonicalTree | OpaqueDisk


class Provisioner(Protocol):
    """Packer and Ansible."""

    def provision(self, image: Image, base: Base, work: Workspace, progress: Progress) -> Finished:
        """The finished tree: the base booted in a VM, provisioned, shut down and read back; of an
        opaque disk, that disk as the VM left it.

        Raises BuildFailed, with the task and its place, or GuestUnreachable.
        """
        ...


@dataclass(frozen=True, slots=True)
class Written:
    """Disks that were written. ``raw`` is the digest of the raw disk that all of them hold;
    ``bootable`` is one of ``files`` that QEMU boots, or the raw disk itself."""

    raw: Sha256
    files: Mapping[Format, Path]
    bootable: tuple[Path, Format]


class Disks(Protocol):
    """Writes disks from trees, the same bytes from the same tree."""

    def write(
        self, image: Image, finished: Finished, work: Workspace, progress: Progress
    ) -> Written:
        """A disk of the image's size in each of its formats, each read back and found to hold the
        raw disk. Raises BuildFailed if too small, Corrupt."""
        ...

    def compress(self, tree: CanonicalTree, work: Workspace, progress: Progress) -> Path:
        """The tree in the form that the artifact store keeps."""
        ...

    def expand(self, stored: Path, sha256: Sha256, out: Path, progress: Progress) -> CanonicalTree:
        """The tree again. Raises Corrupt."""
        ...


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a lock, or its absence, settles for one build.

    ``project``: the folder that the definition's paths are relative to. ``lock`` is None where
    ``access`` is RECORD. ``fresh``: nothing of an earlier build is used but its inputs.
    """

    project: Path
    access: Access
    lock: Lock | None
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """What a build has read."""

    toolchain: LockedToolchain
    mirrors: Mapping[Archive, str]
    inputs: Inputs
    disk: LockedDiskBase | None = None
    """The disk made elsewhere that was the base; None for other bases."""


class Equipment(Protocol):
    """What one build works with, under its conditions. Downloads all go through one proxy."""

    @property
    def bases(self) -> Bases: ...

    @property
    def provisioner(self) -> Provisioner: ...

    @property
    def disks(self) -> Disks: ...

    def taken(self) -> Taken:
        """All that was read so far, sorted; in EXTEND also what is locked, where it was used."""
        ...


class Equipper(Protocol):
    """Sets up a build's equipment."""

    def equip(
        self, conditions: Conditions, work: Workspace, progress: Progress
    ) -> AbstractContextManager[Equipment]:
        """For as long as the block runs. ``work.epoch`` is the lock's, or the new lock's.

        Raises what making the toolchain does, and NotFound, with all that is missing, where OFFLINE
        and the input store lacks something.
        """
        ...


@dataclass(frozen=True, slots=True)
class Difference:
    """One path in which two trees differ. ``detail`` says how, ``advice`` what to do about it."""

    path: str
    detail: str
    advice: str


REST = "..."
"""In place of a path: all the others in which two trees differ."""


class Comparer(Protocol):
    """Says in what two trees differ."""

    def compare(
        self, one: Path, other: Path, work: Workspace, progress: Progress
    ) -> tuple[Difference, ...]:
        """The differences between two canonical tars, sorted by path.

        At most 100, and after them one with the path ``REST`` that counts what is left out.
        """
        ...


@dataclass(frozen=True, slots=True)
class Findings:
    """Documents about a tree, in the workspace. See ``model.version.Inside``."""

    contents: Path
    manifest: Path
    spdx: Path
    cyclonedx: Path


class Inspector(Protocol):
    """Looks into a finished tree and says what is in it."""

    def inspect(
        self, image: Image, tree: CanonicalTree, ports: Sequence[str], work: Workspace
    ) -> Findings:
        """``ports``: what listened on the booted artifact. Deterministic: equal trees, equal
        documents (but for ``ports``)."""
        ...

    def attest(
        self, image: Image, lock: Lock, artifacts: Sequence[Artifact], made: Made, work: Workspace
    ) -> Path:
        """A signed statement of provenance: which artifacts were made, from what, by what."""
        ...


class Documents(Protocol):
    """Reads what inspectors and provers have written, from the artifact store.

    Every method raises NotFound where a document is not there, and Corrupt where it is another.
    """

    def contents(self, inside: Inside) -> Contents:
        """What is in the version."""
        ...

    def files(self, inside: Inside) -> Iterator[Listed]:
        """Each path of the version, sorted by its bytes. Raises as it goes."""
        ...

    def outcomes(self, tests: TestSummary) -> Mapping[str, str]:
        """How each test ended, by ``SUITE::TEST``."""
        ...


class Advisories(Protocol):
    """Debian's security data.

    Every method raises CannotTell where the data is damaged, truncated or not there. How old it may
    be, and whether it is about the right suite, is for the caller to judge.
    """

    def kept(self, suite: str) -> SecurityData | None:
        """What was fetched last and kept here; None where nothing was."""
        ...

    def read(self, snapshot: Path, suite: str) -> SecurityData:
        """What somebody else has fetched: a folder, of which the data about *suite* is read, or a
        file of one."""
        ...

    def fetch(self, suite: str, now: datetime) -> SecurityData:
        """From the network; kept, durable on return."""
        ...


@dataclass(frozen=True, slots=True)
class Made:
    """How artifacts came about. Times are aware, in UTC; ``tool`` is imagectl's version."""

    started: datetime
    finished: datetime
    tool: str
    source: Sha256
    tests: Sha256


@dataclass(frozen=True, slots=True)
class Proof:
    """What a boot of an artifact showed. ``console`` is a file in the workspace."""

    report: TestReport
    console: Path
    console_tail: str
    ports: tuple[str, ...] = ()
    """What listened for connections in the guest, such as ``tcp 22``, sorted."""


class Templates(Protocol):
    """Runs the users' own Packer templates."""

    def make_image(self, image: Image, project: Path, work: Workspace, progress: Progress) -> str:
        """Let the template of *image* make an image in a location; what its builder calls it.

        Raises BuildFailed where it fails, or it cannot be told what it has made; NotFound for a
        secret that is not there.
        """
        ...


class Prover(Protocol):
    """Boots a throw-away overlay of an artifact and runs its suites on it."""

    def prove(
        self,
        image: Image,
        disk: Path,
        disk_format: Format,
        work: Workspace,
        progress: Progress,
        *,
        keep: bool = False,
    ) -> Proof:
        """Failing tests are a result. ``keep``: afterwards, leave the VM running and say how to get
        in, until the user stops it. Raises GuestUnreachable where it does not come up."""
        ...

    def prove_machine(
        self, image: Image, machine: Booted, work: Workspace, progress: Progress
    ) -> Proof:
        """The same on a machine that runs already, such as ``Location.boot`` gives."""
        ...


class Timings(Protocol):
    """How long stages took before, in seconds. Only for display: losing it loses nothing."""

    def expected(self, image: ImageName, stage: str) -> float | None:
        """The latest duration; None where it never ran here."""
        ...

    def record(self, image: ImageName, stage: str, seconds: float) -> None:
        """Keep a stage's duration."""
        ...
