"""Hypothesis strategies over the whole model of the catalog."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import strategies as st

from imagectl.errors import ImpossibleChange
from imagectl.formats.event_parts import MAX_INTEGER
from imagectl.model.announcement import AnnouncedKind, Brownout
from imagectl.model.change import (
    AnnounceDeprecation,
    AnnounceMove,
    BeginDeletion,
    Change,
    ConfirmGone,
    EndIntent,
    EndLease,
    ForgetPlacement,
    HoldVersion,
    LeaseVersion,
    MoveChannel,
    Operation,
    RecordIntent,
    RecordPlacement,
    RecordVersion,
    RestoreVersion,
    RevokeVersion,
    StepVersion,
    UnholdVersion,
    WithdrawAnnouncement,
)
from imagectl.model.channel import MoveKind
from imagectl.model.fold import apply_change
from imagectl.model.lock import (
    Archive,
    BuildMode,
    DefinitionDigests,
    Download,
    Expected,
    Index,
    Inputs,
    Lock,
    LockedBase,
    LockedDiskBase,
    LockedPackagesBase,
    LockedParentBase,
    LockedToolchain,
    Package,
    sorted_inputs,
)
from imagectl.model.names import (
    Architecture,
    ChannelName,
    Format,
    ImageName,
    ImageRef,
    LocationName,
    Sha256,
    VersionId,
)
from imagectl.model.retention import Stage, Tombstone
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import (
    Artifact,
    Inside,
    Intent,
    Origin,
    Placement,
    Reproducible,
    TestSummary,
    Tree,
    Version,
    VersionRef,
)
from support.examples import intent, locked, opaque, placement, version

names = st.from_regex(r"[a-z](-?[a-z0-9]){0,12}", fullmatch=True)
image_names = names.map(ImageName)
channel_names = names.map(ChannelName)
location_names = names.map(LocationName)
digests = st.binary(min_size=32, max_size=32).map(lambda drawn: Sha256(drawn.hex()))
wholes = st.integers(0, MAX_INTEGER)
durations = st.floats(0, allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
times = st.datetimes(timezones=st.just(UTC))
version_ids = st.builds(
    lambda day, serial: VersionId(f"{day:%Y%m%d}", serial),
    st.dates(min_value=datetime(2000, 1, 1, tzinfo=UTC).date()),
    st.integers(1, 999_999),
)
version_refs = st.builds(VersionRef, image_names, version_ids)
artifacts = st.builds(
    Artifact, st.sampled_from(Format), st.sampled_from(Architecture), digests, wholes
)
trees = st.builds(Tree, digests, wholes, digests)
summaries = st.builds(TestSummary, wholes, wholes, durations, digests, digests)
origins = st.builds(
    Origin,
    epoch=wholes,
    lock=digests,
    source=digests,
    raw=digests,
    reproducible=st.sampled_from(Reproducible),
    cause=texts,
)
insides = st.builds(Inside, digests, digests, digests, digests, digests)
versions = st.builds(
    Version,
    ref=version_refs,
    created=times,
    created_by=texts,
    summary=texts,
    fingerprint=digests,
    parent=st.none() | version_refs,
    tree=st.none() | trees,
    artifacts=st.lists(artifacts, max_size=3).map(tuple),
    tests=summaries,
    required_locations=st.lists(location_names, max_size=3).map(tuple),
    tool=texts,
    build_log=digests,
    seconds=durations,
    origin=st.none() | origins,
    inside=st.none() | insides,
)
placements = st.builds(
    Placement,
    version=version_refs,
    format=st.sampled_from(Format),
    architecture=st.sampled_from(Architecture),
    location=location_names,
    provider_id=texts,
    reference=texts,
    sha256=digests,
    size=wholes,
    verified=times,
)
intents = st.builds(
    Intent,
    version=version_refs,
    format=st.sampled_from(Format),
    architecture=st.sampled_from(Architecture),
    location=location_names,
    named=texts,
    since=times,
    by=texts,
)
moves = st.builds(MoveChannel, image_names, channel_names, version_ids, st.sampled_from(MoveKind))
tombstones = st.builds(
    Tombstone,
    placement=placements,
    at=times,
    by=texts,
    reason=texts,
    begun=st.none() | times,
)
"""Open ones."""
image_refs = (
    image_names.map(ImageRef)
    | st.builds(ImageRef, image_names, channel_names)
    | st.builds(ImageRef, image_names, st.none(), version_ids)
)
brownouts = st.builds(Brownout, times, times)
operations: st.SearchStrategy[Operation] = st.one_of(
    st.builds(RecordVersion, versions),
    st.builds(RecordPlacement, placements),
    st.builds(ForgetPlacement, placements),
    st.builds(RecordIntent, intents),
    st.builds(EndIntent, intents),
    moves,
    st.builds(StepVersion, version_refs, st.sampled_from(Stage)),
    st.builds(BeginDeletion, tombstones),
    st.builds(ConfirmGone, tombstones),
    st.builds(HoldVersion, version_refs),
    st.builds(UnholdVersion, version_refs, texts),
    st.builds(LeaseVersion, version_refs, texts, times),
    st.builds(EndLease, version_refs, texts),
    st.builds(RevokeVersion, version_refs),
    st.builds(RestoreVersion, version_refs),
    st.builds(AnnounceMove, image_names, channel_names, version_ids, times),
    st.builds(
        AnnounceDeprecation,
        image_refs,
        times,
        st.none() | image_refs,
        st.lists(brownouts, max_size=3).map(tuple),
    ),
    st.builds(WithdrawAnnouncement, image_refs, st.sampled_from(AnnouncedKind)),
)
changes = st.builds(
    Change,
    key=texts.filter(bool),
    based_on=wholes,
    actor=texts,
    action=texts,
    reason=texts,
    at=times,
    operations=st.lists(operations, max_size=4).map(tuple),
)
"""Changes that can be written down. Most contradict any catalog."""

_parts = st.from_regex(r"[A-Za-z0-9+][A-Za-z0-9.+~_%-]{0,8}", fullmatch=True)
_archive_paths = st.lists(_parts, min_size=1, max_size=3).map("/".join)
_visible = st.text(
    st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\u2028\u2029"),
    min_size=1,
    max_size=20,
)
_urls = st.builds(
    lambda scheme, rest: f"{scheme}://mirror.example/{''.join(rest.split())}",
    st.sampled_from(["http", "https"]),
    _visible,
)
_mirror_urls = st.builds("http://mirror.example/{}".format, _archive_paths)
_packages = st.builds(
    Package,
    name=st.from_regex(r"[a-z0-9][a-z0-9.+-]{0,8}", fullmatch=True),
    version=st.from_regex(r"([0-9]:)?[0-9][A-Za-z0-9.+~-]{0,8}", fullmatch=True),
    architecture=st.sampled_from(["amd64", "all", "on"]),
    archive=st.sampled_from(Archive),
    path=_archive_paths,
    sha256=digests,
    size=wholes,
)
_indexes = st.builds(Index, st.sampled_from(Archive), _archive_paths, digests, wholes)
_downloads = st.builds(
    Download,
    url=_urls,
    status=st.integers(100, 599),
    sha256=digests,
    size=wholes,
    content_type=st.just("") | _visible,
    location=st.just("") | _visible,
)


def _inputs(indexes: list[Index], packages: list[Package], downloads: list[Download]) -> Inputs:
    return sorted_inputs((*indexes, *packages, *downloads))


inputs = st.builds(
    _inputs,
    st.lists(_indexes, max_size=3, unique_by=lambda index: (index.archive, index.path)),
    st.lists(_packages, max_size=3, unique_by=lambda package: (package.archive, package.path)),
    st.lists(_downloads, max_size=3, unique_by=lambda download: download.url),
)
_suites = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
_bases: st.SearchStrategy[LockedBase] = st.one_of(
    st.builds(LockedPackagesBase, _suites),
    st.builds(LockedDiskBase, _archive_paths | _mirror_urls, digests, wholes),
    st.builds(LockedParentBase, version_refs, digests),
)
locks = st.builds(
    Lock,
    image=image_names,
    architecture=st.sampled_from(Architecture),
    mode=st.sampled_from(BuildMode),
    epoch=st.integers(0, 253402300799),
    definition=st.builds(DefinitionDigests, digests, digests, digests, digests),
    mirrors=st.dictionaries(st.sampled_from(Archive), _mirror_urls),
    toolchain=st.builds(LockedToolchain, _suites, digests, inputs),
    base=_bases,
    inputs=inputs,
    expected=st.builds(
        Expected,
        st.none() | digests,
        digests,
        st.dictionaries(st.sampled_from(Format), digests),
    ),
)
"""Locks that can be written down."""

_POOL = tuple(
    VersionRef(ImageName(image), VersionId("20261120", serial))
    for image in ("base", "ci")
    for serial in (1, 2, 9, 10)
)
_FEW_LOCATIONS = st.sampled_from(["local", "dc1"])
_FEW_CHANNELS = st.sampled_from([ChannelName("beta"), ChannelName("stable")])


def _plain_versions(ref: VersionRef) -> st.SearchStrategy[Version]:
    """Versions that differ in a few fields only: drawing all of each takes its time."""
    plain = version(str(ref))
    return st.builds(
        lambda parent, like, artifacts, seconds: replace(
            like, parent=parent, artifacts=artifacts, seconds=seconds
        ),
        st.none() | st.sampled_from(_POOL),
        st.sampled_from([plain, locked(str(ref)), opaque(str(ref))]),
        st.sampled_from([(), plain.artifacts, plain.artifacts * 2]),
        durations,
    )


def _plain_placements(ref: VersionRef) -> st.SearchStrategy[Placement]:
    return st.builds(
        lambda location, at: placement(str(ref), location, at=at), _FEW_LOCATIONS, times
    )


def _plain_intents(ref: VersionRef) -> st.SearchStrategy[Intent]:
    return st.builds(
        lambda location, named, at: replace(intent(str(ref), location, named=named), since=at),
        _FEW_LOCATIONS,
        st.sampled_from(["one-name", "another"]),
        times,
    )


def _few_deprecations(ref: VersionRef) -> st.SearchStrategy[AnnounceDeprecation]:
    """Of the version, its image, or a channel of it."""
    return st.builds(
        lambda channel, version, due, successor, cuts: AnnounceDeprecation(
            ImageRef(ref.image, channel, ref.version if version and channel is None else None),
            due,
            successor,
            tuple(Brownout(*pair) for pair in zip(cuts[::2], cuts[1::2], strict=False)),
        ),
        st.none() | _FEW_CHANNELS,
        st.booleans(),
        times,
        st.none() | st.just(ImageRef(ref.image, ChannelName("stable"))),
        st.lists(times, max_size=4, unique=True).map(sorted),
    )


_FEW_NAMES = st.sampled_from(["alice", "bob"])


def _deeds(now: Snapshot, refs: list[VersionRef]) -> st.SearchStrategy[Operation]:
    """What can be done to the catalog *now*, and a little that cannot."""
    ref = st.sampled_from(refs)
    of_intents = [each for known in now.intents.values() for each in known]
    of_tombstones = [each for known in now.tombstones.values() for each in known]
    held = [UnholdVersion(each, one.by) for each, known in now.holds.items() for one in known]
    placed = [ForgetPlacement(each) for known in now.placements.values() for each in known]
    leased = [EndLease(each, one.consumer) for each, known in now.leases.items() for one in known]
    announced = [
        WithdrawAnnouncement(each.of, each.kind)
        for known in now.announced.values()
        for each in known
    ]
    downs = [
        StepVersion(each, stage)
        for each in refs
        for stage in (now.stage(each).below, now.stage(each).below, Stage.ACTIVE, Stage.QUARANTINED)
        if stage is not None
    ]
    return st.one_of(
        ref.flatmap(_plain_placements).map(RecordPlacement),
        ref.flatmap(_plain_intents).map(RecordIntent),
        st.sampled_from([EndIntent(each) for each in of_intents]) if of_intents else st.nothing(),
        st.builds(
            lambda ref, channel, kind: MoveChannel(ref.image, channel, ref.version, kind),
            ref,
            _FEW_CHANNELS,
            st.sampled_from(MoveKind),
        ),
        st.sampled_from(downs),
        st.sampled_from(downs),
        st.sampled_from(downs),
        st.sampled_from(
            [said(each) for each in of_tombstones for said in (BeginDeletion, ConfirmGone)]
        )
        if of_tombstones
        else st.nothing(),
        ref.map(HoldVersion),
        st.sampled_from(held) if held else st.nothing(),
        st.builds(LeaseVersion, ref, _FEW_NAMES, times),
        st.sampled_from(leased) if leased else st.nothing(),
        st.sampled_from(placed) if placed else st.nothing(),
        st.builds(
            lambda ref, channel, due: AnnounceMove(ref.image, channel, ref.version, due),
            ref,
            _FEW_CHANNELS,
            times,
        ),
        ref.flatmap(_few_deprecations),
        st.sampled_from(announced) if announced else st.nothing(),
        ref.map(RevokeVersion),
        ref.map(RestoreVersion),
    )


@st.composite
def histories(draw: st.DrawFn, most: int = 8) -> list[Change]:
    """Changes that a catalog accepts one after the other, over a few images and locations."""
    now = Snapshot("id", 0)
    history: list[Change] = []
    for generation in range(draw(st.integers(1, most))):
        begun = Change(
            key=f"key-{generation}",
            based_on=len(history),
            actor=draw(_FEW_NAMES),
            action=draw(texts),
            reason=draw(texts),
            at=draw(times),
            operations=(),
        )
        wanted = begun
        for _ in range(draw(st.integers(1, 3))):
            new = [ref for ref in _POOL if ref not in now.versions]
            if not now.versions or (new and draw(st.integers(0, 3)) == 0):
                deed: Operation = RecordVersion(draw(st.sampled_from(new).flatmap(_plain_versions)))
            else:
                deed = draw(_deeds(now, sorted(now.versions)))
            try:
                tried = replace(wanted, operations=(*wanted.operations, deed))
                apply_change(now, tried)
            except ImpossibleChange:
                continue
            wanted = tried
        if wanted != begun:
            history.append(wanted)
            now = apply_change(now, wanted)
    return history
