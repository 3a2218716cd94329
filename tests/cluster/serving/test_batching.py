"""Predicting at once for what came at once, without a server around it."""

import asyncio
from types import SimpleNamespace

import pytest
from ray import serve

from cluster.serving.asked import Query
from cluster.serving.batching import Batching
from cluster.serving.metrics import Metrics

from .test_routing import POEM, loaded


@pytest.fixture(autouse=True)
def replica(monkeypatch):
    """What Serve's batches ask of the replica around them."""
    config = SimpleNamespace(max_ongoing_requests=64)
    around = SimpleNamespace(_deployment_config=config)
    monkeypatch.setattr(serve, "get_replica_context", lambda: around)


def test_a_query_that_cannot_be_predicted_fails_no_other(routers) -> None:
    routing, metrics = loaded(routers), Metrics()
    texts = [POEM, "half a pair \ud800", "add 3 and 4", POEM]
    queries = [Query(text, text) for text in texts]

    async def together() -> list[object]:
        batching = Batching(metrics, size=8)
        scored = (batching.score(one, routing=routing) for one in queries)
        return await asyncio.gather(*scored, return_exceptions=True)

    found = asyncio.run(together())
    assert metrics.registry.get_sample_value("signalbox_batch_size_count") == 1, "one batch"
    assert isinstance(found.pop(1), UnicodeEncodeError)
    for query, scored in zip(queries[:1] + queries[2:], found, strict=True):
        (alone,) = routing.score([query])
        assert (scored.prediction.reward == alone.prediction.reward).all()


def test_a_query_that_fails_alone_is_told_why(routers) -> None:
    routing = loaded(routers)

    async def alone() -> None:
        await Batching(Metrics(), size=8).score(Query("\ud800", "\ud800"), routing=routing)

    with pytest.raises(UnicodeEncodeError):
        asyncio.run(alone())
