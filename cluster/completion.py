"""A completion: one sample of one candidate's answer to one query."""

from typing import Literal

import polars as pl

from cluster.query import digest

Outcome = Literal["ok", "truncated", "error"]

COMPLETION_SCHEMA = pl.Schema(
    {
        "query_id": pl.String(),
        "candidate_id": pl.String(),
        "sample": pl.Int32(),
        "text": pl.String(),
        "finish_reason": pl.String(),
        "prompt_tokens": pl.Int32(),
        "completion_tokens": pl.Int32(),
        "seconds": pl.Float64(),
        "outcome": pl.String(),
        "error": pl.String(),
        "cost_usd": pl.Float64(),
    }
)
"""Columns of the lake's `completions`.

`text`, `finish_reason` and token counts are null where unknown (an error, an imported table);
`seconds` is the row's share of the engine's wall time; `outcome` is ok, truncated (cut at its
length limit) or error (`error` says why); `cost_usd` is the cost a table was imported with.
"""


def seed_of(query_id: str, *, candidate_id: str, sample: int) -> int:
    """The seed a sample is drawn with: a hash of its key, in [0, 2**31).

    So a text does not depend on the batch, the order or the run it was generated in.
    """
    return int(digest(["seed", query_id, candidate_id, sample])[:12], 16) % 2**31
