"""The worker of the generate job: holds one engine, answers a shard at a time, writes it."""

import json
import secrets
import time
from dataclasses import dataclass

import polars as pl

from cluster.candidate import Candidate
from cluster.engines.engine import Engine, Request, StoppedError
from cluster.errors import EngineError
from cluster.failpoint import failpoint
from cluster.lake.lake import Lake
from cluster.lake.shard import Shard, read_keys, shard_if_there, shard_name, write_shard
from cluster.lake.tables import COMPLETIONS
from cluster.plugins import load_plugin
from cluster.price import TOKENS_PER_UNIT
from cluster.storage import Storage

SECONDS_AN_HOUR = 3600


@dataclass(frozen=True)
class ShardReport:
    """What a worker says of a shard it answered and wrote.

    `seconds` are those it took; `unpriced` counts answers without a cost; `cost_usd` is what the
    tokens cost, None where no price is known, `gpu_seconds` and `gpu_cost_usd` the time of GPUs
    and its price.
    """

    shards: tuple[Shard, ...]
    rows: int
    errors: int
    truncated: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    unpriced: int = 0
    cost_usd: float | None = None
    gpu_seconds: float = 0.0
    gpu_cost_usd: float | None = None


class GenerateWorker:
    """A Ray actor; `load` a candidate, then `answer` its shards."""

    def __init__(self, lake_uri: str) -> None:
        self.lake = Lake(storage=Storage.at(lake_uri))
        self.candidate: Candidate | None = None
        self.engine: Engine | None = None

    def load(self, candidate: str) -> None:
        """Load a candidate (JSON) in place of the one before."""
        if self.engine is not None:
            self.engine.close()
            self.engine = None
        self.candidate = Candidate.model_validate_json(candidate)
        self.engine = load_plugin("engines", name=self.candidate.engine)(self.candidate)
        for served_model in served_models(self._id, lake=self.lake)[:1]:
            self.engine.expect(served_model)

    def answer(self, requests: pl.DataFrame) -> ShardReport:
        """Answer a shard (`query_id`, `text`, `messages`, `samples`) and write it.

        What a worker that died before it could report has written already is not generated again.
        Failed rows go to a file of their own: a later run adopts answers, never errors.

        Raises:
            EngineError: the engine is broken or cannot go on; what it had answered is written, and
                adopted by the next run.
        """
        assert self.engine is not None
        assert self.candidate is not None
        start = time.monotonic()
        keys = _keys(requests)
        name = shard_name(keys)
        there = shard_if_there(name, lake=self.lake, table=COMPLETIONS, partition=self._id)
        left = self._left(keys, there=there)
        rows = priced(self._answered(_requests(requests, left=left)), candidate=self.candidate)
        failpoint("generate.answered")
        failed = pl.col("outcome") == "error"
        shards = [there] if there else []
        if there is None and rows.filter(~failed).height:
            shards.append(self._write(rows.filter(~failed), name=name))
        elif rows.filter(~failed).height:
            shards.append(self._write(rows.filter(~failed), name=shard_name(left)))
        if rows.filter(failed).height:
            name = f"errors-{secrets.token_hex(16)}.parquet"
            shards.append(self._write(rows.filter(failed), name=name))
        return _report(rows, keys=keys, shards=shards, seconds=time.monotonic() - start)

    def _answered(self, requests: list[Request]) -> pl.DataFrame:
        assert self.engine is not None
        assert self.candidate is not None
        try:
            return self.engine.answer(requests)
        except StoppedError as error:
            if error.rows.height:
                had = priced(error.rows, candidate=self.candidate)
                self._write(had, name=shard_name(had.select("query_id", "sample")))
            raise EngineError(str(error)) from None

    @property
    def _id(self) -> str:
        assert self.candidate is not None
        return self.candidate.candidate_id

    def _left(self, keys: pl.DataFrame, *, there: Shard | None) -> pl.DataFrame:
        """The keys that a file of this shard does not hold yet."""
        if there is None:
            return keys
        done = read_keys([there], lake=self.lake, table=COMPLETIONS)[0]
        return keys.join(done, on=keys.columns, how="anti", maintain_order="left")

    def _write(self, rows: pl.DataFrame, *, name: str) -> Shard:
        return write_shard(rows, lake=self.lake, table=COMPLETIONS, partition=self._id, name=name)


def served_models(candidate_id: str, *, lake: Lake) -> list[str]:
    """What an endpoint called the models that gave the answers the lake has of a candidate."""
    rows = lake.scan(COMPLETIONS).filter(
        pl.col("candidate_id") == candidate_id, pl.col("served_model").is_not_null()
    )
    return rows.select("served_model").unique().sort("served_model").collect().to_series().to_list()


def priced(rows: pl.DataFrame, *, candidate: Candidate) -> pl.DataFrame:
    """Completions with what they cost by today's prices: by tokens, and by the time of GPUs.

    A cost an endpoint has told stays. Null where the price is not known; an answer that failed cost
    its prompt, where its tokens are known.
    """
    price, resources = candidate.price, candidate.resources
    tokens = pl.lit(None, dtype=pl.Float64)
    if price is not None:
        spent = (
            pl.col("prompt_tokens") * price.input
            + pl.col("completion_tokens").fill_null(0) * price.output
        )
        tokens = spent / TOKENS_PER_UNIT
    gpu_seconds = pl.col("seconds") * resources.gpus
    hourly = resources.usd_per_gpu_hour
    gpu_cost = gpu_seconds * hourly / SECONDS_AN_HOUR if hourly is not None else pl.lit(None)
    return rows.with_columns(
        cost_usd=pl.coalesce("cost_usd", tokens),
        gpu_seconds=gpu_seconds,
        gpu_cost_usd=gpu_cost.cast(pl.Float64),
    )


def _keys(requests: pl.DataFrame) -> pl.DataFrame:
    return requests.select("query_id", pl.col("samples").alias("sample")).explode("sample")


def _requests(requests: pl.DataFrame, *, left: pl.DataFrame) -> list[Request]:
    samples = left.group_by("query_id", maintain_order=True).agg("sample")
    rows = samples.join(requests.drop("samples"), on="query_id", maintain_order="left")
    return [
        Request(
            query_id=row["query_id"],
            text=row["text"],
            messages=tuple(json.loads(row["messages"])) if row["messages"] else None,
            samples=tuple(row["sample"]),
        )
        for row in rows.iter_rows(named=True)
    ]


def _report(
    rows: pl.DataFrame, *, keys: pl.DataFrame, shards: list[Shard], seconds: float
) -> ShardReport:
    return ShardReport(
        shards=tuple(shards),
        rows=keys.height,
        errors=rows.filter(outcome="error").height,
        truncated=rows.filter(outcome="truncated").height,
        prompt_tokens=int(rows["prompt_tokens"].sum()),
        completion_tokens=int(rows["completion_tokens"].sum()),
        seconds=seconds,
        unpriced=rows.filter((pl.col("outcome") != "error") & pl.col("cost_usd").is_null()).height,
        cost_usd=_total(rows["cost_usd"]),
        gpu_seconds=float(rows["gpu_seconds"].sum()),
        gpu_cost_usd=_total(rows["gpu_cost_usd"]),
    )


def _total(costs: pl.Series) -> float | None:
    """The sum of the costs that are known, None where none is."""
    return float(costs.sum()) if costs.count() else None
