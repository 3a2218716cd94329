"""What the router expects of each row of a shard, and what that would cost."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from cluster.encoders.blas import one_blas_thread
from cluster.outcome import BoolMatrix, FloatMatrix
from cluster.policies.exploration import explore
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
        allowed: (n_rows, n_candidates), who may be chosen; None where everyone may.
        explored: (n_rows,) the column that exploration sends a row to, -1 for none; None where
            nothing is explored.
        fallbacks: rows that only the fallback may answer.
        rule_rows: by rule, the rows it is about.
    """

    prediction: Prediction
    cost: FloatMatrix
    allowed: BoolMatrix | None = None
    explored: Choices | None = None
    fallbacks: int = 0
    rule_rows: tuple[int, ...] = ()

    def where(self, rows: pl.Series) -> "Scores":
        """Those of the rows that are marked, before it is known who may be chosen."""
        kept = rows.to_numpy()
        prediction = self.prediction
        tokens = prediction.completion_tokens[kept]
        return Scores(Prediction(prediction.reward[kept], tokens), self.cost[kept])


def score(texts: pl.Series, *, routing: Routing, characters: pl.Series | None = None) -> Scores:
    """Predict and price every row; a query that stands there several times is scored once.

    Args:
        texts: (n_rows,) the queries.
        routing: what routes.
        characters: (n_rows,) of all that is asked, where that is more than the query.

    Raises:
        InputError: a candidate has no price, and the policy needs one.
    """
    prediction = predicted(texts, checkpoint=routing.router)
    cost = _cost(texts, prediction=prediction, routing=routing, characters=characters)
    return Scores(prediction, cost)


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


@dataclass(frozen=True)
class Chosen:
    """Who answers.

    Attributes:
        columns: (n_rows,) of the candidates.
        probability: (n_rows,) of these choices over the draws of exploration; None without.
    """

    columns: Choices
    probability: FloatMatrix | None = None


def choose(texts: pl.Series, *, scores: Scores, routing: Routing) -> Chosen:
    """Whom the policy chooses, or exploration where it is drawn.

    Raises:
        InputError: as `Policy.choose`.
    """
    chosen = routing.policy.choose(
        scores.prediction, texts=texts, cost=scores.cost, allowed=scores.allowed
    )
    if scores.explored is None:
        return Chosen(chosen)
    everyone = np.ones(scores.cost.shape, dtype=bool)
    columns, probability = explore(
        chosen,
        explored=scores.explored,
        allowed=everyone if scores.allowed is None else scores.allowed,
        share=routing.spec.constraints.explore,
    )
    return Chosen(columns, probability)


def _cost(
    texts: pl.Series, *, prediction: Prediction, routing: Routing, characters: pl.Series | None
) -> FloatMatrix:
    if not routing.is_priced and not routing.policy.needs_cost:
        return np.full(prediction.reward.shape, np.nan)
    return expected_cost(
        texts,
        prediction=prediction,
        checkpoint=routing.router,
        prices=routing.spec.prices,
        characters=characters,
    )


def expected_cost(
    texts: pl.Series,
    *,
    prediction: Prediction,
    checkpoint: Checkpoint,
    prices: Prices,
    characters: pl.Series | None = None,
) -> FloatMatrix:
    """(n_queries, n_candidates) expected USD; NaN where a prompt's or answer's tokens are unknown.

    Raises:
        InputError: a candidate has no price.
    """
    return predicted_cost(
        expected_prompt_tokens(texts, checkpoint=checkpoint, characters=characters),
        completion_tokens=prediction.completion_tokens,
        candidates=checkpoint.router.candidates,
        prices=prices,
    )


def expected_prompt_tokens(
    texts: pl.Series, *, checkpoint: Checkpoint, characters: pl.Series | None = None
) -> FloatMatrix:
    """(n_queries, n_candidates) tokens of the prompts; NaN where a tokenizer was never seen.

    `characters`: (n_queries,) of the prompts, where they are more than the texts.
    """
    ratios = checkpoint.meta.data.get("prompt_tokens_per_character", {})
    per_character = [ratios.get(name) for name in checkpoint.router.candidates]
    known = np.array([np.nan if ratio is None else ratio for ratio in per_character])
    lengths = texts.str.len_chars() if characters is None else characters
    tokens: FloatMatrix = lengths.to_numpy().astype(float)[:, None] * known
    return tokens
