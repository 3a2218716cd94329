"""Predicting for requests at once that came at once."""

import asyncio
from collections.abc import Sequence

from cluster.serving.asked import Query
from cluster.serving.metrics import Metrics
from cluster.serving.routing import Routing, Scored

Item = tuple[Routing, Query]


class Batching:
    """Batches of Ray Serve that nobody waits for: a request on an idle replica is one of its own.

    Serve forms a batch before it is the batch's turn. Without a wait they would all be of one, and
    with a wait all requests would pay it. So requests that come while a batch is predicted are held
    back here, and are given to Serve together when it is done.
    """

    def __init__(self, metrics: Metrics, *, size: int) -> None:
        """With batches of at most `size`; for use inside a replica alone."""
        from ray import serve

        self._metrics = metrics
        self._idle = asyncio.Event()
        self._idle.set()
        batched = serve.batch(max_batch_size=size, batch_wait_timeout_s=0)
        self._batched = batched(self._scored)

    async def score(self, query: Query, *, routing: Routing) -> Scored:
        """What a router expects for a query; raises what predicting for it alone raises."""
        await self._idle.wait()
        scored: Scored | Exception = await self._batched((routing, query))
        if isinstance(scored, Exception):
            raise scored
        return scored

    async def _scored(self, items: Sequence[Item]) -> list[Scored | Exception]:
        self._idle.clear()
        self._metrics.batches.observe(len(items))
        found: dict[int, Scored | Exception] = {}
        try:
            # Of two versions only around a swap.
            for routing in {id(one): one for one, _ in items}.values():
                rows = [row for row, (one, _) in enumerate(items) if one is routing]
                queries = [items[row][1] for row in rows]
                scored = await asyncio.to_thread(_each, routing, queries=queries)
                found |= zip(rows, scored, strict=True)
        finally:
            self._idle.set()
        return [found[row] for row in range(len(items))]


def _each(routing: Routing, *, queries: Sequence[Query]) -> Sequence[Scored | Exception]:
    """Predicted at once; where that fails, one by one, so that one query fails no other."""
    try:
        return routing.score(queries)
    except Exception as error:  # noqa: BLE001 - told to the one whose query it is
        return [error] if len(queries) == 1 else [_alone(routing, query=one) for one in queries]


def _alone(routing: Routing, *, query: Query) -> Scored | Exception:
    (scored,) = _each(routing, queries=[query])
    return scored
