"""Which queries of a dataset every candidate is run on, when not all can be paid for."""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from cluster.choice.draw import Rows, inclusion, systematic
from cluster.choice.worth import cluster_of, coverage, predicted_disagreement
from cluster.encoders.lexical import LexicalEncoder
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.query import SPLITS

# Beyond so many, those to look at are drawn evenly first.
MAX_LOOKED_AT = 50_000
# Fewer labelled train queries say too little of where candidates differ.
MIN_KNOWN = 50
TRAIN = "train"


@dataclass(frozen=True)
class Known:
    """What is labelled already.

    Attributes:
        texts: (n_known,) of train queries with rewards.
        reward: (n_known, n_candidates), NaN where missing.
    """

    texts: pl.Series
    reward: FloatMatrix

    @classmethod
    def of(cls, outcomes: OutcomeMatrix) -> "Known":
        """The labelled train queries of a dataset."""
        train = outcomes.on_splits([TRAIN])
        labelled = train.take(np.asarray(train.mask.sum(axis=1) > 1))
        return cls(labelled.texts, labelled.reward)


def choose(
    queries: pl.DataFrame, *, asked: pl.Series, size: int, known: Known | None, seed: int
) -> pl.DataFrame:
    """`query_id` and `sampling_probability` of the queries to run next, in the queries' order.

    Every split gets its share, so that there is something to select, calibrate and test on. Of the
    held-out splits the queries are drawn evenly, by their texts' hash: probability 1, as before. Of
    train they are drawn by `cluster.choice.worth`, each with the probability that is kept with it.

    Args:
        queries: `query_id`, `text`, `split`, all of the dataset.
        asked: ids that all candidates have answered; they are not drawn again.
        size: queries to draw; all that are left where there are fewer.
        known: rewards there are; None, or too few, and coverage alone decides.
        seed: of clusters and draw.
    """
    left = queries.filter(~pl.col("query_id").is_in(asked.implode()))
    quotas = split_quotas(queries, left=left, size=size)
    parts = []
    for split, quota in quotas.items():
        rows = left.filter(split=split).sort("query_id")
        if split == TRAIN:
            parts.append(_drawn_train(rows, size=quota, known=known, seed=seed))
        else:
            parts.append(_drawn_evenly(rows, size=quota))
    return pl.concat(parts)


def split_quotas(queries: pl.DataFrame, *, left: pl.DataFrame, size: int) -> dict[str, int]:
    """How many to draw of each split: as the splits are in the dataset, as far as there are."""
    shares: dict[str, float] = {
        split: queries.filter(split=split).height / queries.height for split in SPLITS
    }
    there: dict[str, int] = {split: left.filter(split=split).height for split in SPLITS}
    quotas: dict[str, int] = dict.fromkeys(SPLITS, 0)
    for _ in range(min(size, left.height)):
        drawn = sum(quotas.values()) + 1
        open_splits = [split for split in quotas if quotas[split] < there[split]]
        behind = max(open_splits, key=lambda split: shares[split] * drawn - quotas[split])
        quotas[behind] += 1
    return quotas


def _drawn_evenly(rows: pl.DataFrame, *, size: int) -> pl.DataFrame:
    """The first by a lottery of the texts' hash: what a larger budget draws holds a smaller's."""
    order = _lottery(rows["text"])[:size]
    return rows[np.sort(order)].select("query_id", sampling_probability=pl.lit(1.0))


def _lottery(texts: pl.Series) -> Rows:
    lots = [hashlib.sha256(f"choice\n{text}".encode()).digest() for text in texts]
    return np.array(sorted(range(len(lots)), key=lots.__getitem__), dtype=np.int64)


def _drawn_train(rows: pl.DataFrame, *, size: int, known: Known | None, seed: int) -> pl.DataFrame:
    looked = rows[np.sort(_lottery(rows["text"])[: max(MAX_LOOKED_AT, size)])]
    if not size:
        return looked.head(0).select("query_id", sampling_probability=pl.lit(1.0))
    probability, drawn = draw_texts(looked["text"], size=size, known=known, seed=seed)
    share = looked.height / rows.height
    chosen = looked[drawn].select("query_id")
    return chosen.with_columns(sampling_probability=pl.Series(probability[drawn] * share))


def draw_texts(
    texts: pl.Series, *, size: int, known: Known | None, seed: int
) -> tuple[FloatMatrix, Rows]:
    """(n_texts,) probability of each text, and the positions that are drawn."""
    if size >= len(texts):
        return np.ones(len(texts)), np.arange(len(texts))
    rng = np.random.default_rng(seed)
    encoder = LexicalEncoder().fit(texts, seed=seed)
    vectors = encoder.encode(texts)
    cluster = cluster_of(vectors, size=size, rng=rng)
    weights = coverage(cluster)
    if known is not None and len(known.texts) >= MIN_KNOWN:
        weights = weights * predicted_disagreement(
            vectors, known_vectors=encoder.encode(known.texts), known_reward=known.reward
        )
    probability = inclusion(weights, size=size)
    order: npt.NDArray[np.int64] = np.lexsort((rng.random(len(texts)), cluster))
    return probability, systematic(probability, order=order, offset=float(rng.random()))
