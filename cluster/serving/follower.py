"""Following the registry: the router in service is the one that the registry names."""

import asyncio
import logging

from cluster import registry
from cluster.lake.lake import Lake
from cluster.serving.metrics import SHOWN, Metrics
from cluster.serving.routing import Routing, load_routing
from cluster.serving.spec import ServeSpec

# What Serve writes to the files of the replica.
LOG = logging.getLogger("ray.serve")


class Follower:
    """Holds the router in service, and swaps it when another is promoted.

    Attributes:
        routing: the one in service. Whoever takes it keeps what it took; the next is loaded beside
            it and put in its place by one assignment.
    """

    def __init__(self, spec: ServeSpec, *, metrics: Metrics) -> None:
        """Load the first.

        Raises:
            SignalboxError: as `load_routing`, or the lake cannot be read.
        """
        self._spec = spec
        self._metrics = metrics
        self._lake = Lake.open(spec.lake, create=False)
        self._failed = ""
        self.routing = load_routing(spec, lake=self._lake)
        self._tell()

    async def follow(self) -> None:
        """Look at the registry for as long as the replica lives."""
        while True:
            await asyncio.sleep(self._spec.reload_seconds)
            try:
                fresh = await asyncio.to_thread(self._newer)
            # Whatever is wrong with the registry or a new router, the old one goes on serving.
            except Exception as error:  # noqa: BLE001
                self._note(error)
                continue
            if fresh is not None:
                self.routing = fresh
                self._metrics.reloads.labels("loaded").inc()
                self._tell()

    def _newer(self) -> Routing | None:
        """The router that is to be served from now on, or None while it is the same."""
        version = registry.resolve(self._lake, version=self._spec.router)["version"]
        if version == self.routing.version:
            self._failed = ""
            return None
        return load_routing(self._spec, lake=self._lake)

    def _note(self, error: Exception) -> None:
        """Count a failure, and tell of it once, not at every look."""
        self._metrics.reloads.labels("failed").inc()
        told = f"{type(error).__name__}: {error}"
        if told != self._failed:
            self._failed = told
            LOG.error("router %s stays in service: %s", self.routing.version[:SHOWN], told)

    def _tell(self) -> None:
        routing = self.routing
        self._metrics.serves(version=routing.version, method=routing.checkpoint.router.method)
        silent = [
            n for n, usable in zip(routing.candidates, routing.callable, strict=True) if not usable
        ]
        LOG.info(
            "serving router %s; never chosen: %s",
            routing.version[:SHOWN],
            ", ".join(silent) or "none of its candidates",
        )
