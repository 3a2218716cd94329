"""What the worker of a shard keeps for those who answer: what is asked, and of whom."""

from typing import Any

import numpy as np
import polars as pl

from cluster.answers.asks import ask_key, asks_of
from cluster.answers.batch_request import CUSTOM_ID, lines_for
from cluster.answers.blocks import as_columns
from cluster.answers.path import expected_path
from cluster.files.batch import ROW
from cluster.outcome import BoolMatrix
from cluster.policies.cascade import Cascade
from cluster.policies.policy import Choices
from cluster.routing.kernel import Routing
from cluster.routing.score import Scores
from cluster.routing.spec import RouteSpec
from cluster.routing.store import Store
from cluster.routing.texts import characters_of, queries_of

# Where rows of files without ids of their own come from: the file's content, and the row.
DIGEST_CHARACTERS = 12


def keep_for_answers(
    rows: pl.DataFrame, *, scores: Scores, chosen: Choices, key: str, routing: Routing, store: Store
) -> None:
    """Keep the lines of batch files and the requests of a shard's rows, where they are wanted.

    Args:
        rows: as `rows_with_query` leaves them.
        scores: what is expected of them.
        chosen: (n_rows,) the column of each row's candidate.
        key: the shard's.
        routing: what routes.
        store: where to.
    """
    spec = routing.spec
    if not (spec.served or spec.answer_rows):
        return
    asks = asks_of(rows, queries=spec.queries)
    if spec.served:
        given = (
            rows
            if spec.texts == "openai_batch"
            else asks.with_columns(_ids(rows, key=key, spec=spec))
        )
        names = pl.Series("candidate", routing.candidates, dtype=pl.String).gather(chosen)
        lines = lines_for(given.with_columns(names), served=spec.served)
        store.write_beside(lines, key=key, what="lines")
    if spec.answer_rows:
        asked = _asked(rows, asks=asks, scores=scores, chosen=chosen, routing=routing)
        store.write_beside(asked, key=key, what="asks")


def _ids(rows: pl.DataFrame, *, key: str, spec: RouteSpec) -> pl.Expr:
    """An id of its own for every row, which stays the same wherever its file lies."""
    number = int(key.split("-", maxsplit=1)[0])
    digests = [file.digest for file in spec.files]
    file = digests[number][:DIGEST_CHARACTERS]
    # The same content may be there under two names.
    again = digests[:number].count(digests[number])
    prefix = f"{file}.{again}" if again else file
    return pl.format(f"{prefix}-{{}}", pl.lit(rows[ROW])).alias(CUSTOM_ID)


def _asked(
    rows: pl.DataFrame, *, asks: pl.DataFrame, scores: Scores, chosen: Choices, routing: Routing
) -> pl.DataFrame:
    """(n_rows,) requests, who gets them first, what is expected of everybody (`reward:…`,
    `tokens:…`, `cost:…`, `allowed:…`), and who is expected to be asked (`asked:…`)."""
    texts = queries_of(rows, spec=routing.spec)
    whole = characters_of(rows)
    first, path = _first(texts, scores=scores, chosen=chosen, routing=routing)
    blocks: dict[str, Any] = {
        "reward": scores.prediction.reward,
        "tokens": scores.prediction.completion_tokens,
        "cost": scores.cost,
        "asked": path,
    }
    # In every shard, or parts of several could not be put together.
    everyone: BoolMatrix = np.ones(scores.cost.shape, dtype=bool)
    blocks["allowed"] = everyone if scores.allowed is None else scores.allowed
    found = asks.with_columns(
        query=texts,
        characters=(texts.str.len_chars() if whole is None else whole).cast(pl.Int64),
        column=pl.Series(first, dtype=pl.Int32),
        **as_columns(blocks),
    )
    return found.with_columns(ask_key(found, rounds=routing.spec.rounds))


def _first(
    texts: pl.Series, *, scores: Scores, chosen: Choices, routing: Routing
) -> tuple[Choices, BoolMatrix]:
    """(n_rows,) who is asked first, and (n_rows, n_candidates) who is expected to be asked."""
    if routing.spec.rounds and isinstance(routing.policy, Cascade):
        return expected_path(texts, scores=scores, policy=routing.policy)
    alone = chosen[:, None] == np.arange(len(routing.candidates))
    return chosen, alone
