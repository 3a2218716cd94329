"""What to call a cluster of queries: the task most of them are of, and the words they share."""

import math

import polars as pl

from cluster.encoders.kmeans import Labels
from cluster.encoders.lexical import terms_of

WORDS = 4
# A word of fewer queries of the cluster is an accident, or somebody's name.
FEWEST_QUERIES = 3
# Shorter ones, in bytes of UTF-8, are articles and the like; a Chinese character has three.
SHORTEST_BYTES = 3
# A word that is not twice as frequent here as everywhere says nothing of the cluster.
LEAST_LIFT = 2.0


def cluster_names(queries: pl.DataFrame, *, cluster: Labels, n_clusters: int) -> tuple[str, ...]:
    """(n_clusters,) `task: word, word, …`, or the words alone; all different.

    Args:
        queries: `text`, `task`.
        cluster: (n_queries,) each one's cluster.
        n_clusters: how many there are.
    """
    numbered = queries.select("text", "task", cluster=pl.Series(cluster))
    words, tasks = _words(numbered), _tasks(numbered)
    names = []
    for number in range(n_clusters):
        parts = [tasks.get(number, ""), ", ".join(words.get(number, []))]
        names.append(": ".join(filter(None, parts)) or "no words in common")
    return _told_apart(names)


def _told_apart(names: list[str]) -> tuple[str, ...]:
    """The names, a second one of the same with its number behind it."""
    before = [names[:place].count(name) for place, name in enumerate(names)]
    return tuple(
        f"{name} ({number + 1})" if number else name
        for name, number in zip(names, before, strict=True)
    )


def _tasks(queries: pl.DataFrame) -> dict[int, str]:
    """The most frequent task of each cluster; none where all queries are of one."""
    if queries["task"].n_unique() < 2:
        return {}
    counts = queries.group_by("cluster", "task").len().sort("len", "task", descending=[True, False])
    return dict(
        counts.unique("cluster", keep="first", maintain_order=True)["cluster", "task"].rows()
    )


def _words(queries: pl.DataFrame) -> dict[int, list[str]]:
    """Words that are frequent in a cluster and rare elsewhere: share in it times its log lift."""
    terms = terms_of(queries["text"]).drop_nulls().unique()
    terms = terms.filter(pl.col("term").str.len_bytes() >= SHORTEST_BYTES)
    placed = queries.select("cluster").with_row_index("row").join(terms, on="row")
    sizes = queries.group_by("cluster").agg(size=pl.len())
    everywhere = placed.group_by("term").agg(everywhere=pl.len())
    found = (
        placed.group_by("cluster", "term")
        .len()
        .filter(pl.col("len") >= FEWEST_QUERIES)
        .join(sizes, on="cluster")
        .join(everywhere, on="term")
    )
    share = pl.col("len") / pl.col("size")
    lift = share / (pl.col("everywhere") / queries.height)
    ranked = found.filter(lift >= LEAST_LIFT).with_columns(score=share * lift.log(base=math.e))
    ranked = ranked.sort("score", "term", descending=[True, False])
    best = ranked.group_by("cluster", maintain_order=True).agg(pl.col("term").head(WORDS))
    return {number: list(terms) for number, terms in best.iter_rows()}
