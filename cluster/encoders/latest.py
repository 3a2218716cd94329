"""One encoder for several routers that are asked about the same texts, one after another."""

from typing import ClassVar, Self

import polars as pl

from cluster.encoders.encoder import EncoderState, FittedEncoder, Vectors


class LatestEncoder(FittedEncoder):
    """An encoder that remembers its latest texts; a checkpoint holds only the encoder itself."""

    name: ClassVar[str] = "latest"

    def __init__(self, encoder: FittedEncoder) -> None:
        self._encoder = encoder
        self._latest: tuple[pl.Series, Vectors] | None = None

    @property
    def bare(self) -> FittedEncoder:
        """The encoder itself."""
        return self._encoder.bare

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return self._encoder.dimensions

    @property
    def encoder_id(self) -> str:
        """That of the encoder."""
        return self._encoder.encoder_id

    def encode(self, texts: pl.Series) -> Vectors:
        """(n, dimensions): what the encoder says, or has just said of the same series.

        The same means the same object: a series is not changed once it is made.
        """
        latest = self._latest
        if latest is None or latest[0] is not texts:
            latest = (texts, self._encoder.encode(texts))
            self._latest = latest
        return latest[1]

    def state(self) -> EncoderState:
        """That of the encoder."""
        return self._encoder.state()

    @classmethod
    def from_state(cls, state: EncoderState) -> Self:  # noqa: ARG003 - never asked
        """Never: a checkpoint holds the encoder itself, under its own name."""
        raise AssertionError("a checkpoint holds the encoder itself")
