"""Vectors kept while several methods ask for the same texts: a pretrained encoder is slow."""

import hashlib
from typing import ClassVar, Self

import numpy as np
import polars as pl

from cluster.encoders.encoder import EncoderState, FittedEncoder, Vectors
from cluster.query import normalise_texts


class VectorMemory:
    """Vectors by encoder and text, for as long as this object lives."""

    def __init__(self) -> None:
        self._vectors: dict[str, dict[str, Vectors]] = {}

    def encode(self, texts: pl.Series, *, encoder: FittedEncoder, encoder_id: str) -> Vectors:
        """(n, dimensions): what the encoder says, asked only for texts not asked for before.

        The encoder is given the texts in their normalised form, null as the empty text.
        """
        known = self._vectors.setdefault(encoder_id, {})
        normal = normalise_texts(texts).fill_null("")
        wanted = pl.DataFrame({"text_id": text_ids(normal), "text": normal})
        fresh = wanted.unique("text_id", keep="first", maintain_order=True).filter(
            ~pl.col("text_id").is_in(list(known))
        )
        if fresh.height:
            vectors = self.find(fresh, encoder=encoder, encoder_id=encoder_id)
            known.update(zip(fresh["text_id"], vectors, strict=True))
        empty = np.zeros((0, encoder.dimensions), dtype=np.float32)
        return np.stack([known[key] for key in wanted["text_id"]]) if len(texts) else empty

    def find(
        self,
        texts: pl.DataFrame,
        *,
        encoder: FittedEncoder,
        encoder_id: str,  # noqa: ARG002 - for whoever looks somewhere else first
    ) -> Vectors:
        """(n, dimensions): vectors of texts that are new here.

        Args:
            texts: `text_id`, `text`; no text twice.
            encoder: who is asked.
            encoder_id: its identity.
        """
        return encoder.encode(texts["text"])


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


def text_ids(texts: pl.Series) -> pl.Series:
    """(n,) sha256 in hex of each text in its normalised form; null counts as empty."""
    normal = normalise_texts(texts).fill_null("")
    digests = [hashlib.sha256(text.encode()).hexdigest() for text in normal]
    return pl.Series("text_id", digests, dtype=pl.String)
