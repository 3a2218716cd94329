"""Which routed queries come back: by a lottery of their texts, with more tickets for unsure ones.

Each distinct text has a lot, a salted hash of it in [0, 1), and is drawn where the lot is below its
probability (Poisson sampling). So a file that is routed again draws the same texts, and each row
keeps the probability it had, by whose inverse it counts in a mean over all routed queries.

Only texts whose own hash makes them train are looked at: whoever brings such a text in again, it is
train there too, and no routed query is ever part of a test, calibration or validation split, which
are drawn evenly. The hash is unrelated to what a text says, so train texts stand for all.
"""

import hashlib

import polars as pl

from cluster.messages import chat_trouble
from cluster.outcome import FloatMatrix
from cluster.query import VALIDATION_FROM, normalise_texts, split_of

# A query whose two best candidates are closest has seven times the chance of one where they are
# farthest apart; the mean over a shard is 1.
LEAST, MOST = 0.25, 1.75
FEEDBACK_SCHEMA: dict[str, type[pl.DataType]] = {
    "text": pl.String,
    "messages": pl.String,
    "candidate": pl.String,
    "sampling_probability": pl.Float64,
}


def draw_shard(
    texts: pl.Series,
    *,
    margin: FloatMatrix,
    candidates: pl.Series,
    share: float,
    chats: pl.Series | None = None,
) -> pl.DataFrame:
    """The queries of a shard that come back, columns `FEEDBACK_SCHEMA`, each text once.

    Of chats that end with the same text the first, as everywhere in the lake. A chat with more
    than texts in it, such as an image, does not come back: the lake has no room for it, and its
    last turn alone would be another query.

    Args:
        texts: (n_rows,) the queries.
        margin: (n_rows,) how sure the router is.
        candidates: (n_rows,) names of those chosen.
        share: of the distinct texts of all splits, that are to come back.
        chats: (n_rows,) JSON of the messages that lead to each; null for a text alone. None where
            all are.
    """
    rows = pl.DataFrame(
        {
            "text": normalise_texts(texts),
            "messages": [None] * len(texts) if chats is None else chats,
            "candidate": candidates,
            "margin": pl.Series(margin),
        },
        schema_overrides={"messages": pl.String},
    )
    once = rows.unique("text", keep="first", maintain_order=True)
    probability = inclusion(once["margin"], share=share)
    once = once.with_columns(probability.alias("sampling_probability"))
    lots = pl.Series([lot(text) for text in once["text"]], dtype=pl.Float64)
    drawn = once.filter(lots < once["sampling_probability"])
    is_train = pl.Series([split_of(text) == "train" for text in drawn["text"]], dtype=pl.Boolean)
    train = drawn.filter(is_train)
    return train.filter(chat_trouble(train["messages"]).is_null()).select(list(FEEDBACK_SCHEMA))


def inclusion(margin: pl.Series, *, share: float) -> pl.Series:
    """(n,) probabilities: in proportion to `LEAST` for the surest up to `MOST`, evenly by rank.

    Those of train texts alone, of which there are seven in ten: so the share of all comes back.
    """
    n = max(margin.len(), 1)
    unsure = (margin.rank(method="average", descending=True) - 0.5) / n
    weight = LEAST + (MOST - LEAST) * unsure
    probability: pl.Series = (weight * (share / VALIDATION_FROM)).clip(upper_bound=1.0)
    return probability


def lot(text: str) -> float:
    """A number in [0, 1) from a text alone; salted, so that it is unrelated to the text's split."""
    return int.from_bytes(hashlib.sha256(f"feedback\n{text}".encode()).digest()[:6], "big") / 2**48


def together(parts: list[pl.DataFrame]) -> pl.DataFrame:
    """Those of several shards, each text once, with the greatest probability it had anywhere.

    A text that stands in two shards comes back where its lot is below either probability.
    """
    empty = pl.DataFrame(schema=FEEDBACK_SCHEMA)
    whole = pl.concat([empty, *parts])
    return whole.sort("sampling_probability", descending=True, maintain_order=True).unique(
        "text", keep="first", maintain_order=True
    )
