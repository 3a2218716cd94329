"""The `outcomes` view: rewards and tokens of a dataset as dense matrices.

Raw values are stored; how they are normalised is a setting of the view. Truncated answers are
scored and flagged; errors have no reward and are missing, never 0. Rewards of a batch that was
refused are missing too, as long as it is not released.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import polars as pl

from cluster.errors import InputError
from cluster.lake.candidates import long_name, newest_specs
from cluster.lake.kept_out import REWARD, kept_out
from cluster.lake.lake import Lake
from cluster.lake.query_tags import QueryTags
from cluster.lake.tables import (
    ADMISSIONS,
    CANDIDATES,
    CHOICES,
    COMPLETIONS,
    KEPT_OUT,
    QUERIES,
    REWARDS,
    SCORERS,
    TAGGERS,
    TAGS,
    Table,
)
from cluster.lake.vocabularies import vocabulary_versions
from cluster.normalisation import Normalisation, normalised
from cluster.outcome import OutcomeMatrix

INPUTS: tuple[Table, ...] = (
    QUERIES,
    CHOICES,
    CANDIDATES,
    SCORERS,
    TAGGERS,
    COMPLETIONS,
    REWARDS,
    TAGS,
    KEPT_OUT,
    ADMISSIONS,
)

DEFAULT_SCORER = "accuracy"
QUERY_COLUMNS = ("query_id", "dataset", "task", "split", "text", "sampling_probability")
CELL = ["query_id", "candidate_id"]
REASONS_SHOWN = 3
# The splits that methods are fitted on in the end; others never move a scale.
LEARNED = ("train", "validation")


def read_outcomes(
    lake: Lake,
    *,
    dataset: str,
    scorer: str,
    normalisation: Normalisation = "none",
    temperature: float = 1.0,
    candidates: Sequence[str] = (),
    versions: Mapping[str, int] | None = None,
    tagger: str = "",
    answers: bool = False,
    also: Sequence[str] = (),
    refused: bool = False,
) -> OutcomeMatrix:
    """The outcome matrix of a dataset under one scorer.

    Args:
        lake: the lake.
        dataset: whose queries.
        also: datasets whose train queries stand beside them, such as what `route --feedback`
            copied; those that are not in the lake are left out.
        scorer: a scorer's name or id (of several specs of a name, the one with most rewards);
            empty: the only one that has scored the dataset, or `accuracy`.
        normalisation: on which scale, see `cluster.normalisation`: by the scorer's rewards on train
            and validation (on all where there are none), or by rank among the candidates read.
        temperature: of the sigmoid.
        candidates: readable names to keep, in this order; empty: all that have a reward, by name.
        versions: table name → Delta version to read, for a pinned view.
        tagger: a tagger's name or id, whose tags become the queries' column `tags` (of several
            specs of a name, the newest version of a vocabulary, or else the one with most tags
            here); empty: no such column.
        answers: whether to read the answers' texts as well.
        refused: whether to read the rewards of refused batches as well.

    Raises:
        InputError: no such dataset, scorer, tagger or candidate in the lake; the text lists what
            there is.
    """
    view = _View(lake, versions or {})
    queries = view.queries(dataset, also=also)
    if tagger:
        own = QueryTags(lake, view.versions)
        queries = own.tagged(queries, tagger_id=own.tagger_id(tagger, queries=queries))
    scorer_id = view.scorer_id(scorer, queries=queries)
    rewards = view.rewards(queries, scorer_id=scorer_id, refused=refused)
    names = readable_names(view.candidates(rewards), wanted=candidates)
    if normalisation == "rank":
        rewards = rewards.filter(pl.col("candidate_id").is_in(list(names)))
    if normalisation != "none":
        learned = queries.select("query_id", learned=pl.col("split").is_in(LEARNED))
        rewards = rewards.join(learned, on="query_id", maintain_order="left")
        scaled = normalised(rewards, normalisation=normalisation, temperature=temperature)
        rewards = rewards.with_columns(value=scaled)
    cells = _mean_cells(rewards, view.completions(queries))
    outcomes = _dense(queries, cells=cells, names=names)
    return replace(outcomes, answers=view.answers(queries, names=names)) if answers else outcomes


def check_outcomes(lake: Lake, *, dataset: str, scorer: str) -> None:
    """Make sure that a dataset is in the lake and that some scorer has the name; reads little.

    Raises:
        InputError: as `read_outcomes`, in the same words.
    """
    view = _View(lake, {})
    there = view.scan(QUERIES).filter(pl.col("dataset") == dataset).head(1).collect()
    scorers = lake.read(SCORERS)
    named = (pl.col("name") == scorer) | (pl.col("scorer_id") == scorer)
    if there.height == 0 or (scorer and scorers.filter(named).height == 0):
        view.scorer_id(scorer, queries=view.queries(dataset))


def has_rewards(lake: Lake, *, dataset: str, versions: Mapping[str, int] | None = None) -> bool:
    """Whether any scorer has scored a query of a dataset."""
    view = _View(lake, versions or {})
    queries = view.scan(QUERIES).filter(pl.col("dataset") == dataset)
    scored = view.scan(REWARDS).filter(pl.col("value").is_not_null())
    scored = scored.join(queries, on="query_id", how="semi")
    return scored.head(1).collect().height > 0


def rewarded_candidates(
    lake: Lake,
    *,
    dataset: str,
    scorer: str,
    also: Sequence[str] = (),
    versions: Mapping[str, int] | None = None,
) -> dict[str, str]:
    """candidate_id → readable name of all that `read_outcomes` would read.

    Raises:
        InputError: as `read_outcomes`.
    """
    view = _View(lake, versions or {})
    queries = view.queries(dataset, also=also)
    scorer_id = view.scorer_id(scorer, queries=queries)
    return readable_names(view.candidates(view.rewards(queries, scorer_id=scorer_id)))


def scorer_of(lake: Lake, *, dataset: str, scorer: str) -> str:
    """Name of the scorer that `read_outcomes` would read.

    Raises:
        InputError: as `read_outcomes`.
    """
    view = _View(lake, {})
    found = view.scorer_id(scorer, queries=view.queries(dataset))
    return str(lake.read(SCORERS).filter(pl.col("scorer_id") == found)["name"][0])


def tagged_queries(lake: Lake, *, dataset: str, tagger: str) -> tuple[pl.DataFrame, str]:
    """Queries of a dataset with their `tags` as `read_outcomes` reads them, and the tagger's id.

    Args:
        lake: the lake.
        dataset: whose queries.
        tagger: a tagger's name or id; empty: the only one beside `task`, or `task`. One that has
            a vocabulary, and has found none of its tags here, is told of all the same.

    Raises:
        InputError: no such dataset or tagger in the lake; the text lists what there is.
    """
    queries, own = _View(lake, {}).queries(dataset), QueryTags(lake)
    named = vocabulary_versions(lake, name=tagger) if tagger else []
    if named and tagger not in set(own.taggers(queries)["name"]):
        none = pl.lit([], dtype=pl.List(pl.String))
        return queries.with_columns(tags=none), named[0].tagger_id
    tagger_id = own.tagger_id(tagger, queries=queries)
    return own.tagged(queries, tagger_id=tagger_id), tagger_id


def scorers_of(
    lake: Lake, *, dataset: str, scorer: str
) -> tuple[tuple[str, str], list[tuple[str, str]]]:
    """(scorer_id, name) of the scorer that `read_outcomes` would read, and of all others.

    Of several specs of a name only the one with most rewards; most rewards first.

    Raises:
        InputError: as `read_outcomes`.
    """
    view = _View(lake, {})
    queries = view.queries(dataset)
    found = view.scorer_id(scorer, queries=queries)
    used = view.scorers(queries)
    name = str(used.filter(pl.col("scorer_id") == found)["name"][0])
    others = used.filter(pl.col("name") != name).unique("name", keep="first", maintain_order=True)
    return (found, name), list(others.select("scorer_id", "name").iter_rows())


def scorers_on(lake: Lake, *, dataset: str) -> set[str]:
    """Names of all scorers that have seen a dataset's answers, whether they gave rewards or not."""
    view = _View(lake, {})
    own = view.scan(QUERIES).filter(pl.col("dataset") == dataset).select("query_id").collect()
    return set(view.scorers(own)["name"])


def scorer_names(lake: Lake, *, dataset: str) -> list[str]:
    """Names of the scorers that have rewarded a dataset, most rewards first; where all rewards of
    all of them are missing, these all the same."""
    view = _View(lake, {})
    own = view.scan(QUERIES).filter(pl.col("dataset") == dataset).select("query_id").collect()
    scorers = view.scorers(own)
    rewarded = scorers.filter(pl.col("rewards") > 0)
    return list(dict.fromkeys((rewarded if rewarded.height else scorers)["name"]))


class _View:
    """The tables of a lake at pinned versions, cut to one dataset."""

    def __init__(self, lake: Lake, versions: Mapping[str, int]) -> None:
        self.lake, self.versions = lake, versions

    def scan(self, table: Table) -> pl.LazyFrame:
        return self.lake.scan(table, version=self.versions.get(table.name))

    def queries(self, dataset: str, *, also: Sequence[str] = ()) -> pl.DataFrame:
        beside = pl.col("dataset").is_in(list(also)) & (pl.col("split") == "train")
        wanted = (pl.col("dataset") == dataset) | beside
        rows = self.scan(QUERIES).filter(wanted).select(QUERY_COLUMNS)
        chosen = self.scan(CHOICES).select("query_id", chosen=pl.col("sampling_probability"))
        probability = pl.col("sampling_probability") * pl.col("chosen").fill_null(1.0)
        queries = (
            rows.join(chosen, on="query_id", how="left")
            .with_columns(sampling_probability=probability)
            .drop("chosen")
            .sort("query_id")
            .collect()
        )
        if dataset not in queries["dataset"]:
            there = self.scan(QUERIES).select(pl.col("dataset").unique().sort()).collect()
            known = ", ".join(there["dataset"]) or "none"
            raise InputError(
                f"dataset '{dataset}' is not in {self.lake.storage.uri}; datasets there: {known}"
            )
        return queries

    def scorers(self, queries: pl.DataFrame) -> pl.DataFrame:
        """`scorer_id`, `name`, `rewards` of those that have scored the queries, most first; one
        all of whose rewards are missing is among them, with 0."""
        return (
            self.scan(REWARDS)
            .join(queries.lazy().select("query_id"), on="query_id", how="semi")
            .group_by("scorer_id")
            .agg(pl.col("value").is_finite().sum().alias("rewards"))
            .join(self.scan(SCORERS), on="scorer_id")
            .sort("rewards", "scorer_id", descending=[True, False])
            .collect()
        )

    def scorer_id(self, scorer: str, *, queries: pl.DataFrame) -> str:
        used = self.scorers(queries)
        names = sorted(set(used["name"]))
        wanted = scorer or (names[0] if len(names) == 1 else DEFAULT_SCORER)
        found = used.filter((pl.col("name") == wanted) | (pl.col("scorer_id") == wanted))
        if found.height:
            return str(found["scorer_id"][0])
        which = f"no rewards of scorer '{scorer}'" if scorer else "no scorer was named for rewards"
        raise InputError(
            f"{which} on this dataset in {self.lake.storage.uri}; scorers that have scored it: "
            f"{', '.join(names) or 'none'}; name one with --scorer"
        )

    def rewards(
        self, queries: pl.DataFrame, *, scorer_id: str, refused: bool = False
    ) -> pl.DataFrame:
        """The scorer's rewards of these queries, those that are missing left out, and those of
        refused batches too.

        Raises:
            InputError: all of them are missing.
        """
        own = self.scan(REWARDS).filter(pl.col("scorer_id") == scorer_id)
        own = own.join(queries.lazy().select("query_id"), on="query_id", how="semi")
        if not refused:
            own = own.join(kept_out(self.scan), on=REWARD, how="anti")
        rows = own.filter(pl.col("value").is_finite()).collect()
        if rows.is_empty():
            raise self._all_missing(own.collect(), scorer_id=scorer_id)
        return rows

    def _all_missing(self, rewards: pl.DataFrame, *, scorer_id: str) -> InputError:
        named = self.scan(SCORERS).filter(pl.col("scorer_id") == scorer_id).collect()
        kinds = rewards["reason"].fill_null("no reason").str.extract("^([^:]*)").alias("kind")
        counts = kinds.value_counts(sort=True).head(REASONS_SHOWN).iter_rows()
        why = ", ".join(f"{count} {kind}" for kind, count in counts)
        return InputError(
            f"scorer '{named['name'][0]}' has {rewards.height} rewards on this dataset in "
            f"{self.lake.storage.uri}, and all are missing ({why}); mend the scorer and collect "
            "again with --retry-errors, or name another with --scorer"
        )

    def completions(self, queries: pl.DataFrame) -> pl.DataFrame:
        tokens = pl.col("prompt_tokens", "completion_tokens", "cost_usd")
        answered = self.scan(COMPLETIONS).filter(pl.col("outcome") != "error")
        own = answered.join(queries.lazy().select("query_id"), on="query_id", how="semi")
        truncated = (pl.col("outcome") == "truncated").mean().alias("truncated")
        return own.group_by(CELL).agg(tokens.mean(), truncated).collect()

    def answers(self, queries: pl.DataFrame, *, names: Mapping[str, str]) -> pl.DataFrame:
        """One row a query and one column a candidate: the text of the first sample."""
        own = (
            self.scan(COMPLETIONS)
            .filter((pl.col("outcome") != "error") & pl.col("candidate_id").is_in(list(names)))
            .join(queries.lazy().select("query_id"), on="query_id", how="semi")
            .sort("sample")
            .group_by(CELL)
            .agg(pl.col("text").first())
            .collect()
        )
        frame = queries.select("query_id")
        for key, name in names.items():
            texts = own.filter(pl.col("candidate_id") == key).select(
                "query_id", pl.col("text").alias(name)
            )
            frame = frame.join(texts, on="query_id", how="left", maintain_order="left")
        return frame.drop("query_id")

    def candidates(self, rewards: pl.DataFrame) -> pl.DataFrame:
        ids = rewards.select("candidate_id").unique()
        specs = newest_specs(self.scan(CANDIDATES))
        return specs.join(ids.lazy(), on="candidate_id", how="semi").collect()


def readable_names(candidates: pl.DataFrame, *, wanted: Sequence[str] = ()) -> dict[str, str]:
    """candidate_id → readable name, by name; the long name where several ids share one.

    Args:
        candidates: `candidate_id`, `name`.
        wanted: names to keep, in this order; empty: all.

    Raises:
        InputError: a wanted one is not among them.
    """
    shared = set(candidates.filter(pl.col("name").is_duplicated())["name"])
    pairs = candidates.select("name", "candidate_id").iter_rows()
    named = sorted(
        (long_name(name, candidate_id=key) if name in shared else name, key) for name, key in pairs
    )
    by_name = dict(named)
    missing = [name for name in wanted if name not in by_name]
    if missing:
        raise InputError(
            f"candidates {', '.join(missing)} have no reward on this dataset; "
            f"those that have: {', '.join(by_name) or 'none'}"
        )
    return {by_name[name]: name for name in (wanted or by_name)}


def _mean_cells(rewards: pl.DataFrame, completions: pl.DataFrame) -> pl.DataFrame:
    """One row a (query, candidate): the weighted mean over its samples."""
    weight = pl.col("weight")
    mean = (pl.col("value") * weight).sum() / weight.sum()
    cells = rewards.group_by(CELL).agg(mean.alias("reward"), weight.sum().alias("n_samples"))
    return cells.join(completions, on=CELL, how="left")


def _dense(
    queries: pl.DataFrame, *, cells: pl.DataFrame, names: Mapping[str, str]
) -> OutcomeMatrix:
    columns = pl.DataFrame({"candidate_id": list(names), "column": range(len(names))})
    rows = queries.select("query_id").with_row_index("row")
    placed = cells.join(columns, on="candidate_id").join(rows, on="query_id")
    place = (placed["row"].to_numpy(), placed["column"].to_numpy())

    def matrix(name: str, *, empty: float) -> npt.NDArray[np.float64]:
        dense = np.full((queries.height, len(names)), empty)
        dense[place] = placed[name].cast(pl.Float64).fill_null(empty).to_numpy()
        return dense

    return OutcomeMatrix(
        queries=queries,
        candidates=tuple(names.values()),
        candidate_ids=tuple(names),
        reward=matrix("reward", empty=np.nan),
        prompt_tokens=matrix("prompt_tokens", empty=np.nan),
        completion_tokens=matrix("completion_tokens", empty=np.nan),
        cost_usd=matrix("cost_usd", empty=np.nan),
        n_samples=matrix("n_samples", empty=0.0),
        truncated=matrix("truncated", empty=0.0),
    )
