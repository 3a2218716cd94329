"""The answer job: the chosen candidates' answers joined back to what was asked."""

import io
from typing import ClassVar

import polars as pl

from cluster.files.writer import write_shard
from cluster.jobs.claim import claim, owner
from cluster.jobs.run import Manifest, Run, main
from cluster.jobs.spec import JobSpec
from cluster.lake.lake import Lake
from cluster.lake.tables import COMPLETIONS
from cluster.price import TOKENS_PER_UNIT, Price
from cluster.routing.output import refuse_what_is_there
from cluster.storage import Storage


class AnswerSpec(JobSpec):
    """What to join.

    Attributes:
        requests: the file of the route job that says who answers what.
        output: file for the answers.
        candidates: id → name, as the router calls it.
        prices: by candidate's name.
        inputs: versions of the tables read.
        overwrite: replace what is at the output already.
    """

    job: ClassVar[str] = "answer"

    requests: str
    output: str
    candidates: dict[str, str]
    prices: dict[str, Price]
    inputs: dict[str, int]
    overwrite: bool = False


def answer(spec: AnswerSpec, run: Run) -> Manifest:
    """Write text, candidate, answer, tokens and cost of every request; returns the totals.

    Raises:
        InputError: something else is at the output.
    """
    lake = Lake.open(spec.lake)
    # The routing that drew the requests: answered anew, they may replace their own answers.
    work = spec.requests.rsplit("/", 2)[-2]
    if not spec.overwrite:
        refuse_answers_that_are_there(spec.output, work=work, lake=lake.storage)
    requests = pl.read_parquet(io.BytesIO(run.storage.read_bytes(spec.requests)))
    answers = _joined(requests, spec=spec, lake=lake)
    claim(spec.output, work=work, run=run)
    write_shard(answers, spec.output)
    is_known = answers["cost_usd"].null_count() == 0
    return {
        "outputs": [spec.output],
        "answers": answers.height,
        "errors": answers.filter(outcome="error").height,
        "cost_usd": float(answers["cost_usd"].sum()) if is_known else None,
        "tokens": int(answers["completion_tokens"].sum()),
    }


def refuse_answers_that_are_there(output: str, *, work: str, lake: Storage) -> None:
    """Make sure answers replace nothing but answers to the requests of the same routing.

    Args:
        output: where they go.
        work: the routing.
        lake: where it is known who wrote what.

    Raises:
        InputError: something else is there.
    """
    if owner(output, lake=lake) != work:
        refuse_what_is_there(output)


def _joined(requests: pl.DataFrame, *, spec: AnswerSpec, lake: Lake) -> pl.DataFrame:
    completions = lake.scan(COMPLETIONS, version=spec.inputs["completions"]).filter(
        pl.col("sample") == 0
    )
    name = pl.col("candidate_id").replace_strict(spec.candidates, return_dtype=pl.String)
    key = ["query_id", "candidate_id"]
    rows = (
        requests.lazy()
        .select(*key, pl.col("original").alias("text"))
        .join(completions.rename({"text": "answer"}).drop("cost_usd"), on=key)
        .with_columns(name.alias("name"))
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
