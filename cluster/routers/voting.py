"""A baseline that runs every candidate: the answer most of them give.

Not a router: a query to be routed has no answers yet. Two answers are one where they say the same:
the same letter where at least half of a query's answers choose one, else the same number where at
least half arrive at one, else the same text after normalisation.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence

import numpy as np
import polars as pl

from cluster.outcome import FloatMatrix
from cluster.rewards.exact import normalised
from cluster.rewards.multiple_choice import chosen_letter
from cluster.rewards.number import extract_number

READERS: tuple[Callable[[str], Hashable | None], ...] = (chosen_letter, extract_number)


def route(answers: pl.DataFrame) -> FloatMatrix:
    """(n_queries, n_candidates): evenly over those who gave the answer most candidates gave.

    Between answers of equally many votes evenly over the answers; a missing answer has no vote,
    and without any vote all candidates share the query.

    Args:
        answers: one row a query, one column a candidate; null where there is no answer.
    """
    texts = answers.select(pl.all().cast(pl.String).pipe(normalised)).rows()
    said = answers.select(pl.all().cast(pl.String)).rows()
    rows = [shares(votes(*row)) for row in zip(said, texts, strict=True)]
    return np.array(rows, dtype=np.float64).reshape(len(rows), answers.width)


def votes(said: Sequence[str | None], normal: Sequence[str | None]) -> list[Hashable | None]:
    """What each answer to one query comes down to; None for no vote."""
    present = sum(text is not None for text in said)
    for reader in READERS:
        read = [None if text is None else reader(text) for text in said]
        if present and 2 * sum(vote is not None for vote in read) >= present:
            return read
    return [text or None for text in normal]


def shares(votes: Sequence[Hashable | None]) -> list[float]:
    """Probability of each candidate: the winning answers share evenly, then who gave them."""
    counts = Counter(vote for vote in votes if vote is not None)
    if not counts:
        return [1 / len(votes)] * len(votes)
    most = max(counts.values())
    winners = {vote for vote, count in counts.items() if count == most}
    return [1 / (most * len(winners)) if vote in winners else 0.0 for vote in votes]
