"""Weights of training queries by how similar they are to a query that is asked."""

import numpy as np
import numpy.typing as npt
import polars as pl

# A highest cosine below this is nobody's neighbourhood: vectors without a common term are
# orthogonal up to rounding, and dividing by it would make a neighbour of anyone.
SAME_AS_NOTHING = 1e-4


def first_occurrences(texts: pl.Series) -> npt.NDArray[np.int64]:
    """(n,): the first row that has each row's text."""
    rows = texts.to_frame("text").with_row_index("row")
    return rows.select(pl.col("row").min().over("text"))["row"].to_numpy().astype(np.int64)


def to_weights(
    similarity: npt.NDArray[np.float32], *, highest: npt.NDArray[np.float32], gamma: float
) -> None:
    """Cosines, (n, n_battles), to weights gamma^(S − 1), in place; −inf becomes 0.

    gamma^(1 + S) but for a factor that all of a query's weights share.

    Args:
        similarity: cosines.
        highest: (n_battles,), what each column is divided by; empty: the row's own maximum.
        gamma: at least 1.
    """
    if not similarity.shape[1]:
        return
    nothing = np.float32(SAME_AS_NOTHING)
    divisor = highest[None, :] if len(highest) else similarity.max(axis=1, keepdims=True)
    near = divisor > nothing
    similarity /= np.where(near, divisor, np.float32(1.0))
    left_out = np.isneginf(similarity) if np.isneginf(similarity.min()) else None
    np.clip(similarity, -1.0, 1.0, out=similarity)
    similarity -= np.float32(1.0)
    similarity *= np.float32(np.log(gamma))
    np.exp(similarity, out=similarity)
    if left_out is not None:
        similarity[left_out] = 0.0
