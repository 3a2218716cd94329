"""In which space queries are compared: it must cost little, and not know the training queries."""

from typing import Literal

import numpy as np
import polars as pl

from cluster.encoders.encoder import FittedEncoder, Vectors
from cluster.encoders.lexical import RARE, FittedLexical, LexicalEncoder, count_terms, slices
from cluster.outcome import FloatMatrix
from cluster.plugins import load_plugin
from cluster.routers.router import Router

Space = Literal["lexical", "router"]
LEXICAL: Space = "lexical"
# Half the size of the routers' own: 0.6 MB in a checkpoint, and twice as fast.
DIMENSIONS, MAX_TERMS = 32, 5_000


def own_encoder(router: Router) -> FittedEncoder | None:
    """The router's encoder, where it learned nothing from the training queries.

    A space that was fitted on some texts puts these nearer to each other than it puts new ones, so
    held-out training queries would say too little of how far new ones lie. That goes for the
    lexical encoder and for networks that were trained; a pretrained encoder that is used as it is
    has seen none of them.
    """
    encoder = getattr(router, "encoder", None)
    if not isinstance(encoder, FittedEncoder):
        return None
    return encoder if _is_pretrained(encoder) else None


def _is_pretrained(encoder: FittedEncoder) -> bool:
    return bool(load_plugin("encoders", name=encoder.bare.name).is_slow)


def lexical_space(texts: pl.Series, *, seed: int) -> FittedEncoder:
    """A small lexical encoder of the profile's own.

    Raises:
        InputError: no text has a word.
    """
    return LexicalEncoder(dimensions=DIMENSIONS, max_terms=MAX_TERMS).fit(texts, seed=seed)


def vectors_of(texts: pl.Series, *, encoder: FittedEncoder) -> tuple[Vectors, FloatMatrix]:
    """(n, d) the vectors, and (n,) the share of each text's terms that a lexical encoder's
    vocabulary lacks, 0 for other encoders; terms are counted once for both."""
    bare = encoder.bare
    if not isinstance(bare, FittedLexical):
        return encoder.encode(texts), np.zeros(len(texts))
    unknown = np.array([term.endswith(RARE) for term in bare.vocabulary], dtype=np.float64)
    vectors, shares = [np.zeros((0, bare.dimensions), dtype=np.float32)], [np.zeros(0)]
    for part in slices(texts):
        counts = count_terms(part, bare.vocabulary)
        totals = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
        vectors.append(bare.vectors(counts))
        shares.append(np.asarray(counts @ unknown / np.maximum(totals, 1.0)))
    return np.concatenate(vectors), np.concatenate(shares)
