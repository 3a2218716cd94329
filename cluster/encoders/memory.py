"""Vectors kept while several methods ask for the same texts: a pretrained encoder is slow."""

import hashlib
from typing import ClassVar, Self

import numpy as np
import polars as pl

from cluster.encoders.encoder import EncoderState, FittedEncoder, Vectors


class VectorMemory:
    """Vectors by encoder and text, for as long as this object lives."""

    def __init__(self) -> None:
        self._vectors: dict[str, dict[bytes, Vectors]] = {}

    def encode(self, texts: pl.Series, *, encoder: FittedEncoder, encoder_id: str) -> Vectors:
        """(n, dimensions): what the encoder says, asked only for texts not asked for before."""
        known = self._vectors.setdefault(encoder_id, {})
        keys = [hashlib.sha256((text or "").encode()).digest() for text in texts]
        first = {key: row for row, key in reversed(list(enumerate(keys))) if key not in known}
        rows = sorted(first.values())
        if rows:
            fresh = encoder.encode(texts.gather(rows))
            known.update(zip((keys[row] for row in rows), fresh, strict=True))
        empty = np.zeros((0, encoder.dimensions), dtype=np.float32)
        return np.stack([known[key] for key in keys]) if keys else empty


class RememberedEncoder(FittedEncoder):
    """A fitted encoder whose answers are kept; a checkpoint holds only the encoder itself."""

    name: ClassVar[str] = "remembered"

    def __init__(self, encoder: FittedEncoder, memory: VectorMemory) -> None:
        self._encoder = encoder
        self._id = encoder.encoder_id
        self._memory = memory

    @property
    def bare(self) -> FittedEncoder:
        """The encoder itself."""
        return self._encoder

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return self._encoder.dimensions

    @property
    def encoder_id(self) -> str:
        """That of the encoder."""
        return self._id

    def encode(self, texts: pl.Series) -> Vectors:
        """(n, dimensions): see `VectorMemory.encode`."""
        return self._memory.encode(texts, encoder=self._encoder, encoder_id=self._id)

    def state(self) -> EncoderState:
        """That of the encoder."""
        return self._encoder.state()

    @classmethod
    def from_state(cls, state: EncoderState) -> Self:  # noqa: ARG003 - never asked
        """Never: a checkpoint holds the encoder itself, under its own name."""
        raise AssertionError("a remembered encoder is stored as the encoder it remembers")
