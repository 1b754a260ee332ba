"""A measurement as numbers for Prometheus.

Promises: what has no value in the measurement has no sample here, not even one that was there
before: each registry is made anew (P8). Beside every source stand the time of its last success and
how long ago that is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge

from imagectl.adapters.metrics import set_channels
from imagectl.errors import Denied
from imagectl.model.resource import ResourceKind
from imagectl.policy.leases import Sorted
from imagectl.services.measure import CatalogNumbers, Measurement

Sample = tuple[tuple[str, ...], float]


class _Families:
    """Metric families of one registry, each declared where its samples are, even if it has none."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def add(
        self, name: str, meaning: str, labels: tuple[str, ...], samples: Iterable[Sample]
    ) -> None:
        family = Gauge(f"imagectl_{name}", meaning, labels, registry=self._registry)
        for values, number in samples:
            family.labels(*values).set(number)

    def one(self, name: str, meaning: str, number: float) -> None:
        Gauge(f"imagectl_{name}", meaning, registry=self._registry).set(number)


def registry_of(measured: Measurement) -> CollectorRegistry:
    """All numbers of *measured*."""
    registry = CollectorRegistry()
    families = _Families(registry)
    families.one("metrics_timestamp_seconds", "When all this was measured.", _at(measured.at))
    _sources(families, measured)
    _outcomes(families, measured)
    _credentials(families, measured)
    _images(families, measured)
    _machines(families, measured)
    _generations(families, measured)
    if measured.catalog.value is not None:
        _catalog(families, measured.catalog.value, measured.at)
    if measured.verified is not None and measured.verified.value is not None:
        set_channels(registry, measured.verified.value)
    return registry


def _at(time: datetime) -> float:
    return time.timestamp()


def _sources(families: _Families, measured: Measurement) -> None:
    families.add(
        "source_ok",
        "1 where the source could be read completely, 0 where not: then its numbers are absent.",
        ("source", "place"),
        [
            (source, float(trouble is None))
            for source, trouble in sorted(measured.sources().items())
        ],
    )


def _generations(families: _Families, measured: Measurement) -> None:
    if measured.generation is not None:
        families.one(
            "catalog_generation",
            "The number of changes that made the catalog, also of an older copy of it.",
            float(measured.generation),
        )
    families.add(
        "published_generation",
        "The catalog's generation that consumers are shown; absent where that cannot be read, or "
        "nothing is published.",
        ("tree",),
        [
            ((tree,), float(reading.value))
            for tree, reading in measured.published.items()
            if reading.value is not None
        ],
    )
    families.add(
        "published_expires_seconds",
        "For how long consumers still believe what a role has signed, from now on; absent where "
        "that cannot be read, or nothing is published.",
        ("tree", "role"),
        [
            ((tree, role), (until - measured.at).total_seconds())
            for tree, signed in measured.signed.items()
            for role, until in sorted((signed.value or {}).items())
        ],
    )
    families.add(
        "published_behind",
        "1 where consumers see of a role what the catalog has left, since what it says by now "
        "waits for signatures; 0 where not; absent where that cannot be read.",
        ("tree", "role"),
        [
            ((tree, role), float(behind))
            for tree, lags in measured.lagging.items()
            for role, behind in sorted((lags.value or {}).items())
        ],
    )


def _outcomes(families: _Families, measured: Measurement) -> None:
    known = {
        each: outcome.last_success
        for each, outcome in sorted(measured.outcomes.items())
        if outcome.last_success is not None
    }
    families.add(
        "last_success_timestamp_seconds",
        "When the source was last read completely, or the work last done; absent where it never "
        "was.",
        ("source", "place"),
        [(each, _at(at)) for each, at in known.items()],
    )
    families.add(
        "last_success_age_seconds",
        "How long ago that was when this was measured.",
        ("source", "place"),
        [(each, (measured.at - at).total_seconds()) for each, at in known.items()],
    )
    for what, name in (("build", "builds"), ("cleanup", "cleanup"), ("janitor", "janitor")):
        runs = [
            (place, each)
            for (kind, place), each in sorted(measured.outcomes.items())
            if kind == what
        ]
        label = "image" if what == "build" else "place"
        families.add(
            f"{name}_runs",
            f"How often `imagectl {what}` has ended here, by its outcome.",
            (label, "outcome"),
            [
                sample
                for place, each in runs
                for sample in (
                    ((place, "ok"), float(each.successes)),
                    ((place, "failed"), float(each.failures)),
                )
            ],
        )
        families.add(
            f"{name}_last_success_timestamp_seconds",
            f"When `imagectl {what}` last ended well here; absent where it never did.",
            (label,),
            [
                ((place,), _at(each.last_success))
                for place, each in runs
                if each.last_success is not None
            ],
        )


def _credentials(families: _Families, measured: Measurement) -> None:
    def judged() -> Iterable[Sample]:
        for name, reading in measured.credentials.items():
            if reading.value is not None:
                yield (name,), 1.0
            elif isinstance(reading.trouble, Denied):
                yield (name,), 0.0

    families.add(
        "credential_ok",
        "1 where the location takes our credential, 0 where it refuses it; absent where that "
        "cannot be told.",
        ("location",),
        judged(),
    )
    families.add(
        "credential_expires_seconds",
        "How long the credential is good for from now on, below 0 where it should have expired; "
        "absent where nobody says when it ends.",
        ("location",),
        [
            ((name,), (reading.value.expires - measured.at).total_seconds())
            for name, reading in measured.credentials.items()
            if reading.value is not None and reading.value.expires is not None
        ],
    )


def _images(families: _Families, measured: Measurement) -> None:
    counted: dict[tuple[str, ...], float] = {}
    for name, reading in measured.views.items():
        if reading.value is None or measured.catalog_id is None:
            continue
        for owner in ("catalog", "other-catalog", "nobody"):
            counted[name, owner] = 0
        for found in reading.value.found:
            if found.owner is None:
                owner = "nobody"
            else:
                ours = found.owner.catalog == measured.catalog_id
                owner = "catalog" if ours else "other-catalog"
            counted[name, owner] += 1
    families.add(
        "location_images",
        "How many things the location has, by whose they are; absent where not all was shown.",
        ("location", "owner"),
        counted.items(),
    )


def _machines(families: _Families, measured: Measurement) -> None:
    readings = measured.machines.value or {}
    known = {place: each.value for place, each in readings.items() if each.value is not None}
    # "_total" is for counters elsewhere, but this is the name that people have alerts on.
    families.add(
        "vms_total",
        "How many machines imagectl has there, those that nobody needs too; absent where not all "
        "were shown.",
        ("place",),
        [
            ((place,), float(sum(_counts(found)["machine", lease] for lease in LEASES)))
            for place, found in known.items()
        ],
    )
    families.add(
        "janitor_resources",
        "How many things there are that are made to be thrown away, by whether their lease is "
        "running or over; absent where not all were shown.",
        ("place", "kind", "lease"),
        [
            ((place, kind, lease), float(number))
            for place, found in known.items()
            for (kind, lease), number in sorted(_counts(found).items())
        ],
    )
    families.add(
        "janitor_foreign",
        "How many things there are not imagectl's, or not of this catalog; absent where not all "
        "were shown.",
        ("place",),
        [
            ((place,), float(found.foreign + len(found.of_others) + len(found.copies)))
            for place, found in known.items()
        ],
    )
    families.add(
        "janitor_overdue_seconds",
        "For how long the lease of the oldest thing that nobody needs has been over; 0 where there "
        "is none, absent where not all were shown.",
        ("place",),
        [
            (
                (place,),
                max(
                    ((measured.at - each.until).total_seconds() for each in found.due), default=0.0
                ),
            )
            for place, found in known.items()
        ],
    )
    if measured.machines.value is not None:
        families.add(
            "janitor_failing",
            "How many things could not be collected three times or more, as far as was seen.",
            ("place",),
            [
                ((place,), float(measured.failing.get(place, 0)))
                for place in sorted({*known, *measured.failing})
            ],
        )


LEASES = ("running", "over")


def _counts(found: Sorted) -> Mapping[tuple[str, str], int]:
    # Machines are always there, if with 0: they were looked for.
    counted = Counter({(ResourceKind.MACHINE.value, lease): 0 for lease in LEASES})
    counted.update((each.kind.value, "running") for each in found.needed)
    counted.update((each.found.kind.value, "over") for each in found.due)
    return counted


def _catalog(families: _Families, numbers: CatalogNumbers, now: datetime) -> None:
    families.add(
        "versions",
        "How many versions there are at each stage.",
        ("image", "stage"),
        [((image, stage.value), float(n)) for (image, stage), n in numbers.stages.items()],
    )
    families.add(
        "versions_held",
        "How many versions are held by somebody.",
        ("image",),
        [((image,), float(n)) for image, n in numbers.held.items()],
    )
    families.add(
        "versions_revoked",
        "How many versions are revoked.",
        ("image",),
        [((image,), float(n)) for image, n in numbers.revoked.items()],
    )
    families.one(
        "cleanup_open_deletions",
        "How many deletions were begun and not seen to end.",
        float(numbers.open_deletions),
    )
    families.add(
        "image_age_seconds",
        "How long ago the version that the channel points to was built.",
        ("image", "channel"),
        [(where, (now - made).total_seconds()) for where, made in numbers.made.items()],
    )
    families.add(
        "channel_last_move_timestamp_seconds",
        "When the channel was last moved.",
        ("image", "channel"),
        [(where, _at(moved)) for where, moved in numbers.moved.items()],
    )
    families.add(
        "builds_last_version_timestamp_seconds",
        "When the newest version of the image was built, by whomever.",
        ("image",),
        [((image,), _at(built)) for image, built in numbers.built.items()],
    )
