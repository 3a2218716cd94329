"""Tags that come together: merged where one nearly always brings the other.

InsTag's association aggregation mines association rules with FP-Growth (support 40, confidence
99 %) and merges associated tags recursively (Lu et al. 2023, arXiv 2308.07074, section 3). Rules of
two tags are taken here, which a join counts; of three, "a and b bring c" says nothing of a alone.

The paper names no lift. Without one, a tag that nearly every query has follows from all others,
and all melt into it; so a rule must hold more often than by chance.
"""

import numpy as np
import polars as pl

from cluster.tags.similar_tags import merged_into_most_frequent


def associated_tags(
    pairs: pl.DataFrame,
    *,
    min_support: int,
    min_confidence: float,
    min_lift: float,
    both_ways: bool = False,
) -> pl.DataFrame:
    """`form`, `into`: the most frequent form of the group each form is in; by form.

    Merged tags are one tag, for which rules are looked for again, until there are none.

    Args:
        pairs: `query_id`, `form`, one row a tag of a query.
        min_support: queries that must have both tags.
        min_confidence: share of the queries with one tag that must have the other too.
        min_lift: how many times more often than among all queries the other tag must be there.
        both_ways: whether the confidence must be there from either to the other. A tag that is
            part of another, as addition is of arithmetic, then stays.
    """
    pairs = pairs.select("query_id", "form").unique()
    n_queries = pairs["query_id"].n_unique()
    into = pairs.select("form", into="form").unique().sort("form")
    while True:
        counts = pairs.group_by("form").agg(count=pl.len().cast(pl.Int64)).sort("form")
        from_all = pl.max_horizontal("count", "count_other") if both_ways else pl.col("count")
        rules = _rules(pairs, counts=counts, min_support=min_support).filter(
            (pl.col("both") >= min_confidence * from_all)
            & (pl.col("both") * n_queries >= min_lift * pl.col("count") * pl.col("count_other"))
        )
        if rules.is_empty():
            return into
        step = _merged(counts, rules=rules)
        pairs = _renamed(pairs, column="form", step=step).unique()
        into = _renamed(into, column="into", step=step)


def _rules(pairs: pl.DataFrame, *, counts: pl.DataFrame, min_support: int) -> pl.DataFrame:
    """`form`, `other`, `both`, `count`, `count_other`: pairs of tags that enough queries have."""
    often = pairs.join(counts.filter(pl.col("count") >= min_support), on="form")
    found = often.join(often, on="query_id", suffix="_other").rename({"form_other": "other"})
    both = found.filter(pl.col("form") != pl.col("other")).group_by("form", "other")
    rules = both.agg(pl.len().alias("both"), pl.first("count", "count_other"))
    return rules.filter(pl.col("both") >= min_support)


def _merged(counts: pl.DataFrame, *, rules: pl.DataFrame) -> pl.DataFrame:
    """`form`, `into`: tags joined by any chain of rules."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    forms = counts["form"]
    place = (forms.search_sorted(rules[name]).to_numpy() for name in ("form", "other"))
    links = coo_matrix((np.ones(rules.height), tuple(place)), shape=(len(forms), len(forms)))
    group = connected_components(links, directed=False)[1]
    return merged_into_most_frequent(counts.with_columns(group=pl.Series(group)), by=["group"])


def _renamed(frame: pl.DataFrame, *, column: str, step: pl.DataFrame) -> pl.DataFrame:
    """The frame with the column's tags replaced by what they were merged into."""
    named = step.rename({"form": column, "into": "new"})
    found = frame.join(named, on=column, how="left", maintain_order="left")
    return found.with_columns(pl.col("new").alias(column)).select(frame.columns)
