"""What a router was fitted on, kept beside its checkpoint.

So it can be explained after a table was compacted, and is never measured on queries it has seen.
"""

import hashlib
import io

import numpy as np
import polars as pl

from cluster.lake.lake import Lake
from cluster.outcome import OutcomeMatrix
from cluster.query import digest


def outcomes_uri(checkpoint: str) -> str:
    """Where the outcomes that a checkpoint's router was fitted on are kept."""
    return f"{checkpoint}.outcomes.parquet"


def fitted_on(checkpoint: str, *, lake: Lake) -> pl.DataFrame | None:
    """What `keep_outcomes` has stored beside a checkpoint; None where there is nothing."""
    content = lake.storage.read_bytes_or_none(outcomes_uri(checkpoint))
    return None if content is None else pl.read_parquet(io.BytesIO(content))


def outcomes_digest(outcomes: OutcomeMatrix) -> str:
    """sha256 over candidates, query ids, splits and rewards: what a router was fitted on."""
    names = [*outcomes.candidates, *outcomes.queries["query_id"], *outcomes.queries["split"]]
    content = hashlib.sha256(digest(names).encode())
    content.update(np.ascontiguousarray(outcomes.reward, dtype="<f8").tobytes())
    return content.hexdigest()


def keep_outcomes(outcomes: pl.DataFrame, *, checkpoint: str, lake: Lake) -> None:
    """Store what a router was fitted on, as `outcomes_frame` gives it."""
    buffer = io.BytesIO()
    outcomes.write_parquet(buffer)
    lake.storage.write(outcomes_uri(checkpoint), buffer.getvalue())


def outcomes_frame(outcomes: OutcomeMatrix) -> pl.DataFrame:
    """`query_id`, `split` and a column of rewards a candidate, null where missing."""
    rewards = {
        name: pl.Series(outcomes.reward[:, column]).fill_nan(None)
        for column, name in enumerate(outcomes.candidates)
    }
    return outcomes.queries.select("query_id", "split").with_columns(**rewards)
