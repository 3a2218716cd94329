"""Tags that mean the same: merged where their vectors are near.

InsTag's semantic aggregation: phrase embeddings clustered by DBSCAN with a threshold of 0.05 (Lu et
al. 2023, arXiv 2308.07074, section 3). The paper takes PhraseBERT; here it is any installed
encoder. It does not say how many neighbours make a cluster: here one, so that the clusters are the
connected parts of the graph of near pairs and do not depend on the tags' order.
"""

from typing import Any

import numpy as np
import polars as pl

from cluster.encoders.blas import one_blas_thread
from cluster.encoders.encoder import load_encoder

# Learned from the tags themselves, the lexical encoder must know all their words (a word it does
# not know is its length, and "biology" would be "history") and keep them apart.
LEXICAL: dict[str, Any] = {"min_texts": 1, "dimensions": 1024}


def similar_tags(
    tags: pl.DataFrame, *, encoder: str, settings: dict[str, Any], max_distance: float
) -> pl.DataFrame:
    """`form`, `into`: the most frequent form of the group each form is in; by form.

    Tags whose digits differ stay apart: to an encoder, 2d and 3d plots are the same.

    Args:
        tags: `form`, `name` (what is encoded) and `count`, one row a form.
        encoder: an installed encoder.
        settings: its settings.
        max_distance: cosine distance up to which two tags are the same; 0 merges none.

    Raises:
        InputError: the encoder is not installed, or its settings are wrong.
    """
    tags = tags.sort("form")
    group = pl.Series("group", np.arange(tags.height))
    if max_distance > 0 and tags.height > 1:
        group = _groups(tags["name"], encoder, settings, max_distance=max_distance)
    digits = pl.col("name").str.replace_all(r"\P{Nd}+", " ").str.strip_chars()
    grouped = tags.with_columns(group, digits=digits)
    return merged_into_most_frequent(grouped, by=["group", "digits"])


def merged_into_most_frequent(tags: pl.DataFrame, *, by: list[str]) -> pl.DataFrame:
    """`form`, `into`: of every group the form with the highest count, the first by name of equals.

    Args:
        tags: `form`, `count` and the columns that say which forms are one.
        by: those columns.
    """
    first = tags.sort("count", "form", descending=[True, False])
    chosen = first.group_by(by, maintain_order=True).agg(into=pl.col("form").first())
    return tags.join(chosen, on=by, nulls_equal=True).select("form", "into").sort("form")


def _groups(
    names: pl.Series, encoder: str, settings: dict[str, Any], *, max_distance: float
) -> pl.Series:
    """(n_tags,) number of the cluster of each tag."""
    from sklearn.cluster import DBSCAN

    given = LEXICAL | settings if encoder == "lexical" else settings
    with one_blas_thread():
        vectors = load_encoder(encoder, **given).fit(names, seed=0).encode(names)
        near = DBSCAN(eps=max_distance, min_samples=1, metric="cosine", algorithm="brute")
        labels = near.fit_predict(vectors.astype(np.float64))
    return pl.Series("group", labels, dtype=pl.Int64)
