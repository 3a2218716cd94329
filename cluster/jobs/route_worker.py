"""Who routes shards: an actor on Ray, or this very process where the file is small."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from cluster.files.batch import Batch
from cluster.files.source import SeenFile
from cluster.policies.policy import Policy
from cluster.routing.kernel import Routing, load_routing
from cluster.routing.shard import Shard
from cluster.routing.spec import RouteSpec
from cluster.routing.store import Store
from cluster.routing.summary import ShardSummary
from cluster.routing.work import StretchReader, choose_shard, route_shard, score_shard


@dataclass(frozen=True)
class Task:
    """A shard to work on.

    Attributes:
        shard: which.
        batch: its rows, where the worker does not read them itself.
        scored: what is told of it, where it was scored before and a choice is all that is left.
    """

    shard: Shard
    batch: Batch | None = None
    scored: ShardSummary | None = None


Work = Callable[[Task], ShardSummary]


class RouteWorker:
    """Holds a loaded router; works on one shard after another."""

    def __init__(
        self,
        spec: RouteSpec,
        *,
        files: list[SeenFile],
        store: Store,
        routing: Routing | None = None,
    ) -> None:
        self.store = store
        self.routing = routing or load_routing(spec)
        self.reader = StretchReader(files)

    def ready(self) -> int:
        """The process's id, once the router is loaded."""
        return os.getpid()

    def use(self, policy: Policy) -> None:
        """Choose by a policy that has settled from now on."""
        self.routing = self.routing.settled(policy)

    def route(self, task: Task) -> ShardSummary:
        """Score a shard and choose."""
        since = time.process_time()
        key, batch = task.shard.key, self._batch(task)
        return route_shard(batch, key=key, routing=self.routing, store=self.store, since=since)

    def score(self, task: Task) -> ShardSummary:
        """Score a shard alone."""
        since = time.process_time()
        key, batch = task.shard.key, self._batch(task)
        return score_shard(batch, key=key, routing=self.routing, store=self.store, since=since)

    def choose(self, task: Task) -> ShardSummary:
        """Choose for a shard that was scored."""
        assert task.scored is not None, "a shard is scored before its candidates are chosen"
        return choose_shard(task.scored, routing=self.routing, store=self.store)

    def _batch(self, task: Task) -> Batch:
        return task.batch or self.reader.read(task.shard)
