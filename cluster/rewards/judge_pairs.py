"""Comparing answers two at a time, each pair in both orders.

A judge prefers the answer that stands first (or last) more often than it deserves. Asked in both
orders, a verdict counts where it stays; where it turns with the order, the pair is a tie (MT-Bench,
NeurIPS 2023, arXiv 2306.05685, section 3.4). How often it turns is the judge's position bias.
"""

from collections.abc import Sequence

import polars as pl

from cluster.rewards.judge_verdict import Verdict
from cluster.rewards.scorer import BATTLE_SCHEMA, RATING_SCHEMA

_POINTS: dict[Verdict, float] = {"first": 1.0, "tie": 0.5, "second": 0.0}
_SIDES = ("a", "b")


def pairs_of(answers: pl.DataFrame, *, reference: str | None) -> pl.DataFrame:
    """Pairs of answers to the same query by two candidates, with the same sample number.

    Pairs of which neither is `new` are left out: they have been compared. With a `reference` (a
    candidate's name or id) only pairs with it.

    Args:
        answers: as a scorer sees them, with the number of each as `row`.
        reference: the candidate all others are compared with.

    Returns:
        `query_id`, `query`, `reference`, and with `_a` and `_b`: `row`, `candidate_id`, `text`.
    """
    key, asked = ["query_id", "sample"], ["query", "reference"]
    own = pl.col("row", "candidate_id", "candidate", "text", "new")
    first = answers.select(*key, *asked, own.name.suffix("_a"))
    second = answers.select(*key, own.name.suffix("_b"))
    pairs = first.join(second, on=key, maintain_order="left_right")
    kept = (pl.col("candidate_id_a") < pl.col("candidate_id_b")) & (
        pl.col("new_a") | pl.col("new_b")
    )
    if reference is not None:
        kept &= pl.any_horizontal(
            pl.col(f"{name}_{side}") == reference
            for name in ("candidate", "candidate_id")
            for side in _SIDES
        )
    return pairs.filter(kept)


def are_equal(pairs: pl.DataFrame) -> pl.Series:
    """(n_pairs,) whether the two answers are the same text; nobody need be asked."""
    texts = [pl.col(f"text_{side}").str.strip_chars() for side in _SIDES]
    return pairs.select(equal=texts[0] == texts[1]).to_series()


def compared(
    pairs: pl.DataFrame, *, forward: Sequence[Verdict | None], backward: Sequence[Verdict | None]
) -> pl.DataFrame:
    """The pairs with `outcome`, and how the verdict went with the order.

    Args:
        pairs: (n_pairs,) pairs that were asked for.
        forward: verdicts with a's answer first.
        backward: verdicts with b's answer first.

    Returns:
        `outcome`: 1 where a is better in both orders, 0 where b is, 0.5 else, null where a verdict
        is missing; `turned`: whether the verdict changed with the order; `to_first`: whether
        whoever stood first was preferred.
    """
    verdicts = {
        "forward": [_POINTS[one] if one else None for one in forward],
        "backward": [1 - _POINTS[one] if one else None for one in backward],
    }
    points = pl.DataFrame(verdicts, schema=dict.fromkeys(verdicts, pl.Float64))
    same = pl.col("forward") == pl.col("backward")
    first = (pl.col("forward") == 1.0) & (pl.col("backward") == 0.0)
    both = points.select(
        outcome=pl.when(same).then("forward").when(~same).then(0.5), turned=~same, to_first=first
    )
    return pairs.hstack(both)


def battles_of(pairs: pl.DataFrame) -> pl.DataFrame:
    """`BATTLE_SCHEMA`: one battle a query and two candidates, the mean over their samples."""
    keys = ["query_id", "candidate_a", "candidate_b"]
    named = pairs.drop_nulls("outcome").select(
        "query_id",
        pl.col("candidate_id_a").alias("candidate_a"),
        pl.col("candidate_id_b").alias("candidate_b"),
        "outcome",
    )
    means = named.group_by(keys, maintain_order=True).agg(pl.col("outcome").mean())
    return means.select(pl.col(name).cast(kind) for name, kind in BATTLE_SCHEMA.items())


def ratings_of(answers: pl.DataFrame, *, pairs: pl.DataFrame) -> pl.DataFrame:
    """`RATING_SCHEMA`, (n_answers,): each answer's share of wins, raw their number.

    Args:
        answers: with `row`.
        pairs: with `outcome`, `turned`, `to_first` (null where nobody was asked), `note` (what was
            cut) and `fault` (why there is no outcome).
    """
    sides = [
        pairs.select(
            pl.col(f"row_{side}").alias("row"),
            (pl.col("outcome") if side == "a" else 1 - pl.col("outcome")).alias("points"),
            *("turned", "to_first", "note", "fault"),
        )
        for side in _SIDES
    ]
    asked = pl.col("turned").is_not_null()
    told = pl.format(ASKED, asked.sum(), pl.col("turned").sum(), pl.col("to_first").sum())
    by_row = (
        pl.concat(sides)
        .group_by("row")
        .agg(
            value=pl.col("points").mean(),
            raw=pl.when(pl.col("points").count() > 0).then(pl.col("points").sum()),
            asked=pl.when(asked.any()).then(told),
            note=pl.col("note").drop_nulls().first(),
            fault=pl.col("fault").drop_nulls().first(),
        )
    )
    rated = answers.select("row").join(by_row, on="row", how="left", maintain_order="left")
    fault = pl.when(pl.col("value").is_null()).then("fault")
    # The fault comes first, for it is what a missing reward is counted by.
    reason = pl.concat_str("asked", fault, "note", separator="; ", ignore_nulls=True)
    rated = rated.with_columns(reason=pl.when(reason != "").then(reason))
    return rated.select(pl.col(name).cast(kind) for name, kind in RATING_SCHEMA.items())


def joined(ratings: pl.DataFrame, *, before: pl.DataFrame) -> pl.DataFrame:
    """`RATING_SCHEMA`, (n_answers,): shares of wins over the pairs of now and those of before.

    So an answer is worth the same, whether the others came with it or after it. The pairs of before
    are as many as `raw / value`; where that is 0 / 0 no pair was a tie, so all of them were asked
    for, and the reason has their number.

    Args:
        ratings: of the pairs compared now.
        before: `value`, `raw`, `reason` as they were kept; null where there are none.
    """
    told = {"now": ratings["reason"], "old": before["reason"]}
    orders = pl.DataFrame(
        {
            f"{when}_{place}": reason.str.extract(_ORDERS, place + 1).cast(pl.Int64).fill_null(0)
            for when, reason in told.items()
            for place in range(3)
        }
    )
    old = before.select(pl.all().name.prefix("old_")).hstack(orders)
    both = ratings.hstack(old)
    raw = pl.col("raw") + pl.col("old_raw")
    n_pairs = _n_pairs("value", "raw", asked="now_0") + _n_pairs(
        "old_value", "old_raw", asked="old_0"
    )
    return both.select(
        value=pl.coalesce(raw / n_pairs, "old_value", "value"),
        raw=pl.coalesce(raw, "old_raw", "raw"),
        reason=_joined_reason(),
    )


def orders_told() -> pl.Expr:
    """What a `reason` tells of both orders, without the rest of it."""
    return pl.col("reason").str.extract(f"^({_ORDERS})")


def _joined_reason() -> pl.Expr:
    """The orders of both times, and what else is told; not why one time gave no reward where the
    other did."""
    counts = [pl.col(f"now_{place}") + pl.col(f"old_{place}") for place in range(3)]
    only_now = pl.col("old_raw").is_null() & pl.col("raw").is_not_null()
    only_old = pl.col("old_raw").is_not_null() & pl.col("raw").is_null()
    old, now = (
        pl.col(name).str.replace(f"^{_ORDERS}(; )?", "").replace("", None)
        for name in ("old_reason", "reason")
    )
    reason = pl.concat_str(
        pl.when(counts[0] > 0).then(pl.format(ASKED, *counts)),
        pl.coalesce(pl.when(~only_now).then(old), pl.when(~only_old).then(now)),
        separator="; ",
        ignore_nulls=True,
    )
    return pl.when(reason != "").then(reason)


def _n_pairs(value: str, raw: str, *, asked: str) -> pl.Expr:
    """How many pairs a share of wins is of; null without one."""
    ratio = (pl.col(raw) / pl.col(value)).round()
    return pl.when(pl.col(value) > 0).then(ratio).otherwise(pl.col(asked))


ASKED = "orders: {} asked, {} turned, {} to the first"
"""How an answer's reason tells of both orders; `cluster.rewards.judge_report` reads it again."""
_ORDERS = ASKED.replace("{}", r"(\d+)")
