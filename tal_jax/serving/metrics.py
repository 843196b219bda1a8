"""Metrics of a service, in the format of Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

LATENCIES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)


class Measures:
    """The counters of one service."""

    def __init__(self, waiting: Callable[[], float]):
        """waiting: returns how many recordings wait or are at work."""
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("tal_requests", "Requests to /detect by status.", ["status"], registry=registry)
        self.latency = Histogram(
            "tal_request_seconds", "From headers to answer, of what was answered.", buckets=LATENCIES, registry=registry
        )
        self._batches = Histogram(
            "tal_batch_windows", "Windows worked on together.", ["stage"], buckets=BATCHES, registry=registry
        )
        self._padding = Counter("tal_padding_windows", "Empty places in batches.", ["stage"], registry=registry)
        self._compute = Counter("tal_compute_seconds", "Time in the model.", ["stage"], registry=registry)
        queue = Gauge("tal_waiting_recordings", "Recordings in the queue or at work.", registry=registry)
        queue.set_function(waiting)

    def batch(self, stage: str, rows: int, size: int, seconds: float) -> None:
        """Counts a batch.

        Args:
          stage: the name of its stage.
          rows: how many windows it has.
          size: how many rows it has with padding.
          seconds: how long it took.
        """
        self._batches.labels(stage).observe(rows)
        self._padding.labels(stage).inc(size - rows)
        self._compute.labels(stage).inc(seconds)

    def text(self) -> bytes:
        """All metrics in Prometheus's exposition format."""
        return generate_latest(self._registry)
