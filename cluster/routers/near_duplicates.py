"""Training rows that say nearly what a held-out row says: Jaccard of word 3-grams, exactly.

Comparing all pairs is not needed. Two sets A and B with |A ∩ B| ≥ t·|A ∪ B| share more than
(1 - t)·|A| of A's elements, so, with the elements in one order, they share one among the first
|A| - ceil(t·|A|) + 1 of A and the first |B| - ceil(t·|B|) + 1 of B (prefix filter; Bayardo et al.,
"Scaling up all pairs similarity search", WWW 2007). With the rarest first, few pairs do.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import sparse

from cluster.encoders.lexical import UNSPACED

THRESHOLD = 0.8
GRAM = 3
# Letters and digits; a character is a word in scripts without spaces.
WORD = rf"[\p{{L}}\p{{M}}\p{{N}}--[{UNSPACED}]]+|[{UNSPACED}]"
# Odd, so that no word is lost in the product: 2**64 divided by the golden ratio.
MULTIPLIER = pl.lit(0x9E3779B97F4A7C15, dtype=pl.UInt64)
TEXTS_AT_ONCE = 20_000
GRAM_SCHEMA = {"row": pl.UInt32, "gram": pl.UInt64}
# Pairs looked at together; their rows of 3-grams take about 1 KB each.
PAIRS_AT_ONCE = 200_000

Incidence = Any  # scipy.sparse.csr_matrix, which has no types


def near_duplicates(
    texts: pl.Series, *, held_out: pl.Series, threshold: float = THRESHOLD
) -> npt.NDArray[np.bool_]:
    """(n,): whether a text's 3-grams have a Jaccard of `threshold` or more with a held-out text's.

    A text of fewer than three words is one gram of all its words; one without words has none and
    is near nothing.
    """
    texts = texts.cast(pl.String).fill_null("")
    distinct = texts.unique()
    grams, others = incidence(distinct, held_out.cast(pl.String).unique())
    found = np.zeros(len(distinct), dtype=bool)
    for row, other in candidate_pairs(grams, others, threshold=threshold):
        shared = np.asarray(grams[row].multiply(others[other]).sum(axis=1)).ravel()
        union = sizes(grams)[row] + sizes(others)[other] - shared
        found[row[shared >= threshold * union - 1e-9]] = True
    near: npt.NDArray[np.bool_] = texts.is_in(distinct.filter(found).implode()).to_numpy()
    return near


def incidence(texts: pl.Series, held_out: pl.Series) -> tuple[Incidence, Incidence]:
    """(n, n_grams) and (n_held_out, n_grams) sparse 0/1, the columns from rare to frequent."""
    found = grams_of(pl.concat([texts, held_out]))
    frequency = found.group_by("gram").agg(texts=pl.len()).sort("texts")
    ranked = found.join(frequency.with_row_index("rank"), on="gram")
    row, rank = ranked["row"].to_numpy(), ranked["rank"].to_numpy()
    shape = (len(texts) + len(held_out), frequency.height)
    both = sparse.csr_matrix((np.ones(len(row), dtype=np.int32), (row, rank)), shape=shape)
    both.sort_indices()
    return both[: len(texts)], both[len(texts) :]


def grams_of(texts: pl.Series) -> pl.DataFrame:
    """One row a distinct 3-gram of a text: `row` (position of the text) and `gram` (its hash).

    As numbers of 64 bits, a fifth of the memory of words, and half the time: among the 10 million
    3-grams of 250,000 queries two share a number with a chance of one in 400,000.
    """
    frame = pl.DataFrame({"text": texts}).with_row_index("row")
    # Words take ten times the memory of their numbers.
    parts = [_grams(part) for part in frame.iter_slices(TEXTS_AT_ONCE)]
    return pl.concat(parts) if parts else pl.DataFrame(schema=GRAM_SCHEMA)


def _grams(texts: pl.DataFrame) -> pl.DataFrame:
    words = texts.select("row", word=pl.col("text").str.to_lowercase().str.extract_all(WORD))
    short = words.filter(pl.col("word").list.len().is_between(1, GRAM - 1)).select(
        "row", gram=pl.col("word").list.join(" ").hash()
    )
    spread = words.filter(pl.col("word").list.len() >= GRAM).explode("word", empty_as_null=True)
    hashes = spread.select("row", word=pl.col("word").hash())
    gram, last = pl.col("word"), pl.col("row").shift(1 - GRAM)
    for step in range(1, GRAM):
        # Wraps around at 64 bits.
        gram = gram * MULTIPLIER + pl.col("word").shift(-step)
    long = hashes.select("row", gram=gram, last=last).filter(pl.col("row") == pl.col("last"))
    return pl.concat([short, long.drop("last")]).unique()


def candidate_pairs(
    grams: Incidence, others: Incidence, *, threshold: float
) -> "list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]":
    """Pairs (row, other) that share a gram of their prefixes, in parts."""
    heads, other_heads = prefixes(grams, threshold), prefixes(others, threshold)
    pairs = (heads @ other_heads.T).tocoo()
    small = np.minimum(sizes(grams)[pairs.row], sizes(others)[pairs.col])
    large = np.maximum(sizes(grams)[pairs.row], sizes(others)[pairs.col])
    possible = small >= threshold * large - 1e-9
    row, other = pairs.row[possible], pairs.col[possible]
    starts = range(0, len(row), PAIRS_AT_ONCE)
    return [(row[s : s + PAIRS_AT_ONCE], other[s : s + PAIRS_AT_ONCE]) for s in starts]


def prefixes(grams: Incidence, threshold: float) -> Incidence:
    """The rarest |A| - ceil(threshold * |A|) + 1 grams of each row A."""
    size = sizes(grams)
    keep = size - np.ceil(threshold * size - 1e-9).astype(np.int64) + 1
    position = np.arange(grams.nnz) - np.repeat(grams.indptr[:-1], size)
    head = position < np.repeat(keep, size)
    row = np.repeat(np.arange(len(size)), size)[head]
    ones = np.ones(int(head.sum()), dtype=np.int32)
    return sparse.csr_matrix((ones, (row, grams.indices[head])), shape=grams.shape)


def sizes(grams: Incidence) -> npt.NDArray[np.int64]:
    """(n,): grams of each row."""
    return np.diff(grams.indptr).astype(np.int64)
