"""A router in service: loaded, with what its candidates cost and where they answer."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from cluster import registry
from cluster.endpoint import read_key
from cluster.errors import InputError
from cluster.lake.lake import Lake
from cluster.lake.prices import read_prices
from cluster.outcome import BoolMatrix, FloatMatrix
from cluster.policies import Policy
from cluster.price import Prices
from cluster.routers.checkpoint import Checkpoint, load_checkpoint
from cluster.routers.router import Prediction
from cluster.routing.score import expected_cost, predicted
from cluster.serving.asked import Query
from cluster.serving.backend import Backends, lake_backends
from cluster.serving.model_name import row_by_row
from cluster.serving.spec import ServeSpec

WARM_UP = Query("Is it on?", "Is it on?")


@dataclass(frozen=True)
class Scored:
    """What is expected for one query; both (1, n_candidates). `cost` is None without prices."""

    prediction: Prediction
    cost: FloatMatrix | None


@dataclass(frozen=True)
class Routing:
    """What stays the same for a request from its first byte to its last.

    Attributes:
        checkpoint: the router, with its version.
        prices: by candidate's name.
        backends: of every candidate that can be called, the router's or not.
        allowed: (n_candidates,), those that may be chosen and have a back-end.
    """

    checkpoint: Checkpoint
    prices: Prices
    backends: Backends
    allowed: BoolMatrix

    @property
    def version(self) -> str:
        """The router's."""
        return self.checkpoint.version

    @property
    def candidates(self) -> tuple[str, ...]:
        """The router's, the order of every column."""
        return self.checkpoint.router.candidates

    def score(self, queries: Sequence[Query]) -> list[Scored]:
        """What is expected of each candidate for each query, predicted at once."""
        texts, wholes = (
            pl.Series(column, dtype=pl.String) for column in zip(*queries, strict=True)
        )
        prediction = predicted(texts, checkpoint=self.checkpoint)
        cost = None
        if all(name in self.prices for name in self.candidates):
            cost = expected_cost(
                wholes, prediction=prediction, checkpoint=self.checkpoint, prices=self.prices
            )
        return [
            Scored(
                Prediction(
                    prediction.reward[row : row + 1], prediction.completion_tokens[row : row + 1]
                ),
                None if cost is None else cost[row : row + 1],
            )
            for row in range(len(queries))
        ]

    def fitted(self, policy: Policy) -> Policy:
        """The policy for this router's candidates.

        Raises:
            InputError: it names a candidate the router lacks, or reads costs and there are none.
        """
        unpriced = [name for name in self.candidates if name not in self.prices]
        if policy.needs_cost and unpriced:
            raise InputError(
                f"policy '{policy.name}' reads costs, and there is no price for "
                f"{', '.join(unpriced)}; name them with --prices"
            )
        return policy.among(self.candidates)

    def choose(
        self, scored: Scored, *, policy: Policy, query: Query, barred: Collection[str] = ()
    ) -> int:
        """The column of the candidate that answers, none of `barred`.

        Raises:
            InputError: there is none left.
        """
        allowed = self.allowed & np.array([name not in barred for name in self.candidates])
        texts = pl.Series([query.text], dtype=pl.String)
        cost = scored.cost
        return int(policy.choose(scored.prediction, texts=texts, cost=cost, allowed=allowed)[0])


def load_routing(spec: ServeSpec, *, lake: Lake) -> Routing:
    """Load the router that `spec` names now; it has chosen once, so its first request is fast.

    Raises:
        InputError: it is not registered, its checkpoint is damaged, it cannot route before an
            answer, none of its candidates may be chosen and has a back-end, or the policy does not
            fit it.
        EngineError: the environment variable of a back-end's key is not set.
    """
    row = registry.resolve(lake, version=spec.router)
    checkpoint = load_checkpoint(row["checkpoint"], version=row["version"])
    router = checkpoint.router
    if router.reads_answer_of:
        raise InputError(
            f"router {row['version'][:12]} decides when '{router.reads_answer_of}' has answered, "
            "and a request is to be passed on before: name another --router"
        )
    backends = lake_backends(lake) | spec.backends
    wanted = spec.allowed or router.candidates
    callable_ = [name in wanted and name in backends for name in router.candidates]
    if not any(callable_):
        raise InputError(
            f"no candidate of router {row['version'][:12]} may be chosen and has a back-end; its "
            f"candidates: {', '.join(router.candidates)}; name their servers with --backends"
        )
    for name, usable in zip(router.candidates, callable_, strict=True):
        if usable:
            read_key(backends[name])
    prices = spec.prices or read_prices("", lake=lake)
    routing = Routing(checkpoint, prices, backends, np.array(callable_))
    policy = routing.fitted(row_by_row(spec.policy, settings=spec.policy_settings))
    routing.choose(*routing.score([WARM_UP]), policy=policy, query=WARM_UP)
    return routing
