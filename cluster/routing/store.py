"""What a run keeps of each shard until its output is complete: the folder a rerun goes on from.

runs/<work_id>/scratch/parts/<key>.parquet          the routed rows
                             <key>.broken.jsonl     the rows left out, where there are any
                             <key>.json             what is told of them; written last: it is done
               scratch/scored/<key>.parquet         rows that wait for a policy to see the file
                              <key>.scores.parquet  what is predicted of them
                              <key>.json
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from cluster.failpoint import failpoint
from cluster.files.batch import BROKEN_SCHEMA
from cluster.policies.policy import Numbers, Scored
from cluster.routers.router import Prediction
from cluster.routing.score import Scores
from cluster.routing.summary import ShardSummary
from cluster.storage import Storage

Stage = Literal["parts", "scored"]
BLOCKS = ("reward", "tokens", "cost", "allowed")


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

    def write_scores(self, scores: Scores, *, numbers: Numbers, key: str) -> None:
        """Keep what is predicted of a shard's rows, to the last bit."""
        buffer = io.BytesIO()
        blocks = {
            "reward": scores.prediction.reward,
            "tokens": scores.prediction.completion_tokens,
            "cost": scores.cost,
        }
        if scores.allowed is not None:
            blocks["allowed"] = np.broadcast_to(scores.allowed, scores.cost.shape)
        columns = {
            f"{name}:{column}": np.ascontiguousarray(block[:, column])
            for name, block in blocks.items()
            for column in range(block.shape[1])
        }
        pl.DataFrame({"number": numbers, **columns}).write_parquet(buffer, compression="lz4")
        self.storage.write(self._scores(key), buffer.getvalue())

    def read_scored(self, key: str) -> Scored:
        """The same, as a policy that looks at the file sees it."""
        frame = pl.read_parquet(io.BytesIO(self.storage.read_bytes(self._scores(key))))
        blocks = {
            name: frame.select(f"^{name}:.*$").to_numpy()
            for name in BLOCKS
            if f"{name}:0" in frame.columns
        }
        return Scored(
            Prediction(blocks["reward"], blocks["tokens"]),
            frame["number"].to_numpy(),
            blocks["cost"],
            blocks.get("allowed"),
        )

    def read_scores(self, key: str) -> Scores:
        """The same, as `score` made it."""
        scored = self.read_scored(key)
        assert scored.cost is not None, "scores are kept with their costs"
        return Scores(scored.prediction, scored.cost, scored.allowed)

    def scored(self, keys: Sequence[str]) -> Iterator[Scored]:
        """What is predicted of all rows, a shard at a time."""
        for key in keys:
            yield self.read_scored(key)

    def _scores(self, key: str) -> str:
        return f"{self.uri}/scored/{key}.scores.parquet"
