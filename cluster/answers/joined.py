"""Answers joined back to the rows that asked, whoever gave them and in however many rounds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from cluster.answers.asks import ASK
from cluster.answers.folder import Asking, frames_in
from cluster.lake.lake import Lake
from cluster.lake.tables import COMPLETIONS
from cluster.price import TOKENS_PER_UNIT, Price

TOKENS = ("prompt_tokens", "completion_tokens")
ADDED = (
    "answered_by", "answer", "outcome", "error", "finish_reason", "calls", *TOKENS, "cost_usd",
)  # fmt: skip
# Rows whose answers are looked for in one reading of the completions: 400 MB of 2,000 bytes each.
JOIN_ROWS = 200_000


def batched(shards: Iterator[Asking], *, rows: int = JOIN_ROWS) -> Iterator[list[Asking]]:
    """Shards together until they have about so many rows."""
    held: list[Asking] = []
    for shard in shards:
        held.append(shard)
        if sum(len(one.asks) for one in held) >= rows:
            yield held
            held = []
    if held:
        yield held


@dataclass(frozen=True)
class Answered:
    """Where answers are looked for.

    Attributes:
        lake: that has them.
        version: of its completions.
        rounds: folders of requests, in the order they were asked.
        names: candidate's name by id.
        prices: by candidate's name.
    """

    lake: Lake
    version: int
    rounds: Sequence[str]
    names: Mapping[str, str]
    prices: Mapping[str, Price] = field(default_factory=dict)

    def calls(self, asks: pl.Series) -> pl.DataFrame:
        """Every request of some rows (`ask_key`), with the answer to it where there is one.

        `ask`, `query_id`, `round` (from 0), what the request says of it, `name`, and the columns of
        `completions`; `outcome` is null where it was never asked.
        """
        wanted = pl.LazyFrame({ASK: asks.unique()})
        found_in = (
            pl.scan_parquet(uri, storage_options=self.lake.storage.polars_options())
            .join(wanted, on=ASK, how="semi")
            .drop("text", "messages", "query")
            .with_columns(round=pl.lit(number, dtype=pl.Int32))
            .collect()
            for number, folder in enumerate(self.rounds)
            for uri in frames_in(folder)
        )
        asked = pl.concat(found_in, how="diagonal")
        known = self.lake.scan(COMPLETIONS, version=self.version).filter(
            pl.col("candidate_id").is_in(list(self.names)), pl.col("sample") == 0
        )
        key = ["query_id", "candidate_id"]
        found = (
            known.join(asked.lazy().select(key), on=key, how="semi")
            .select(*key, *COMPLETION_COLUMNS)
            .collect(engine="streaming")
        )
        name = pl.col("candidate_id").replace_strict(dict(self.names), return_dtype=pl.String)
        joined = asked.join(found, on=key, how="left", maintain_order="left")
        named = joined.with_columns(name=name)
        return named.with_columns(cost_usd=pl.coalesce(priced(self.prices), "cost_usd"))


COMPLETION_COLUMNS = (
    "text", "outcome", "error", "finish_reason", *TOKENS, "cost_usd", "first_logprobs",
)  # fmt: skip


def priced(prices: Mapping[str, Price]) -> pl.Expr:
    """USD of an answer by its tokens; null where the candidate (`name`) has no price."""

    def price(kind: str) -> pl.Expr:
        known = {name: getattr(entry, kind) for name, entry in prices.items()}
        return pl.col("name").replace_strict(known, default=None, return_dtype=pl.Float64)

    prompt, completion = (pl.col(name) for name in TOKENS)
    spent = prompt * price("input") + completion.fill_null(0) * price("output")
    return spent / TOKENS_PER_UNIT


def final(calls: pl.DataFrame) -> pl.DataFrame:
    """One row an `ask`: the last answer there is, and what all calls for it came to.

    Where nobody answered, the last error; all null where nobody was asked. A sum is null where an
    answer's part of it is not known; a failed call may have none.
    """
    asked = pl.col("outcome").is_not_null()
    good = asked & (pl.col("outcome") != "error")

    def total(name: str) -> pl.Expr:
        known = pl.col(name).is_not_null()
        return pl.when((known | ~good).all() & known.any()).then(pl.col(name).sum())

    said = ["name", "text", "outcome", "error", "finish_reason"]
    ordered = calls.sort(ASK, ~asked, ~good, "round", descending=[False] * 3 + [True])
    return ordered.group_by(ASK, maintain_order=True).agg(
        *(pl.when(asked.first()).then(pl.col(name).first()).alias(name) for name in said),
        calls=asked.sum().cast(pl.Int32),
        **{name: total(name) for name in (*TOKENS, "cost_usd")},
    )


def with_answers(
    rows: pl.DataFrame, *, asks: pl.Series, last: pl.DataFrame, prefix: str
) -> pl.DataFrame:
    """The rows, as they are and in their order, with `ADDED` columns of `final` answers.

    Args:
        rows: of a shard.
        asks: (n_rows,) what each has asked.
        last: as `final` has it.
        prefix: put before the added columns' names.
    """
    found = asks.to_frame().join(last, on=ASK, how="left", maintain_order="left")
    renamed = found.rename({"name": "answered_by", "text": "answer"}).select(
        pl.col(name).alias(prefix + name) for name in ADDED
    )
    return pl.concat([rows, renamed], how="horizontal")
