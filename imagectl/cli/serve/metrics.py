"""The numbers of the server itself, for Prometheus. Those of the catalog: ``imagectl metrics``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from imagectl.adapters.web.counts import Counts


class _Numbers(Collector):
    def __init__(self, counts: Counts, generation: int | None, expires: datetime | None) -> None:
        self._counts = counts
        self._generation = generation
        self._expires = expires

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "imagectl_serve_requests",
            "How often it was answered, by all workers.",
            labels=("route", "status"),
        )
        for route, status, count in self._counts.totals():
            requests.add_metric((route, status), count)
        yield requests
        yield GaugeMetricFamily(
            "imagectl_serve_tree_ok",
            "1 where the published tree can be read and verified, 0 where not.",
            value=float(self._generation is not None),
        )
        if self._generation is not None:
            yield GaugeMetricFamily(
                "imagectl_serve_generation",
                "The catalog generation that is shown; absent where that is not known.",
                value=self._generation,
            )
        if self._expires is not None:
            yield GaugeMetricFamily(
                "imagectl_serve_expires_timestamp_seconds",
                "When the first signature runs out; absent where that is not known.",
                value=self._expires.timestamp(),
            )


def exposition(counts: Counts, generation: int | None, expires: datetime | None) -> bytes:
    """All numbers as Prometheus reads them. None: it is not known (P8)."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Numbers(counts, generation, expires))
    return generate_latest(registry)
