"""What is known of a dataset's tags: how frequent they are, what they cover and are worth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import sparse
from scipy.stats import norm, t

from cluster.lake.lake import Lake
from cluster.lake.outcomes import has_rewards, read_outcomes, scorer_of, tagged_queries
from cluster.lake.tables import RAW_TAGS, TAGGERS
from cluster.lake.vocabularies import Version, read_vocabulary, vocabulary_versions
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.tags.vocabulary import Vocabulary

LEVEL = 0.95
REWARD_SCHEMA = pl.Schema(
    {
        "tag": pl.String(),
        "candidate": pl.String(),
        "n": pl.Int64(),
        "mean": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
    }
)
# What becomes of a query that has no tag, where no reason of the model's own is known.
NOT_ASKED = "the tagger has not been asked about it"
ALL_RARE = "its tags are too rare to count"
NOTHING_SAID = "the tagger gave it none"


@dataclass(frozen=True)
class TagStatistics:
    """The tags of a dataset.

    Attributes:
        dataset: its name.
        tagger: the tagger's name.
        tagger_id: of the tags that are read.
        scorer: whose rewards; empty where nothing is scored.
        tags_of: (n_queries,) lists: each query's tags.
        frequency: `tag`, `queries`, the most frequent first.
        untagged: `reason`, `queries`: why queries have no tag.
        left_out: `reason`, `times`: tags that are none, of queries that have others.
        rewards: `REWARD_SCHEMA`, by tag and candidate, where there are any.
        candidates: those with rewards.
        vocabulary: what raw tags became; empty for a tagger without.
        history: versions of it, the one in force first.
    """

    dataset: str
    tagger: str
    tagger_id: str
    scorer: str
    tags_of: pl.Series
    frequency: pl.DataFrame
    untagged: pl.DataFrame
    left_out: pl.DataFrame
    rewards: pl.DataFrame
    candidates: tuple[str, ...]
    vocabulary: Vocabulary
    history: tuple[Version, ...]

    @property
    def n_queries(self) -> int:
        """Queries of the dataset."""
        return len(self.tags_of)

    @property
    def n_tagged(self) -> int:
        """Queries with a tag."""
        return int((self.tags_of.list.len() > 0).sum())

    @property
    def per_query(self) -> float:
        """Mean number of tags of a query that has any."""
        return float(self.tags_of.list.len().sum()) / max(1, self.n_tagged)

    @property
    def version(self) -> Version | None:
        """The vocabulary's version that is read."""
        return next((one for one in self.history if one.tagger_id == self.tagger_id), None)

    def covered_by_top(self) -> FloatMatrix:
        """(n_tags + 1,): share of all queries with a tag among the k most frequent, from k = 0."""
        rank = pl.DataFrame({"tag": self.frequency["tag"]}).with_row_index("rank")
        exploded = pl.DataFrame({"tag": self.tags_of}).with_row_index("row").explode("tag")
        first = exploded.join(rank, on="tag").group_by("row").agg(pl.col("rank").min())
        counts = np.bincount(first["rank"].to_numpy() + 1, minlength=rank.height + 1)
        share: FloatMatrix = np.cumsum(counts) / max(1, self.n_queries)
        return share


def tag_statistics(
    lake: Lake, *, dataset: str, tagger: str = "", scorer: str = ""
) -> TagStatistics:
    """Read them from the lake.

    Args:
        lake: the lake.
        dataset: whose queries.
        tagger: its name or id; empty: the only one beside `task`.
        scorer: whose rewards; empty: as `read_outcomes`.

    Raises:
        InputError: no such dataset, tagger or scorer in the lake; the text lists what there is.
    """
    queries, tagger_id = tagged_queries(lake, dataset=dataset, tagger=tagger)
    row = lake.scan(TAGGERS).filter(pl.col("tagger_id") == tagger_id).collect().row(0, named=True)
    history = tuple(vocabulary_versions(lake, name=row["name"]))
    version = next((one for one in history if one.tagger_id == tagger_id), None)
    written = _written(lake, queries=queries, version=version)
    frequency = tag_frequency(queries["tags"])
    outcomes = None
    if scorer or has_rewards(lake, dataset=dataset):
        outcomes = read_outcomes(lake, dataset=dataset, scorer=scorer)
    return TagStatistics(
        dataset=dataset,
        tagger=row["name"],
        tagger_id=tagger_id,
        scorer=scorer_of(lake, dataset=dataset, scorer=scorer) if outcomes is not None else "",
        tags_of=queries["tags"],
        frequency=frequency,
        untagged=_untagged(queries, written=written, asks=version is not None),
        left_out=_left_out(written),
        rewards=tag_rewards(outcomes, tags_of=queries["tags"], tags=frequency["tag"])
        if outcomes is not None
        else pl.DataFrame(schema=REWARD_SCHEMA),
        candidates=outcomes.candidates if outcomes is not None else (),
        vocabulary=read_vocabulary(lake, tagger_id=tagger_id),
        history=history,
    )


def tag_frequency(tags_of: pl.Series) -> pl.DataFrame:
    """`tag`, `queries`: the most frequent first, equals by name."""
    tags = pl.DataFrame({"tag": tags_of.cast(pl.List(pl.String))}).explode("tag").drop_nulls()
    return _counted(tags, "tag", count="queries")


def tag_rewards(
    outcomes: OutcomeMatrix, *, tags_of: pl.Series, tags: Sequence[str] | pl.Series
) -> pl.DataFrame:
    """`REWARD_SCHEMA`: mean reward of every candidate on the queries of every tag, with a 95 %
    interval (Wilson's for rewards within 0 and 1, else Student's t).

    Args:
        outcomes: rewards.
        tags_of: (n_queries,) lists: the tags of each of their queries.
        tags: those to tell of, in this order.
    """
    known, reward = outcomes.mask, np.nan_to_num(outcomes.reward)
    member = _membership(tags_of, tags=pl.Series(tags, dtype=pl.String))
    n = member @ known.astype(np.float64)
    mean = (member @ reward) / np.maximum(n, 1)
    spread = np.sqrt(np.maximum((member @ reward**2) / np.maximum(n, 1) - mean**2, 0.0))
    within = bool(((reward >= 0) & (reward <= 1)).all())
    low, high = _wilson(mean, n=n) if within else _student(mean, n=n, spread=spread)
    shape = (len(tags), len(outcomes.candidates))
    frame = pl.DataFrame(
        {
            "tag": np.repeat(np.asarray(tags, dtype=object), shape[1]),
            "candidate": list(outcomes.candidates) * shape[0],
            "n": n.ravel().astype(np.int64),
            "mean": mean.ravel(),
            "low": low.ravel(),
            "high": high.ravel(),
        },
        schema=REWARD_SCHEMA,
    )
    return frame.filter(pl.col("n") > 0)


def _membership(tags_of: pl.Series, *, tags: pl.Series) -> sparse.csr_matrix:
    """(n_tags, n_queries): 1 where a query has a tag."""
    place = pl.DataFrame({"tag": tags}).with_row_index("place")
    rows = pl.DataFrame({"tag": tags_of}).with_row_index("row").explode("tag")
    found = rows.join(place, on="tag")
    where = (found["place"].to_numpy(), found["row"].to_numpy())
    shape = (len(tags), len(tags_of))
    return sparse.coo_matrix((np.ones(found.height), where), shape=shape).tocsr()


def _wilson(mean: FloatMatrix, *, n: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
    """Wilson's interval of a share; of rewards between 0 and 1, which vary less, it is too wide."""
    z = float(norm.ppf((1 + LEVEL) / 2))
    n = np.maximum(n, 1)
    centre = (mean + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z * np.sqrt(mean * (1 - mean) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return np.maximum(centre - reach, 0.0), np.minimum(centre + reach, 1.0)


def _student(
    mean: FloatMatrix, *, n: FloatMatrix, spread: FloatMatrix
) -> tuple[FloatMatrix, FloatMatrix]:
    """Student's interval; NaN, which is none, for a single query."""
    freedom = np.where(n > 1, n - 1, np.nan)
    reach = t.ppf((1 + LEVEL) / 2, freedom) * spread / np.sqrt(freedom)
    return mean - reach, mean + reach


def _written(lake: Lake, *, queries: pl.DataFrame, version: Version | None) -> pl.DataFrame:
    """`query_id`, `raw_tag`, `reason`: what the tagger's model, if any, wrote of the queries."""
    columns = ("query_id", "raw_tag", "reason")
    writer = version.spec["writer_id"] if version else ""
    rows = lake.scan(RAW_TAGS).filter(pl.col("writer_id") == writer).select(columns)
    return rows.join(queries.lazy().select("query_id"), on="query_id", how="semi").collect()


def _untagged(queries: pl.DataFrame, *, written: pl.DataFrame, asks: bool) -> pl.DataFrame:
    """`reason`, `queries`: of the queries without tags."""
    without = queries.filter(pl.col("tags").list.len() == 0).select("query_id")
    if not asks:
        told = without.with_columns(reason=pl.lit(NOTHING_SAID))
        return _counted(told, "reason", count="queries")
    said = written.group_by("query_id").agg(
        pl.col("raw_tag").count().alias("raw"), pl.col("reason").drop_nulls().first()
    )
    reason = (
        pl.when(pl.col("raw").is_null())
        .then(pl.lit(NOT_ASKED))
        .when(pl.col("raw") > 0)
        .then(pl.lit(ALL_RARE))
        .otherwise(pl.col("reason"))
    )
    told = without.join(said, on="query_id", how="left").select(reason=reason)
    return _counted(told, "reason", count="queries")


def _left_out(written: pl.DataFrame) -> pl.DataFrame:
    """`reason`, `times`: of the queries that have raw tags."""
    others = written.drop_nulls("raw_tag").select("query_id").unique()
    reasons = written.join(others, on="query_id", how="semi").drop_nulls("reason")
    return _counted(reasons, "reason", count="times")


def _counted(frame: pl.DataFrame, column: str, *, count: str) -> pl.DataFrame:
    """How often each value of a column is there, the most frequent first."""
    counts = frame.group_by(column).agg(pl.len().alias(count))
    return counts.sort(count, column, descending=[True, False])
