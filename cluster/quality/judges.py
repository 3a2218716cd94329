"""Whether the judges of a dataset are fair, and agree with what is known."""

import json
from collections.abc import Iterator

import polars as pl

from cluster.lake.lake import Lake
from cluster.lake.tables import QUERIES, REWARDS, SCORERS
from cluster.quality.alarm import Alarm, percent
from cluster.rewards.judge_report import SUMMARY_SCHEMA, judge_summary

# One pair in five: the mean of both orders still counts it as a tie, and tells less for it.
MOST_TURNED = 0.2
# The longer answer wins twice as often as the shorter one.
MOST_LONGER = 2 / 3
# A coin agrees on half of the pairs.
COIN = 0.6
ENOUGH_PAIRS = 30


def judges(lake: Lake, *, dataset: str) -> pl.DataFrame:
    """`SUMMARY_SCHEMA` of `cluster.rewards.judge_report`; little is read where none has judged."""
    specs = lake.read(SCORERS).select("scorer_id", "spec").rows()
    ids = [key for key, spec in specs if json.loads(spec).get("scorer") == "judge"]
    queries = lake.scan(QUERIES).filter(pl.col("dataset") == dataset)
    judged = lake.scan(REWARDS).filter(pl.col("scorer_id").is_in(ids))
    if not ids or not judged.join(queries, on="query_id", how="semi").head(1).collect().height:
        return pl.DataFrame(schema=SUMMARY_SCHEMA)
    return judge_summary(lake, dataset=dataset)


def alarms(found: pl.DataFrame) -> Iterator[Alarm]:
    """Judges that go by the order or the length of answers, or against gold."""
    for row in found.unique("scorer_id", keep="first", maintain_order=True).iter_rows(named=True):
        name = row["judge"]
        if (row["position_bias"] or 0.0) > MOST_TURNED:
            yield Alarm(
                "judges",
                f"Judge {name} changes its mind on {percent(row['position_bias'])} of the pairs "
                "when the two answers change places.",
                "Both orders are asked, so it cancels out, but such pairs tell nothing: a larger "
                "judge or clearer criteria turn fewer of them.",
            )
        if row["pairs"] >= ENOUGH_PAIRS and (row["longer_wins"] or 0.0) > MOST_LONGER:
            yield Alarm(
                "judges",
                f"For judge {name} the longer answer wins {percent(row['longer_wins'])} of the "
                "time.",
                "See whether longer answers are right more often by another scorer; if not, tell "
                "the judge in its criteria not to count length.",
            )
    for row in found.drop_nulls("agreement").iter_rows(named=True):
        if row["gold_pairs"] >= ENOUGH_PAIRS and row["agreement"] < COIN:
            yield Alarm(
                "judges",
                f"Judge {row['judge']} agrees with {row['gold']} on {percent(row['agreement'])} of "
                f"{row['gold_pairs']:,} pairs; a coin would on 50 %.",
                "Do not train on it here before you have read some of its verdicts.",
            )
