"""The answer job: the chosen candidates' answers joined back to what was asked."""

import io
from typing import ClassVar

import polars as pl

from cluster.files.writer import write_shard
from cluster.jobs.run import Manifest, Run, main
from cluster.jobs.spec import JobSpec
from cluster.lake.candidates import newest_specs
from cluster.lake.lake import Lake
from cluster.lake.tables import CANDIDATES, COMPLETIONS
from cluster.price import TOKENS_PER_UNIT, Price


class AnswerSpec(JobSpec):
    """What to join.

    Attributes:
        requests: the file of the route job that says who answers what.
        output: file for the answers.
        prices: by candidate's name.
        inputs: versions of the tables read.
    """

    job: ClassVar[str] = "answer"

    requests: str
    output: str
    prices: dict[str, Price]
    inputs: dict[str, int]


def answer(spec: AnswerSpec, run: Run) -> Manifest:
    """Write text, candidate, answer, tokens and cost of every request; returns the totals."""
    lake = Lake.open(spec.lake)
    requests = pl.read_parquet(io.BytesIO(run.storage.read_bytes(spec.requests)))
    answers = _joined(requests, spec=spec, lake=lake)
    write_shard(answers, spec.output)
    return {
        "outputs": [spec.output],
        "answers": answers.height,
        "errors": answers.filter(outcome="error").height,
        "cost_usd": answers["cost_usd"].sum() if spec.prices else None,
        "tokens": int(answers["completion_tokens"].sum()),
    }


def _joined(requests: pl.DataFrame, *, spec: AnswerSpec, lake: Lake) -> pl.DataFrame:
    completions = lake.scan(COMPLETIONS, version=spec.inputs["completions"]).filter(
        pl.col("sample") == 0
    )
    names = newest_specs(lake.scan(CANDIDATES, version=spec.inputs["candidates"]))
    key = ["query_id", "candidate_id"]
    rows = (
        requests.lazy()
        .select(*key, pl.col("original").alias("text"))
        .join(completions.rename({"text": "answer"}).drop("cost_usd"), on=key)
        .join(names, on="candidate_id")
        .sort("query_id")
        .collect()
    )
    return rows.select(
        "text",
        pl.col("name").alias("candidate"),
        "answer",
        "outcome",
        "error",
        "finish_reason",
        "prompt_tokens",
        "completion_tokens",
        _cost(spec.prices).alias("cost_usd"),
    )


def _cost(prices: dict[str, Price]) -> pl.Expr:
    """USD of a row; null where the candidate has no price."""

    def price(kind: str) -> pl.Expr:
        known = {name: getattr(entry, kind) for name, entry in prices.items()}
        return pl.col("name").replace_strict(known, default=None, return_dtype=pl.Float64)

    spent = pl.col("prompt_tokens") * price("input") + pl.col("completion_tokens") * price("output")
    return spent / TOKENS_PER_UNIT


if __name__ == "__main__":
    main(AnswerSpec, work=answer)
