"""A completion: one sample of one candidate's answer to one query."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

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
        "gpu_seconds": pl.Float64(),
        "gpu_cost_usd": pl.Float64(),
        "served_model": pl.String(),
        "first_logprobs": pl.String(),
    }
)
"""Columns of the lake's `completions`.

`text`, `finish_reason` and token counts are null where unknown (an error, an imported table);
`seconds` is the row's share of the engine's wall time; `outcome` is ok, truncated (cut at its
length limit) or error (`error` says why). `cost_usd` is what the tokens cost at the price of the
day, or what a table was imported with; `gpu_seconds` are the seconds times the GPUs they were spent
on, `gpu_cost_usd` the same at the hourly price of the day. `served_model` is what an endpoint calls
the model that answered; `first_logprobs` a JSON object of the likeliest first tokens of the answer
and their log probabilities, where a candidate asks for them.
"""


def completions(columns: Mapping[str, Sequence[Any]]) -> pl.DataFrame:
    """Rows of `COMPLETION_SCHEMA` from columns; what is not given is null."""
    given = pl.DataFrame(columns, schema={name: COMPLETION_SCHEMA[name] for name in columns})
    return given.select(
        pl.col(name) if name in columns else pl.lit(None, dtype=kind).alias(name)
        for name, kind in COMPLETION_SCHEMA.items()
    )


def seed_of(query_id: str, *, candidate_id: str, sample: int) -> int:
    """The seed a sample is drawn with: a hash of its key, in [0, 2**31).

    So a text does not depend on the batch, the order or the run it was generated in.
    """
    return int(digest(["seed", query_id, candidate_id, sample])[:12], 16) % 2**31
