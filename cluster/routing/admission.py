"""Who may answer each row of a shard: rows for which nobody is left are set aside."""

from dataclasses import replace

import numpy as np
import polars as pl

from cluster.errors import InputError
from cluster.files.batch import Batch, set_aside
from cluster.files.schema import FileSchema, require_column
from cluster.policies.constraints import Admitted, Asked
from cluster.policies.exploration import drawn
from cluster.policies.policy import Choices
from cluster.routing.kernel import Routing
from cluster.routing.score import Scores, expected_prompt_tokens
from cluster.routing.texts import characters_of, queries_of


def check_constraints(schema: FileSchema, *, routing: Routing) -> None:
    """Make sure that a file has the columns that constraints read, with names in them.

    Raises:
        InputError: it has not.
    """
    constraints = routing.spec.constraints
    for column in constraints.columns():
        is_tag = column == constraints.tag_column
        flag = "--tag-column" if is_tag else "--language"
        require_column(schema, column=column, flag=flag)
        dtype = schema.dtypes[column]
        inner = dtype.inner if isinstance(dtype, pl.List) and is_tag else dtype
        if inner.is_nested():
            raise InputError(
                f"{schema.file}: field '{column}' is {dtype}, expected a text"
                f"{' or a list of texts' if is_tag else ''}; name another {flag}"
            )


def admit(batch: Batch, *, scores: Scores, routing: Routing) -> tuple[Batch, Scores]:
    """The rows that somebody may answer, and their scores with who that is.

    Everyone may answer every row where the scores' `allowed` is None.
    """
    texts = queries_of(batch.frame, spec=routing.spec)
    admitted = _admitted(batch.frame, texts, scores=scores, routing=routing)
    allowed, kept = admitted.allowed, admitted.reasons.is_null()
    if not kept.all():
        batch = set_aside(batch, reasons=admitted.reasons)
        texts, scores, allowed = texts.filter(kept), scores.where(kept), allowed[kept.to_numpy()]
    share = routing.spec.constraints.explore
    explored: Choices | None = None
    if share:
        explored = drawn(texts, allowed=allowed, share=share)
    return batch, replace(
        scores,
        allowed=None if allowed.all() else allowed,
        explored=explored,
        fallbacks=int(np.count_nonzero(admitted.fallbacks)),
        rule_rows=admitted.rule_rows,
    )


def _admitted(
    frame: pl.DataFrame, texts: pl.Series, *, scores: Scores, routing: Routing
) -> Admitted:
    constraints, tokens = routing.spec.constraints, np.empty((len(texts), 0))
    if constraints.context:
        tokens = expected_prompt_tokens(
            texts, checkpoint=routing.router, characters=characters_of(frame)
        )
    asked = Asked(
        frame=frame,
        texts=texts,
        prompt_tokens=tokens,
        completion_tokens=scores.prediction.completion_tokens,
        eligible=routing.policy.eligible(scores.prediction, cost=scores.cost),
    )
    return constraints.admit(asked, candidates=routing.candidates)
