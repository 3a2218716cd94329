"""Encoders: texts → vectors."""

from cluster.encoders.encoder import Encoder, FittedEncoder, load_encoder

__all__ = ["Encoder", "FittedEncoder", "load_encoder"]
