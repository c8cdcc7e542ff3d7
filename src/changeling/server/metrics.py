"""Metrics for Prometheus. They hold counts and times, and nothing of the pictures or of who sent them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class ServiceMetrics:
    """The metrics of one service, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "changeling_requests", "Requests by path and status.", ("path", "status"), registry=self._registry
        )
        self.request_seconds = Histogram(
            "changeling_request_seconds", "Time of requests.", ("path",), buckets=_SECONDS, registry=self._registry
        )
        self.images = Counter(
            "changeling_images",
            "Uploaded files by status.",
            ("status",),
            registry=self._registry,
        )
        self.decoding_seconds = Histogram(
            "changeling_decoding_seconds", "Time to decode a file.", buckets=_SECONDS, registry=self._registry
        )
        self.pass_seconds = Histogram(
            "changeling_pass_seconds", "Time of a pass through the backbone.", buckets=_SECONDS, registry=self._registry
        )
        self.waiting_seconds = Gauge(
            "changeling_waiting_seconds", "Work that waits for the model.", registry=self._registry
        )
        self.waiting_pixels = Gauge(
            "changeling_waiting_pixels", "Pixels of pictures that are not decoded yet.", registry=self._registry
        )
        self.held_bytes = Gauge("changeling_held_bytes", "Uploads that are held in memory.", registry=self._registry)

    def render(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self._registry)
