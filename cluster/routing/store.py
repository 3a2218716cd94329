"""What a run keeps of each shard until its output is complete: the folder a rerun goes on from.

runs/<work_id>/scratch/<size of the shards>/
    parts/<key>.parquet          the routed rows
          <key>.broken.jsonl     the rows left out, where there are any
          <key>.lines.parquet    their requests, for batch files
          <key>.asks.parquet     their requests, to be answered
          <key>.feedback.parquet queries that come back, where there are any
          <key>.json             what is told of them; written last: it is done
    scored/<key>.parquet         rows that wait for a policy to see the file
           <key>.scores.parquet  what is predicted of them
           <key>.json
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from cluster.failpoint import failpoint
from cluster.files.batch import BROKEN_SCHEMA
from cluster.policies.exploration import narrowed
from cluster.policies.policy import Numbers, Scored
from cluster.routers.router import Prediction
from cluster.routing.score import Scores
from cluster.routing.summary import ShardSummary
from cluster.storage import Storage

Stage = Literal["parts", "scored"]
Beside = Literal["lines", "asks"]
BLOCKS = ("reward", "tokens", "cost", "allowed", "explored")


@dataclass(frozen=True)
class Store:
    """The scratch folder of a route job.

    Attributes:
        uri: local path or `s3://` address.
    """

    uri: str

    @property
    def storage(self) -> Storage:
        return Storage.at(self.uri)

    def part(self, key: str, *, stage: Stage = "parts") -> str:
        """Where a shard's rows are."""
        return f"{self.uri}/{stage}/{key}.parquet"

    def done(self, stage: Stage) -> dict[str, ShardSummary]:
        """Every shard that is through a stage, by its key."""
        storage = self.storage
        found = [uri for uri, _ in storage.list(f"{self.uri}/{stage}") if uri.endswith(".json")]
        if not found:
            return {}
        contents = storage.filesystem().cat(found, on_error="raise")
        summaries = [ShardSummary.model_validate_json(content) for content in contents.values()]
        return {summary.key: summary for summary in summaries}

    def finish(self, stage: Stage, *, summary: ShardSummary) -> None:
        """Say that a shard is through a stage; everything of it has been written."""
        uri = f"{self.uri}/{stage}/{summary.key}.json"
        self.storage.write(uri, summary.model_dump_json().encode())
        failpoint("route.after_part")

    def write_rows(self, rows: pl.DataFrame, *, key: str, stage: Stage) -> None:
        """Keep a shard's rows."""
        buffer = io.BytesIO()
        rows.write_parquet(buffer)
        failpoint("route.before_part")
        self.storage.write(self.part(key, stage=stage), buffer.getvalue())

    def read_rows(
        self, key: str, *, stage: Stage = "parts", columns: list[str] | None = None
    ) -> pl.DataFrame:
        """A shard's rows, or some of their columns."""
        content = self.storage.read_bytes(self.part(key, stage=stage))
        return pl.read_parquet(io.BytesIO(content), columns=columns)

    def write_beside(self, frame: pl.DataFrame, *, key: str, what: Beside) -> None:
        """Keep what belongs to a shard's routed rows beside them."""
        buffer = io.BytesIO()
        frame.write_parquet(buffer)
        self.storage.write(self._beside(key, what), buffer.getvalue())

    def read_beside(self, key: str, *, what: Beside) -> pl.DataFrame:
        """The same again."""
        return pl.read_parquet(io.BytesIO(self.storage.read_bytes(self._beside(key, what))))

    def _beside(self, key: str, what: Beside) -> str:
        return f"{self.uri}/parts/{key}.{what}.parquet"

    def write_broken(self, broken: pl.DataFrame, *, key: str) -> None:
        """Keep a shard's broken rows."""
        buffer = io.BytesIO()
        broken.write_ndjson(buffer)
        self.storage.write(self._broken(key), buffer.getvalue())

    def read_broken(self, key: str) -> pl.DataFrame:
        """A shard's broken rows, `BROKEN_SCHEMA`."""
        return pl.read_ndjson(self.storage.read_bytes(self._broken(key)), schema=BROKEN_SCHEMA)

    def _broken(self, key: str) -> str:
        return f"{self.uri}/parts/{key}.broken.jsonl"

    def write_feedback(self, drawn: pl.DataFrame, *, key: str) -> None:
        """Keep the queries of a shard that come back."""
        if drawn.height:
            buffer = io.BytesIO()
            drawn.write_parquet(buffer)
            self.storage.write(self._feedback(key), buffer.getvalue())

    def read_feedback(self, key: str) -> pl.DataFrame:
        """The same."""
        return pl.read_parquet(io.BytesIO(self.storage.read_bytes(self._feedback(key))))

    def _feedback(self, key: str) -> str:
        return f"{self.uri}/parts/{key}.feedback.parquet"

    def write_scores(self, scores: Scores, *, numbers: Numbers, key: str) -> None:
        """Keep what is predicted of a shard's rows, to the last bit."""
        buffer = io.BytesIO()
        blocks: dict[str, npt.NDArray[Any]] = {
            "reward": scores.prediction.reward,
            "tokens": scores.prediction.completion_tokens,
            "cost": scores.cost,
        }
        if scores.allowed is not None:
            blocks["allowed"] = scores.allowed
        if scores.explored is not None:
            blocks["explored"] = scores.explored[:, None]
        columns = {
            f"{name}:{column}": np.ascontiguousarray(block[:, column])
            for name, block in blocks.items()
            for column in range(block.shape[1])
        }
        pl.DataFrame({"number": numbers, **columns}).write_parquet(buffer, compression="lz4")
        self.storage.write(self._scores(key), buffer.getvalue())

    def read_scored(self, key: str) -> Scored:
        """The same, as a policy that looks at the file sees it: who explores has no choice."""
        numbers, scores = self._read_scores(key)
        allowed = scores.allowed
        if scores.explored is not None:
            everyone = np.ones(scores.cost.shape, dtype=bool)
            allowed = everyone if allowed is None else allowed
            allowed = narrowed(allowed, explored=scores.explored)
        return Scored(scores.prediction, numbers, scores.cost, allowed)

    def read_scores(self, key: str) -> Scores:
        """The same, as it was kept."""
        return self._read_scores(key)[1]

    def _read_scores(self, key: str) -> tuple[Numbers, Scores]:
        frame = pl.read_parquet(io.BytesIO(self.storage.read_bytes(self._scores(key))))
        blocks = {
            name: frame.select(f"^{name}:.*$").to_numpy()
            for name in BLOCKS
            if f"{name}:0" in frame.columns
        }
        explored = blocks["explored"][:, 0] if "explored" in blocks else None
        scores = Scores(
            Prediction(blocks["reward"], blocks["tokens"]),
            blocks["cost"],
            blocks.get("allowed"),
            explored,
        )
        return frame["number"].to_numpy(), scores

    def scored(self, keys: Sequence[str]) -> Iterator[Scored]:
        """What is predicted of all rows, a shard at a time."""
        for key in keys:
            yield self.read_scored(key)

    def _scores(self, key: str) -> str:
        return f"{self.uri}/scored/{key}.scores.parquet"
