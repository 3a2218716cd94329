"""Vectors of slow encoders, kept in the lake: what was encoded once is read the next time."""

import logging
import time

import numpy as np
import polars as pl

from cluster.encoders.encoder import FittedEncoder, Vectors
from cluster.encoders.memory import VectorMemory
from cluster.errors import LakeError
from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.tables import EMBEDDINGS

LOG = logging.getLogger("signalbox.vectors")

# Texts between two commits: a minute of a small encoder on two cores is what a killed run loses.
TEXTS_A_COMMIT = 5_000


class LakeVectors(VectorMemory):
    """A memory that looks into the lake before it asks the encoder, and stores what was missing.

    Safe beside other writers: of a text that two of them encode, the first commit counts for both.
    """

    def __init__(self, lake: Lake) -> None:
        super().__init__()
        self._lake = lake

    def find(self, texts: pl.DataFrame, *, encoder: FittedEncoder, encoder_id: str) -> Vectors:
        """(n, dimensions): from the lake, and for what it lacks from the encoder.

        Raises:
            LakeError: a stored vector is not of the encoder's length, or the table stays contended.
        """
        there = self._stored(texts, encoder=encoder, encoder_id=encoder_id)
        missing = texts.join(there, on="text_id", how="anti", maintain_order="left")
        LOG.info("vectors: %d in the lake, %d to encode", there.height, missing.height)
        began, done = time.monotonic(), 0
        for part in missing.iter_slices(TEXTS_A_COMMIT):
            fresh = self._encode_and_store(part, encoder=encoder, encoder_id=encoder_id)
            there = pl.concat([there, fresh])
            done += part.height
            speed = done / max(time.monotonic() - began, 1e-9)
            LOG.info("encoded %d of %d texts, %.0f a second", done, missing.height, speed)
        ordered = texts.join(there, on="text_id", how="left", maintain_order="left")
        return matrix(ordered["vector"], dimensions=encoder.dimensions)

    def _encode_and_store(
        self, texts: pl.DataFrame, *, encoder: FittedEncoder, encoder_id: str
    ) -> pl.DataFrame:
        """`text_id` and `vector` of the texts, as the lake has them afterwards."""
        vectors = pl.Series("vector", encoder.encode(texts["text"])).cast(pl.List(pl.Float32))
        rows = texts.select("text_id", pl.lit(encoder_id).alias("encoder_id"), vectors)
        stored = append_new(rows, lake=self._lake, table=EMBEDDINGS)
        if stored < rows.height:  # somebody else was first, and may have rounded differently
            return self._stored(texts, encoder=encoder, encoder_id=encoder_id)
        return rows.select("text_id", "vector")

    def _stored(
        self, texts: pl.DataFrame, *, encoder: FittedEncoder, encoder_id: str
    ) -> pl.DataFrame:
        """`text_id` and `vector` of those of the texts that are in the lake."""
        found = (
            self._lake.scan(EMBEDDINGS)
            .filter(pl.col("encoder_id") == encoder_id)
            .select("text_id", "vector")
            .join(texts.lazy().select("text_id"), on="text_id", how="semi")
            .collect()
        )
        if not found["vector"].list.len().eq(encoder.dimensions).all():
            raise LakeError(
                f"{self._lake.table_uri(EMBEDDINGS)}/encoder_id={encoder_id}: a vector has not "
                f"{encoder.dimensions} numbers; delete the table's folder, it is filled anew"
            )
        return found


def matrix(vectors: pl.Series, *, dimensions: int) -> Vectors:
    """(n, dimensions) float32 of a column of lists of that length."""
    if vectors.is_empty():
        return np.zeros((0, dimensions), dtype=np.float32)
    dense: Vectors = vectors.list.to_array(dimensions).to_numpy().astype(np.float32)
    return dense
