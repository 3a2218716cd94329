"""What Prometheus is told. No label holds anything of a query's text."""

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

SHOWN = 12
# A decision takes about 1 ms, an answer seconds.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The measures of one replica, in a registry of their own.

    Attributes:
        requests: answered by a back-end, whatever it said.
        errors: answered here, or with an error of a back-end, by kind.
        fallbacks: choices that were changed because a candidate's back-end was down.
        deciding: seconds from a request's body to the choice.
        answering: seconds from a request's body to the end of its answer.
        batches: requests predicted at once.
        reloads: looks at the registry that brought another router, or failed to.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "signalbox_requests",
            "Requests passed on to a back-end that answered",
            ("candidate", "policy", "router", "status"),
            registry=self.registry,
        )
        self.errors = Counter(
            "signalbox_errors", "Requests that ended in an error", ("kind",), registry=self.registry
        )
        self.fallbacks = Counter(
            "signalbox_fallbacks",
            "Choices changed because the candidate's back-end was down",
            ("candidate",),
            registry=self.registry,
        )
        self.deciding = Histogram(
            "signalbox_deciding_seconds",
            "From a request's body to the choice of a candidate",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.answering = Histogram(
            "signalbox_request_seconds",
            "From a request's body to the end of its answer",
            ("candidate",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batches = Histogram(
            "signalbox_batch_size",
            "Requests predicted at once",
            buckets=_SIZES,
            registry=self.registry,
        )
        self.reloads = Counter(
            "signalbox_reloads",
            "Routers loaded while serving, or not",
            ("outcome",),
            registry=self.registry,
        )
        self._router = Gauge(
            "signalbox_router",
            "1 for the router in service",
            ("version", "method"),
            registry=self.registry,
        )

    media_type = CONTENT_TYPE_LATEST

    def text(self) -> bytes:
        """All of it in Prometheus' text form."""
        return generate_latest(self.registry)

    def serves(self, *, version: str, method: str) -> None:
        """Note the router that is in service from now on."""
        self._router.clear()
        self._router.labels(version[:SHOWN], method).set(1)
