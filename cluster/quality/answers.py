"""The answers themselves: empty ones, candidates that always say the same, what they cost."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from cluster.lake.lake import Lake
from cluster.lake.tables import COMPLETIONS
from cluster.quality.alarm import Alarm, percent
from cluster.quality.collected import Collected

# One in twenty empty answers is no accident of a few odd queries.
MANY_EMPTY = 0.05
NEARLY_ALL_EMPTY = 0.9
# On so many queries, and said to so many of them, an answer is no answer to the query.
ENOUGH_QUERIES, ALWAYS = 20, 0.9
SHOWN_LENGTH = 60
MEANS = ("prompt_tokens", "completion_tokens", "seconds")


@dataclass(frozen=True)
class Answers:
    """What candidates have said.

    Attributes:
        table: one row a candidate with answers: `candidate`, `answers` (failed ones left out),
            `texts` (those whose text was kept), `empty` and `same` (shares of these: without a
            word, and the most frequent one), mean `prompt_tokens`, `completion_tokens`, `seconds`
            an answer, `usd_per_1000` by tokens and `gpu_usd_per_1000` by GPU time; null where
            unknown.
        repeated: by candidate that nearly always says the same, what that is.
    """

    table: pl.DataFrame
    repeated: Mapping[str, str]


def answers(found: Collected, *, lake: Lake) -> Answers:
    """Shares and means of every candidate that has answered."""
    given = found.answers.filter(pl.col("outcome").cast(pl.String) != "error")
    table = given.group_by("column").agg(
        pl.len().alias("answers"),
        pl.col("empty").count().alias("texts"),
        pl.col("empty").mean(),
        *(pl.col(name).mean() for name in MEANS),
        usd_per_1000=1000 * pl.col("cost_usd").mean(),
        gpu_usd_per_1000=1000 * pl.col("gpu_cost_usd").mean(),
    )
    often = most_said(given)
    table = table.join(often, on="column", how="left").with_columns(
        same=pl.col("n") / pl.col("texts")
    )
    names = pl.DataFrame({"candidate": list(found.candidates)}, schema={"candidate": pl.String})
    table = names.with_row_index("column").join(table, on="column", maintain_order="left")
    always = table.filter((pl.col("same") >= ALWAYS) & (pl.col("texts") >= ENOUGH_QUERIES))
    return Answers(
        table=table.select("candidate", *_measures()),
        repeated={
            row["candidate"]: _text(found, row["column"], said=row["said"], lake=lake)
            for row in always.iter_rows(named=True)
        },
    )


def _measures() -> tuple[str, ...]:
    return ("answers", "texts", "empty", "same", *MEANS, "usd_per_1000", "gpu_usd_per_1000")


def most_said(given: pl.DataFrame) -> pl.DataFrame:
    """`column`, `said`, `n`: the most frequent text of each candidate and how often it was said."""
    counts = given.filter(pl.col("said").is_not_null()).group_by("column", "said").len("n")
    ranked = counts.sort("n", "said", descending=[True, False])
    return ranked.unique("column", keep="first", maintain_order=True)


def _text(found: Collected, column: int, *, said: int, lake: Lake) -> str:
    """What a candidate has said, from one answer that says it."""
    given = found.answers.filter((pl.col("column") == column) & (pl.col("said") == said))
    one = given.row(0, named=True)
    text = (
        lake.scan(COMPLETIONS)
        .filter(
            (pl.col("candidate_id") == found.candidate_ids[column])
            & (pl.col("query_id") == found.queries["query_id"][one["row"]])
            & (pl.col("sample") == one["sample"])
        )
        .select(pl.col("text").str.strip_chars().str.slice(0, SHOWN_LENGTH))
        .collect()
    )
    return str(text.item())


def alarms(found: Answers) -> Iterator[Alarm]:
    """Candidates that say nothing, or always the same."""
    rows = found.table.filter(pl.col("texts") > 0).iter_rows(named=True)
    for row in rows:
        name, empty = row["candidate"], row["empty"]
        if empty >= MANY_EMPTY:
            mute = empty >= NEARLY_ALL_EMPTY
            yield Alarm(
                "answers",
                f"{name} says nothing: {percent(empty)} of its answers are empty."
                if mute
                else f"{percent(empty)} of the answers of {name} are empty.",
                "Check its chat template, stop strings and max_tokens"
                + ("; take it out until it answers." if mute else "."),
            )
        elif found.repeated.get(name):
            yield Alarm(
                "answers",
                f"{name} says '{found.repeated[name]}' to {percent(row['same'])} of the queries.",
                "Check its template: the query may not reach it. Where that is its real answer, a "
                "router learns nothing from it.",
            )
