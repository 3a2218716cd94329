"""The long tail of tags: those on too few queries to say anything.

InsTag's frequency filter leaves out tags that occur less than alpha times, with alpha = 20 (Lu et
al. 2023, arXiv 2308.07074, section 3). On a corpus of some hundred queries that leaves nothing, so
by default alpha grows with the corpus up to the paper's.
"""

import polars as pl

PAPERS_ALPHA = 20
FEWEST = 2
QUERIES_EACH = 1_000


def scaled_alpha(n_queries: int) -> int:
    """One in a thousand queries, at least 2 and at most the paper's 20."""
    return min(PAPERS_ALPHA, max(FEWEST, -(-n_queries // QUERIES_EACH)))


def tag_counts(pairs: pl.DataFrame) -> pl.DataFrame:
    """`raw_tag`, `count`: on how many queries each tag is; by name.

    Args:
        pairs: `query_id`, `raw_tag`, one row a tag of a query.
    """
    distinct = pairs.select("query_id", "raw_tag").unique()
    return distinct.group_by("raw_tag").agg(count=pl.len().cast(pl.Int64)).sort("raw_tag")
