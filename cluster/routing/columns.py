"""The columns that routing adds to a row."""

import numpy as np
import polars as pl

from cluster.answers.joined import ADDED
from cluster.errors import InputError
from cluster.files.schema import FileSchema
from cluster.routing.kernel import Routing
from cluster.routing.score import Chosen, Scores


def added_columns(routing: Routing) -> list[str]:
    """Their names, the prefix in front."""
    names = ["candidate", "predicted_reward", "predicted_cost_usd", "router", "policy"]
    if routing.spec.constraints.explore:
        names.append("choice_probability")
    names += [f"reward:{name}" for name in routing.candidates]
    return [routing.spec.prefix + name for name in names]


def check_columns(schema: FileSchema, *, routing: Routing) -> None:
    """Make sure that no column would be replaced.

    Raises:
        InputError: the file has one of that name.
    """
    added = added_columns(routing)
    if routing.spec.answer_rows:
        added += [routing.spec.prefix + name for name in ADDED]
    taken = [name for name in added if name in schema.dtypes]
    if taken:
        raise InputError(
            f"{schema.file}: has a column '{taken[0]}' already, which routing would add; rename "
            "it, or choose other names with --prefix"
        )


def routed_rows(
    rows: pl.DataFrame, *, scores: Scores, chosen: Chosen, routing: Routing
) -> pl.DataFrame:
    """The rows with what was predicted and chosen; a cost that is not known is null."""
    reward, picked = scores.prediction.reward, (np.arange(rows.height), chosen.columns)
    names = pl.Series(routing.candidates, dtype=pl.String)
    columns = [
        names.gather(chosen.columns),
        pl.Series(reward[picked]),
        pl.Series(scores.cost[picked]).fill_nan(None),
        pl.repeat(routing.spec.router, rows.height, dtype=pl.String, eager=True),
        pl.repeat(routing.spec.policy, rows.height, dtype=pl.String, eager=True),
        *([] if chosen.probability is None else [pl.Series(chosen.probability)]),
        *(pl.Series(reward[:, column]) for column in range(len(routing.candidates))),
    ]
    named = zip(columns, added_columns(routing), strict=True)
    return rows.with_columns(series.alias(name) for series, name in named)
