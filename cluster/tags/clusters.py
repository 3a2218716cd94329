"""k-means clusters of the queries' words, as tags."""

from typing import ClassVar

import numpy as np
import polars as pl
from pydantic import Field

from cluster.encoders.blas import one_blas_thread
from cluster.encoders.kmeans import k_means, nearest
from cluster.encoders.lexical import LexicalEncoder
from cluster.tags.tagger import Tagger


class ClusterTagger(Tagger):
    """One tag a query, `cluster-0` to `cluster-<n_clusters - 1>`, the largest cluster first.

    Vocabulary and clusters are learned from the queries that are tagged, so the tags belong to
    them: the same queries get the same tags in any order, but more queries make other clusters,
    and `cluster-3` of one corpus has nothing to do with that of another. Tag a whole corpus anew
    rather than a part of it.

    Attributes:
        n_clusters: clusters looked for; fewer where there are fewer distinct texts.
        seed: of the projection and the clustering.
    """

    name: ClassVar[str] = "clusters"
    learns_from_corpus: ClassVar[bool] = True

    n_clusters: int = Field(default=20, ge=1, le=10_000)
    seed: int = Field(default=0, ge=0)

    def tag(self, queries: pl.DataFrame) -> pl.DataFrame:
        """`query_id`, `tag`: one row a query, none for an empty frame.

        Raises:
            InputError: no text holds a word.
        """
        ordered = queries.select("query_id", "text").sort("query_id", "text")
        if ordered.is_empty():
            return pl.DataFrame(schema={"query_id": pl.String, "tag": pl.String})
        encoder = LexicalEncoder().fit(ordered["text"], seed=self.seed)
        vectors = encoder.encode(ordered["text"])
        with one_blas_thread():
            rng = np.random.default_rng(self.seed)
            centroids = k_means(vectors, n_clusters=self.n_clusters, rng=rng)
            cluster = nearest(vectors, centroids)
        by_size = np.argsort(-np.bincount(cluster, minlength=len(centroids)), kind="stable")
        number = pl.Series("tag", np.argsort(by_size)[cluster]).cast(pl.String)
        return ordered.select("query_id", tag=pl.lit("cluster-") + number)
