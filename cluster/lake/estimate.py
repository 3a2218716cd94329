"""What answers that are missing will come to, before any is asked: rows, tokens, USD, GPU-hours.

Tokens are what a candidate's own answers took, where the lake has some: prompt tokens by the byte
of a query's text, completion tokens as a mean. Where it has none, other candidates' are taken, and
where there are none of these either, four bytes a token and answers as long as they may be.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from cluster.candidate import Candidate
from cluster.lake.lake import Lake
from cluster.lake.plan import required_samples
from cluster.lake.shard import read_keys, staged_shards
from cluster.lake.tables import COMPLETIONS, QUERIES
from cluster.price import TOKENS_PER_UNIT

BYTES_A_TOKEN = 4.0
SECONDS_AN_HOUR = 3600
KEY = ["query_id", "sample"]


@dataclass(frozen=True)
class Averages:
    """What answers took so far.

    Attributes:
        tokens_a_byte: prompt tokens for each byte of the query's text.
        completion_tokens: of an answer, mean.
        gpu_seconds: of an answer, mean; None where no time of GPUs is known.
        answers: how many these are the averages of.
        source: whose answers, in words.
        frame_tokens: prompt tokens around each text, where they are not among those by the byte.
    """

    tokens_a_byte: float
    completion_tokens: float
    gpu_seconds: float | None
    answers: int
    source: str
    frame_tokens: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """What is left for one candidate, and what it will come to.

    Attributes:
        candidate: its name.
        required: answers that were asked for.
        there: of these, answers the lake has.
        errors: of these, the ones that failed.
        missing: answers still to be generated.
        prompt_tokens, completion_tokens: of the missing ones, all together.
        source: what the tokens were estimated from.
        cost_usd: by tokens; None without a price.
        gpu_hours: None where nothing is known of the candidate's time, 0 without a GPU.
        gpu_cost_usd: by the hour; None without the time or an hourly price.
    """

    candidate: str
    required: int
    there: int
    errors: int
    missing: int
    prompt_tokens: int
    completion_tokens: int
    source: str
    cost_usd: float | None
    gpu_hours: float | None
    gpu_cost_usd: float | None


def estimate(
    queries: pl.DataFrame,
    *,
    candidates: Sequence[Candidate],
    lake: Lake | None,
    budget: int | None = None,
) -> list[Estimate]:
    """One estimate a candidate; nothing is written, staged answers of a killed run count as there.

    Args:
        queries: `query_id` and `text` of all that is to be answered, each once.
        candidates: who answers.
        lake: what is there already; None for nothing.
        budget: answer at most so many of the queries that not everybody has answered.
    """
    stored = pl.DataFrame(schema={**COMPLETIONS.schema, "bytes": pl.UInt32})
    if lake is not None:
        stored = _stored(lake)
    sized = queries.select("query_id", bytes=pl.col("text").str.len_bytes())
    found = []
    for candidate in candidates:
        keys = _keys_there(candidate, stored=stored, lake=lake)
        averages = _averages(candidate, stored=stored)
        found.append(
            _estimate(candidate, sized=sized, there=keys, averages=averages, budget=budget)
        )
    return found


def dataset_queries(lake: Lake | None, *, dataset: str) -> tuple[pl.DataFrame, pl.Series]:
    """A dataset's queries (`query_id`, `text`), and the ids of all others in the lake."""
    if lake is None:
        empty = pl.DataFrame(schema={"query_id": pl.String, "text": pl.String})
        return empty, empty["query_id"]
    rows = lake.scan(QUERIES).select("query_id", "text", "dataset").collect()
    own = pl.col("dataset") == dataset
    return rows.filter(own).select("query_id", "text"), rows.filter(~own)["query_id"]


def _stored(lake: Lake) -> pl.DataFrame:
    """All completions without their texts, with the bytes of their queries' texts."""
    sizes = lake.scan(QUERIES).select("query_id", bytes=pl.col("text").str.len_bytes())
    columns = [name for name in COMPLETIONS.columns if name not in ("text", "first_logprobs")]
    rows = lake.scan(COMPLETIONS).select(columns).join(sizes, on="query_id", how="left")
    return rows.collect()


def _keys_there(candidate: Candidate, *, stored: pl.DataFrame, lake: Lake | None) -> pl.DataFrame:
    """`query_id`, `sample`, `outcome` of what is committed or staged."""
    own = stored.filter(candidate_id=candidate.candidate_id).select(*KEY, "outcome")
    if lake is None:
        return own
    staged = staged_shards(lake, table=COMPLETIONS, partition=candidate.candidate_id)
    keys = [
        rows.select(KEY).with_columns(outcome=pl.lit("ok"))
        for rows in read_keys(staged, lake=lake, table=COMPLETIONS)
    ]
    return pl.concat([own, *keys]).unique(KEY, keep="first")


def _averages(candidate: Candidate, *, stored: pl.DataFrame) -> Averages:
    known = stored.filter(
        (pl.col("outcome") != "error")
        & pl.col("prompt_tokens").is_not_null()
        & (pl.col("bytes") > 0)
    )
    own = known.filter(candidate_id=candidate.candidate_id)
    if own.height:
        return _mean(own, source=f"its own {own.height:,} answers", gpu=True)
    frame = candidate.frame_bytes / BYTES_A_TOKEN
    if known.height:
        return replace(
            _mean(known, source="other candidates' answers", gpu=False), frame_tokens=frame
        )
    longest = float(candidate.sampling.max_tokens + candidate.extend)
    source = "text length, answers at their longest"
    return Averages(1 / BYTES_A_TOKEN, longest, None, 0, source, frame_tokens=frame)


def _mean(answers: pl.DataFrame, *, source: str, gpu: bool) -> Averages:
    tokens = answers.select(pl.col("prompt_tokens").sum() / pl.col("bytes").sum()).item()
    seconds = answers["gpu_seconds"].mean() if gpu else None
    return Averages(
        tokens_a_byte=float(tokens),
        completion_tokens=float(answers.select(pl.col("completion_tokens").mean()).item() or 0.0),
        gpu_seconds=None if seconds is None else float(str(seconds)),
        answers=answers.height,
        source=source,
    )


def _estimate(
    candidate: Candidate,
    *,
    sized: pl.DataFrame,
    there: pl.DataFrame,
    averages: Averages,
    budget: int | None,
) -> Estimate:
    required = required_samples(sized["query_id"], samples=candidate.samples)
    done = required.join(there, on=KEY)
    left = required.join(there, on=KEY, how="anti").join(sized, on="query_id")
    n_queries = left["query_id"].n_unique()
    share = min(1.0, budget / n_queries) if budget is not None and n_queries else 1.0
    missing = round(left.height * share)
    prompt = float(left["bytes"].sum()) * share * averages.tokens_a_byte
    prompt += missing * averages.frame_tokens
    completion = missing * averages.completion_tokens
    price, hourly = candidate.price, candidate.resources.usd_per_gpu_hour
    hours = _gpu_hours(candidate, missing=missing, averages=averages)
    return Estimate(
        candidate=candidate.name,
        required=required.height,
        there=done.height,
        errors=done.filter(outcome="error").height,
        missing=missing,
        prompt_tokens=round(prompt),
        completion_tokens=round(completion),
        source=averages.source if missing else "",
        cost_usd=(prompt * price.input + completion * price.output) / TOKENS_PER_UNIT
        if price
        else None,
        gpu_hours=hours,
        gpu_cost_usd=_gpu_cost(hours, hourly=hourly),
    )


def _gpu_hours(candidate: Candidate, *, missing: int, averages: Averages) -> float | None:
    if not candidate.resources.gpus or not missing:
        return 0.0
    if averages.gpu_seconds is None:
        return None
    return missing * averages.gpu_seconds / SECONDS_AN_HOUR


def _gpu_cost(hours: float | None, *, hourly: float | None) -> float | None:
    """USD; no time costs nothing, whatever an hour does."""
    if not hours:
        return hours
    return None if hourly is None else hours * hourly
