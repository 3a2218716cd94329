"""Money at reading time: tokens are facts in the lake, prices are inputs.

All costs are USD per query; a cost is NaN where it is not known, never 0.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from cluster.errors import InputError
from cluster.outcome import FloatMatrix, OutcomeMatrix

TOKENS_PER_UNIT = 1_000_000


class Price(BaseModel):
    """What a candidate's tokens cost.

    Attributes:
        input: USD per million prompt tokens.
        output: USD per million completion tokens.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: float = Field(ge=0, allow_inf_nan=False)
    output: float = Field(ge=0, allow_inf_nan=False)


Prices = Mapping[str, Price]


def predicted_cost(
    prompt_tokens: npt.NDArray[np.float64],
    *,
    completion_tokens: FloatMatrix,
    candidates: Sequence[str],
    prices: Prices,
) -> FloatMatrix:
    """(n_queries, n_candidates) USD each candidate is expected to cost.

    Args:
        prompt_tokens: (n_queries,), or (n_queries, n_candidates) where tokenizers differ.
        completion_tokens: (n_queries, n_candidates), as predicted; NaN where never seen.
        candidates: names, the order of the columns.
        prices: a price for every candidate.

    Raises:
        InputError: a candidate has no price.
    """
    without = [name for name in candidates if name not in prices]
    if without:
        raise _no_price(without)
    prompt = prompt_tokens[:, None] if prompt_tokens.ndim == 1 else prompt_tokens
    return _priced(prompt, completion_tokens, candidates=candidates, prices=prices)


def outcome_cost(outcomes: OutcomeMatrix, *, prices: Prices) -> FloatMatrix:
    """(n_queries, n_candidates) USD each answer cost.

    Tokens times prices; where the tokens or the price are not known, what the table was imported
    with; NaN where there is neither. Without any price at all only imported costs are read.

    Raises:
        InputError: some candidates have prices, but one has tokens and neither price nor cost.
    """
    candidates = outcomes.candidates
    has_price = np.array([name in prices for name in candidates], dtype=bool)
    tokens_known = ~np.isnan(outcomes.prompt_tokens + outcomes.completion_tokens)
    needed = (tokens_known & np.isnan(outcomes.cost_usd)).any(axis=0) & ~has_price
    if has_price.any() and needed.any():
        raise _no_price([candidates[column] for column in np.flatnonzero(needed)])
    priced = _priced(
        outcomes.prompt_tokens, outcomes.completion_tokens, candidates=candidates, prices=prices
    )
    return np.where(np.isnan(priced), outcomes.cost_usd, priced)


def _priced(
    prompt_tokens: FloatMatrix,
    completion_tokens: FloatMatrix,
    *,
    candidates: Sequence[str],
    prices: Prices,
) -> FloatMatrix:
    """Tokens times prices; NaN for a candidate without a price."""
    known = [prices.get(name) for name in candidates]
    per_input = np.array([price.input if price else np.nan for price in known])
    per_output = np.array([price.output if price else np.nan for price in known])
    usd: FloatMatrix = (
        prompt_tokens * per_input + completion_tokens * per_output
    ) / TOKENS_PER_UNIT
    return usd


def _no_price(candidates: Sequence[str]) -> InputError:
    names = ", ".join(f"'{name}'" for name in candidates)
    return InputError(
        f"no price for {names}; expected {{input, output}} in USD per million tokens: "
        "add it to the candidate's entry or to the prices file"
    )
