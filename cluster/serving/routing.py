"""A router in service: loaded, with what its candidates cost and where they answer."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
import polars as pl

from cluster import registry
from cluster.endpoint import read_key
from cluster.errors import InputError
from cluster.lake.lake import Lake
from cluster.lake.prices import read_prices
from cluster.outcome import BoolMatrix, FloatMatrix
from cluster.policies import Policy
from cluster.policies.cascade import Cascade
from cluster.policies.constraints import Asked, Constraints
from cluster.policies.threshold import Threshold
from cluster.price import Prices
from cluster.routers.checkpoint import Checkpoint, load_checkpoint
from cluster.routers.router import Prediction
from cluster.routers.transfer import has_strong_first
from cluster.routing.score import expected_cost, expected_prompt_tokens
from cluster.serving.asked import Query
from cluster.serving.backend import Backends, lake_backends
from cluster.serving.model_name import row_by_row
from cluster.serving.spec import ServeSpec

WARM_UP = Query("Is it on?", "Is it on?")


@dataclass(frozen=True)
class Scored:
    """What is expected for one query; all (1, n_candidates). `cost` is None without prices."""

    prediction: Prediction
    prompt_tokens: FloatMatrix
    cost: FloatMatrix | None


@dataclass(frozen=True)
class Routing:
    """What stays the same for a request from its first byte to its last.

    Attributes:
        checkpoint: the router, with its version.
        prices: by candidate's name.
        backends: of every candidate that can be called, the router's or not; where some alone are
            allowed, of those.
        callable: (n_candidates,), those that may be chosen and have a back-end.
        constraints: which of them may answer which query.
    """

    checkpoint: Checkpoint
    prices: Prices
    backends: Backends
    callable: BoolMatrix
    constraints: Constraints

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
        prediction = self.checkpoint.router.predict(texts)
        characters = wholes.str.len_chars()
        prompt = expected_prompt_tokens(texts, checkpoint=self.checkpoint, characters=characters)
        cost = None
        if all(name in self.prices for name in self.candidates):
            cost = expected_cost(
                texts,
                prediction=prediction,
                checkpoint=self.checkpoint,
                prices=self.prices,
                characters=characters,
            )
        return [
            Scored(
                Prediction(prediction.reward[row], prediction.completion_tokens[row]),
                prompt[row],
                None if cost is None else cost[row],
            )
            for row in (slice(row, row + 1) for row in range(len(queries)))
        ]

    def fitted(self, policy: Policy) -> Policy:
        """The policy for this router's candidates; see `fitted_policy`."""
        method = self.checkpoint.router.method
        return fitted_policy(policy, candidates=self.candidates, method=method, prices=self.prices)

    def choose(
        self, scored: Scored, *, policy: Policy, query: Query, barred: Collection[str] = ()
    ) -> int:
        """The column of the candidate that answers, none of `barred`.

        Raises:
            InputError: there is none left.
        """
        texts = pl.Series([query.text], dtype=pl.String)
        left = self.callable & np.array([name not in barred for name in self.candidates])
        prediction, cost = scored.prediction, scored.cost
        asked = Asked(
            frame=pl.DataFrame(),
            texts=texts,
            prompt_tokens=scored.prompt_tokens,
            completion_tokens=prediction.completion_tokens,
            # Preferred ones that are down are not waited for.
            eligible=policy.eligible(prediction, cost=cost) & left,
        )
        admitted = self.constraints.admit(asked, candidates=self.candidates)
        if admitted.reasons[0] is not None:
            raise InputError(f"nobody may answer: {admitted.reasons[0]}")
        return int(policy.choose(prediction, texts=texts, cost=cost, allowed=admitted.allowed)[0])


def fitted_policy(
    policy: Policy, *, candidates: tuple[str, ...], method: str, prices: Prices
) -> Policy:
    """A policy for a router of `method` with `candidates`.

    Raises:
        InputError: it names a candidate the router lacks, reads costs and there are none, or needs
            to be told which of a pair is the strong one.
    """
    unpriced = [name for name in candidates if name not in prices]
    if policy.needs_cost and unpriced:
        raise InputError(
            f"policy '{policy.name}' reads costs, and there is no price for "
            f"{', '.join(unpriced)}; name them with --prices"
        )
    is_pair = isinstance(policy, Threshold) and not (
        policy.strong or (isinstance(policy, Cascade) and policy.accept_from is not None)
    )
    if is_pair and not has_strong_first(method):
        raise InputError(
            f"policy '{policy.name}': the router's method {method} does not say which candidate "
            "is the strong one: name both with strong=…,weak=… in the model's name"
        )
    return policy.among(candidates)


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
    spec.constraints.check(router.candidates)
    wanted = spec.constraints.allowed or router.candidates
    if spec.constraints.allowed:
        # Whom a client may not get from the router it may not get by the name either.
        backends = {name: backends[name] for name in wanted if name in backends}
    usable = [name in wanted and name in backends for name in router.candidates]
    if not any(usable):
        raise InputError(
            f"no candidate of router {row['version'][:12]} may be chosen and has a back-end; its "
            f"candidates: {', '.join(router.candidates)}; name their servers with --backends"
        )
    for name in compress(router.candidates, usable):
        read_key(backends[name])
    prices = spec.prices or read_prices("", lake=lake)
    routing = Routing(checkpoint, prices, backends, np.array(usable), spec.constraints)
    policy = routing.fitted(row_by_row(spec.policy, settings=spec.policy_settings))
    routing.choose(*routing.score([WARM_UP]), policy=policy, query=WARM_UP)
    return routing
