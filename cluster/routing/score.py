"""What the router expects of each row of a shard, and what that would cost."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from cluster.encoders.blas import one_blas_thread
from cluster.outcome import BoolMatrix, FloatMatrix
from cluster.policies.policy import Choices
from cluster.price import Prices, predicted_cost
from cluster.routers.checkpoint import Checkpoint
from cluster.routers.router import Prediction
from cluster.routing.kernel import Routing


@dataclass(frozen=True)
class Scores:
    """A shard's rows as the policy sees them.

    Attributes:
        prediction: (n_rows, n_candidates).
        cost: (n_rows, n_candidates) USD; NaN without prices or known tokens.
        allowed: (n_candidates,) or (n_rows, n_candidates); None where all candidates are.
    """

    prediction: Prediction
    cost: FloatMatrix
    allowed: BoolMatrix | None


def score(texts: pl.Series, *, routing: Routing) -> Scores:
    """Predict and price every row; a query that stands there several times is scored once.

    Raises:
        InputError: a candidate has no price, and the policy needs one.
    """
    prediction = predicted(texts, checkpoint=routing.router)
    cost = _cost(texts, prediction=prediction, routing=routing)
    return Scores(prediction, cost, routing.allowed())


def predicted(texts: pl.Series, *, checkpoint: Checkpoint) -> Prediction:
    """The router's word on each text: the same bits whatever the number of cores."""
    if texts.is_empty():
        nothing = np.zeros((0, len(checkpoint.router.candidates)))
        return Prediction(nothing, nothing)
    once = texts.unique(maintain_order=True)
    with one_blas_thread():
        found = checkpoint.router.predict(once)
    if len(once) == len(texts):
        return found
    place = _places(texts, once=once)
    return Prediction(found.reward[place], found.completion_tokens[place])


def _places(texts: pl.Series, *, once: pl.Series) -> npt.NDArray[np.int64]:
    """(n,) where each text stands among the distinct ones."""
    known = pl.DataFrame({"text": once}).with_row_index("place")
    asked = pl.DataFrame({"text": texts})
    found = asked.join(known, on="text", how="left", maintain_order="left")["place"]
    return found.cast(pl.Int64).to_numpy()


def choose(texts: pl.Series, *, scores: Scores, routing: Routing) -> Choices:
    """(n_rows,) the column of the candidate that the policy chooses.

    Raises:
        InputError: as `Policy.choose`.
    """
    return routing.policy.choose(
        scores.prediction, texts=texts, cost=scores.cost, allowed=scores.allowed
    )


def _cost(texts: pl.Series, *, prediction: Prediction, routing: Routing) -> FloatMatrix:
    if not routing.is_priced and not routing.policy.needs_cost:
        return np.full(prediction.reward.shape, np.nan)
    return expected_cost(
        texts, prediction=prediction, checkpoint=routing.router, prices=routing.spec.prices
    )


def expected_cost(
    texts: pl.Series, *, prediction: Prediction, checkpoint: Checkpoint, prices: Prices
) -> FloatMatrix:
    """(n_queries, n_candidates) expected USD; NaN where a prompt's or answer's tokens are unknown.

    Raises:
        InputError: a candidate has no price.
    """
    candidates = checkpoint.router.candidates
    ratios = checkpoint.meta.data.get("prompt_tokens_per_character", {})
    per_character = [ratios.get(name) for name in candidates]
    characters = texts.str.len_chars().to_numpy().astype(float)
    known = np.array([np.nan if ratio is None else ratio for ratio in per_character])
    return predicted_cost(
        characters[:, None] * known,
        completion_tokens=prediction.completion_tokens,
        candidates=candidates,
        prices=prices,
    )
