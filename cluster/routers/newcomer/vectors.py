"""Trained networks: a vector for the newcomer beside the others', everything else as it was."""

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from cluster.errors import InputError
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.routers.newcomer.own_part import add_macro_mean, own_parts, queries_stood_for

if TYPE_CHECKING:
    from cluster.routers.multihead import MultiheadRouter

# Of a candidate's vector against the mean of the others': four answers on one query count as much.
VECTOR_PENALTY = 1.0


def add_to_multihead(
    router: "MultiheadRouter", candidate: str, *, probe: OutcomeMatrix
) -> "MultiheadRouter":
    """The candidates' vectors and biases with one more, near the mean of the others'.

    Raises:
        InputError: a reward is not between 0 and 1.
    """
    reward = probe.reward[:, probe.candidates.index(candidate)]
    if reward.min() < 0 or reward.max() > 1:
        raise InputError(
            f"candidate '{candidate}': rewards from {reward.min():g} to {reward.max():g}, expected "
            "0 to 1; use --normalisation min_max"
        )
    reduce, known = router.head["reduce.weight"], router.head["candidates"]
    bias = router.head["bias"]
    queries = router.embed(probe.texts).astype(np.float64) @ reduce.T.astype(np.float64)
    placed = place_candidate(
        np.column_stack([queries, np.ones(len(queries))]),
        reward,
        weight=queries_stood_for(probe),
        others=np.column_stack([known, bias]).astype(np.float64),
    ).astype(known.dtype)
    head = {
        **router.head,
        "candidates": np.vstack([known, placed[:-1]]),
        "bias": np.append(bias, placed[-1:]),
    }
    tokens = own_parts(router, candidate, probe=probe)[1]
    return type(router)(
        (*router.candidates, candidate),
        settings=router.settings,
        encoder=router.encoder,
        head=head,
        scale=router.scale,
        completion_tokens=add_macro_mean(router.completion_tokens, part=tokens, probe=probe),
    )


def place_candidate(
    queries: FloatMatrix, reward: FloatMatrix, *, weight: FloatMatrix, others: FloatMatrix
) -> FloatMatrix:
    """(rank + 1,): the vector v that minimises soft cross-entropy + penalty / 2 · |v − mean|².

    Args:
        queries: (n, rank + 1), a column of ones behind.
        reward: (n,), in [0, 1].
        weight: (n,) queries that each row stands for.
        others: (n_candidates, rank + 1), whose mean is what is expected before anything is seen.
    """
    from scipy.optimize import minimize

    mean, scaled = others.mean(axis=0), weight / weight.mean()

    def loss(vector: FloatMatrix) -> tuple[float, FloatMatrix]:
        logit, away = queries @ vector, vector - mean
        entropy = np.logaddexp(0.0, logit) - reward * logit
        slope = queries.T @ (scaled * (expit(logit) - reward))
        return (
            float(scaled @ entropy + 0.5 * VECTOR_PENALTY * (away @ away)),
            slope + VECTOR_PENALTY * away,
        )

    return np.asarray(minimize(loss, mean, jac=True, method="L-BFGS-B").x)
