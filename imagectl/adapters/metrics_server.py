"""The latest measurement over HTTP, for a Prometheus that scrapes.

Promises: what is shown is one measurement, whole; where none has come for too long, its numbers are
withdrawn, and only the time of the last one is left (P8): a loop that hangs must not look healthy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from imagectl.errors import Failed

TIME = "imagectl_metrics_timestamp_seconds"


class Latest(Collector):
    """What was measured last, for ``seconds`` after that, by *monotonic*."""

    def __init__(self, seconds: float, monotonic: Callable[[], float]) -> None:
        self._seconds = seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._families: tuple[Metric, ...] = ()
        self._at = 0.0

    def show(self, registry: CollectorRegistry) -> None:
        """From now on, this."""
        families = tuple(registry.collect())
        with self._lock:
            self._families, self._at = families, self._monotonic()

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            families, age = self._families, self._monotonic() - self._at
        if age <= self._seconds:
            return families
        return tuple(each for each in families if each.name == TIME)


class Server:
    """Serves *latest* at ``/metrics``. Raises Failed where the address cannot be had."""

    def __init__(self, host: str, port: int, latest: Latest) -> None:
        registry = CollectorRegistry()
        registry.register(latest)
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as problem:
            raise Failed(
                f"{host}:{port} cannot be listened on",
                why=problem.strerror or str(problem),
                hint="say another address with --listen",
            ) from problem

    @property
    def port(self) -> int:
        """Which one it is, where 0 was asked for."""
        return int(self._server.server_port)

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
