"""What the candidates are asked: a query's identity, its text and its chat."""

import json

import polars as pl

from cluster.files.batch import MESSAGES
from cluster.files.queries import QueryColumn
from cluster.messages import transcript
from cluster.query import digest, normalise_texts, query_id

ASK = "ask"
ASK_SCHEMA = pl.Schema(dict.fromkeys(("query_id", "text", "messages"), pl.String()))
"""`query_id`: of the text alone as `collect` has it, or of the whole chat; equal ones are answered
once. `text`: what a candidate that knows no chats is asked. `messages`: the chat as JSON, null for
a text alone."""


def asks_of(rows: pl.DataFrame, *, queries: QueryColumn) -> pl.DataFrame:
    """(n_rows, `ASK_SCHEMA`) of rows that `with_queries` has passed."""
    texts = normalise_texts(rows[queries.text])
    if MESSAGES not in rows.columns:
        none = pl.Series("messages", [None] * rows.height, dtype=pl.String)
        return _asks([query_id(text, task="") for text in texts], texts=texts, messages=none)
    ids, asked = [], []
    for text, messages in zip(texts, rows[MESSAGES], strict=True):
        ids.append(query_id(text, task="") if messages is None else digest(["chat", messages]))
        asked.append(text if messages is None else transcript(json.loads(messages)))
    return _asks(ids, texts=pl.Series(asked, dtype=pl.String), messages=rows[MESSAGES])


def ask_key(asks: pl.DataFrame, *, rounds: bool) -> pl.Series:
    """(n_asks,) `ASK`: what rows that share their answers have in common.

    That is the query and who is asked first; in rounds also who may be asked at all, which a tag
    in one row may forbid and another row's may not.
    """
    parts = [pl.col("query_id"), pl.col("column").cast(pl.String)]
    if rounds:
        parts += [pl.col("^allowed:.*$").cast(pl.Int8).cast(pl.String)]
    return asks.select(pl.concat_str(parts, separator=" ").alias(ASK)).to_series()


def _asks(ids: list[str], *, texts: pl.Series, messages: pl.Series) -> pl.DataFrame:
    return pl.DataFrame({"query_id": ids, "text": texts, "messages": messages}, schema=ASK_SCHEMA)
