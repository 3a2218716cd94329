"""What answers that are missing will come to, before any is asked: rows, tokens, USD, GPU-hours.

Tokens are what a candidate's own answers took, where the lake has some: prompt tokens by the byte
of a query's text, completion tokens as a mean. Where it has none, other candidates' are taken, and
where there are none of these either, four bytes a token and answers as long as they may be.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from cluster.candidate import Candidate
from cluster.lake.lake import Lake
from cluster.lake.plan import KEY, committed_answers, required_samples
from cluster.lake.shard import read_keys, staged_shards
from cluster.lake.tables import COMPLETIONS, QUERIES
from cluster.price import TOKENS_PER_UNIT

BYTES_A_TOKEN = 4.0
SECONDS_AN_HOUR = 3600
SUMS = ("answers", "bytes", "prompt", "completion", "completions", "gpu", "gpus")


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
        queries: `query_id` and `bytes` (those of its text) of all that is to be answered, each
            once.
        candidates: who answers.
        lake: what is there already; None for nothing.
        budget: answer at most so many of the queries that not everybody has answered.
    """
    known = {} if lake is None else _sums(lake)
    found = []
    for candidate in candidates:
        required = required_samples(queries["query_id"], samples=candidate.samples)
        keys = _keys_there(candidate, required=required, lake=lake)
        averages = _averages(candidate, known=known)
        found.append(
            _estimate(
                candidate,
                required=required,
                sized=queries,
                there=keys,
                averages=averages,
                budget=budget,
            )
        )
    return found


def dataset_queries(lake: Lake | None, *, dataset: str) -> tuple[pl.DataFrame, pl.Series]:
    """A dataset's queries (`query_id`, `bytes`), and the ids of all others in the lake."""
    if lake is None:
        empty = pl.DataFrame(schema={"query_id": pl.String, "bytes": pl.UInt32})
        return empty, empty["query_id"]
    sized = text_bytes(lake.scan(QUERIES), "dataset").collect(engine="streaming")
    own = pl.col("dataset") == dataset
    return sized.filter(own).drop("dataset"), sized.filter(~own)["query_id"]


def text_bytes(queries: pl.LazyFrame, *more: str) -> pl.LazyFrame:
    """`query_id`, `bytes` of the texts, and more columns of queries."""
    return queries.select("query_id", *more, bytes=pl.col("text").str.len_bytes())


def _sums(lake: Lake) -> dict[str, dict[str, float]]:
    """By candidate's id, what its answers took all together (`SUMS`).

    Summed in a stream: 10 million answers would not fit beside what is planned.
    """
    gpu, completion = pl.col("gpu_seconds"), pl.col("completion_tokens").cast(pl.Int64)
    rows = (
        lake.scan(COMPLETIONS)
        .filter((pl.col("outcome") != "error") & pl.col("prompt_tokens").is_not_null())
        .join(text_bytes(lake.scan(QUERIES)), on="query_id")
        .filter(pl.col("bytes") > 0)
        .group_by("candidate_id")
        .agg(
            answers=pl.len(),
            bytes=pl.col("bytes").cast(pl.Int64).sum(),
            prompt=pl.col("prompt_tokens").cast(pl.Int64).sum(),
            completion=completion.sum(),
            completions=completion.count(),
            gpu=gpu.sum(),
            gpus=gpu.count(),
        )
        .sort("candidate_id")
        .collect(engine="streaming")
    )
    return {row["candidate_id"]: row for row in rows.iter_rows(named=True)}


def _keys_there(candidate: Candidate, *, required: pl.DataFrame, lake: Lake | None) -> pl.DataFrame:
    """`query_id`, `sample`, `outcome` of what is committed or staged of the required rows."""
    if lake is None:
        return required.clear().with_columns(outcome=pl.lit("ok"))
    own = committed_answers(required, lake=lake, candidate_id=candidate.candidate_id)
    staged = staged_shards(lake, table=COMPLETIONS, partition=candidate.candidate_id)
    keys = [
        rows.select(KEY).with_columns(outcome=pl.lit("ok"))
        for rows in read_keys(staged, lake=lake, table=COMPLETIONS)
    ]
    return pl.concat([own, *keys]).unique(KEY, keep="first")


def _averages(candidate: Candidate, *, known: Mapping[str, Mapping[str, float]]) -> Averages:
    own = known.get(candidate.candidate_id)
    if own:
        return _mean(own, source=f"its own {own['answers']:,} answers", gpu=True)
    frame = candidate.frame_bytes / BYTES_A_TOKEN
    if known:
        every = {name: sum(row[name] for row in known.values()) for name in SUMS}
        return replace(
            _mean(every, source="other candidates' answers", gpu=False), frame_tokens=frame
        )
    longest = float(candidate.sampling.max_tokens + candidate.extend)
    source = "text length, answers at their longest"
    return Averages(1 / BYTES_A_TOKEN, longest, None, 0, source, frame_tokens=frame)


def _mean(sums: Mapping[str, float], *, source: str, gpu: bool) -> Averages:
    return Averages(
        tokens_a_byte=sums["prompt"] / sums["bytes"],
        completion_tokens=sums["completion"] / max(1, sums["completions"]),
        gpu_seconds=sums["gpu"] / sums["gpus"] if gpu and sums["gpus"] else None,
        answers=int(sums["answers"]),
        source=source,
    )


def _estimate(
    candidate: Candidate,
    *,
    required: pl.DataFrame,
    sized: pl.DataFrame,
    there: pl.DataFrame,
    averages: Averages,
    budget: int | None,
) -> Estimate:
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
