"""What can be said of a judge from the lake: is it fair, and does it agree with what is known?

- position bias: share of the pairs asked in both orders whose verdict turned with the order;
- verbosity: how often the longer of two answers wins, and how far the verdict goes with the
  difference in length;
- agreement with gold: on pairs that a scorer of rewards 0 and 1 alone tells apart, how often the
  judge says the same (a tie counts half), as MT-Bench counts it (arXiv 2306.05685, section 4.1).

Grades are read as verdicts on pairs: the higher grade wins.
"""

import json
from collections.abc import Mapping

import polars as pl

from cluster.lake.lake import Lake
from cluster.lake.tables import COMPLETIONS, PREFERENCES, QUERIES, REWARDS, SCORERS, Table
from cluster.rewards.judge_pairs import ASKED

INPUTS: tuple[Table, ...] = (QUERIES, COMPLETIONS, SCORERS, REWARDS, PREFERENCES)
SUMMARY_SCHEMA = pl.Schema(
    {
        "judge": pl.String(),
        "scorer_id": pl.String(),
        "mode": pl.String(),
        "answers": pl.Int64(),
        "unparsable": pl.Int64(),
        "cut": pl.Int64(),
        "pairs": pl.Int64(),
        "tie_share": pl.Float64(),
        "position_bias": pl.Float64(),
        "to_first": pl.Float64(),
        "longer_wins": pl.Float64(),
        "length_correlation": pl.Float64(),
        "gold": pl.String(),
        "gold_pairs": pl.Int64(),
        "agreement": pl.Float64(),
    }
)
"""A judge held against a scorer of 0 and 1 alone, or against none.

`answers` it rated or failed to, `unparsable` of them, and those of which it read a part (`cut`);
`pairs` it tells of, `tie_share` of them; `position_bias`: share of the pairs it was asked for in
both orders whose verdict turned, `to_first`: share of them in which whoever stood first was
preferred; `longer_wins`: share of the decided pairs won by the longer answer; `agreement` with
`gold`, a scorer's name, on the `gold_pairs` it tells apart. Null where there is nothing to count.
"""
_CELL = ["query_id", "candidate_id"]
_NO_GOLD = pl.DataFrame(
    {"gold": [None], "gold_pairs": [0], "agreement": [None]},
    schema={name: SUMMARY_SCHEMA[name] for name in ("gold", "gold_pairs", "agreement")},
)
_ORDERS = ASKED.replace("{}", r"(\d+)")


def judge_summary(
    lake: Lake, *, dataset: str, versions: Mapping[str, int] | None = None
) -> pl.DataFrame:
    """`SUMMARY_SCHEMA`: a row for each judge of a dataset and each gold beside it.

    Args:
        lake: the lake.
        dataset: whose queries.
        versions: table name → Delta version to read, for a pinned view.
    """
    pinned = versions or {}

    def of_dataset(table: Table) -> pl.DataFrame:
        rows = lake.scan(table, version=pinned.get(table.name))
        return rows.join(queries, on="query_id", how="semi").collect()

    queries = lake.scan(QUERIES, version=pinned.get("queries")).filter(dataset=dataset)
    rewards, battles = of_dataset(REWARDS), of_dataset(PREFERENCES)
    scorers = lake.scan(SCORERS, version=pinned.get("scorers")).collect()
    scorers = scorers.join(rewards, on="scorer_id", how="semi")
    specs = {row["scorer_id"]: json.loads(row["spec"]) for row in scorers.iter_rows(named=True)}
    names = dict(scorers.select("scorer_id", "name").iter_rows())
    judges = [key for key, spec in specs.items() if spec.get("scorer") == "judge"]
    golds = {
        names[key]: _cells(rewards, scorer_id=key)
        for key in _binary(rewards)
        if key in names and key not in judges
    }
    lengths = _lengths(of_dataset(COMPLETIONS)) if judges else pl.DataFrame()
    frames = [
        _summary(
            rewards.filter(scorer_id=key),
            battles=battles.filter(judge=names[key]),
            mode=specs[key]["mode"],
            lengths=lengths,
            golds=golds,
        ).with_columns(judge=pl.lit(names[key]), scorer_id=pl.lit(key))
        for key in judges
    ]
    told = pl.concat(frames) if frames else pl.DataFrame(schema=SUMMARY_SCHEMA)
    ordered = told.select(pl.col(name).cast(kind) for name, kind in SUMMARY_SCHEMA.items())
    return ordered.sort("judge", "scorer_id", "gold")


def _binary(rewards: pl.DataFrame) -> list[str]:
    """Ids of the scorers that say right or wrong, 1 or 0, and have said both."""
    values = rewards.drop_nulls("value").group_by("scorer_id").agg(pl.col("value").unique().sort())
    return values.filter(pl.col("value") == [0.0, 1.0])["scorer_id"].sort().to_list()


def _summary(
    rewards: pl.DataFrame,
    *,
    battles: pl.DataFrame,
    mode: str,
    lengths: pl.DataFrame,
    golds: Mapping[str, pl.DataFrame],
) -> pl.DataFrame:
    """One judge against every gold, or one row against none."""
    if mode == "grade":
        battles = _implied(_cells(rewards, scorer_id=None))
    pairs = _with_sides(battles, lengths, column="length")
    told = pl.concat([_counts(rewards, mode=mode), _verbosity(pairs)], how="horizontal")
    agreements = [_agreement(battles, cells=cells, gold=name) for name, cells in golds.items()]
    against = pl.concat(agreements) if agreements else _NO_GOLD
    return told.join(against, how="cross")


def _counts(rewards: pl.DataFrame, *, mode: str) -> pl.DataFrame:
    reason = pl.col("reason").fill_null("")
    orders = [reason.str.extract(_ORDERS, group).cast(pl.Int64).sum() for group in (1, 2, 3)]
    asked = pl.when(orders[0] > 0).then(orders[0])
    return rewards.select(
        mode=pl.lit(mode),
        answers=pl.len(),
        unparsable=reason.str.contains("unparsable: ", literal=True).sum(),
        cut=reason.str.contains("cut: ", literal=True).sum(),
        position_bias=orders[1] / asked,
        to_first=orders[2] / asked,
    )


def _verbosity(pairs: pl.DataFrame) -> pl.DataFrame:
    more, decided = pl.col("length_a") - pl.col("length_b"), pl.col("outcome") != 0.5
    longer = (more > 0) == (pl.col("outcome") > 0.5)
    return pairs.select(
        pairs=pl.len(),
        tie_share=(~decided).mean(),
        longer_wins=longer.filter(decided & (more != 0)).mean(),
        length_correlation=pl.corr("outcome", more).fill_nan(None),
    )


def _agreement(battles: pl.DataFrame, *, cells: pl.DataFrame, gold: str) -> pl.DataFrame:
    told = _with_sides(battles, cells, column="value").filter(
        pl.col("value_a") != pl.col("value_b")
    )
    right = (pl.col("value_a") > pl.col("value_b")).cast(pl.Float64)
    return told.select(
        gold=pl.lit(gold),
        gold_pairs=pl.len().cast(pl.Int64),
        agreement=(1 - (pl.col("outcome") - right).abs()).mean(),
    )


def _cells(rewards: pl.DataFrame, *, scorer_id: str | None) -> pl.DataFrame:
    """Mean reward of every query and candidate: `value`."""
    own = rewards if scorer_id is None else rewards.filter(scorer_id=scorer_id)
    return own.drop_nulls("value").group_by(_CELL).agg(pl.col("value").mean())


def _lengths(completions: pl.DataFrame) -> pl.DataFrame:
    """Mean characters of the answers of every query and candidate: `length`."""
    characters = pl.col("text").str.len_chars().cast(pl.Float64).mean()
    return completions.drop_nulls("text").group_by(_CELL).agg(length=characters)


def _implied(cells: pl.DataFrame) -> pl.DataFrame:
    """Battles that grades tell of: the higher one wins."""
    first = cells.select("query_id", pl.col("candidate_id").alias("candidate_a"), a="value")
    second = cells.select("query_id", pl.col("candidate_id").alias("candidate_b"), b="value")
    pairs = first.join(second, on="query_id").filter(pl.col("candidate_a") < pl.col("candidate_b"))
    return pairs.with_columns(outcome=((pl.col("a") - pl.col("b")).sign() + 1) / 2)


def _with_sides(battles: pl.DataFrame, cells: pl.DataFrame, *, column: str) -> pl.DataFrame:
    """Battles with what is known of both candidates on the query; without it, left out."""
    for side in ("a", "b"):
        own = cells.select(
            "query_id",
            pl.col("candidate_id").alias(f"candidate_{side}"),
            pl.col(column).alias(f"{column}_{side}"),
        )
        battles = battles.join(own, on=["query_id", f"candidate_{side}"])
    return battles
