"""An encoder turns texts into vectors; its settings and its fitted form."""

import hashlib
import json
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from cluster.plugins import Kind, load_plugin
from cluster.spec import IdentifiedSpec
from cluster.state import State

Vectors = npt.NDArray[np.float32]
EncoderState = State


class FittedEncoder(ABC):
    """An encoder that has seen its corpus."""

    name: ClassVar[str]

    @property
    def bare(self) -> "FittedEncoder":
        """The encoder a checkpoint holds: this one, unless it stands in front of another."""
        return self

    @property
    @abstractmethod
    def dimensions(self) -> int:
        """Length of a vector."""

    @abstractmethod
    def encode(self, texts: pl.Series) -> Vectors:
        """(n, dimensions) float32, one L2-normalised row a text; zeros where nothing is known."""

    @abstractmethod
    def state(self) -> EncoderState:
        """What a checkpoint must keep."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: EncoderState) -> Self:
        """The inverse of `state`: equal vectors, bit for bit."""

    @property
    def encoder_id(self) -> str:
        """sha256 in hex of everything that decides a vector."""
        state = self.state()
        digest = hashlib.sha256(self.name.encode())
        digest.update(json.dumps(state.config, sort_keys=True).encode())
        for name, array in sorted(state.tensors.items()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        for name, text in sorted(state.files.items()):
            digest.update(json.dumps([name, text]).encode())
        return digest.hexdigest()


class Encoder(IdentifiedSpec):
    """The settings of an encoder, and how it is fitted. One subclass a kind of encoder.

    A subclass is registered as an entry point of the group `signalbox.encoders` under its name.

    Attributes:
        fitted: what `fit` returns.
        is_slow: whether a text's vector is worth remembering between fits.
    """

    kind: ClassVar[str] = "encoder"
    plugins: ClassVar[Kind] = "encoders"

    fitted: ClassVar[type[FittedEncoder]]
    is_slow: ClassVar[bool] = False

    @abstractmethod
    def fit(self, texts: pl.Series, *, seed: int) -> FittedEncoder:
        """Learn what there is to learn from the texts (nothing, for a pretrained encoder)."""


def load_encoder(name: str, /, **settings: Any) -> Encoder:
    """The encoder of that name with its settings.

    Raises:
        InputError: the name is not installed, or a setting is unknown or out of range.
    """
    return Encoder.from_plugin(name, settings=settings)


def pack_encoder(encoder: FittedEncoder, *, into: State) -> State:
    """Put a fitted encoder into a router's state."""
    bare = encoder.bare
    named = State({**into.config, "encoder_name": bare.name}, into.tensors, into.files)
    return named.holding(bare.state(), name="encoder")


def unpack_encoder(state: State) -> FittedEncoder:
    """The inverse of `pack_encoder`.

    Raises:
        InputError: the encoder is not installed, or its state is damaged.
    """
    kind: type[Encoder] = load_plugin("encoders", name=state.value("encoder_name", str))
    return kind.fitted.from_state(state.part("encoder"))
