"""Numbers for Prometheus, as a file that node_exporter's textfile collector reads.

Promises: the file is replaced as a whole; a number that could not be measured is absent, with the
time of the last success beside it, and is never the last known value and never 0 (P8).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile
from prometheus_client.parser import text_string_to_metric_families

from imagectl.errors import Failed
from imagectl.services.verify import ChannelChecked, Checked, State, Verified

SUCCESS = "imagectl_verify_last_success_timestamp_seconds"
_PLACE = ("image", "channel", "location")


def write_verified(path: Path, verified: Verified | None, now: datetime) -> None:
    """What ``imagectl verify`` found of all channels of all images, or None where it found out
    nothing at all.

    The time of the last success, which is one that every location answered in, is taken over from
    the file that is there. Raises Failed where the file cannot be written.
    """
    registry = CollectorRegistry()
    _set(registry, "imagectl_verify_timestamp_seconds", "When verify last ran.", now.timestamp())
    complete = verified is not None and not verified.having(State.UNKNOWN)
    success = now.timestamp() if complete else _last_success(path)
    if success is not None:
        _set(registry, SUCCESS, "When verify last got an answer from every location.", success)
    if verified is not None:
        set_channels(registry, verified)
    write_file(path, registry)


def write_file(path: Path, registry: CollectorRegistry) -> None:
    """Replace the file by what is in *registry*, as a whole. Raises Failed."""
    try:
        write_to_textfile(str(path), registry)
    except OSError as problem:
        raise Failed(
            "the metrics cannot be written",
            where=str(path),
            why=problem.strerror or str(problem),
            hint="the folder has to exist, and this user has to be allowed to write to it",
        ) from problem


def _set(registry: CollectorRegistry, name: str, meaning: str, value: float) -> None:
    Gauge(name, meaning, registry=registry).set(value)


def set_channels(registry: CollectorRegistry, verified: Verified) -> None:
    """Whether what channels point to, and what one can roll back to, is where it has to be."""
    head = Gauge(
        "imagectl_head_ready",
        "1 where what the channel points to is in the location, 0 where it is not; absent where "
        "that is not known.",
        _PLACE,
        registry=registry,
    )
    ready = Gauge(
        "imagectl_rollback_ready",
        "1 where all that one can roll back to is in the location, 0 where it is not; absent where "
        "that is not known, or where there is nothing earlier.",
        _PLACE,
        registry=registry,
    )
    seen = Gauge(
        "imagectl_rollback_verified_timestamp_seconds",
        "When all that one can roll back to was last seen in the location; absent where it never "
        "was.",
        _PLACE,
        registry=registry,
    )
    window = Gauge(
        "imagectl_rollback_versions",
        "How many versions one can roll back to, within the rollback window.",
        ("image", "channel"),
        registry=registry,
    )
    for channel in verified.channels:
        window.labels(channel.image, channel.channel).set(len(channel.window))
        for location, of_head, of_window in _by_location(channel):
            labels = (channel.image, channel.channel, location)
            known = _ready((of_head,))
            if known is not None:
                head.labels(*labels).set(known)
            if not of_window:
                continue
            known = _ready(of_window)
            if known is not None:
                ready.labels(*labels).set(known)
            times = [each.verified for each in of_window if each.verified is not None]
            if len(times) == len(of_window):
                seen.labels(*labels).set(min(times).timestamp())


def _by_location(channel: ChannelChecked) -> Iterator[tuple[str, Checked, tuple[Checked, ...]]]:
    for location in channel.required:
        yield location, channel.of_head(location), channel.of_window(location)


def _ready(checked: tuple[Checked, ...]) -> int | None:
    """None where it is not known: one that is certainly missing makes it known."""
    states = {each.state for each in checked}
    if states & {State.MISSING, State.CORRUPT, State.REVOKED}:
        return 0
    return None if State.UNKNOWN in states else 1


def _last_success(path: Path) -> float | None:
    """What the file that is there says of it; None where it cannot be read."""
    try:
        families = [*text_string_to_metric_families(path.read_text())]
    except (OSError, ValueError):
        return None
    return next(
        (
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == SUCCESS
        ),
        None,
    )
